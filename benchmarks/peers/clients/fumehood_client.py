"""fumehood itself, with its defaults: half a gigabyte of memory, one CPU, no network."""

from __future__ import annotations

from benchmarks.peers.peer import IMAGE, Peer
from fumehood import AsyncDockerSandbox, AsyncSession, Exit, Pool


class Client(Peer):
    """The awaiting API."""

    packages = ("fumehood", "aiodocker")
    pool: Pool | None = None

    async def open(self) -> None:
        self._sandbox = AsyncDockerSandbox(image=IMAGE, pull="never", pool=self.pool)

    async def close(self) -> None:
        await self._sandbox.close()

    async def create(self) -> AsyncSession:
        return await self._sandbox.create_session()

    async def run(self, session: AsyncSession, command: str, timeout: float | None = None) -> bytes:
        result = await session.exec(["sh", "-c", command], timeout=timeout)
        return result.stdout_bytes

    async def write(self, session: AsyncSession, name: str, content: bytes) -> None:
        await session.write_file(name, content)

    async def read(self, session: AsyncSession, name: str) -> bytes:
        return await session.read_file(name)

    async def flood(self, session: AsyncSession, command: str) -> int:
        size = 0
        async for event in session.exec_stream(["sh", "-c", command]):
            if isinstance(event, Exit):
                event.result.check()
            else:
                size += len(event.data)
        return size

    async def destroy(self, session: AsyncSession) -> None:
        await session.destroy()

    async def gone(self, session: AsyncSession) -> None:
        await session.destroy(wait=True)

    def container(self, session: AsyncSession) -> str:
        return f"fumehood-{session.id}"
