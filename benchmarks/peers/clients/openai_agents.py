"""openai-agents: its Docker sandbox client."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import docker
from agents.sandbox.sandboxes.docker import DockerSandboxClient, DockerSandboxClientOptions

from benchmarks.peers.peer import IMAGE, Peer


class Client(Peer):
    """`create` and `start`, `exec`, `write`, `read`, `stop` and `delete`."""

    packages = ("openai-agents", "docker")

    def open(self) -> None:
        self._client = DockerSandboxClient(docker.from_env(max_pool_size=32))

    async def create(self) -> Any:
        session = await self._client.create(
            options=DockerSandboxClientOptions(image=IMAGE, network_mode="none")
        )
        await session.start()
        return session

    async def run(self, session: Any, command: str, timeout: float | None = None) -> bytes:
        output: bytes = (await session.exec(command, timeout=timeout)).stdout
        return output

    async def write(self, session: Any, name: str, content: bytes) -> None:
        await session.write(Path(name), io.BytesIO(content))

    async def read(self, session: Any, name: str) -> bytes:
        content: bytes = (await session.read(Path(name))).read()
        return content

    async def flood(self, session: Any, command: str) -> int:
        return len(await self.run(session, command))

    async def destroy(self, session: Any) -> None:
        await session.stop()
        await self._client.delete(session)

    def container(self, session: Any) -> str:
        return str(session._inner.state.container_id)
