"""When to leave the socket of a fast stream alone for a moment.

The engine hands a stream on in pieces of a few KiB, and each piece that is read by itself costs a
turn of the event loop and two changes between processes: at 100 MB/s and more that is most of what
the machine does. A socket that was left alone for a millisecond holds dozens of them. Network
drivers do the same with interrupts.
"""

from __future__ import annotations

REST_SECONDS = 0.001
"""How long: the shortest time that an event loop's clock can tell, and less than a socket takes to
fill at any speed seen so far."""

_SPAN = 0.01
_FAST = 512 * 1024
"""Bytes in one span of time that only a fast stream brings: about 50 MB/s. Below, nothing waits."""

_MUCH = 128 * 1024
"""A read that brings so much has been worth its price, and more may be there already."""


class Pace:
    """Tells a fast stream from answers and slow ones. No input or output is done here."""

    __slots__ = ("_began", "_bytes", "_fast")

    def __init__(self) -> None:
        self._began = 0.0
        self._bytes = 0
        self._fast = False

    def wants_rest(self, size: int, now: float) -> bool:
        """Take note of a read and say whether the next one should wait for :data:`REST_SECONDS`.

        Args:
            size: the bytes that were read.
            now: any clock's seconds.
        """
        self._bytes += size
        if now - self._began > _SPAN:
            self._fast = self._bytes >= _FAST and now - self._began < 2 * _SPAN
            self._began, self._bytes = now, 0
        return self._fast and size < _MUCH
