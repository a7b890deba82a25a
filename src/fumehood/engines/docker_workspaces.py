"""One writer at a time: the lock of a persistent workspace is the container that uses it."""

from __future__ import annotations

import asyncio
import time

from fumehood.engines import docker_listing, labels
from fumehood.engines.base import Container
from fumehood.engines.container_spec import workspace_volume
from fumehood.engines.docker_client import ApiClient
from fumehood.engines.docker_removal import Remover
from fumehood.errors import EngineError, WorkspaceBusyError

STALE_SECONDS = 60.0
"""A container that was created and not started for so long has lost its creator."""
TURN_SECONDS = 15.0
"""How long a create waits for another one of the same workspace to start or to give up."""
_POLL_SECONDS = 0.05


class WorkspaceLock:
    """Decides which of several containers that want a workspace may start.

    A container has one name on the engine, and the session's id takes it, so that no two sessions
    share an id. The workspace is therefore locked by the containers themselves, found by label.
    """

    def __init__(self, api: ApiClient, remover: Remover) -> None:
        self._api = api
        self._remover = remover

    async def hold(self, workspace_id: str, engine_id: str) -> None:
        """Return once this container may start, and no other that wants the workspace will.

        The container must be created and not started. Of two such containers the one with the lower
        id goes on, but only after the other has gone.

        Why two never run at once: of any two that want one workspace, one becomes visible later,
        and sees the earlier one here before its own start. If its id is the higher one, it gives
        up. If it is the lower one, it waits for the other to go, and gives up if that one starts.

        Why nothing stays locked: there is no lock besides the containers. A running one ends by its
        lease. One whose creator died before the start is removed, once it is stale, by the next who
        wants the workspace or by a sweep. That takes no force, so it cannot hit one that starts at
        this moment, and if the creator was only slow, its own start fails.

        Args:
            workspace_id: which workspace.
            engine_id: the engine's id of the container that wants it.

        Raises:
            WorkspaceBusyError: another session has it; the caller removes its own container.
        """
        deadline = time.monotonic() + TURN_SECONDS
        while True:
            wanting = await self._remover.holders(workspace_id)
            others = [other for other in wanting if other.id != engine_id]
            if not others:
                return
            started = [other for other in others if other.state != "created"]
            before_us = [other for other in others if other.id < engine_id]
            if started or before_us or time.monotonic() > deadline:
                if await self._remove_if_stale(others):
                    continue
                holder = (started or before_us or others)[0]
                raise WorkspaceBusyError(
                    f"workspace {workspace_id!r} is held by session {holder.session_id!r}; "
                    "one session at a time may use it",
                    session_id=holder.session_id,
                )
            await asyncio.sleep(_POLL_SECONDS)

    async def _remove_if_stale(self, others: list[Container]) -> bool:
        """Remove the others if all have lost their creator; return whether they are gone."""
        if any(other.state != "created" for other in others):
            return False
        now = await self._api.clock()
        if any(now - other.created_at < STALE_SECONDS for other in others):
            return False
        for other in others:
            if not await self._remove_unstarted(other):
                return False
        return True

    async def remove_stale(self, session_id: str) -> bool:
        """Free a session's name if its container has lost its creator; say whether it is free."""
        holder = await self._remover.find(session_id)
        if holder is None:
            # Gone meanwhile; or not ours, and then the next attempt says so for good.
            return True
        return await self._remove_if_stale([holder])

    async def _remove_unstarted(self, container: Container) -> bool:
        return await self._remover.remove_container(
            container.id,
            f"session {container.session_id!r}, which was never started",
            force=False,
        )

    async def prepare_volume(self, workspace_id: str) -> None:
        """Refuse a volume of the workspace's name that is not ours: it could be a host directory.

        One that should have gone with its session goes now, so that no later session finds its
        files.

        Raises:
            EngineError: what the volume is called, and what to do.
        """
        name = workspace_volume(workspace_id)
        volume = await self._api.find(
            f"volumes/{name}", doing=f"looking at workspace {workspace_id!r}"
        )
        if volume is None:
            return
        marks = docker_listing.text_map(volume.get("Labels"))
        if marks.get(labels.WORKSPACE) != workspace_id or volume.get("Options"):
            raise EngineError(
                f"volume {name!r} on the engine is not a workspace of ours: remove it, or choose "
                "another workspace id"
            )
        if marks.get(labels.DESTROY_WORKSPACE):
            # If a session holds it still, this does nothing, and :meth:`hold` tells.
            await self._remover.remove_workspace(workspace_id)
