"""The test's end of a byte stream."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from fumehood.engines.base import ByteStream

SECONDS = 20.0
"""How long anything may take before it counts as hanging."""


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    """Ask until the answer is yes: for what only the engine knows and tells nobody."""
    async with asyncio.timeout(SECONDS):
        while not await condition():
            await asyncio.sleep(0.02)


class Peer:
    """Reads a stream in a test: what came, in order, and how it ended."""

    def __init__(self, stream: ByteStream, *, start: bool = True) -> None:
        self.stream = stream
        self.data = bytearray()
        self.chunks = 0
        self.endings: list[Exception | None] = []
        self._changed = asyncio.Event()
        if start:
            self.start()

    def start(self) -> None:
        self.stream.start(self._on_data, self._on_close)

    def _on_data(self, data: bytes | memoryview) -> None:
        assert not self.endings, "data after the end"
        self.data += data
        self.chunks += 1
        self._changed.set()

    def _on_close(self, error: Exception | None) -> None:
        self.endings.append(error)
        self._changed.set()

    async def _until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(SECONDS):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def line(self) -> bytes:
        """Take one line."""
        await self._until(lambda: b"\n" in self.data or bool(self.endings))
        line, newline, rest = bytes(self.data).partition(b"\n")
        assert newline, f"the stream ended: {self.endings} {self.stream.diagnostics()!r}"
        self.data[:] = rest
        return line

    async def take(self, size: int) -> bytes:
        """Take so many bytes."""
        await self._until(lambda: len(self.data) >= size or bool(self.endings))
        taken, self.data[:] = bytes(self.data[:size]), self.data[size:]
        return taken

    async def ask(self, command: str) -> str:
        """Send a command to the stand-in and take its line."""
        self.stream.write(command.encode() + b"\n")
        return (await self.line()).decode()

    async def ended(self) -> Exception | None:
        """Wait for the end and return how it was."""
        await self._until(lambda: bool(self.endings))
        assert len(self.endings) == 1
        return self.endings[0]
