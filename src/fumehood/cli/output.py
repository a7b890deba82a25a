"""What reaches the terminal: messages, tables, a command's output. All of it is escaped.

Whatever comes from a container, an image, an engine or a file's name is hostile: a terminal would
obey the control characters in it.
"""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Sequence

from fumehood import Stderr, Stdout
from fumehood.cli.threads import DaemonThread
from fumehood.text import printable

STDOUT, STDERR = 1, 2
_WIDEST = 60


def one_line(text: str) -> str:
    """Return text for a single line of a terminal: also line ends and tabs are spelled out."""
    return printable(text).replace("\n", "\\n").replace("\t", "\\t")


def note(text: str) -> None:
    """Say something about what happens, on standard error."""
    sys.stderr.write(f"fumehood: {one_line(text)}\n")
    sys.stderr.flush()


def line(text: str = "") -> None:
    """Print one line of a command's own answer, on standard output."""
    sys.stdout.write(f"{one_line(text)}\n")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print columns that are as wide as they need to be; a cell is cut at 60 characters."""
    cells = [[_cell(text) for text in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(head, *cells, strict=True)]
    for row in (head, *cells):
        padded = [text.ljust(width) for text, width in zip(row, widths, strict=True)]
        sys.stdout.write("  ".join(padded).rstrip() + "\n")


def _cell(text: str) -> str:
    shown = one_line(text) or "-"
    return shown if len(shown) <= _WIDEST else f"{shown[: _WIDEST - 1]}…"


def age(seconds: float) -> str:
    """Return a duration as a person would say it: ``12s``, ``5m``, ``3h``, ``2d``."""
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= 2 * length:
            return f"{int(seconds // length)}{unit}"
    return f"{max(0, int(seconds))}s"


def count(number: int, one: str, many: str = "") -> str:
    """Return a number with its noun: ``1 file``, ``2 files``."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def bytes_text(number: float) -> str:
    """Return a number of bytes as a person would say it: ``1.5 MiB``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} TiB"


class CommandOutput:
    """Where a command's output goes while it runs: each stream to the same one of this process.

    Args:
        raw: pass the bytes on as they are. Otherwise control characters but line ends and tabs are
            spelled out, whatever the stream is: a pipe often ends at a terminal.
    """

    def __init__(self, *, raw: bool) -> None:
        self._raw = raw
        self._thread = DaemonThread("fumehood-output")

    async def show(self, event: Stdout | Stderr) -> None:
        """Write one piece; returns when it is written, so that a slow terminal slows the command.

        Raises:
            BrokenPipeError: nobody reads any more.
        """
        data = event.data if self._raw else printable(event.text).encode("utf-8")
        if data:
            target = STDOUT if isinstance(event, Stdout) else STDERR
            await self._thread.call(write_all, target, data)


def write_all(target: int, data: bytes) -> None:
    """Write all of ``data``, waiting where the descriptor was left non-blocking by someone else."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(target, view) :]
        except BlockingIOError:
            select.select([], [target], [])
