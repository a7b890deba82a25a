"""The terminal that this process runs at: handed over byte by byte, and given back as it was."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import struct
import termios
import tty
from collections.abc import Callable, Generator
from types import TracebackType
from typing import Self

from fumehood.cli import running
from fumehood.cli.output import STDOUT, write_all
from fumehood.cli.threads import DaemonThread

STDIN = 0
_PIECE = 64 << 10
_USUAL_SIZE = (24, 80)
_AS_A_PROGRAM_FINDS_IT = (
    b"\x1b[?47l"  # the usual screen, not the other one
    b"\x1b[?1l\x1b>"  # cursor keys and keypad say what is on them
    b"\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l"  # no reports of a mouse
    b"\x1b[?1004l\x1b[?2004l"  # nor of the focus, nor brackets around what is pasted
    b"\x1b[?25h\x1b[?7h\x1b[4l"  # a cursor that is seen, lines that wrap, no insertion
    b"\x1b[r\x1b[0m\x0f"  # all of the screen scrolls, plain characters
)
"""What a program that was cut off had no time to say. A terminal does not tell what it was set to:
these are what shells expect. In two steps around the cursor, since some of it moves that."""
_KEEP_CURSOR, _BACK_TO_CURSOR = b"\x1b7", b"\x1b8"


class LocalTerminal:
    """Standard input and output, which must both be terminals.

    As a context manager it passes every key on, Ctrl-C too; at the end of the block it is as it was
    before, whatever ended the block. A second signal, which ends this process at once, gives it
    back as well; only SIGKILL cannot.
    """

    def __init__(self) -> None:
        self._modes = termios.tcgetattr(STDIN)
        self._input = DaemonThread("fumehood-keys")
        self._output = DaemonThread("fumehood-screen")

    @staticmethod
    def is_there() -> bool:
        """Say whether this process has one."""
        return os.isatty(STDIN) and os.isatty(STDOUT)

    def size(self) -> tuple[int, int]:
        """Return its rows and columns; the usual ones where it does not know."""
        raw = fcntl.ioctl(STDOUT, termios.TIOCGWINSZ, bytes(8))
        rows, cols = struct.unpack("HHHH", raw)[:2]
        return (rows or _USUAL_SIZE[0], cols or _USUAL_SIZE[1])

    async def keys(self) -> bytes:
        """Return what was typed; ``b""`` when the terminal is gone."""
        try:
            return await self._input.call(os.read, STDIN, _PIECE)
        except OSError:
            return b""  # hung up

    async def show(self, data: bytes) -> None:
        """Write all of it, as fast as the terminal takes it."""
        await self._output.call(write_all, STDOUT, data)

    @contextlib.contextmanager
    def watched(self, resized: Callable[[], None]) -> Generator[None, None, None]:
        """Call ``resized`` when the window has changed, or this process goes on after a stop.

        Whoever has the terminal meanwhile, a shell that continues this process, leaves it in its
        own modes.
        """
        loop = asyncio.get_running_loop()

        def again() -> None:
            tty.setraw(STDIN, termios.TCSANOW)
            resized()

        loop.add_signal_handler(signal.SIGWINCH, resized)
        loop.add_signal_handler(signal.SIGCONT, again)
        try:
            yield
        finally:
            loop.remove_signal_handler(signal.SIGWINCH)
            loop.remove_signal_handler(signal.SIGCONT)

    def __enter__(self) -> Self:
        """Pass every key on from now on, those that were typed ahead too."""
        running.before_leaving.append(self._give_back)
        tty.setraw(STDIN, termios.TCSANOW)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give it back as it was."""
        running.before_leaving.remove(self._give_back)
        self._give_back()

    def _give_back(self) -> None:
        # One that is gone wants nothing back. Its modes first: what is written may have to wait.
        with contextlib.suppress(OSError, termios.error):
            termios.tcsetattr(STDIN, termios.TCSANOW, self._modes)
            os.write(STDOUT, _KEEP_CURSOR + _AS_A_PROGRAM_FINDS_IT + _BACK_TO_CURSOR)
