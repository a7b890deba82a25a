"""agentbox-rl: `SandboxManager`."""

from __future__ import annotations

from typing import Any

from agentbox.config import SandboxConfig
from agentbox.sandbox.manager import SandboxManager

from benchmarks.peers.peer import IMAGE, Peer


class Client(Peer):
    """Its defaults (no network, one CPU, half a gigabyte), but without pytest inside."""

    packages = ("agentbox-rl", "docker")
    warm_pool = 0

    async def open(self) -> None:
        self._manager = self._of()

    async def close(self) -> None:
        await self._manager.aclose()

    def _of(self, **options: Any) -> Any:
        return SandboxManager(
            SandboxConfig(image=IMAGE, ensure_pytest=False, warm_pool=self.warm_pool, **options)
        )

    async def create(self) -> Any:
        return await self._manager.create(task_id="bench", run_id="peers")

    async def run(self, session: Any, command: str, timeout: float | None = None) -> bytes:
        done = await session.exec(command, timeout_s=600.0 if timeout is None else timeout)
        return str(done.stdout).encode()

    async def write(self, session: Any, name: str, content: bytes) -> None:
        await session.write_bytes(name, content)

    async def read(self, session: Any, name: str) -> bytes:
        content: bytes = await session.read_bytes(name)
        return content

    async def flood(self, session: Any, command: str) -> int:
        # Its caps keep 256 KiB and end the command at 64 MiB.
        without = self._of(max_output_bytes=1 << 30, kill_output_bytes=None)
        done = await without.exec(session, command)
        return int(done.output_bytes)

    async def destroy(self, session: Any) -> None:
        await self._manager.destroy(session)

    def container(self, session: Any) -> str:
        return str(session.id)
