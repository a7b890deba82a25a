"""The seam: what fumehood asks of an engine, and nothing more.

An engine makes containers from a specification, hands out byte streams, and finds and removes what
it made by label. Nothing above this file knows Docker. Every method maps its engine's own failures
to :mod:`fumehood.errors` once, here at the boundary, with ``from exc``.

All methods are coroutines of one event loop. When a call is cancelled, what it had asked the engine
to create may exist: names and labels are chosen by the caller before the call, so
:meth:`Engine.remove_session` is always enough to clean up.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from fumehood._steps import Steps
from fumehood.errors import SandboxError
from fumehood.options import Limits, Network, Security
from fumehood.volumes import Volume

PullPolicy = Literal["missing", "always", "never"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PullProgress:
    """One step of an image pull, as the engine reports it (text is the engine's: hostile)."""

    image: str
    layer: str
    status: str
    current: int
    """Bytes done of this layer; 0 when unknown."""
    total: int
    """Bytes of this layer; 0 when unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """What an image brings that matters to a session."""

    id: str
    """The content digest that the engine knows it by."""
    reference: str
    user: str
    """The image's USER, ``""`` when it has none (root)."""
    env: tuple[tuple[str, str], ...]
    workdir: str
    architecture: Literal["amd64", "arm64"]
    volumes: tuple[str, ...] = ()
    reserved_labels: tuple[str, ...] = ()
    """Names of labels that it carries and that only we may set."""
    layer: str = ""
    """The tag of one that was made of a session's file system; ``""`` for any other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRequest:
    """Everything that the container of one session is made from: the engine's input, pure data."""

    session_id: str
    nonce: str
    """64 hexadecimal digits: the tether's secret, in a label that only the engine's users read."""
    image: Image
    workdir: str
    network: Network
    limits: Limits
    security: Security
    workspace_id: str | None = None
    """``None`` for an ephemeral workspace, otherwise the persistent one's id."""
    destroy_workspace: bool = False
    """Whether a persistent workspace goes with the session (a label: also for the sweep)."""
    chown_workspace: bool = True
    """Whether PID 1 needs CAP_CHOWN for the moment in which it hands the workspace over."""
    ttl: float | None = None
    idle_timeout: float | None = None
    detached: bool = False
    owner: str = ""
    """Who made it, for people: ``user@host:pid``."""
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    ports: tuple[int, ...] = ()
    volumes: tuple[Volume, ...] = ()
    """Volumes that are on the engine already, none within another one's directory."""
    platform: str | None = None
    warm: bool = False
    """For a pool: no session yet. It gets its name when it is claimed, and until then it has one
    that no session can have."""
    settings: str = ""
    """All that it takes to make the session anew, but for its environment: a label, as JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """A session's container, as found on the engine."""

    id: str
    """The engine's own id."""
    session_id: str
    nonce: str
    state: Literal["created", "running", "paused", "exited", "removing"]
    created_at: float
    """Seconds since the epoch, by the engine's clock."""
    image: str
    workspace_id: str | None
    detached: bool
    metadata: Mapping[str, str]
    workdir: str
    destroy_workspace: bool = False
    """Whether a persistent workspace goes with its session."""
    published_ports: Mapping[int, int] = field(default_factory=dict[int, int])
    ttl: float | None = None
    idle_timeout: float | None = None
    owner: str = ""
    pid: int = 0
    """The number of its first process on the engine's machine; 0 when the engine did not say."""
    pool_id: str = ""
    """What a container of a pool was made as; its labels say this for ever. Empty for others. Its
    metadata is the supervisor's to tell, and its TTL counts from the claim."""
    warm: bool = False
    """Whether it is in a pool still: no session, and nothing has run in it."""
    settings: str = ""
    """As in the request that made it; ``""`` where another version of fumehood did."""
    layer: str = ""
    """The tag of the image it runs on, where that was made of a session's file system."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineInfo:
    """What ``fumehood doctor`` and the refusal of silent degradation need to know."""

    name: str
    """``"docker"``."""
    version: str
    api_version: str
    architecture: Literal["amd64", "arm64"]
    kernel: str
    operating_system: str
    cgroup_version: str
    storage_driver: str
    runtimes: tuple[str, ...]
    default_runtime: str
    security_options: tuple[str, ...]
    memory_limit: bool
    swap_limit: bool
    pids_limit: bool
    cpu_limit: bool
    live_restore: bool
    address: str
    backing_filesystem: str = ""
    """What its containers and volumes lie on (``"xfs"``, ``"extfs"``); ``""`` when it does not
    tell."""
    warnings: tuple[str, ...] = ()
    components: Mapping[str, str] = field(default_factory=dict[str, str])
    """Versions of what it is made of (``containerd``, ``runc``)."""
    clock_offset: float | None = None
    """Seconds by which its clock is ahead of this machine's; None when it does not tell its time.
    As exact as the time that its answer took."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepReport:
    """What a sweep found and removed; ``failed`` maps a name to the reason it is still there."""

    containers: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    supervisors: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    """Of sessions' file systems that nothing uses any more."""
    kept: tuple[str, ...] = ()
    failed: Mapping[str, str] = field(default_factory=dict[str, str])


class ByteStream(Protocol):
    """The raw duplex stream to a supervisor, already free of the engine's own framing.

    Callbacks run on the event loop, in order, and must not block.
    """

    @property
    def can_break(self) -> bool:
        """Whether it may end while its container lives on, so that a return is worth preparing.

        A stream over a network can; one on the machine's own socket only where the engine may be
        restarted under its containers. To be able to resume costs memory and a little time.
        """
        ...

    def start(
        self,
        on_data: Callable[[bytes | memoryview], None],
        on_close: Callable[[Exception | None], None],
    ) -> None:
        """Begin delivery: nothing is lost between the attach and this call.

        ``on_data`` gets stdout's bytes. ``on_close`` is called exactly once, at the end of the
        stream or at the error that ended it (already a fumehood error, or None for a clean end),
        and never before data that arrived earlier was delivered.
        """
        ...

    def write(self, data: bytes) -> None:
        """Queue bytes for the supervisor. Never blocks; after the end of the stream, a no-op."""
        ...

    async def drain(self) -> None:
        """Wait until what is queued is below the high-water mark, or the stream has ended."""
        ...

    def pause_reading(self) -> None:
        """Stop delivery until :meth:`resume_reading`; at most one chunk may still arrive."""
        ...

    def resume_reading(self) -> None:
        """Go on with delivery."""
        ...

    def diagnostics(self) -> str:
        """The last 4 KiB that the supervisor (or the runtime) wrote to stderr, made printable."""
        ...

    async def close(self) -> None:
        """End both directions and release the connection. Idempotent."""
        ...


class Engine(Protocol):
    """One engine, at one address."""

    async def info(self) -> EngineInfo:
        """Ask the engine what it is and can enforce.

        Raises:
            EngineUnavailableError: nothing answers at the address.
            EngineUnsupportedError: no API version that both sides speak.
        """
        ...

    async def prepare_image(
        self,
        reference: str,
        *,
        pull: PullPolicy,
        platform: str | None = None,
        progress: Callable[[PullProgress], None] | None = None,
    ) -> Image:
        """Return the image, pulling it as the policy says. Answers are cached by image id.

        Raises:
            ImageNotFoundError: not there and not to be pulled, or unknown to its registry.
            ImagePullError: the pull failed half-way, or credentials were refused.
            ImageRefusedError: it declares a VOLUME other than the workspace, or is for another
                platform than the one asked for.
        """
        ...

    async def create_session(
        self, request: SessionRequest, *, steps: Steps | None = None
    ) -> ByteStream:
        """Put the supervisor on the engine if needed, create, attach, start; return the stream.

        The attach comes before the start, so that not a byte is lost and what is written before the
        start is there when PID 1 reads. A session of the same id that this client has released is
        waited for. How many are created at once is the engine's to bound, in the order of calls.

        Args:
            request: what is to be created.
            steps: takes note of how long each step takes.

        Raises:
            SessionExistsError: a container of this session id exists.
            WorkspaceBusyError: a container holds the persistent workspace.
            EngineUnsupportedError: a limit, runtime or profile that the engine does not enforce.
            EngineError: the engine failed; nothing of this call is left.
        """
        ...

    async def claim_session(self, pool_id: str, session_id: str) -> None:
        """Give a container of a pool the name of a session, at once for all who look.

        Raises:
            SessionExistsError: the id is in use.
            SessionNotFoundError: the container is gone.
        """
        ...

    async def discard(self, nonce: str) -> None:
        """Remove whatever carries this nonce, by whatever name; idempotent."""
        ...

    async def open_relay(self, container: Container) -> ByteStream:
        """Open one more stream to a running session's supervisor, through the engine's exec.

        Raises:
            SessionNotFoundError: the container is gone or not running.
        """
        ...

    @property
    def direct(self) -> bool:
        """Whether :meth:`open_direct` may find a way. Known once the engine has answered a call."""
        ...

    async def open_direct(self, session_id: str, nonce: str) -> ByteStream:
        """Open one more stream to a running session's supervisor, past the engine.

        Raises:
            SandboxError: there is no such way; one through the engine is as good as before.
        """
        ...

    async def find_session(self, session_id: str) -> Container | None:
        """Return the session's container, by exact name and label, or None.

        A container of a pool that has just been claimed under this id is waited for.
        """
        ...

    async def list_sessions(self) -> Sequence[Container]:
        """Return every session's container, running or not; not those that wait in pools."""
        ...

    async def remove_session(
        self, session_id: str, *, destroy_workspace: bool = False, nonce: str | None = None
    ) -> None:
        """Kill and remove a session's container and its ephemeral volume; idempotent.

        Returns once the engine no longer knows the container (409 "removal in progress" counts as
        progress; bounded by 60 s). With ``destroy_workspace`` its persistent volume goes too,
        after the container. With a ``nonce``, a container of another one is left alone: another
        session has taken the id.
        """
        ...

    async def unmake_workspace(self, workspace_id: str, nonce: str) -> None:
        """Delete a persistent workspace that the creation with this nonce has made; no other one.

        For a creation that failed later on. One that a session uses by now stays.
        """
        ...

    def release_session(
        self, session_id: str, nonce: str, *, failed: Callable[[SandboxError], Awaitable[None]]
    ) -> None:
        """Remove a session that is over, in the background; return at once.

        From now on this client neither finds nor lists it, and a session of the same id can be
        created. :meth:`close` waits for the removal. A failure is logged, and given to ``failed``.
        """
        ...

    async def exit_code(self, nonce: str) -> int | None:
        """Return the exit code of the container with this nonce, from the engine's events, or None.

        None: it has not ended, or not lately: an engine remembers only its latest events.
        """
        ...

    async def wait_exit(self, nonce: str) -> int:
        """Wait until the container of the session with this nonce has ended; return its exit code.

        Waits for as long as it takes, also while an engine is away that its containers outlive.
        Many may wait at once, at no cost each; what began to end up to half a minute before is told
        too.

        Raises:
            EngineUnavailableError: the engine has ended, and its containers with it.
        """
        ...

    async def list_workspaces(self) -> Sequence[str]:
        """Return the ids of the persistent workspaces on this engine."""
        ...

    async def remove_workspace(self, workspace_id: str) -> None:
        """Delete a persistent workspace that no session holds; unknown ones are no error.

        Raises:
            WorkspaceBusyError: a session holds it.
        """
        ...

    async def sweep(
        self,
        *,
        minimum_age: float = 60.0,
        supervisors: bool = False,
        expired: Callable[[Container], Awaitable[bool]] | None = None,
    ) -> SweepReport:
        """Remove what AutoRemove cannot see.

        That is: created but never started containers, exited ones, containers past their TTL by the
        engine's clock, and volumes of sessions that are gone.
        Never a running session before its own deadline, never by prefix: exact name and label.
        Persistent workspaces stay. ``supervisors``: also volumes of supervisors that nothing uses.

        Args:
            minimum_age: seconds, by the engine's clock; what is younger may be under way.
            supervisors: also remove supervisors that no container uses.
            expired: asked about each running session whose TTL, as it was at its creation, is over
                (it may have been extended since, which the engine does not see). ``None``: it is.
        """
        ...

    async def close(self) -> None:
        """Release connections. Idempotent."""
        ...
