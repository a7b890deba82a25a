"""What a sandbox does with sessions whose files are kept: stopped ones and snapshots."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from datetime import UTC, datetime
from typing import Any, cast

from fumehood import _record, options
from fumehood._making import Makings
from fumehood._settings import Order, Settings, new_session_id
from fumehood._steps import Steps
from fumehood._tether.cleanup import to_the_end
from fumehood.engines.base import Container, Engine, Image
from fumehood.engines.state import Holding, HoldsState
from fumehood.errors import (
    EngineError,
    SandboxError,
    SessionExistsError,
    SessionNotFoundError,
    SnapshotNotFoundError,
)
from fumehood.options import Lifecycle, Workspace
from fumehood.results import SessionInfo
from fumehood.session import AsyncSession, SessionRequest
from fumehood.snapshots import Snapshot, described, moment
from fumehood.state import STOPPED_SECONDS, check_lifecycle, holder

logger: logging.Logger = logging.getLogger("fumehood.sandbox")

_AT_ONCE = 4
"""Forks that are made at the same time: an engine starts no more containers a second for more."""

Fill = Callable[[AsyncSession], Awaitable[None]]


class StoredPart:
    """Resume stopped sessions; list and delete snapshots; make sessions of them."""

    _settings: Settings
    _makings: Makings

    def resume(self, id: str, *, lifecycle: Lifecycle | None = None) -> SessionRequest:
        """Bring a stopped session back, in any process: ``await`` it or ``async with``.

        It has its id, files, limits, network, lease, user, environment, labels and metadata again;
        its time to live begins anew, and no process of before runs. The hooks are this sandbox's,
        and so are headers of an allow-list's rules, which were not noted; everything else is the
        session's own. An ephemeral workspace is copied, which takes time and, until it is done,
        room for both. On an error or a cancellation the stopped session is there as before.

        Args:
            id: the session's.
            lifecycle: a lease instead of the session's own.

        Raises:
            SessionNotFoundError: no stopped session has this id.
            InvalidRequestError: its allow-list has headers that this sandbox's does not have.
            SessionExistsError: a live session has it.
            WorkspaceBusyError: another session holds its persistent workspace.
            EngineDiskFullError: the engine has no room for its files.
        """
        session_id = options.check_name(id, "session id")
        check_lifecycle(lifecycle)
        return self._opening(lambda: self._resume(session_id, lifecycle))

    async def list_snapshots(self) -> list[Snapshot]:
        """Return every snapshot of the engine, whoever took it, oldest first."""
        engine = holder(self._use())
        held = [item for item in await engine.list_holdings() if item.kind == "snapshot"]
        limit = asyncio.Semaphore(_AT_ONCE)

        async def look(holding: Holding) -> Snapshot | None:
            async with limit:
                try:
                    return await described(engine, holding)
                except EngineError:
                    # Deleted meanwhile; or it is there and cannot be read.
                    if await engine.find_holding("snapshot", holding.name) is None:
                        return None
                    raise

        found = await asyncio.gather(*(look(holding) for holding in held))
        there = [snapshot for snapshot in found if snapshot is not None]
        return sorted(there, key=lambda snapshot: (snapshot.created_at, snapshot.name))

    async def delete_snapshot(self, name: str | Snapshot) -> None:
        """Delete a snapshot with its files; an unknown one is no error.

        Sessions that were made of it live on. What they still use of it goes with the last of them.
        """
        engine = holder(self._use())
        holding = await engine.find_holding("snapshot", _name(name))
        if holding is not None and _is(holding, name):
            await engine.remove_holding(holding)

    async def fork_session(
        self,
        snapshot: Snapshot,
        source: Container,
        env: Mapping[str, str],
        n: int,
        lifecycle: Lifecycle | None,
    ) -> list[AsyncSession]:
        """Make ``n`` sessions of a snapshot with the settings of the one it was taken of."""
        holding = await self._snapshot(snapshot)
        settings, order = _record.read(
            source.settings,
            session_id=source.session_id,
            image=source.image,
            env=env,
            metadata={},
            hooks=self._settings.hooks,
            known=self._settings.network,
        )
        settings = dataclasses.replace(
            settings, labels={}, lifecycle=lifecycle or settings.lifecycle
        )
        limit = asyncio.Semaphore(_AT_ONCE)

        async def make() -> AsyncSession:
            async with limit:
                one = dataclasses.replace(order, session_id=new_session_id(), workspace=Workspace())
                return await self._makings.run(lambda: self._make_of(holding, settings, one))

        tasks = [asyncio.create_task(make()) for _ in range(n)]
        try:
            return list(await asyncio.gather(*tasks))
        except BaseException:
            await to_the_end(_destroy_all(tasks))
            raise

    # --- how ----------------------------------------------------------------------------------

    def _use(self) -> Engine:
        raise NotImplementedError

    def _opening(self, make: Callable[[], Coroutine[Any, Any, AsyncSession]]) -> SessionRequest:
        return SessionRequest(lambda: self._makings.run(make))

    async def _make(
        self,
        settings: Settings,
        order: Order,
        image: Image,
        *,
        steps: Steps,
        why_cold: str,
        fill: Fill | None = None,
    ) -> AsyncSession:
        """Make a session that belongs to this sandbox."""
        raise NotImplementedError

    async def _snapshot(self, snapshot: str | Snapshot) -> Holding:
        engine = holder(self._use())
        holding = await engine.find_holding("snapshot", _name(snapshot))
        if holding is None or not _is(holding, snapshot):
            raise SnapshotNotFoundError(
                f"there is no snapshot {_name(snapshot)!r} on this engine "
                "('fumehood snapshots ls' shows what there is)"
            )
        return holding

    async def _make_of(self, holding: Holding, settings: Settings, order: Order) -> AsyncSession:
        """Make a session with held files."""
        engine = holder(self._use())
        image = dataclasses.replace(await engine.held_image(holding), reference=holding.image)

        async def fill(session: AsyncSession) -> None:
            if order.workspace.mode == "ephemeral":
                await session.take_files(holding)

        return await self._make(
            settings,
            order,
            image,
            steps=Steps(),
            why_cold="it begins with files that were kept",
            fill=fill,
        )

    async def _resume(self, session_id: str, lifecycle: Lifecycle | None) -> AsyncSession:
        engine = holder(self._use())
        holding = await engine.find_holding("stopped", session_id)
        if holding is None:
            raise SessionNotFoundError(
                f"there is no stopped session {session_id!r} on this engine "
                "('fumehood ls' shows what there is)",
                op="resume",
                session_id=session_id,
            )
        await self._finish_stop(engine, holding)
        record = await engine.read_record(holding)
        settings, order = _record.read(
            str(record.get("settings", "")),
            session_id=session_id,
            image=holding.image,
            env=options.check_env(cast("Mapping[str, str]", record.get("env") or {})),
            metadata=holding.metadata,
            hooks=self._settings.hooks,
            known=self._settings.network,
        )
        if lifecycle is not None:
            settings = dataclasses.replace(settings, lifecycle=lifecycle)
        session = await self._make_of(holding, settings, order)
        removal = asyncio.ensure_future(engine.remove_holding(holding))
        try:
            await asyncio.shield(removal)
        except SandboxError:
            if await to_the_end(_is_left_stopped(engine, holding, session)):
                raise
        except BaseException:
            await to_the_end(_stop_again(engine, holding, session, removal))
            raise
        return session

    async def _finish_stop(self, engine: HoldsState, holding: Holding) -> None:
        """Remove the live session that was to go when its client died."""
        live = await self._use().find_session(holding.name)
        if live is not None and engine.is_origin(holding, live):
            # Who resumes it at the same time may have been faster, and the name is theirs again.
            await self._use().remove_session(holding.name, nonce=live.nonce)

    async def _destroy_stopped(self, session_id: str) -> None:
        engine = self._use()
        if not isinstance(engine, HoldsState):
            return
        holding = await engine.find_holding("stopped", session_id)
        if holding is not None:
            await engine.remove_holding(holding, destroy_workspace=holding.destroy_workspace)

    async def _check_not_stopped(self, session_id: str) -> None:
        engine = self._use()
        if isinstance(engine, HoldsState) and await engine.find_holding("stopped", session_id):
            raise SessionExistsError(
                f"a stopped session has the id {session_id!r}: resume it, or destroy it",
                session_id=session_id,
            )

    async def _stopped(self, live: set[str]) -> list[SessionInfo]:
        """Return the stopped sessions, but for those that are being resumed."""
        engine = self._use()
        if not isinstance(engine, HoldsState):
            return []
        return [
            _info(holding)
            for holding in await engine.list_holdings()
            if holding.kind == "stopped" and holding.name not in live
        ]


def check_snapshot(snapshot: str | Snapshot) -> None:
    """Refuse what cannot be a snapshot's name."""
    _name(snapshot)


def _name(snapshot: str | Snapshot) -> str:
    name = snapshot.name if isinstance(snapshot, Snapshot) else snapshot
    return options.check_name(name, "snapshot name")


def _is(holding: Holding, snapshot: str | Snapshot) -> bool:
    """Whether it is the very snapshot that is meant, and not a later one of the same name."""
    return isinstance(snapshot, str) or holding.token == snapshot.id


async def _destroy_all(tasks: list[asyncio.Task[AsyncSession]]) -> None:
    for task in tasks:
        task.cancel()
    made = await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.gather(
        *(session.destroy() for session in made if isinstance(session, AsyncSession))
    )


async def _is_left_stopped(engine: HoldsState, holding: Holding, session: AsyncSession) -> bool:
    """After a removal that failed: whether the stopped session is there, and so the one to stay.

    Two of them would be one too many, but an engine whose answer got lost may have done as it was
    asked, and then the live one is all there is.
    """
    try:
        found = await engine.find_holding("stopped", holding.name)
    except SandboxError as exc:
        logger.warning("session %s was left as it is: %s", holding.name, exc)
        await session.detach()
        return True
    if found is None or found.token != holding.token:
        return False
    await session.give_up()
    return True


async def _stop_again(
    engine: HoldsState, holding: Holding, session: AsyncSession, removal: asyncio.Future[None]
) -> None:
    """After a cancellation: leave the stopped session, also where its removal had begun.

    That cannot be taken back. It is waited for, and then the files are kept once more.
    """
    await asyncio.wait({removal})
    if (error := removal.exception()) is not None:
        logger.warning("the stopped session %s was not removed: %s", holding.name, error)
    if not await _is_left_stopped(engine, holding, session):
        await session.stop(expires=None if holding.expires_at is None else STOPPED_SECONDS)


def _info(holding: Holding) -> SessionInfo:
    return SessionInfo(
        id=holding.name,
        state="stopped",
        image=holding.image,
        created_at=datetime.fromtimestamp(holding.created_at, UTC),
        workspace_id=holding.workspace_id,
        detached=holding.detached,
        owner=holding.owner,
        metadata=dict(holding.metadata),
        ttl=holding.ttl,
        idle_timeout=holding.idle_timeout,
        expires_at=moment(holding.expires_at),
    )
