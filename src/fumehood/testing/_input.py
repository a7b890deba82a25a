"""A script's standard input: a pipe with a bound."""

from __future__ import annotations

import errno

from fumehood.testing._changes import Changes

_PIPE = 1 << 16


class ClosedError(Exception):
    """Nobody reads it any more."""


class Input:
    """What is written and not yet read.

    Args:
        data: what is in it already.
        ended: whether nothing more can come.
    """

    def __init__(self, data: bytes = b"", *, ended: bool = True) -> None:
        self._data = bytearray(data)
        self._ended = ended
        self._closed = False
        self._cut = False
        self._changed = Changes()

    @property
    def writable(self) -> bool:
        """Whether more can come."""
        return not self._ended and not self._closed

    async def write(self, data: bytes) -> None:
        """Put data in as there is room for it.

        Raises:
            ClosedError: its reader has ended.
        """
        rest = memoryview(data)
        while rest:
            if self._closed:
                raise ClosedError
            room = _PIPE - len(self._data)
            if room <= 0:
                await self._changed.wait()
                continue
            self._data += rest[:room]
            rest = rest[room:]
            self._changed.tell()

    def end(self) -> None:
        """Say that no more comes."""
        self._ended = True
        self._changed.tell()

    def cut_off(self) -> None:
        """Say that no more comes, and that this was not meant."""
        self._cut = True
        self.end()

    def close(self) -> None:
        """Say that nobody reads it any more."""
        self._closed = True
        self._changed.tell()

    async def read(self) -> bytes:
        """Return what comes next; ``b""`` at its end.

        Raises:
            ConnectionResetError: it was cut off.
        """
        await self._something()
        return self._take(len(self._data))

    async def read_line(self) -> bytes:
        r"""Return what comes next up to a ``\n``, or to its end."""
        line = b""
        while not line.endswith(b"\n"):
            await self._something()
            if not self._data:
                break
            at = self._data.find(b"\n")
            line += self._take(len(self._data) if at < 0 else at + 1)
        return line

    async def _something(self) -> None:
        while not self._data and not self._ended:
            await self._changed.wait()
        if self._cut and not self._data:
            raise ConnectionResetError(errno.ECONNRESET, "the peer has broken off the connection")

    def _take(self, count: int) -> bytes:
        data = bytes(self._data[:count])
        del self._data[:count]
        self._changed.tell()
        return data
