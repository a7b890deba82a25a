"""A channel whose other end is a test: what comes from inside is given, what goes there is kept."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from fumehood._tether.channel import Channel
from fumehood._wire.events import Output


class FakeChannel(Channel):
    """As much of a channel as whoever carries a connection uses."""

    def __init__(self, pieces: Iterable[bytes], *, open_: bool = False) -> None:
        # Nothing of a tether: what is not overridden here must not be used.
        self._pieces = list(pieces)
        self._open = open_
        self.sent = bytearray()
        self.ended = False
        self.closed = False

    def __repr__(self) -> str:
        return f"<FakeChannel {len(self._pieces)} to come, {len(self.sent)} bytes sent>"

    async def receive(self) -> Output | None:
        """Return the next piece; then the end, or nothing ever more where it stays open."""
        await asyncio.sleep(0)
        if self._pieces:
            return Output(0, 1, self._pieces.pop(0), 0)
        if self._open:
            await asyncio.Event().wait()
        return None

    async def send(self, data: bytes | memoryview) -> bool:
        assert not self.ended
        self.sent += data
        return True

    def end_input(self) -> None:
        self.ended = True

    async def wait_finished(self) -> None:
        return

    async def aclose(self, patience: float) -> None:
        self.closed = True
