"""Output that waits for its caller, in little more memory than it has bytes."""

from __future__ import annotations

from array import array
from collections import deque

from fumehood._wire.events import Output

_SMALL = 4096
"""Pieces below this many bytes are put together: one by one, those of a program that writes single
bytes would take a hundred times what its window says."""
_LARGE = 65536
"""Bytes after which small pieces are put together anew, so that what was taken is let go."""


class Backlog:
    """Pieces of one channel, in the order in which they came.

    What comes out is what went in, but for where one stream's pieces are cut: small ones that
    follow each other are one.
    """

    __slots__ = ("_entries", "size")

    def __init__(self) -> None:
        self._entries: deque[Output | _Runs] = deque()
        self.size: int = 0
        """Bytes that wait."""

    def __bool__(self) -> bool:
        return bool(self._entries)

    def __repr__(self) -> str:
        return f"<Backlog of {self.size} bytes>"

    def append(self, item: Output) -> None:
        """Add a piece."""
        self.size += len(item.data)
        last = self._entries[-1] if self._entries else None
        if last is not None and len(item.data) < _SMALL:
            if isinstance(last, _Runs):
                if last.take(item):
                    return
            elif len(last.data) < _SMALL and last.offset + len(last.data) == item.offset:
                if last.stream == item.stream:
                    self._entries[-1] = last._replace(data=last.data + item.data)
                else:
                    runs = self._entries[-1] = _Runs(last)
                    runs.take(item)
                return
        self._entries.append(item)

    def popleft(self) -> Output:
        """Return the first piece."""
        first = self._entries[0]
        if isinstance(first, _Runs):
            item = first.popleft()
            if not first:
                self._entries.popleft()
        else:
            item = first
            self._entries.popleft()
        self.size -= len(item.data)
        return item

    def clear(self) -> None:
        """Forget all."""
        self._entries.clear()
        self.size = 0


class _Runs:
    """Small pieces of both streams by turns: their bytes, and after how many the stream changes."""

    __slots__ = ("_at", "_channel", "_data", "_lengths", "_next", "_offset", "_streams")

    def __init__(self, first: Output) -> None:
        self._channel = first.channel
        self._offset = first.offset  # of the first byte in `_data`
        self._data = bytearray(first.data)
        self._lengths = array("H", [len(first.data)])  # two small pieces at most
        self._streams = bytearray([first.stream])
        self._next = 0  # the first run that is still there, and where it begins
        self._at = 0

    def __bool__(self) -> bool:
        return self._next < len(self._lengths)

    def take(self, item: Output) -> bool:
        """Add a small piece; False: it begins something new."""
        size = len(item.data)
        if self._offset + len(self._data) != item.offset or len(self._data) >= _LARGE:
            return False
        self._data += item.data
        if self._streams[-1] == item.stream and self._lengths[-1] < _SMALL:
            self._lengths[-1] += size
        else:
            self._lengths.append(size)
            self._streams.append(item.stream)
        return True

    def popleft(self) -> Output:
        """Return the first run."""
        at, end = self._at, self._at + self._lengths[self._next]
        stream = self._streams[self._next]
        self._next += 1
        self._at = end
        return Output(self._channel, stream, bytes(self._data[at:end]), self._offset + at)
