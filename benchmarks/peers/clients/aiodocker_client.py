"""aiodocker: the Engine API on asyncio."""

from __future__ import annotations

import asyncio
from typing import Any

import aiodocker

from benchmarks.archives import content_of, pack
from benchmarks.peers.peer import IMAGE, Peer


class Client(Peer):
    """Containers, execs and archives, as its documentation has them."""

    packages = ("aiodocker", "aiohttp")

    async def open(self) -> None:
        self._docker = aiodocker.Docker()

    async def close(self) -> None:
        await self._docker.close()

    async def create(self) -> Any:
        container = await self._docker.containers.create(
            {
                "Image": IMAGE,
                "Cmd": ["sleep", "infinity"],
                "HostConfig": {"NetworkMode": "none"},
            }
        )
        await container.start()
        return container

    async def run(self, session: Any, command: str, timeout: float | None = None) -> bytes:
        async with asyncio.timeout(timeout):
            pieces: list[bytes] = []
            await self._take(session, command, pieces.append)
            return b"".join(pieces)

    async def write(self, session: Any, name: str, content: bytes) -> None:
        await session.put_archive("/tmp", pack(name, content))

    async def read(self, session: Any, name: str) -> bytes:
        return content_of(await session.get_archive(f"/tmp/{name}"), name)

    async def flood(self, session: Any, command: str) -> int:
        size = 0

        def count(piece: bytes) -> None:
            nonlocal size
            size += len(piece)

        await self._take(session, command, count)
        return size

    async def _take(self, session: Any, command: str, each: Any) -> None:
        execution = await session.exec(["sh", "-c", command])
        async with execution.start(detach=False) as stream:
            while (message := await stream.read_out()) is not None:
                each(message.data)
        await execution.inspect()

    async def destroy(self, session: Any) -> None:
        await session.delete(force=True, v=True)

    def container(self, session: Any) -> str:
        return str(session.id)
