"""What a caller asks for: frozen values, checked when they are made.

Durations are seconds (``float``, ``int`` or ``timedelta``); sizes are bytes unless the name ends
in ``_mb`` (MiB). A value that is out of range raises :class:`~fumehood.errors.InvalidRequestError`
before anything exists on the engine.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from types import MappingProxyType
from typing import Literal, cast

from fumehood import paths
from fumehood.errors import InvalidRequestError

Seconds = float | int | timedelta
"""A duration: seconds, or a ``timedelta``."""

MIB = 1 << 20

_MAX_SECONDS = 10 * 365 * 86_400.0
# Names become part of engine object names, so the alphabet is the one that maps one to one:
# no case folding, no replaced characters, two different ids never share a name.
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?")
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NETWORK_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_DOMAIN = re.compile(r"(?:\*\.)?(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9-]{1,63}")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,63})?")
_LABEL_KEY = re.compile(r"[a-z0-9](?:[a-z0-9._/-]{0,126}[a-z0-9])?")
_RUNTIME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

RESERVED_UID = 64999
"""The supervisor's own user id: no command may run as it (DESIGN: PID 1 is not the workload)."""

GRANTABLE_CAPABILITIES = (
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "SETUID",
    "SETGID",
    "NET_BIND_SERVICE",
)
"""The only Linux capabilities that a workload can be given."""

MAX_METADATA_VALUE = 4096
MAX_ENV_BYTES = 1 << 20


def seconds(value: Seconds, name: str, *, minimum: float = 0.0) -> float:
    """Return a duration in seconds, or raise with the option's name and value."""
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidRequestError(f"{name} must be seconds or a timedelta, not {value!r}")
    result = float(value)
    if not math.isfinite(result) or result < minimum or result > _MAX_SECONDS:
        raise InvalidRequestError(
            f"{name} must be between {minimum:g} s and ten years, not {value!r}"
        )
    return result


def optional_seconds(value: Seconds | None, name: str, *, minimum: float = 0.0) -> float | None:
    """Like :func:`seconds`, with ``None`` meaning 'no such limit'."""
    return None if value is None else seconds(value, name, minimum=minimum)


def whole(value: int, name: str, *, minimum: int, maximum: int) -> int:
    """Return a whole number in a range, or raise with the option's name and value."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidRequestError(f"{name} must be a whole number, not {value!r}")
    if not minimum <= value <= maximum:
        raise InvalidRequestError(f"{name} must be from {minimum} to {maximum}, not {value}")
    return value


def check_name(value: str, what: str) -> str:
    """Return a session or workspace id that maps one to one to an engine object's name."""
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise InvalidRequestError(
            f"{what} {value!r} is not usable: 1 to 63 characters of a-z, 0-9, '.', '_' and '-', "
            "beginning and ending with a letter or digit"
        )
    return value


def check_env(env: Mapping[str, str] | None, what: str = "env") -> dict[str, str]:
    """Return a copy of an environment whose names and values can be given to a program."""
    result: dict[str, str] = {}
    total = 0
    for key, value in (env or {}).items():
        if not isinstance(key, str) or not _ENV_NAME.fullmatch(key):
            raise InvalidRequestError(f"{what}: {key!r} is not a name of an environment variable")
        if not isinstance(value, str):
            raise InvalidRequestError(f"{what}[{key!r}] must be a string, not {value!r}")
        if "\0" in value:
            raise InvalidRequestError(f"{what}[{key!r}] contains a NUL character")
        total += len(key) + len(value.encode("utf-8", "surrogateescape")) + 2
        result[key] = value
    if total > MAX_ENV_BYTES:
        raise InvalidRequestError(
            f"{what} takes {total} bytes; at most {MAX_ENV_BYTES} are allowed"
        )
    return result


def check_user(user: str | int | None) -> str | None:
    """Return ``user`` as the text ``name-or-uid[:group-or-gid]``, never the reserved uid."""
    if user is None:
        return None
    if isinstance(user, bool) or not isinstance(user, (str, int)):
        raise InvalidRequestError(f"user must be a name or a uid, not {user!r}")
    text = str(user)
    if not _USER.fullmatch(text):
        raise InvalidRequestError(f"user {user!r} is not 'name', 'uid', 'name:group' or 'uid:gid'")
    for part in text.split(":"):
        if part.isdigit() and int(part) == RESERVED_UID:
            raise InvalidRequestError(
                f"user {user!r}: {RESERVED_UID} is reserved for the supervisor"
            )
        if part.isdigit() and int(part) >= 1 << 31:
            raise InvalidRequestError(f"user {user!r} is out of range")
    return text


def check_labels(labels: Mapping[str, str] | None, what: str) -> dict[str, str]:
    """Return a copy of labels or metadata that an engine stores and shows safely."""
    result: dict[str, str] = {}
    for key, value in (labels or {}).items():
        if not isinstance(key, str) or not _LABEL_KEY.fullmatch(key):
            raise InvalidRequestError(
                f"{what}: key {key!r} is not 1 to 128 characters of a-z, 0-9, '.', '_', '-' and '/'"
            )
        if key == "fumehood" or key.startswith("fumehood."):
            raise InvalidRequestError(f"{what}: key {key!r} is reserved for fumehood")
        if not isinstance(value, str):
            raise InvalidRequestError(f"{what}[{key!r}] must be a string, not {value!r}")
        if len(value) > MAX_METADATA_VALUE or any(ord(c) < 32 or ord(c) == 127 for c in value):
            raise InvalidRequestError(
                f"{what}[{key!r}] must be at most {MAX_METADATA_VALUE} printable characters"
            )
        result[key] = value
    if len(result) > 64:
        raise InvalidRequestError(f"{what} has {len(result)} entries; at most 64 are allowed")
    return result


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """Where a session's files live.

    Use :meth:`ephemeral` (gone with the session, the default) or :meth:`persistent` (a named
    volume that is kept and can be used again).

    Example::

        DockerSandbox(workspace=Workspace.persistent("user-42"))
    """

    mode: Literal["ephemeral", "persistent"] = "ephemeral"
    id: str | None = None
    """The name of a persistent workspace: it selects the volume."""
    destroy_with_session: bool = True
    """Whether ``destroy()`` deletes the volume. Always true for an ephemeral workspace."""

    def __post_init__(self) -> None:
        if self.mode not in ("ephemeral", "persistent"):
            raise InvalidRequestError(
                f"workspace mode must be ephemeral or persistent: {self.mode!r}"
            )
        if self.mode == "persistent":
            if self.id is None:
                raise InvalidRequestError("a persistent workspace needs an id")
            check_name(self.id, "workspace id")
        elif self.id is not None or not self.destroy_with_session:
            raise InvalidRequestError(
                "an ephemeral workspace has no id and always goes with its session; "
                "use Workspace.persistent(id) to keep files"
            )

    @classmethod
    def ephemeral(cls) -> Workspace:
        """A new, empty workspace for each session, deleted with it."""
        return cls()

    @classmethod
    def persistent(cls, id: str, *, destroy_with_session: bool = False) -> Workspace:
        """The workspace of this name, made at first use and kept unless told otherwise."""
        return cls(mode="persistent", id=id, destroy_with_session=destroy_with_session)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifecycle:
    """The lease: what ends a session by itself. All of it is held by the supervisor."""

    ttl: Seconds | None = None
    """The longest life, counted from the start, also while the host sleeps. ``None``: no limit."""
    idle_timeout: Seconds | None = None
    """How long a session may go without an active operation. ``None``: no limit."""
    disconnect_grace: Seconds = 10.0
    """How long the session waits for a client to come back after its stream has ended."""
    heartbeat_timeout: Seconds = 60.0
    """How long a silent client counts as alive (for ends that the engine does not report)."""
    detached: bool = False
    """Outlive the client. Needs ``ttl`` or ``idle_timeout``, or the session would never end."""

    def __post_init__(self) -> None:
        for name, minimum in (("ttl", 0.1), ("idle_timeout", 0.1)):
            object.__setattr__(
                self, name, optional_seconds(getattr(self, name), name, minimum=minimum)
            )
        object.__setattr__(
            self, "disconnect_grace", seconds(self.disconnect_grace, "disconnect_grace")
        )
        object.__setattr__(
            self,
            "heartbeat_timeout",
            seconds(self.heartbeat_timeout, "heartbeat_timeout", minimum=1.0),
        )
        if self.detached and self.ttl is None and self.idle_timeout is None:
            raise InvalidRequestError(
                "a detached session needs a ttl or an idle_timeout: nothing else would ever end it"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a session may use. Enforced by the kernel and the supervisor, read back from inside."""

    timeout: Seconds | None = 30.0
    """The default time of a command. ``None``: no limit. Other operations are not bound by it."""
    max_output_bytes: int = 1_048_576
    """Of each stream of a command the first so many bytes are kept; the rest is counted."""
    max_file_bytes: int = 64 * MIB
    """The largest file that buffered reads return and that any write through the API makes."""
    memory_mb: int = 512
    """Memory of all commands together, without swap; tmpfs budgets come on top (SECURITY.md)."""
    cpus: float = 1.0
    """CPU time per second of wall time."""
    pids: int = 512
    """Processes and threads at once, the supervisor's own included."""
    max_processes: int = 16
    """Managed (background) processes at once."""
    workspace_mb: int | None = None
    """A hard quota for an ephemeral workspace (memory-backed). ``None``: the host's free space."""

    def __post_init__(self) -> None:
        set_ = object.__setattr__
        set_(self, "timeout", optional_seconds(self.timeout, "timeout", minimum=0.001))
        whole(self.max_output_bytes, "max_output_bytes", minimum=0, maximum=1 << 40)
        whole(self.max_file_bytes, "max_file_bytes", minimum=0, maximum=1 << 50)
        whole(self.memory_mb, "memory_mb", minimum=16, maximum=1 << 24)
        whole(self.pids, "pids", minimum=16, maximum=1 << 20)
        whole(self.max_processes, "max_processes", minimum=0, maximum=128)
        if self.workspace_mb is not None:
            whole(self.workspace_mb, "workspace_mb", minimum=1, maximum=1 << 20)
        if isinstance(self.cpus, bool) or not isinstance(self.cpus, (int, float)):
            raise InvalidRequestError(f"cpus must be a number, not {self.cpus!r}")
        if not math.isfinite(self.cpus) or not 0.01 <= self.cpus <= 4096:
            raise InvalidRequestError(f"cpus must be from 0.01 to 4096, not {self.cpus!r}")
        set_(self, "cpus", float(self.cpus))


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """What a session can reach. The default is nothing."""

    mode: Literal["none", "bridge", "named", "allow"] = "none"
    name: str | None = None
    domains: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.mode not in ("none", "bridge", "named", "allow"):
            raise InvalidRequestError(f"network mode {self.mode!r} is not known")
        if (self.mode == "named") != (self.name is not None):
            raise InvalidRequestError("Network.named(name) is the way to join a network by name")
        if self.name is not None:
            if not isinstance(self.name, str) or not _NETWORK_NAME.fullmatch(self.name):
                raise InvalidRequestError(f"network name {self.name!r} is not usable")
            if self.name in ("none", "bridge", "host", "default") or self.name.startswith(
                "container:"
            ):
                raise InvalidRequestError(
                    f"network {self.name!r} is not one to join by name: use Network.none() or "
                    "Network.bridge(); the host's network is never shared"
                )
        if (self.mode == "allow") != bool(self.domains):
            raise InvalidRequestError("Network.allow needs at least one domain")
        for domain in self.domains:
            if not isinstance(domain, str) or not _DOMAIN.fullmatch(domain):
                raise InvalidRequestError(f"{domain!r} is not a domain name (or '*.' and one)")

    @classmethod
    def none(cls) -> Network:
        """No network at all: not even a name can be resolved."""
        return cls()

    @classmethod
    def bridge(cls) -> Network:
        """The engine's default bridge: everything that the host can reach, metadata included."""
        return cls(mode="bridge")

    @classmethod
    def named(cls, name: str) -> Network:
        """An existing network of the engine."""
        return cls(mode="named", name=name)

    @classmethod
    def allow(cls, *domains: str) -> Network:
        """Only these domains, through the client; the container itself has no network."""
        return cls(mode="allow", domains=tuple(domains))


@dataclass(frozen=True, slots=True, kw_only=True)
class Security:
    """What the hardened profile leaves open. no-new-privileges cannot be turned off."""

    readonly_rootfs: bool = False
    """Make everything but the workspace, /tmp and /dev read-only."""
    workload_capabilities: tuple[str, ...] = ()
    """Linux capabilities for the commands, out of :data:`GRANTABLE_CAPABILITIES`."""
    seccomp: str | None = None
    """A seccomp profile as JSON text instead of the engine's own. ``"unconfined"`` is refused."""
    runtime: str | None = None
    """An OCI runtime that the engine knows (``"runsc"``, ``"kata"``). ``None``: the engine's."""

    def __post_init__(self) -> None:
        names: list[str] = []
        if isinstance(self.workload_capabilities, str):
            raise InvalidRequestError("workload_capabilities is a tuple of names, not a string")
        for name in self.workload_capabilities:
            short = str(name).upper().removeprefix("CAP_")
            if short not in GRANTABLE_CAPABILITIES:
                raise InvalidRequestError(
                    f"capability {name!r} cannot be granted; possible: "
                    + ", ".join(GRANTABLE_CAPABILITIES)
                )
            if short not in names:
                names.append(short)
        object.__setattr__(self, "workload_capabilities", tuple(sorted(names)))
        if self.runtime is not None and (
            not isinstance(self.runtime, str) or not _RUNTIME.fullmatch(self.runtime)
        ):
            raise InvalidRequestError(f"runtime {self.runtime!r} is not a runtime's name")
        if self.seccomp is not None:
            _check_seccomp(self.seccomp)


def _check_seccomp(profile: str) -> None:
    if profile == "unconfined":
        raise InvalidRequestError("seccomp 'unconfined' is refused: give a profile as JSON text")
    try:
        parsed: object = json.loads(profile)
    except ValueError as exc:
        raise InvalidRequestError(f"seccomp must be a profile as JSON text: {exc}") from exc
    fields = cast("dict[str, object]", parsed) if isinstance(parsed, dict) else {}
    action = fields.get("defaultAction")
    if action is None or action in ("SCMP_ACT_ALLOW", "SCMP_ACT_LOG"):
        raise InvalidRequestError("a seccomp profile must deny by default (its defaultAction)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What is in the workspace before the first command runs.

    Example::

        Manifest(files={"main.py": "print('hi')"}, directories=("out",), env={"LANG": "C.UTF-8"})
    """

    files: Mapping[str, str | bytes] = field(default_factory=dict[str, str | bytes])
    """Contents by path, relative to the workspace; parents are made."""
    directories: tuple[str, ...] = ()
    """Directories to make, relative to the workspace."""
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    """Environment of every command of the session."""

    def __post_init__(self) -> None:
        if isinstance(self.directories, str):
            raise InvalidRequestError("Manifest.directories is a tuple of paths, not a string")
        files: dict[str, str | bytes] = {}
        for path, content in dict(self.files).items():
            if not isinstance(content, (str, bytes, bytearray, memoryview)):
                raise InvalidRequestError(
                    f"Manifest.files[{path!r}] must be str or bytes, not {type(content).__name__}"
                )
            files[paths.relative(path)] = content if isinstance(content, str) else bytes(content)
        set_ = object.__setattr__
        set_(self, "files", MappingProxyType(files))
        set_(self, "directories", tuple(paths.relative(path) for path in self.directories))
        set_(self, "env", MappingProxyType(check_env(self.env, "Manifest.env")))


def to_dict(value: Lifecycle | Limits | Network | Security | Workspace) -> dict[str, object]:
    """Return an option as plain data, for a label or a report."""
    return dataclasses.asdict(value)
