"""A session's files beyond its processes: stopped, kept as a snapshot, forked."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Protocol

from fumehood import _record, options
from fumehood._core import SessionPart
from fumehood._tether.cleanup import to_the_end
from fumehood._wire import table
from fumehood._wire.messages import Done
from fumehood._wire.requests import Request
from fumehood._wire.table import Field, Operation
from fumehood.engines.base import Container, Engine
from fumehood.engines.state import Holding, HoldRequest, HoldsState, Kind, MovesState
from fumehood.errors import (
    EngineUnsupportedError,
    InvalidRequestError,
    SandboxError,
    SessionNotFoundError,
)
from fumehood.options import Lifecycle, Seconds, optional_seconds
from fumehood.snapshots import Snapshot, described
from fumehood.text import brief

if TYPE_CHECKING:
    from fumehood.session import AsyncSession

logger: logging.Logger = logging.getLogger("fumehood.session")

STOPPED_SECONDS = 7 * 86_400.0
"""How long a stopped session is kept when nobody says otherwise: a week."""
FORK_SECONDS = 3600.0
"""How long the snapshot of a fork is kept if its client dies before it has removed it."""
MAX_FORKS = 1000


class Maker(Protocol):
    """Who makes sessions: a sandbox."""

    async def fork_session(
        self,
        snapshot: Snapshot,
        source: Container,
        env: Mapping[str, str],
        n: int,
        lifecycle: Lifecycle | None,
    ) -> list[AsyncSession]:
        """Make ``n`` sessions of a snapshot with the settings of the one it was taken of."""
        ...


class StatePart(SessionPart):
    """Stop a session, take a snapshot of it, fork it."""

    _engine: Engine
    _maker: Maker | None
    _metadata: dict[str, str]
    _stillness: asyncio.Lock

    async def stop(self, *, expires: Seconds | None = STOPPED_SECONDS) -> None:
        """End all processes and keep the files: ``sandbox.resume(id)`` brings the session back.

        Kept are the container's own file system and the workspace, with the session's settings and
        its environment. Not kept are processes, memory, /tmp, open connections and forwarded ports.
        After it this object is at its end (``EndReason.STOPPED``). Any client may stop a session.

        When cancelled, the session lives on; only the last step, once its files are kept, goes on
        to the end. A client that dies leaves the live session or the stopped one.

        Args:
            expires: seconds after which the stopped session may be swept; None: it is kept until
                it is resumed or destroyed.

        Raises:
            SessionEndedError: it is over.
            SessionExistsError: a stopped session of this id is there.
            EngineDiskFullError: the engine has no room for its files.
            ResourceLimitError: its processes could not be made to stand still.
        """
        wanted = optional_seconds(expires, "expires", minimum=1.0)
        container = await self._container("stop")
        env = await self._environment()
        async with self._standing_still():
            await self._hold("stopped", self._core.id, container, wanted, env=env, labels=None)
            await to_the_end(self._leave_stopped())

    async def snapshot(
        self,
        name: str | None = None,
        *,
        expires: Seconds | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Snapshot:
        """Keep the session's files as they are now, and let it live on.

        Its commands stand still meanwhile, so that what they write is there whole or not at all;
        their timeouts do not run. Files that clients write through the API in the same moment may
        be in it or not. Neither the session's environment nor its labels are part of it.

        When cancelled, nothing is left of it and the commands go on.

        Args:
            name: unique on the engine; made up when not given.
            expires: seconds after which it may be swept; None: it is kept until it is deleted.
            labels: noted with it, shown by ``list_snapshots()``.

        Raises:
            SnapshotExistsError: the name is taken.
            SessionEndedError: the session is over.
            EngineDiskFullError: the engine has no room for it.
            ResourceLimitError: its processes could not be made to stand still.
        """
        wanted = optional_seconds(expires, "expires", minimum=1.0)
        chosen = _made_up() if name is None else options.check_name(name, "snapshot name")
        marks = options.check_labels(labels, "labels")
        container = await self._container("snapshot")
        holding: Holding | None = None
        try:
            async with self._standing_still():
                holding = await self._hold(
                    "snapshot", chosen, container, wanted, env=None, labels=marks
                )
            return await described(holder(self._engine), holding)
        except BaseException:
            if holding is not None:
                await to_the_end(self._forget_snapshot(chosen, holding.token))
            raise

    async def take_files(self, holding: Holding) -> None:
        """Copy held files into the workspace of this session, which has not begun."""
        container = await self._container("create_session")
        # Standing still it is not idle, however long the copy takes.
        async with self._standing_still():
            await holder(self._engine).fill_workspace(holding, container)

    async def _fork(self, n: int, lifecycle: Lifecycle | None) -> list[AsyncSession]:
        options.whole(n, "n", minimum=1, maximum=MAX_FORKS)
        check_lifecycle(lifecycle)
        if self._maker is None:
            raise InvalidRequestError(f"session {brief(self._core.id)} belongs to no sandbox")
        container = await self._container("fork")
        env = await self._environment()
        snapshot = await self.snapshot(f"fork-{_made_up()}", expires=FORK_SECONDS)
        try:
            return await self._maker.fork_session(
                snapshot, container, _record.to_env(env), n, lifecycle
            )
        finally:
            await to_the_end(self._forget_snapshot(snapshot.name, snapshot.id))

    # --- how ----------------------------------------------------------------------------------

    async def _ask(self, request: Request, op: str) -> Done:
        raise NotImplementedError

    async def _leave_stopped(self) -> None:
        """End this object and its container, whose files are kept."""
        raise NotImplementedError

    async def _container(self, op: str) -> Container:
        holder(self._engine)
        if self._core.naming is not None:
            await asyncio.wait({self._core.naming})
        found = await self._engine.find_session(self._core.id)
        if found is None or found.state not in ("running", "paused"):
            # What the tether knows of its end is the better answer.
            await self._ask(Request(Operation.STATUS, {}), op)
            raise SessionNotFoundError(
                f"session {self._core.id!r} is not running any more",
                op=op,
                session_id=self._core.id,
            )
        _record.check_text(found.settings, self._core.id)
        return found

    async def _environment(self) -> bytes:
        """Return what the session's commands were given, from whoever gives it to them."""
        data = b""
        while True:
            request = Request(Operation.ENVIRONMENT, {Field.OFFSET: len(data)})
            done = await self._ask(request, "environment")
            size, piece = done.size or 0, done.environment or b""
            data += piece
            if len(data) >= size:
                break
            if not piece or size > table.MAX_BODY:
                raise self._core.tether.broken("DONE: an environment without an end")
        return data

    @asynccontextmanager
    async def _standing_still(self) -> AsyncGenerator[None, None]:
        """Let all commands stand still for a time, at most as long as this client is there.

        Raises:
            SandboxError: they could not be stopped, or do not go on; the latter is logged where the
                time ends by another error, which goes on.
        """
        async with self._stillness:
            failure = None
            try:
                await self._ask(Request(Operation.PAUSE, {Field.TIED: 1}), "pause")
                yield
            finally:
                failure = await to_the_end(self._go_on())
            if failure is not None:
                raise failure

    async def _go_on(self) -> SandboxError | None:
        """Let the commands go on; return why a session that lives may still stand still."""
        try:
            await self._ask(Request(Operation.UNPAUSE, {Field.TIED: 1}), "unpause")
        except SandboxError as exc:
            if not self._core.tether.alive:
                # It is over, or its connection is, and with that the pause.
                logger.debug("session %s is not unpaused: %s", self._core.id, exc)
                return None
            logger.warning(
                "session %s may stand still until unpause() or until this client leaves it: %s",
                self._core.id,
                exc,
            )
            return exc
        return None

    async def _hold(
        self,
        kind: Kind,
        name: str,
        container: Container,
        expires: float | None,
        *,
        env: bytes | None,
        labels: Mapping[str, str] | None,
    ) -> Holding:
        record: dict[str, object] = {}
        if kind == "stopped":
            record |= {
                "settings": container.settings,
                "env": None if env is None else _record.to_env(env),
            }
        return await holder(self._engine).hold(
            HoldRequest(
                kind=kind,
                name=name,
                token=secrets.token_hex(16),
                container=container,
                image=container.image,
                workdir=container.workdir,
                expires=expires,
                record=record,
                metadata=self._metadata if labels is None else labels,
            )
        )

    async def _forget_snapshot(self, name: str, token: str) -> None:
        engine = holder(self._engine)
        try:
            holding = await engine.find_holding("snapshot", name)
            # And not one that somebody has taken since under the same name.
            if holding is not None and holding.token == token:
                await engine.remove_holding(holding)
        except SandboxError as exc:
            logger.warning("snapshot %s was not removed; a sweep will: %s", name, exc)


def holder(engine: Engine) -> HoldsState:
    """Return an engine as one that can hold sessions' files.

    Raises:
        EngineUnsupportedError: it cannot.
    """
    if not isinstance(engine, HoldsState):
        raise EngineUnsupportedError("this engine cannot keep the files of a session")
    return engine


def mover(engine: Engine) -> MovesState:
    """Return an engine as one that can let sessions' files out, and in.

    Raises:
        EngineUnsupportedError: it cannot.
    """
    if not isinstance(engine, MovesState):
        raise EngineUnsupportedError("this engine cannot export or import snapshots")
    return engine


def check_lifecycle(lifecycle: Lifecycle | None) -> None:
    """Refuse what is no lease."""
    if lifecycle is not None and not isinstance(lifecycle, Lifecycle):
        raise InvalidRequestError(f"lifecycle must be a Lifecycle, not {brief(lifecycle)}")


def _made_up() -> str:
    return secrets.token_hex(8)
