"""A session: one isolated container, and everything that can be done in it."""

from __future__ import annotations

import asyncio
import logging
import math
import warnings
import weakref
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

from fumehood import hooks
from fumehood._core import CANCEL_PATIENCE, SessionCore
from fumehood._failures import request_failure
from fumehood._limits import effective, joined
from fumehood._opening import Opening
from fumehood._progress import Progress
from fumehood._tether.ends import ended_error
from fumehood._wire.messages import Done, Fail
from fumehood._wire.requests import Request
from fumehood._wire.table import EndCode, Field, Operation
from fumehood.edits import EditsPart
from fumehood.egress.part import EgressPart
from fumehood.engines.base import Engine
from fumehood.errors import SandboxError, SessionError
from fumehood.exec import ExecPart
from fumehood.options import Lifecycle, Limits, Network, Seconds, Security, optional_seconds
from fumehood.ports import PortsPart
from fumehood.processes import ProcessesPart
from fumehood.results import EffectiveLimits, EndReason, SessionState, Start
from fumehood.search import SearchPart
from fumehood.state import Maker, StatePart
from fumehood.terminals import TerminalsPart
from fumehood.trees import TreesPart
from fumehood.watch import WatchPart

logger: logging.Logger = logging.getLogger("fumehood.session")

_EXIT_BASE = 64  # protocol/PROTOCOL.md: the supervisor's exit code is 64 + its reason
_EXIT_REASONS: dict[int, EndReason] = {
    _EXIT_BASE + code: EndReason(code.name.lower()) for code in EndCode
}
_SIGKILLED, _SIGTERMED = 128 + 9, 128 + 15
LAST_WORDS_SECONDS = 3.0
"""What a supervisor has to kill everything and say so; what takes longer is left to the engine."""
_LOOKS = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
"""Seconds between looks for the exit code of a container whose stream has broken."""


class AsyncSession(
    ExecPart,
    ProcessesPart,
    TerminalsPart,
    TreesPart,
    SearchPart,
    EditsPart,
    WatchPart,
    PortsPart,
    StatePart,
    EgressPart,
):
    """A live session. Made by a sandbox's ``create_session`` or ``connect``, never by hand.

    Used as a context manager, one that was created is destroyed at the end of the block, and one
    that was connected to is left alone. One event loop; any number of tasks at once.

    Example::

        async with sandbox.create_session() as session:
            result = await session.exec(["python", "-c", "print(6 * 7)"])
            print(result.stdout)
    """

    def __init__(
        self,
        core: SessionCore,
        engine: Engine,
        *,
        owner: bool,
        limits: Limits,
        network: Network,
        security: Security,
        metadata: Mapping[str, str],
        published_ports: Mapping[int, int],
        destroy_workspace: bool,
        forget: Callable[[AsyncSession], None],
        maker: Maker | None = None,
    ) -> None:
        self._core = core
        self._engine = engine
        self._owner = owner
        self._limits = limits
        self._network = network
        self._security = security
        self._metadata = dict(metadata)
        self._published_ports = dict(published_ports)
        self._destroy_workspace = destroy_workspace
        self._forget = forget
        self._maker = maker
        self._stillness = asyncio.Lock()
        self._state = SessionState.RUNNING
        self._end_reason: EndReason | None = None
        self._paused = False
        self._destroying: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None
        self._telling: asyncio.Task[None] | None = None
        self._told = False
        # What is under way in a session keeps it alive; the tether, which the event loop keeps,
        # does not: a session that everybody has dropped warns, and its client leaves it.
        core.session = self
        reference = weakref.ref(self)

        def ended(reason: EndReason) -> None:
            session = reference()
            if session is not None:
                session._tether_ended(reason)  # noqa: SLF001 - itself

        core.tether.watch(ended)

    def __repr__(self) -> str:
        reason = f" ({self._end_reason})" if self._end_reason is not None else ""
        return f"<{type(self).__name__} {self.id} {self._state}{reason}>"

    # --- what it is ---------------------------------------------------------------------------

    @property
    def id(self) -> str:
        """The session's id: unique on its engine, and what ``connect`` takes."""
        return self._core.id

    @property
    def workdir(self) -> str:
        """The workspace's directory in the container."""
        return self._core.workdir

    @property
    def owned(self) -> bool:
        """Whether this client made the session, so that leaving its block destroys it."""
        return self._owner

    @property
    def state(self) -> SessionState:
        """Where the session is, as far as this client knows."""
        if self._state is SessionState.RUNNING and self._core.tether.cut_off:
            return SessionState.RECONNECTING
        if self._paused and self._state is SessionState.RUNNING:
            return SessionState.PAUSED
        return self._state

    @property
    def end_reason(self) -> EndReason | None:
        """Why the session ended; None while it lives. Known also after its container is gone."""
        return self._end_reason

    @property
    def metadata(self) -> Mapping[str, str]:
        """What the creator noted with the session."""
        return dict(self._metadata)

    @property
    def start(self) -> Start | None:
        """How the session came to be; None for one that was connected to."""
        return self._core.start

    @property
    def published_ports(self) -> Mapping[int, int]:
        """The engine's loopback port for each container port that was asked for."""
        return dict(self._published_ports)

    @property
    def effective_limits(self) -> EffectiveLimits:
        """What the kernel enforces, as the supervisor read it back inside the container."""
        ready = self._core.tether.ready
        if ready is None:
            raise SessionError(f"session {self.id} was never ready", session_id=self.id)
        if not self._owner:
            return joined(ready, self._core.limits)
        return effective(ready, self._limits, self._network, self._security)

    def statistics(self) -> dict[str, int]:
        """Return live numbers of the tether: channels, bytes pending, streams resumed."""
        return self._core.tether.statistics()

    # --- its lease ----------------------------------------------------------------------------

    async def extend(self, *, ttl: Seconds | None) -> None:
        """Give the session ``ttl`` more seconds from now; ``None`` takes its time limit away.

        Raises:
            InvalidRequestError: a detached session without an idle time needs a limit.
            SessionEndedError: it is over.
        """
        value = optional_seconds(ttl, "ttl", minimum=0.1)
        milliseconds = 0 if value is None else max(1, math.ceil(value * 1000))
        await self._ask(Request(Operation.LEASE, {Field.TTL_MS: milliseconds}), "extend")

    async def pause(self) -> int:
        """Let every process of every command stand still; return how many were stopped.

        Files can be used meanwhile; a command cannot be started, and one that waits for its end
        goes on waiting: its timeout does not run. The session stays as it is otherwise, memory
        included, and ends as ever: by its TTL, with its client, by :meth:`destroy`. It is not idle
        while any client is connected. A session that is paused stays so. When cancelled, the
        session may be paused or not; :meth:`unpause` is right for both.

        Raises:
            SessionEndedError: it is over.
            ResourceLimitError: the processes could not be looked at; none was stopped.
        """
        done = await self._ask(Request(Operation.PAUSE, {}), "pause")
        self._paused = True
        return done.entries or 0

    async def unpause(self) -> None:
        """Let the commands go on that ran before a pause, whichever client made it.

        A session that is not paused goes on as it is.

        Raises:
            SessionEndedError: it is over.
        """
        await self._ask(Request(Operation.UNPAUSE, {}), "unpause")
        self._paused = False

    async def ping(self) -> float:
        """Make a round trip to the supervisor and return the seconds that it took.

        Raises:
            SessionEndedError: the session is over.
        """
        loop = asyncio.get_running_loop()
        start = loop.time()
        await self._ask(Request(Operation.STATUS, {}), "ping")
        return loop.time() - start

    async def _ask(self, request: Request, op: str) -> Done:
        channel = self._core.tether.open(request)
        try:
            with Progress(self._core, channel, what=f"{op} of session {self.id}", op=op):
                answer = await channel.answer()
        finally:
            await channel.aclose(CANCEL_PATIENCE)
        if isinstance(answer, Fail):
            raise request_failure(answer, op=op, session_id=self.id)
        assert isinstance(answer, Done)
        return answer

    # --- its copies ---------------------------------------------------------------------------

    async def fork(self, n: int = 1, *, lifecycle: Lifecycle | None = None) -> list[AsyncSession]:
        """Make ``n`` independent sessions that begin with this one's files.

        They have its settings (limits, network, lease, user, environment, shared volumes) and
        nothing else: ids of their own, ephemeral workspaces, no process, no labels, no metadata.
        One snapshot is taken for all, and removed. They belong to the caller, as sessions made with
        ``create_session`` do; on an error or a cancellation none is left.

        Args:
            n: how many, 1 to 1000.
            lifecycle: a lease instead of the session's own.

        Raises:
            SessionEndedError: the session is over.
            EngineDiskFullError: the engine has no room for them.
        """
        return await self._fork(n, lifecycle)

    # --- its end ------------------------------------------------------------------------------

    async def destroy(self, *, wait: bool = False) -> None:
        """End the session and remove everything of it: processes, container, ephemeral workspace.

        Returns as soon as the session can do no more harm: its supervisor has said that every
        process is dead, and its id can be used again. The engine takes the container away in the
        background, within the next second as a rule; closing the sandbox waits for that, and a
        failure is logged and told to ``Hooks.on_removal_error``. Where the supervisor does not
        answer within 3 s, and where the workspace is a persistent one (which is free for the next
        session when this returns), it returns when the engine no longer knows the container.

        Idempotent, and safe from several tasks; once begun it goes on to its end even when the
        caller is cancelled. A persistent workspace is kept unless it was made with
        ``destroy_with_session=True``.

        Args:
            wait: return only when the engine no longer knows the container, at most 60 s.

        Raises:
            EngineError: the engine could not remove it; call again, or leave it to the sweep.
        """
        if self._destroying is None or _failed(self._destroying):
            self._destroying = asyncio.create_task(self._destroy())
        await asyncio.shield(self._destroying)
        if wait and self._core.nonce:
            await self._engine.remove_session(self.id, nonce=self._core.nonce)

    @property
    def nonce(self) -> str:
        """Which container it is."""
        return self._core.nonce

    @property
    def naming(self) -> asyncio.Task[None] | None:
        """What gives a container of a pool its session's name."""
        return self._core.naming

    async def give_up(self) -> None:
        """Destroy a session whose files are kept elsewhere, the persistent workspace too."""
        self._destroy_workspace = False
        await self.destroy()

    async def _leave_stopped(self) -> None:
        # Who destroys it meanwhile waits for the same end.
        self._destroy_workspace = False
        if self._destroying is None or _failed(self._destroying):
            self._destroying = asyncio.create_task(self._destroy(EndReason.STOPPED))
        await asyncio.shield(self._destroying)

    def disown(self) -> None:
        """Mark a session that never came to be: its maker removes what there is of it."""
        self._state = SessionState.ENDED
        self._end_reason = EndReason.DESTROYED
        self._told = True  # nobody was told of its beginning

    async def _destroy(self, reason: EndReason = EndReason.DESTROYED) -> None:
        if self._end_reason is None:
            self._end_reason = reason
        self._state = SessionState.ENDED
        core, session_id = self._core, self.id
        # Nobody but `stop` ends one for this reason.
        kept = "its files are kept: resume(id) brings it back"
        detail = kept if reason is EndReason.STOPPED else ""

        def over() -> SandboxError:
            return ended_error(session_id, reason, detail)

        acknowledged = False
        if core.nonce and core.workspace_id is None and reason is EndReason.DESTROYED:
            acknowledged = await core.tether.last_words(over, LAST_WORDS_SECONDS)
        core.tether.refuse(over)
        if self._ending is not None:
            await asyncio.wait({self._ending})
        try:
            if acknowledged:
                self._engine.release_session(self.id, core.nonce, failed=self._removal_failed)
            else:
                await self._remove(destroy_workspace=self._destroy_workspace)
        finally:
            await self._leave()
        await self._finished()

    async def _remove(self, *, destroy_workspace: bool) -> None:
        # By the nonce: the id is free once the container is gone, and may be another session's.
        await self._engine.remove_session(
            self.id, destroy_workspace=destroy_workspace, nonce=self._core.nonce or None
        )

    async def _removal_failed(self, error: SandboxError) -> None:
        await hooks.tell(
            self._core.hooks.on_removal_error,
            hooks.RemovalFailed(session_id=self.id, error=error),
        )

    async def detach(self) -> None:
        """Leave the session without ending it: its lease decides how long it lives. Idempotent."""
        if self._state is SessionState.RUNNING:
            self._state = SessionState.DETACHED
        if self._core.naming is not None:
            # Others are to find it from now on.
            await asyncio.wait({self._core.naming})
        await self._leave()
        self._forget(self)

    async def _leave(self) -> None:
        await self._core.tether.close()
        if self._core.egress is not None:
            await self._core.egress.aclose()

    async def wait_ended(self) -> EndReason:
        """Wait until the session is over, whatever the cause, and return why."""
        await self._core.tether.wait_closed()
        if self._ending is not None:
            # Where the stream only broke, the engine is being asked for the reason.
            await asyncio.shield(self._ending)
        if self._end_reason is None:
            raise SessionError(
                f"this client has left session {self.id}", op="wait_ended", session_id=self.id
            )
        return self._end_reason

    def _tether_ended(self, reason: EndReason) -> None:
        """The tether tells of an end that we did not ask for."""
        if self._end_reason is not None:
            return
        self._end_reason = reason
        self._state = SessionState.ENDED
        logger.info("session %s ended: %s", self.id, reason)
        self._ending = asyncio.create_task(self._after_end(reason))

    async def _after_end(self, reason: EndReason) -> None:
        """Learn the true cause where the stream could not tell it, and leave nothing behind."""
        try:
            await self._leave()
            if reason in (EndReason.PROTOCOL, EndReason.RESOURCES):
                # What spoke there is not to be trusted with its own end.
                await self._remove(destroy_workspace=False)
            elif reason is EndReason.LOST:
                await self._learn_reason()
            if self._destroy_workspace and self._owner and reason is not EndReason.LOST:
                await self._remove(destroy_workspace=True)
        except SandboxError as exc:
            logger.warning("after the end of session %s: %s", self.id, exc)
        # A task of its own: a hook may call destroy(), which waits for this one.
        self._telling = asyncio.create_task(self._finished())

    async def _learn_reason(self) -> None:
        """Ask the engine why the stream broke: a container that has ended has an exit code.

        The stream's end is here a little before the engine has noted the container's. One that
        still runs after that time has lost its stream, not its life.
        """
        for pause in _LOOKS:
            await asyncio.sleep(pause)
            code = await self._engine.exit_code(self._core.nonce)
            if code is None:
                continue
            stopped = EndReason.STOPPED if code in (_SIGKILLED, _SIGTERMED) else None
            if reason := _EXIT_REASONS.get(code, stopped):
                self._end_reason = reason
                self._core.tether.explain(reason)
            return

    async def _finished(self) -> None:
        self._forget(self)
        if self._told:
            return
        self._told = True
        reason = self._end_reason or EndReason.LOST
        await hooks.tell(
            self._core.hooks.on_destroy,
            hooks.SessionDestroyed(session_id=self.id, reason=reason),
        )

    async def __aenter__(self) -> Self:
        """Return itself."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Destroy the session, or leave it where it was only connected to."""
        await (self.destroy() if self._owner else self.detach())

    def __del__(self) -> None:
        if not getattr(self, "_owner", False) or self._core.tether.inherited:
            return
        if self._state is SessionState.RUNNING:
            warnings.warn(
                f"session {self.id} was never destroyed; it ends by its lease",
                ResourceWarning,
                source=self,
                stacklevel=1,
            )
            self._core.tether.call_soon(self._core.tether.leave)


def _failed(task: asyncio.Task[None]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)


class SessionRequest(Opening[AsyncSession]):
    """What ``create_session`` and ``connect`` return: await it, or use it with ``async with``."""
