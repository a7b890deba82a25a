"""Holding sessions' files on a Docker engine: an image, a volume, a container that never starts.

Each step leaves only what the sweep knows: the image has a tag of its own before anything uses it,
the volume goes with the container, and the container bears a draft's name until all is in place.
Taking its real name is one call of the engine, and the moment from which the state is there.
"""

from __future__ import annotations

import asyncio
import io
import json
import logging
import tarfile
import time
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from typing import cast

from fumehood._version import __version__
from fumehood.engines import docker_held, labels
from fumehood.engines.base import Container, Image
from fumehood.engines.container_spec import workspace_volume
from fumehood.engines.docker_client import ApiClient
from fumehood.engines.docker_copier import Copier
from fumehood.engines.docker_errors import ApiError
from fumehood.engines.docker_held import draft_name, holding_name, record_path
from fumehood.engines.docker_images import read_image
from fumehood.engines.docker_listing import identifier, mapping, sequence, text_map
from fumehood.engines.docker_references import layer_reference
from fumehood.engines.docker_removal import Remover
from fumehood.engines.state import Holding, HoldRequest, Kind, StateRequest
from fumehood.errors import (
    EngineError,
    EngineUnsupportedError,
    SandboxError,
    SessionExistsError,
    SessionNotFoundError,
    SnapshotExistsError,
)

_log = logging.getLogger("fumehood.engine")

COMMIT_SECONDS = 3600.0
_MAX_RECORD = 4 << 20


class Holdings:
    """Holds the states of one engine's sessions."""

    def __init__(self, api: ApiClient, *, copier: Copier, remover: Remover) -> None:
        self._api = api
        self._copier = copier
        self._remover = remover

    async def hold(self, request: HoldRequest) -> Holding:
        """Hold a live session's files; see the protocol.

        What a cancelled call has made is removed before the cancellation goes on; a second one
        leaves that to the background, and closing the engine waits for it.
        """
        await self.check_free(request)
        try:
            return await self._hold(request)
        except BaseException:
            await self._api.cleanups.run(self.abandon(request))
            raise

    async def _hold(self, request: HoldRequest) -> Holding:
        live = request.container
        started = time.monotonic()
        inspected = await self._inspect(live)
        base_id = str(inspected.get("Image"))
        base = await self._api.find(f"images/{base_id}/json", doing="looking at an image")
        if base is None:
            raise EngineUnsupportedError(
                f"the image of session {live.session_id!r} is not on the engine any more"
            )
        image_id, layer, size = base_id, "", 0
        host = mapping(inspected.get("HostConfig"))
        if not host.get("ReadonlyRootfs"):
            image_id, size = await self._commit(request, inspected, base)
            layer = request.token
        volume = docker_held.volume_at(inspected, live.workdir)
        if volume is None:
            raise EngineError(f"session {live.session_id!r} has no workspace that could be kept")
        # A volume in memory is empty as soon as nothing has it mounted.
        keeps = request.kind == "stopped" and not await self._is_memory(volume)
        draft = await self.draft(request, image_id, layer, volume if keeps else None)
        copied = 0
        if not keeps:
            target = docker_held.volume_at(
                await self.inspect(draft, "looking at a held state"), live.workdir
            )
            assert target is not None
            done = await self._copier.copy(
                volume, target, image=base_id, owner=draft_name(request.token)
            )
            copied = done.bytes
        record = {
            **request.record,
            "layer_bytes": size,
            "workspace_bytes": copied,
            "duration": time.monotonic() - started,
        }
        await self.put_record(draft, request.token, record)
        return await self.give_name(request, draft)

    async def check_free(self, request: StateRequest) -> None:
        """Refuse a name under which something is held."""
        if await self.find(request.kind, request.name) is not None:
            raise _taken(request)

    async def _inspect(self, live: Container) -> Mapping[str, object]:
        try:
            return await self.inspect(live.id, f"looking at session {live.session_id!r}")
        except ApiError as exc:
            if exc.status == 404:
                raise SessionNotFoundError(
                    f"session {live.session_id!r} is gone", session_id=live.session_id
                ) from exc
            raise

    async def inspect(self, engine_id: str, doing: str) -> Mapping[str, object]:
        """Return a container as the engine shows it."""
        return mapping(await self._api.request("GET", f"containers/{engine_id}/json", doing=doing))

    async def _commit(
        self, request: HoldRequest, inspected: Mapping[str, object], base: Mapping[str, object]
    ) -> tuple[str, int]:
        """Make an image of the container's file system; return its id and the layer's bytes."""
        repository, _, tag = layer_reference(request.token).partition(":")
        answer = mapping(
            await self._api.request(
                "POST",
                "commit",
                params={
                    "container": request.container.id,
                    "repo": repository,
                    "tag": tag,
                    # Its commands stand still already; PID 1 goes on to answer its clients.
                    "pause": "0",
                },
                body=docker_held.commit_config(inspected, base, request.token),
                doing=f"keeping the file system of session {request.container.session_id!r}",
                seconds=COMMIT_SECONDS,
            )
        )
        image_id = identifier(answer, "keeping a file system")
        made = await self._api.find(f"images/{image_id}/json", doing="looking at an image")
        sizes = [item.get("Size") for item in (made or {}, base)]
        whole, below = (size if isinstance(size, int) else 0 for size in sizes)
        return image_id, max(0, whole - below)

    async def _is_memory(self, volume: str) -> bool:
        found = await self._api.find(f"volumes/{volume}", doing="looking at a workspace")
        return text_map((found or {}).get("Options")).get("type") == "tmpfs"

    async def draft(
        self, request: StateRequest, image_id: str, layer: str, volume: str | None
    ) -> str:
        """Create what will hold a state, under a draft's name; return its id."""
        expires_at = None
        if request.expires is not None:
            expires_at = await self._api.clock() + request.expires
        marks = docker_held.of_holding(request, expires_at=expires_at, version=__version__)
        mount = (
            docker_held.new_volume(request.token, version=__version__)
            if volume is None
            else docker_held.kept_volume(volume)
        )
        answer = mapping(
            await self._api.request(
                "POST",
                "containers/create",
                params={"name": draft_name(request.token)},
                body=docker_held.holding_body(
                    image_id,
                    marks,
                    layer=layer,
                    workdir=request.workdir,
                    mount=mount,
                ),
                doing="creating what holds a session's state",
            )
        )
        return identifier(answer, "creating what holds a session's state")

    async def give_name(self, request: StateRequest, draft: str) -> Holding:
        """Let a draft that is complete be what it is: from then on it is there.

        When cancelled, it may be: who cleans up looks for both names.
        """
        naming = asyncio.ensure_future(self._rename(request, draft))
        try:
            await asyncio.shield(naming)
        except asyncio.CancelledError:
            await asyncio.wait({naming})
            raise
        found = await self.find(request.kind, request.name)
        if found is None:
            raise EngineError(f"{holding_name(request.kind, request.name)} was removed at once")
        return found

    async def _rename(self, request: StateRequest, draft: str) -> None:
        try:
            await self._api.request(
                "POST",
                f"containers/{draft}/rename",
                params={"name": holding_name(request.kind, request.name)},
                doing="naming what holds a session's state",
            )
        except ApiError as exc:
            if exc.status == 409:
                raise _taken(request) from exc
            raise

    async def abandon(self, request: StateRequest) -> None:
        """Remove what a failed or cancelled call has made, by the names that it chose."""
        token = request.token
        try:
            await self.discard_draft(token)
            named = await self.find(request.kind, request.name)
            if named is not None and named.token == request.token:
                await self._remover.remove_container(named.id, "a held state", force=False)
            await self._remover.remove_layer(token)
        except SandboxError as exc:
            _log.warning("a held state was not cleaned up; `fumehood gc` will: %s", exc)

    async def discard_draft(self, token: str) -> None:
        """Remove the container that has a draft's name, if there is one."""
        draft = await self._api.find(
            f"containers/{draft_name(token)}/json", doing="looking for a draft"
        )
        if draft is not None:
            await self._remover.remove_container(
                identifier(draft, "looking for a draft"), "a draft", force=False
            )

    # --- the record ----------------------------------------------------------------------------

    async def put_record(self, draft: str, token: str, record: Mapping[str, object]) -> None:
        """Keep a record beside the files of a draft."""
        # Before any start, so that nothing can race with the unpacking, and uncompressed, because
        # the engine would run a decompressor otherwise.
        await self._api.request(
            "PUT",
            f"containers/{draft}/archive",
            params={"path": "/", "noOverwriteDirNonDir": "1"},
            data=_archive(record_path(token), json.dumps(record).encode()),
            content_type="application/x-tar",
            doing="keeping a session's settings",
        )

    async def read_record(self, holding: Holding) -> Mapping[str, object]:
        """Return what was kept beside the files."""
        doing = f"reading the settings of {holding.kind} {holding.name!r}"
        data = bytearray()
        chunks = self._api.chunks(
            "GET",
            f"containers/{holding.id}/archive",
            params={"path": record_path(holding.token)},
            doing=doing,
            seconds=60.0,
        )
        async with aclosing(chunks):
            async for chunk in chunks:
                data += chunk
                if len(data) > _MAX_RECORD:
                    raise EngineError(f"{doing}: there is no end to them")
        try:
            with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
                member = archive.next()
            if member is None or not member.isfile():
                raise EngineError(f"{doing} failed: there are none")
            start = member.offset_data
            value: object = json.loads(data[start : start + member.size])
        except (tarfile.TarError, ValueError, RecursionError) as exc:
            raise EngineError(f"{doing} failed: {exc}") from exc
        if not isinstance(value, dict):
            raise EngineError(f"{doing} failed: there are none")
        return cast("Mapping[str, object]", value)

    # --- what is there -------------------------------------------------------------------------

    async def find(self, kind: Kind, name: str) -> Holding | None:
        """Return what is held under a name, or ``None``."""
        found = await self._api.find(
            f"containers/{holding_name(kind, name)}/json", doing=f"looking for {kind} {name!r}"
        )
        if found is None:
            return None
        holding = docker_held.from_inspect(found)
        return holding if holding and (holding.kind, holding.name) == (kind, name) else None

    async def list(self) -> Sequence[Holding]:
        """Return everything that is held."""
        found = await self._api.request(
            "GET",
            "containers/json",
            params={"all": "1", "filters": json.dumps({"label": [labels.HELD]})},
            doing="listing held states",
        )
        holdings = (docker_held.from_list(item) for item in sequence(found))
        return [holding for holding in holdings if holding is not None]

    async def image(self, holding: Holding) -> Image:
        """Return the image that a session with these files is made from."""
        found = await self._api.find(
            f"images/{holding.image_id}/json", doing=f"looking at {holding.kind} {holding.name!r}"
        )
        if found is None:
            raise EngineError(f"the image of {holding.kind} {holding.name!r} is gone")
        return read_image(found, holding.image)

    async def fill(self, holding: Holding, container: Container) -> None:
        """Copy the held workspace into a running session's."""
        held = await self.inspect(holding.id, f"looking at {holding.kind} {holding.name!r}")
        live = await self._inspect(container)
        source = docker_held.volume_at(held, holding.workdir)
        target = docker_held.volume_at(live, container.workdir)
        if source is None or target is None:
            raise EngineError(f"{holding.kind} {holding.name!r} has no workspace")
        memory = mapping(live.get("HostConfig")).get("Memory")
        in_memory = await self._is_memory(target)
        started = time.monotonic()
        await self._copier.copy(
            source,
            target,
            image=holding.image_id,
            owner=str(live.get("Name", "")).removeprefix("/"),
            memory=memory if in_memory and isinstance(memory, int) else 0,
        )
        took = (time.monotonic() - started) * 1000
        _log.debug("session %s has its files after %.0f ms", container.session_id, took)

    async def remove(self, holding: Holding, *, destroy_workspace: bool) -> None:
        """Delete what is held: container, volumes, image."""
        what = f"{holding.kind} {holding.name!r}"
        held = await self._api.find(f"containers/{holding.id}/json", doing=f"looking at {what}")
        if held is None:
            return
        volume = docker_held.volume_at(held, holding.workdir)
        await self._remover.remove_container(holding.id, what)
        try:
            await self._remove_parts(holding, volume, destroy_workspace=destroy_workspace)
        except SandboxError as exc:
            # It is not held any more: what is left has no name, and a sweep finds it.
            _log.warning("parts of %s are left; `fumehood gc` removes them: %s", what, exc)

    async def _remove_parts(
        self, holding: Holding, volume: str | None, *, destroy_workspace: bool
    ) -> None:
        if volume is not None and holding.workspace_id is None:
            # The engine takes along what was made with the container, not what it had before.
            await self._remover.remove_volume(volume, "a workspace that was kept")
        elif destroy_workspace and volume == workspace_volume(holding.workspace_id or ""):
            await self._remover.destroy_workspace(holding.workspace_id or "")
        if holding.layer:
            await self._remover.remove_layer(holding.layer)


def _taken(request: StateRequest) -> SandboxError:
    if request.kind == "snapshot":
        return SnapshotExistsError(f"there is a snapshot {request.name!r} on this engine")
    return SessionExistsError(
        f"a stopped session {request.name!r} is on this engine", session_id=request.name
    )


def _archive(path: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        member = tarfile.TarInfo(path.lstrip("/"))
        member.size = len(content)
        member.mode = 0o400
        archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()
