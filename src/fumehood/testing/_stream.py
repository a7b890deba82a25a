"""A byte stream whose other end lies in the same process."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol


class Peer(Protocol):
    """Who is at the other end."""

    def feed(self, data: bytes) -> None:
        """Take bytes of the client's."""
        ...

    def lost(self) -> None:
        """The client has ended the stream."""
        ...


class MemoryStream:
    """A :class:`fumehood.engines.base.ByteStream`.

    Everything is delivered by the event loop, in order and never inside the call that caused it:
    as with a socket. What waits is bounded by the windows of the wire.

    Args:
        peer: the other end.
    """

    can_break = False

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._loop = asyncio.get_running_loop()
        self._on_data: Callable[[bytes | memoryview], None] | None = None
        self._on_close: Callable[[Exception | None], None] | None = None
        self._waiting: deque[bytes] = deque()
        self._paused = False
        self._ended = False
        self._closed = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {len(self._waiting)} waiting>"

    def start(
        self,
        on_data: Callable[[bytes | memoryview], None],
        on_close: Callable[[Exception | None], None],
    ) -> None:
        """Begin delivery."""
        self._on_data, self._on_close = on_data, on_close
        self._loop.call_soon(self._deliver)

    def write(self, data: bytes) -> None:
        """Send bytes to the other end."""
        if not self._closed and not self._ended:
            self._loop.call_soon(self._peer.feed, data)

    async def drain(self) -> None:
        """Return at once: the other end reads whatever comes."""

    def pause_reading(self) -> None:
        """Stop delivery."""
        self._paused = True

    def resume_reading(self) -> None:
        """Go on with it."""
        self._paused = False
        self._loop.call_soon(self._deliver)

    def diagnostics(self) -> str:
        """Return nothing: there is no stderr."""
        return ""

    async def close(self) -> None:
        """End both directions. Idempotent."""
        if not self._closed:
            self._closed = True
            self._waiting.clear()
            self._loop.call_soon(self._peer.lost)

    def deliver(self, data: bytes) -> None:
        """Send bytes to the client."""
        if not self._closed and not self._ended:
            self._waiting.append(data)
            self._loop.call_soon(self._deliver)

    def end(self) -> None:
        """End the stream behind what was sent."""
        self._ended = True
        self._loop.call_soon(self._deliver)

    def _deliver(self) -> None:
        while self._waiting and not self._paused and self._on_data is not None and not self._closed:
            self._on_data(self._waiting.popleft())
        if self._ended and not self._waiting and self._on_close is not None:
            on_close, self._on_close = self._on_close, None
            on_close(None)
