"""Volumes that a session shares with others: what may be mounted, and what never is."""

from __future__ import annotations

from collections.abc import Mapping

from fumehood.engines import docker_listing, labels
from fumehood.engines.base import SessionRequest
from fumehood.engines.container_spec import creation_token
from fumehood.engines.docker_client import ApiClient
from fumehood.engines.docker_removal import Remover
from fumehood.errors import EngineError, InvalidRequestError


class SharedVolumes:
    """Looks at the volumes that requests name, on one engine."""

    def __init__(self, api: ApiClient, remover: Remover) -> None:
        self._api = api
        self._remover = remover

    async def check(self, request: SessionRequest) -> None:
        """Refuse a volume that is not there, is not the caller's, or is a part of the host.

        Raises:
            EngineError: there is no such volume on the engine.
            InvalidRequestError: it may not be mounted.
        """
        for volume in request.volumes:
            found = await self._look(volume.name)
            if found is None:
                raise EngineError(
                    f"volume {volume.name!r} is not on the engine at {self._api.address}: "
                    f"run docker volume create {volume.name}"
                )
            _refuse(volume.name, found)

    async def check_not_made(self, request: SessionRequest) -> None:
        """Fail if one of them went away after the look: the engine has made an empty one instead.

        Called when the container exists, which keeps its volumes from going away from then on.

        Raises:
            EngineError: which one; the empty volume goes with the clean-up of the create.
        """
        for volume in request.volumes:
            found = await self._look(volume.name)
            if found is None or _token(found) == creation_token(request.nonce):
                raise EngineError(
                    f"volume {volume.name!r} was removed from the engine while the session was "
                    "being created"
                )
            # One of the same name may have come in its place.
            _refuse(volume.name, found)

    async def remove_made(self, request: SessionRequest) -> None:
        """Remove the empty volumes that a failed create has made."""
        for volume in request.volumes:
            found = await self._look(volume.name)
            if found is not None and _token(found) == creation_token(request.nonce):
                await self._remover.remove_volume(volume.name, f"volume {volume.name!r}")

    async def _look(self, name: str) -> Mapping[str, object] | None:
        return await self._api.find(f"volumes/{name}", doing=f"looking at volume {name!r}")


def _token(volume: Mapping[str, object]) -> str:
    return docker_listing.text_map(volume.get("Labels")).get(labels.TOKEN, "")


def _refuse(name: str, volume: Mapping[str, object]) -> None:
    marks = docker_listing.text_map(volume.get("Labels"))
    if any(labels.is_reserved(key) for key in marks):
        # Another session's workspace, say: whoever knows its name would read it.
        raise InvalidRequestError(f"volume {name!r} is fumehood's own and cannot be shared")
    options = docker_listing.text_map(volume.get("Options"))
    flags = options.get("o", "").split(",")
    # With these a named volume is a directory or a disk of the host under another name.
    if options.get("device", "").startswith("/") or {"bind", "rbind"} & set(flags):
        place = options.get("device", "a place")
        raise InvalidRequestError(
            f"volume {name!r} stands for {place!r} of the engine's host: "
            "no part of the host is mounted into a session; copy the data into a volume of its own"
        )
