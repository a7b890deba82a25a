"""What a caller gets back: frozen values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from typing import Literal

from fumehood.errors import (
    CommandFailedError,
    CommandOutOfMemoryError,
    CommandTimeoutError,
)
from fumehood.text import decode, printable


class ExecReason(StrEnum):
    """Why a command ended, by the supervisor's own knowledge, never guessed from an exit code."""

    EXITED = "exited"
    SIGNALED = "signaled"
    TIMED_OUT = "timed_out"
    OUT_OF_MEMORY = "out_of_memory"
    CANCELLED = "cancelled"


class SessionState(StrEnum):
    """Where a session is, as far as this client knows."""

    RUNNING = "running"
    RECONNECTING = "reconnecting"
    """The stream has broken and another one is being looked for: calls wait, for no longer than
    ``Lifecycle.disconnect_grace``."""
    PAUSED = "paused"
    """Its commands stand still since this client's ``pause()``."""
    ENDED = "ended"
    DETACHED = "detached"
    """This client has left; the session may live on."""


class EndReason(StrEnum):
    """Why a session ended."""

    DESTROYED = "destroyed"
    TTL = "ttl"
    IDLE = "idle"
    CLIENT_LOST = "client_lost"
    """No client was connected for longer than the disconnect grace."""
    NOT_CONFIGURED = "not_configured"
    """The container was started but never told what to be."""
    STOPPED = "stopped"
    """By :meth:`AsyncSession.stop`, or the engine or its user stopped the container."""
    PROTOCOL = "protocol"
    """The stream carried bytes that break the wire's rules."""
    RESOURCES = "resources"
    """The session could not be kept under control with what was left (memory, kill escalation)."""
    DISK_FULL = "disk_full"
    """It wrote to a disk that had less left than ``Limits.disk_floor_mb`` keeps free."""
    LOST = "lost"
    """The container is gone and nobody can say why (engine lost, removed by hand)."""


@dataclass(frozen=True, kw_only=True)
class ExecResult:
    """How a command ended and what it wrote.

    A timed-out or failed command is a result, not an exception; :meth:`check` makes it one.
    """

    stdout_bytes: bytes
    stderr_bytes: bytes
    exit_code: int
    """The exit status; ``128 + signal`` when a signal ended the command."""
    signal: int | None
    duration: float
    """Seconds from the start to the end of the command, by the supervisor's clock."""
    reason: ExecReason
    stdout_dropped: int = 0
    """Bytes that the command wrote beyond the cap."""
    stderr_dropped: int = 0
    killed: int = 0
    """Processes that were killed to end the command."""
    left_running: int = 0
    """Background processes of the command that live on."""

    @cached_property
    def stdout(self) -> str:
        """Standard output as text; never split inside a character."""
        return self._text(self.stdout_bytes, self.stdout_truncated)

    @cached_property
    def stderr(self) -> str:
        """Standard error as text; never split inside a character."""
        return self._text(self.stderr_bytes, self.stderr_truncated)

    @staticmethod
    def _text(data: bytes, truncated: bool) -> str:
        # Only the cut of our own cap may be in the middle of a character; a stray byte at the end
        # of complete output is the command's own and is shown as such.
        return decode(data) if truncated else data.decode("utf-8", "replace")

    @property
    def timed_out(self) -> bool:
        """Whether the command ran out of time."""
        return self.reason is ExecReason.TIMED_OUT

    @property
    def stdout_truncated(self) -> bool:
        """Whether standard output was larger than the cap."""
        return self.stdout_dropped > 0

    @property
    def stderr_truncated(self) -> bool:
        """Whether standard error was larger than the cap."""
        return self.stderr_dropped > 0

    @property
    def ok(self) -> bool:
        """Whether the command exited by itself with status 0."""
        return self.reason is ExecReason.EXITED and self.exit_code == 0

    def check(self) -> ExecResult:
        """Return the result itself if :attr:`ok`, otherwise raise it.

        Raises:
            CommandTimeoutError: it ran out of time.
            CommandOutOfMemoryError: it was killed because the session's memory was used up.
            CommandFailedError: any other status than 0.
        """
        if self.ok:
            return self
        # What a program wrote may be meant for the terminal that shows this exception.
        tail = printable(self.stderr.strip()[-500:])
        detail = f": {tail}" if tail else ""
        if self.reason is ExecReason.TIMED_OUT:
            raise CommandTimeoutError(
                f"the command was killed after {self.duration:.3f} s{detail}",
                result=self,
                op="exec",
            )
        if self.reason is ExecReason.OUT_OF_MEMORY:
            raise CommandOutOfMemoryError(
                f"the command used up the session's memory; raise Limits.memory_mb{detail}",
                result=self,
                op="exec",
            )
        how = f"signal {self.signal}" if self.signal is not None else f"exit code {self.exit_code}"
        raise CommandFailedError(f"the command ended with {how}{detail}", result=self, op="exec")


@dataclass(frozen=True, slots=True)
class Stdout:
    """A piece of standard output."""

    data: bytes
    text: str
    """The same as text: characters that were split between pieces are whole in the later one."""
    offset: int | None = None
    """Of a managed process: where it begins in all that was written, both streams together."""


@dataclass(frozen=True, slots=True)
class Stderr:
    """A piece of standard error."""

    data: bytes
    text: str
    offset: int | None = None
    """As :attr:`Stdout.offset`."""


@dataclass(frozen=True, slots=True)
class Exit:
    """The end of a command: always the last event."""

    result: ExecResult


ExecEvent = Stdout | Stderr | Exit

FileType = Literal[
    "file", "directory", "symlink", "fifo", "socket", "block", "character", "unknown"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEntry:
    """One file, directory or link. ``path`` is relative to the root that was asked for."""

    path: str
    type: FileType
    size: int
    mode: int
    """Permission bits, as in ``0o644``."""
    modified: datetime
    uid: int
    gid: int
    target: str | None = None
    """Where a symbolic link points, as it is written."""

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]


class FileEntries(list[FileEntry]):
    """A list of entries, by path, that also knows what could not be looked at.

    It is a list in all else: equal to one of the same entries, and what is sliced or sorted out of
    it is a plain one.
    """

    __slots__ = ("skipped_unreadable",)

    skipped_unreadable: int
    """Files and directories below the one that was asked for that the session's user may not read.
    What is in such a directory is not counted: nobody has seen it."""

    def __init__(
        self, entries: Iterable[FileEntry] = (), /, *, skipped_unreadable: int = 0
    ) -> None:
        super().__init__(entries)
        self.skipped_unreadable = skipped_unreadable

    def __repr__(self) -> str:
        known = super().__repr__()
        return f"{type(self).__name__}({known}, skipped_unreadable={self.skipped_unreadable})"


@dataclass(frozen=True, slots=True, kw_only=True)
class TextPage:
    """Some lines of a text file, and where to go on."""

    text: str
    start_line: int
    """The first line of this page; lines count from 1."""
    end_line: int
    """The last line of this page; ``start_line - 1`` when the page is empty."""
    next_start_line: int | None
    """Where the next page starts; None at the end of the file."""
    cut: bool = False
    """Whether the only line of the page was longer than ``max_bytes`` and is not whole."""


class EgressReason(StrEnum):
    """Why a request to the outside was let through, refused or ended."""

    ALLOWED = "allowed"
    NOT_LISTED = "not_listed"
    """No rule names the host."""
    PORT = "port"
    """A rule names the host, and not this port of it."""
    PRIVATE_ADDRESS = "private_address"
    """It is, or resolves to nothing but, addresses that are not public and that no rule names:
    loopback, private, link-local, metadata services, multicast, IPv4 inside IPv6 and the like."""
    BAD_REQUEST = "bad_request"
    """Not a request that a proxy understands, or one that could be understood in two ways; inside
    intercepted TLS also one for another host than the connection's, or a handshake that failed."""
    BAD_CERTIFICATE = "bad_certificate"
    """The server of an intercepted host has no certificate for its name that this client trusts."""
    UNRESOLVED = "unresolved"
    """The name has no address."""
    UNREACHABLE = "unreachable"
    """No connection could be made, or it broke."""
    TIMED_OUT = "timed_out"
    """The request's head did not come in time, or the other side was silent for too long."""
    POLICY_CHANGED = "policy_changed"
    """It was let through, and ``set_network`` has cut it off."""


WorkspaceTier = Literal["tmpfs", "xfs-quota", "floor-watch", "none"]
"""``"tmpfs"`` and ``"xfs-quota"``: a hard quota. ``"floor-watch"``: a session that writes is ended
before its disk is full. ``"none"``: a disk that nobody watches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectiveLimits:
    """What the kernel and the supervisor really enforce, read back from inside the container."""

    memory_mb: int
    """Memory that commands may use, the tmpfs budgets below not counted."""
    memory_total_bytes: int
    """The kernel's limit: memory plus tmpfs budgets."""
    swap_bytes: int
    cpus: float
    pids: int
    open_files: int
    timeout: float | None
    max_output_bytes: int
    max_file_bytes: int
    max_processes: int
    workspace_bytes: int | None
    """A hard quota of the workspace; None when it has none."""
    workspace_tier: WorkspaceTier
    """What keeps the workspace from filling the engine's disk."""
    disk_floor_bytes: int
    """What the session leaves free on the workspace's disk; 0 when nobody watches that."""
    tmp_bytes: int
    network: str
    """``"none"``, ``"allow"``, ``"bridge"`` or a network's name, as the session was made;
    ``"unknown"`` in a session that was joined."""
    readonly_rootfs: bool
    no_new_privileges: bool
    seccomp: bool
    workload_capabilities: tuple[str, ...]
    runtime: str | None
    degraded: tuple[str, ...] = ()
    """What was asked for and cannot be shown to hold on this engine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """How a session came to be, and where the time went."""

    kind: Literal["warm", "cold"]
    """From the sandbox's pool, or made for this call."""
    reason: str
    """Why it was a cold one, in words; empty for a warm one."""
    duration: float
    """Seconds from the call to the ready session, hooks not counted."""
    steps: Mapping[str, float] = field(default_factory=dict[str, float])
    """Seconds by step, in their order. Steps may overlap: the sum may be more than the whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionInfo:
    """A session as the engine lists it."""

    id: str
    state: Literal["created", "running", "paused", "exited", "removing", "stopped"]
    """``"stopped"``: only its files are there, for ``resume(id)``."""
    image: str
    created_at: datetime
    workspace_id: str | None
    detached: bool
    owner: str
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    ttl: float | None = None
    idle_timeout: float | None = None
    expires_at: datetime | None = None
    """Of a stopped session: when a sweep may remove it; None: never."""
