"""Waiting for something of one event loop to become as one wants it."""

from __future__ import annotations

import asyncio


class Changes:
    """Told when something has changed. Whoever waits looks first, waits, and looks again."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def tell(self) -> None:
        """Wake all who wait."""
        self._event.set()
        self._event = asyncio.Event()

    async def wait(self) -> None:
        """Wait for the next time."""
        await self._event.wait()
