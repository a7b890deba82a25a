"""What a Docker engine is asked for where sessions' files outlive their containers.

As in the file of the engine itself, this is the shape of it, in terms of the parts beside it.
"""

from __future__ import annotations

import asyncio
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Awaitable,
    Callable,
    Mapping,
    Sequence,
)
from contextlib import aclosing

from fumehood._supervisor import binary as supervisor_binary
from fumehood._supervisor.install import Installer
from fumehood.engines import docker_held
from fumehood.engines.base import Container, EngineInfo, Image
from fumehood.engines.docker_client import ApiClient
from fumehood.engines.docker_copier import Copier
from fumehood.engines.docker_moved import Moves
from fumehood.engines.docker_removal import Remover
from fumehood.engines.docker_state import Holdings
from fumehood.engines.state import Holding, HoldRequest, ImageConfig, Kind, TakeRequest
from fumehood.options import check_name


class KeepsStates:
    """Hold sessions' files, list them, let them out and in: the optional part of the seam."""

    _api: ApiClient
    _remover: Remover
    _holdings: Holdings | None = None

    async def _known(self) -> tuple[EngineInfo, Installer]:
        raise NotImplementedError

    async def _holding(self) -> Holdings:
        if self._holdings is None:
            info, installer = await self._known()
            binary = await asyncio.to_thread(supervisor_binary.load, info.architecture)
            copier = Copier(self._api, binary=binary, installer=installer, remover=self._remover)
            self._holdings = Holdings(self._api, copier=copier, remover=self._remover)
        return self._holdings

    async def hold(self, request: HoldRequest) -> Holding:
        """Hold a live session's files."""
        return await (await self._holding()).hold(request)

    async def find_holding(self, kind: Kind, name: str) -> Holding | None:
        """Return what is held under a name, or ``None``."""
        check_name(name, "name")
        return await (await self._holding()).find(kind, name)

    async def list_holdings(self) -> Sequence[Holding]:
        """Return everything that is held."""
        return await (await self._holding()).list()

    async def read_record(self, holding: Holding) -> Mapping[str, object]:
        """Return what was kept beside the files."""
        return await (await self._holding()).read_record(holding)

    async def held_image(self, holding: Holding) -> Image:
        """Return the image that a session with these files is made from."""
        return await (await self._holding()).image(holding)

    async def fill_workspace(self, holding: Holding, container: Container) -> None:
        """Copy the held workspace into a running session's."""
        await (await self._holding()).fill(holding, container)

    async def remove_holding(self, holding: Holding, *, destroy_workspace: bool = False) -> None:
        """Delete what is held. Idempotent."""
        await (await self._holding()).remove(holding, destroy_workspace=destroy_workspace)

    # --- on their way --------------------------------------------------------------------------

    async def _moving(self) -> Moves:
        return Moves(self._api, holdings=await self._holding(), remover=self._remover)

    async def held_config(self, holding: Holding) -> ImageConfig:
        """Return what sessions with these files begin with."""
        return await (await self._moving()).config(holding)

    async def held_files(self, holding: Holding) -> AsyncGenerator[bytes, None]:
        """Yield the container's file system as a tar archive."""
        async with aclosing((await self._moving()).files(holding)) as pieces:
            async for piece in pieces:
                yield piece

    async def held_workspace(self, holding: Holding) -> AsyncGenerator[bytes, None]:
        """Yield the workspace's files as a tar archive."""
        async with aclosing((await self._moving()).workspace(holding)) as pieces:
            async for piece in pieces:
                yield piece

    async def take_in(
        self,
        request: TakeRequest,
        *,
        files: AsyncIterable[bytes],
        workspace: AsyncIterable[bytes],
        complete: Callable[[], Awaitable[int]],
    ) -> Holding:
        """Hold files that come from elsewhere."""
        moving = await self._moving()
        return await moving.take_in(request, files=files, workspace=workspace, complete=complete)

    @staticmethod
    def is_origin(holding: Holding, container: Container) -> bool:
        """Whether this container was what is held, and was to go."""
        return docker_held.is_origin(holding, container)
