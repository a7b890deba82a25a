"""Some lines out of a stream of bytes, in memory that the page's own size bounds."""

from __future__ import annotations

from collections.abc import Iterator

from fumehood.results import TextPage
from fumehood.text import decode


class PageBuilder:
    """Feed it a file from its start; it says when it has enough.

    Args:
        start: the first line wanted; lines count from 1.
        max_lines: the most lines.
        max_bytes: the most bytes. A first line that is longer is cut.
    """

    def __init__(self, start: int, max_lines: int, max_bytes: int) -> None:
        self._start = start
        self._max_lines = max_lines
        self._max_bytes = max_bytes
        self._line = 1  # the line that the next byte belongs to
        self._kept = bytearray()
        self._complete = 0  # bytes of `_kept` that are whole lines
        self._lines = 0
        self._more = False
        self._cut = False

    def feed(self, chunk: bytes) -> bool:
        """Take the next bytes of the file; return whether the page needs no more of them."""
        skipped = chunk.count(b"\n")
        if self._line + skipped < self._start:
            self._line += skipped
            return False
        return any(self._take(piece) for piece in _pieces(chunk))

    def _take(self, piece: bytes) -> bool:
        """Take at most one line's bytes; return whether the page is complete."""
        whole = piece.endswith(b"\n")
        if self._line < self._start:
            self._line += whole
            return False
        if self._lines == self._max_lines:
            self._more = True
            return True
        room = self._max_bytes - len(self._kept)
        self._kept += piece[:room]
        if len(piece) > room:
            self._more = True
            self._cut = self._lines == 0
            return True
        if whole:
            self._complete = len(self._kept)
            self._lines += 1
            self._line += 1
        return False

    def result(self) -> TextPage:
        """Return the page out of what was fed; a last line may lack its newline."""
        partial = len(self._kept) > self._complete
        if self._more and not self._cut:
            # A line that does not fit wholly comes with the next page.
            data, lines = bytes(self._kept[: self._complete]), self._lines
        else:
            data, lines = bytes(self._kept), self._lines + partial
        last = self._start + lines - 1
        return TextPage(
            text=decode(data) if self._cut else data.decode("utf-8", "replace"),
            start_line=self._start,
            end_line=last,
            next_start_line=last + 1 if self._more else None,
            cut=self._cut,
        )


def _pieces(chunk: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(chunk):
        newline = chunk.find(b"\n", at)
        stop = len(chunk) if newline < 0 else newline + 1
        yield chunk[at:stop]
        at = stop
