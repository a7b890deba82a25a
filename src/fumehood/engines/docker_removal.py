"""Taking things off a Docker engine: by exact name and label, until it no longer knows them."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from typing import NamedTuple

from fumehood.engines import docker_listing, labels
from fumehood.engines.base import Container
from fumehood.engines.container_spec import (
    container_name,
    creation_token,
    warm_name,
    workspace_volume,
)
from fumehood.engines.docker_client import ApiClient
from fumehood.engines.docker_errors import ApiError
from fumehood.engines.docker_references import layer_reference
from fumehood.errors import EngineError, OperationTimeoutError

_log = logging.getLogger("fumehood.engine")

REMOVAL_SECONDS = 60.0
_FIRST_RETRY_SECONDS = 0.01
_LAST_RETRY_SECONDS = 0.5
_RELEASE_SECONDS = 5.0
_NAMING_LOOKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
"""Seconds between looks for the name of a container that is being claimed."""
_LAYER_ATTEMPTS = 3
_RELEASE_POLL_SECONDS = 0.05


def _lost_race(error: ApiError) -> bool:
    """Whether the engine has noted a container's end in the directory that it was removing.

    It does not try again by itself: the container stays, as a dead one.
    """
    return error.status == 500 and "directory not empty" in error.detail


class _Company(NamedTuple):
    nonce: str = ""
    workspace_id: str | None = None
    layer: str = ""


class Remover:
    """Removes sessions and workspaces of one engine."""

    def __init__(self, api: ApiClient) -> None:
        self._api = api
        # Of sessions that this engine made, what goes with them: a session that ends by itself
        # takes its container along, and with it the labels that say so.
        self._goes_with: dict[str, _Company] = {}

    async def find(self, session_id: str) -> Container | None:
        """Return the session's container, or ``None`` if the name is free or somebody else's."""
        name = container_name(session_id)
        found = await self._api.find(
            f"containers/{name}/json", doing=f"looking for session {session_id!r}"
        )
        if found is None:
            return None
        container = docker_listing.from_inspect(found)
        return container if container and container.session_id == session_id else None

    async def find_claimed(self, session_id: str) -> Container | None:
        """Return a session's container that is just being given its name, once it has it.

        That is so for a moment after a claim under the id that the container was made with.
        """
        for pause in _NAMING_LOOKS:
            found = await self._api.find(
                f"containers/{warm_name(session_id)}/json",
                doing=f"looking for session {session_id!r} in a pool",
            )
            if found is None:
                break
            await asyncio.sleep(pause)
        else:
            # Nobody has claimed it: whoever knows its id has read it from the engine.
            return None
        return await self.find(session_id)

    async def remove(
        self, session_id: str, *, destroy_workspace: bool, nonce: str | None = None
    ) -> None:
        """Remove a session's container, then its persistent volume if asked for.

        With a ``nonce``, no container but the one that carries it.
        """
        container = await self.find(session_id)
        if nonce is not None and (container is None or container.nonce != nonce):
            # It has ended by itself, and its name may be another session's now; or it comes from a
            # pool, and its name has not reached the engine yet.
            container = None
            await self.remove_by_nonce(nonce)
        goes_with = self._goes_with.get(session_id, _Company())
        if nonce is None or goes_with.nonce == nonce:
            self._goes_with.pop(session_id, None)
        else:
            # What a session of the same name has left to go with it, or none.
            goes_with = _Company()
        if container is not None:
            await self.remove_container(container.id, f"session {session_id!r}")
            goes_with = _Company(container.nonce, container.workspace_id, container.layer)
        if labels.is_token(goes_with.layer):
            await self.remove_layer(goes_with.layer)
        workspace_id = goes_with.workspace_id
        if (
            destroy_workspace
            and workspace_id is not None
            and not await self.destroy_workspace(workspace_id)
        ):
            # It belongs to whoever uses it now.
            _log.warning("workspace %s is in use again: it stays", workspace_id)

    def remember(
        self, session_id: str, *, nonce: str, workspace_id: str | None, layer: str
    ) -> None:
        """Know what goes with a session, also after its container is gone.

        Args:
            session_id: whose.
            nonce: which session of that name.
            workspace_id: a persistent workspace that is deleted with it.
            layer: the image of its file system, which goes with the last that uses it.
        """
        if workspace_id is not None or layer:
            self._goes_with[session_id] = _Company(nonce, workspace_id, layer)

    async def remove_container(self, engine_id: str, what: str, *, force: bool = True) -> bool:
        """Remove a container and its anonymous volumes; return once the engine does not know it.

        Args:
            engine_id: the engine's id, not a name: a name may have been given to another container.
            what: for messages.
            force: also if it runs. Without, a running one stays and the answer is ``False``.

        Raises:
            OperationTimeoutError: it was still there after 60 s.
        """
        pause = _FIRST_RETRY_SECONDS
        try:
            async with asyncio.timeout(REMOVAL_SECONDS):
                while True:
                    try:
                        async with self._api.calling(f"removing {what}") as docker:
                            await docker.containers.container(engine_id).delete(force=force, v=True)
                        return True
                    except ApiError as exc:
                        if exc.status == 404:
                            return True
                        in_progress = exc.status == 409 and "already in progress" in exc.detail
                        if exc.status == 409 and not in_progress and not force:
                            return False
                        if not in_progress and not _lost_race(exc):
                            raise
                    if in_progress:
                        # Somebody else removes it, most often the engine itself (AutoRemove).
                        await self._until_removed(engine_id, what)
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, _LAST_RETRY_SECONDS)
        except TimeoutError as exc:
            raise OperationTimeoutError(
                f"{what} was still on the engine {REMOVAL_SECONDS:.0f} s after it was to be removed"
            ) from exc

    async def _until_removed(self, engine_id: str, what: str) -> None:
        try:
            async with self._api.waiting(
                engine_id,
                "removed",
                doing=f"waiting for the removal of {what}",
                seconds=REMOVAL_SECONDS,
            ) as removed:
                await removed()
        except ApiError as exc:
            if exc.status != 404:
                raise

    async def ends_by_itself(self, session_id: str, *, within: float) -> bool:
        """Wait a moment for a session that is about to end; return whether its name is free.

        Args:
            within: seconds for one that runs; one that has ended is waited for as removals are.
        """
        holder = await self.find(session_id)
        if holder is None:
            return True
        over = holder.state in ("exited", "removing")
        what = f"session {session_id!r}"
        try:
            async with asyncio.timeout(REMOVAL_SECONDS if over else within):
                await self._until_removed(holder.id, what)
        except TimeoutError:
            return False
        return True

    async def remove_by_nonce(self, nonce: str) -> int:
        """Remove every container that carries a session's nonce; return how many there were."""
        doing = "looking for what is left of a session"
        found = await self._api.request(
            "GET",
            "containers/json",
            params={"all": "1", "filters": json.dumps({"label": [f"{labels.NONCE}={nonce}"]})},
            doing=doing,
        )
        items = docker_listing.sequence(found)
        for item in items:
            engine_id = docker_listing.identifier(item, doing)
            await self.remove_container(engine_id, "what is left of a session")
        return len(items)

    async def holders(self, workspace_id: str) -> list[Container]:
        """Return the sessions' containers that use a workspace or are about to.

        Not those that have ended: they cannot write any more, and are being removed.
        """
        found = await self._api.request(
            "GET",
            "containers/json",
            params={
                "all": "1",
                "filters": json.dumps({"label": [f"{labels.WORKSPACE}={workspace_id}"]}),
            },
            doing=f"looking for sessions of workspace {workspace_id!r}",
        )
        sessions = (docker_listing.from_list(item) for item in docker_listing.sequence(found))
        return [
            session
            for session in sessions
            if session is not None and session.state in ("created", "running", "paused")
        ]

    async def destroy_workspace(
        self, workspace_id: str, *, only_made_by: str | None = None
    ) -> bool:
        """Delete a persistent workspace unless a session holds it; return whether it is gone.

        An engine forgets a container a moment before it lets the container's volumes go: a volume
        that is in use while nobody holds it is asked for again.

        Args:
            workspace_id: which.
            only_made_by: leave it alone unless the create call with this nonce has made it.
        """
        deadline = time.monotonic() + _RELEASE_SECONDS
        while not await self.remove_workspace(workspace_id, only_made_by=only_made_by):
            if await self.holders(workspace_id) or time.monotonic() > deadline:
                return False
            await asyncio.sleep(_RELEASE_POLL_SECONDS)
        return True

    async def remove_workspace(self, workspace_id: str, *, only_made_by: str | None = None) -> bool:
        """Delete a persistent workspace; return ``False`` if something holds it.

        Args:
            only_made_by: leave it alone unless the create call with this nonce has made it.
        """
        name = workspace_volume(workspace_id)
        volume = await self._api.find(
            f"volumes/{name}", doing=f"looking at workspace {workspace_id!r}"
        )
        if volume is None:
            return True
        marks = docker_listing.text_map(volume.get("Labels"))
        if marks.get(labels.WORKSPACE) != workspace_id:
            raise EngineError(
                f"volume {name!r} on the engine is not a workspace of ours: it stays as it is"
            )
        if only_made_by is not None and marks.get(labels.TOKEN) != creation_token(only_made_by):
            return True
        return await self.remove_volume(name, f"workspace {workspace_id!r}")

    async def remove_layer(self, tag: str) -> bool:
        """Delete an image of a session's file system; return ``False`` if anything uses it.

        By its tag: an image that somebody has given another name stays under that one.
        """
        left = _LAYER_ATTEMPTS
        while True:
            left -= 1
            try:
                await self._api.request(
                    "DELETE",
                    f"images/{layer_reference(tag)}",
                    doing="removing the image of a session's file system",
                )
            except ApiError as exc:
                if exc.status == 409:
                    return False
                if exc.status == 404:
                    return True
                if not left or exc.status != 500 or "unrecognized image ID" not in exc.detail:
                    raise
                # Another session of the same image has ended as well, and was faster by a step:
                # asked again, the engine says that there is none.
                await asyncio.sleep(_FIRST_RETRY_SECONDS)
            else:
                return True

    async def remove_volume(self, name: str, what: str) -> bool:
        """Delete a volume; return ``False`` if a container uses it, ``True`` if it is gone."""
        try:
            await self._api.request("DELETE", f"volumes/{name}", doing=f"removing {what}")
        except ApiError as exc:
            if exc.status == 409:
                return False
            if exc.status != 404:
                raise
        return True
