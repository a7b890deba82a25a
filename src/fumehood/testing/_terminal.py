"""A terminal in memory: as much of a line discipline as turns keys into lines, and lines into text.

It is always in its cooked mode: lines can be corrected, keys are echoed, and ``Ctrl-C`` and
``Ctrl-D`` are what they are to a program that reads lines.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from fumehood.testing._changes import Changes
from fumehood.testing._input import Input

_INTERRUPT, _END, _DELETE = 0x03, 0x04, 0x7F
_TAB, _NEWLINE, _RETURN, _SPACE = 0x09, 0x0A, 0x0D, 0x20
_LONGEST_LINE = 4095
_MOST_WAITING = 4096


class Terminal(Input):
    """What is typed and not yet read, as the input of a script, and the size.

    Args:
        size: rows and columns.
        show: takes what the terminal shows.
        interrupt: called at each Ctrl-C.
    """

    def __init__(
        self,
        size: tuple[int, int],
        show: Callable[[bytes], Awaitable[None]],
        interrupt: Callable[[], None],
    ) -> None:
        super().__init__(ended=False)
        self.size = size
        self._told = size
        self._show = show
        self._showing = asyncio.Lock()
        self._interrupt = interrupt
        self._line = bytearray()
        # What can be read: lines, and an empty one for each end of file that was typed.
        self._lines: deque[bytes] = deque()
        self._hung_up = False
        self._news = Changes()

    # --- for the script ---

    async def read(self) -> bytes:
        """Return the next line; ``b""`` for an end of file, and once it has been hung up."""
        while not self._lines and not self._hung_up:
            await self._news.wait()
        line = self._lines.popleft() if self._lines else b""
        self._news.tell()
        return line

    async def read_line(self) -> bytes:
        """Return the next line, which is all that is ever read."""
        return await self.read()

    async def shown(self, data: bytes) -> None:
        """Show what the script writes."""
        await self._put(data.replace(b"\n", b"\r\n"))

    async def resized(self) -> tuple[int, int]:
        """Wait for a size that is not the one last returned, at first the one it began with."""
        while self.size == self._told:
            await self._news.wait()
        self._told = self.size
        return self.size

    # --- for whoever holds it ---

    def resize(self, rows: int, columns: int) -> None:
        """Give it another size."""
        self.size = rows, columns
        self._news.tell()

    def hang_up(self) -> None:
        """Say that nobody is there any more: nothing is typed or shown from now on."""
        self._hung_up = True
        self._news.tell()

    async def type(self, data: bytes) -> None:
        """Take keys; waits while much that was typed has not been read."""
        echo = bytearray()
        for key in data:
            if sum(map(len, self._lines)) >= _MOST_WAITING:
                await self._put(bytes(echo))
                echo.clear()
                await self._room()
            echo += self._key(_NEWLINE if key == _RETURN else key)
        await self._put(bytes(echo))

    async def _room(self) -> None:
        while sum(map(len, self._lines)) >= _MOST_WAITING and not self._hung_up:
            await self._news.wait()

    def _key(self, key: int) -> bytes:
        """Take one key and return what is to be seen of it."""
        if key == _INTERRUPT:
            self._line.clear()
            self._lines.clear()
            self._interrupt()
            return b"^C"
        if key == _END:
            self._finish_line()
            return b""
        if key == _DELETE:
            return self._erase()
        if len(self._line) >= _LONGEST_LINE and key != _NEWLINE:
            return b""
        self._line.append(key)
        if key == _NEWLINE:
            self._finish_line()
            return b"\r\n"
        return bytes([key]) if key >= _SPACE or key == _TAB else bytes([ord("^"), key + 64])

    def _erase(self) -> bytes:
        """Take back the last character, all bytes of it."""
        if not self._line:
            return b""
        while self._line and self._line.pop() & 0xC0 == 0x80:
            pass
        return b"\b \b"

    def _finish_line(self) -> None:
        self._lines.append(bytes(self._line))
        self._line.clear()
        self._news.tell()

    async def _put(self, data: bytes) -> None:
        # One after the other: what the script writes and the echo must not cut each other apart.
        async with self._showing:
            if data and not self._hung_up:
                await self._show(data)
