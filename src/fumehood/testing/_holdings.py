"""Files in memory that are held while no session has them: stopped sessions and snapshots."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fumehood.engines.base import Container, Image
from fumehood.engines.state import Holding, HoldRequest, Kind
from fumehood.errors import SessionExistsError, SessionNotFoundError, SnapshotExistsError
from fumehood.testing.files import File, MemoryFiles

_IMAGE = "sha256:memory-"


@dataclass(frozen=True, slots=True)
class _Held:
    holding: Holding
    files: MemoryFiles
    record: Mapping[str, object]


class Holdings:
    """The part of an engine that is a :class:`fumehood.engines.state.HoldsState`.

    Args:
        image: what every session is made from.
    """

    def __init__(self, image: Image) -> None:
        self._image = image
        self._held: dict[tuple[str, str], _Held] = {}

    def _files(self, container: Container) -> MemoryFiles | None:
        """Return a live session's files."""
        raise NotImplementedError

    async def remove_workspace(self, workspace_id: str) -> None:
        """Delete a workspace that nobody holds."""
        raise NotImplementedError

    def _of_image(self, image_id: str) -> MemoryFiles | None:
        """Return the files that an image stands for, if it stands for any."""
        for held in self._held.values():
            if image_id == _IMAGE + held.holding.token:
                return held.files
        return None

    def _keeps(self, workspace_id: str) -> bool:
        """Whether a stopped session is to have this workspace again."""
        return any(
            item.holding.kind == "stopped" and item.holding.workspace_id == workspace_id
            for item in self._held.values()
        )

    async def hold(self, request: HoldRequest) -> Holding:
        """Keep a copy of a live session's files."""
        container, key = request.container, (request.kind, request.name)
        if key in self._held:
            if request.kind == "snapshot":
                raise SnapshotExistsError(f"there is a snapshot {request.name!r} in memory")
            raise SessionExistsError(
                f"a stopped session has the id {request.name!r}", session_id=request.name
            )
        files = self._files(container)
        if files is None:
            raise SessionNotFoundError(
                f"session {container.session_id!r} is gone", session_id=container.session_id
            )
        begun, now = time.monotonic(), time.time()
        copy = files.copy()
        inside = [node for _, node in copy.walk(".") if isinstance(node, File)]
        record = {
            **request.record,
            "layer_bytes": 0,
            "workspace_bytes": sum(len(node.data) for node in inside),
            "duration": time.monotonic() - begun,
        }
        holding = Holding(
            id=f"memory-{request.token}",
            kind=request.kind,
            name=request.name,
            token=request.token,
            image_id=self._image.id,
            image=container.image,
            layer="",
            workdir=container.workdir,
            created_at=now,
            expires_at=None if request.expires is None else now + request.expires,
            origin=container.nonce,
            workspace_id=container.workspace_id if request.kind == "stopped" else None,
            destroy_workspace=container.destroy_workspace,
            detached=container.detached,
            owner=container.owner,
            metadata=dict(request.metadata),
            ttl=container.ttl,
            idle_timeout=container.idle_timeout,
        )
        self._held[key] = _Held(holding, copy, record)
        return holding

    async def find_holding(self, kind: Kind, name: str) -> Holding | None:
        """Return what is held under a name, or None."""
        held = self._held.get((kind, name))
        return None if held is None else held.holding

    async def list_holdings(self) -> Sequence[Holding]:
        """Return everything that is held."""
        return [held.holding for held in self._held.values()]

    async def read_record(self, holding: Holding) -> Mapping[str, object]:
        """Return what was kept beside the files."""
        held = self._held.get((holding.kind, holding.name))
        if held is None:
            raise SessionNotFoundError(f"{holding.name!r} is not held any more")
        return held.record

    async def held_image(self, holding: Holding) -> Image:
        """Return an image that stands for these files."""
        return dataclasses.replace(self._image, id=_IMAGE + holding.token)

    async def fill_workspace(self, holding: Holding, container: Container) -> None:
        """Copy the held workspace into a running session's."""
        held, files = self._held.get((holding.kind, holding.name)), self._files(container)
        if held is None or files is None:
            raise SessionNotFoundError(f"{holding.name!r} is not held any more")
        files.fill(held.files)

    @staticmethod
    def is_origin(holding: Holding, container: Container) -> bool:
        """Whether this session was what is held, and was to go."""
        return holding.kind == "stopped" and holding.origin == container.nonce

    async def remove_holding(self, holding: Holding, *, destroy_workspace: bool = False) -> None:
        """Delete what is held, and its persistent workspace where that is asked for. Idempotent."""
        held = self._held.get((holding.kind, holding.name))
        if held is not None and held.holding.token == holding.token:
            del self._held[holding.kind, holding.name]
        if destroy_workspace and holding.workspace_id is not None:
            await self.remove_workspace(holding.workspace_id)
