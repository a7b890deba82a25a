"""The HTTP server beneath the protocol's: how it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager, suppress

import uvicorn

from fumehood.mcp.http import Gate

GRACE = 5
"""Seconds that requests have to be answered when the server is to end."""


async def serve(gate: Gate, host: str, port: int) -> None:
    """Serve until it is cancelled; all sessions have ended then, and all calls been answered."""
    settings = uvicorn.Config(
        gate, host=host, port=port, log_level="warning", timeout_graceful_shutdown=GRACE
    )
    await _Server(settings, gate).serve()


class _Server(uvicorn.Server):
    """A server that ends by cancellation, as everything else does in this process.

    uvicorn takes the process's signals, though an event loop that had them hears of them all the
    same: its task is cancelled then, in the midst of which the application never hears of the end,
    and when all is over uvicorn sends the process the signal once more.
    """

    def __init__(self, config: uvicorn.Config, gate: Gate) -> None:
        super().__init__(config)
        self._gate = gate

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Leave the signals to whoever has them."""
        yield

    async def main_loop(self) -> None:
        """Serve; when it is cancelled, let the requests end and the application end itself."""
        try:
            await super().main_loop()
        except asyncio.CancelledError:
            for listener in self.servers:
                listener.close()
            with suppress(TimeoutError):
                async with asyncio.timeout(GRACE):
                    await self._gate.end()
            # First the application, which ends the streams that its clients hold open for as long
            # as they like: uvicorn would wait for them.
            await self.lifespan.shutdown()
            await self.shutdown()
            raise
