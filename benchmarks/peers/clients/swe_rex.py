"""SWE-ReX: a server inside the container, reached through a published port."""

from __future__ import annotations

import logging
import os
from typing import Any

os.environ.setdefault("SWE_REX_LOG_STREAM_LEVEL", "CRITICAL")

from swerex.deployment.docker import DockerDeployment
from swerex.runtime.abstract import Command, ReadFileRequest, WriteFileRequest

from benchmarks.peers.peer import IMAGE, Peer

logging.disable(logging.CRITICAL)


class Client(Peer):
    """`execute`, which is its call for a single command, in an image that holds the server."""

    packages = ("swe-rex", "aiohttp")
    # It looks for a free port and uses it later: those that start together find the same one.
    creates_at_once = 1

    async def create(self) -> Any:
        deployment = DockerDeployment(image=IMAGE, pull="never")
        await deployment.start()
        return deployment

    async def run(self, session: Any, command: str, timeout: float | None = None) -> bytes:
        done = await session.runtime.execute(Command(command=command, shell=True, timeout=timeout))
        return str(done.stdout).encode()

    async def write(self, session: Any, name: str, content: bytes) -> None:
        await session.runtime.write_file(
            WriteFileRequest(path=f"/tmp/{name}", content=content.decode())
        )

    async def read(self, session: Any, name: str) -> bytes:
        answer = await session.runtime.read_file(ReadFileRequest(path=f"/tmp/{name}"))
        return str(answer.content).encode()

    async def flood(self, session: Any, command: str) -> int:
        return len(await self.run(session, command))

    async def destroy(self, session: Any) -> None:
        await session.stop()

    def container(self, session: Any) -> str:
        return str(session.container_name)
