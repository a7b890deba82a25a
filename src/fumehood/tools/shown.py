"""Output of any size as text of a bounded size: its beginning and its end are kept."""

from __future__ import annotations

from collections import deque

from fumehood.tools.results import Shown


class HeadTail:
    """Keeps the first and the last part of a stream in memory that its caps bound.

    Args:
        max_bytes: of the text that is shown, the note about what is missing not counted.
        max_lines: the same in lines.
    """

    def __init__(self, max_bytes: int, max_lines: int) -> None:
        self._bytes, self._lines = max_bytes, max_lines
        self._head = bytearray()
        self._head_limit = max_bytes // 2
        self._tail: deque[bytes] = deque()
        self._tail_size = 0
        self._middle_lines = 0
        self.total: int = 0

    def feed(self, data: bytes) -> None:
        """Take the next piece."""
        self.total += len(data)
        room = self._head_limit - len(self._head)
        if room > 0:
            self._head += data[:room]
            data = data[room:]
        if not data:
            return
        self._tail.append(data)
        self._tail_size += len(data)
        most = self._bytes - self._head_limit
        while self._tail_size - len(self._tail[0]) >= most:
            gone = self._tail.popleft()
            self._tail_size -= len(gone)
            self._middle_lines += gone.count(b"\n")

    def shown(self, *, dropped: int = 0) -> Shown:
        """Return what is to be shown.

        Args:
            dropped: bytes behind all that was fed, of which nothing is known.
        """
        tail = b"".join(self._tail)
        most = self._bytes - self._head_limit
        gone = tail[: max(0, len(tail) - most)]
        tail = tail[len(gone) :]
        missing_lines = self._middle_lines + gone.count(b"\n")
        missing = self.total - len(self._head) - len(tail)
        head = bytes(self._head)
        if not missing:
            head, tail = head + tail, b""
        if missing or (head.count(b"\n") + 1) > self._lines:
            head, tail, extra, lines = _cut_lines(head, tail, self._lines)
            missing, missing_lines = missing + extra, missing_lines + lines
        if not missing:
            text = head.decode("utf-8", "replace")
        else:
            note = f"[… {missing} bytes, {missing_lines} lines left out …]"
            text = f"{_cut_end(head)}\n{note}\n{_cut_start(tail)}"
        if dropped:
            text = text.removesuffix("\n")
            text += f"\n[… {dropped} bytes more were written and not kept …]"
        return Shown(
            text=text,
            bytes=self.total + dropped,
            left_out_bytes=missing + dropped,
            left_out_lines=missing_lines,
        )


def _cut_lines(head: bytes, tail: bytes, most: int) -> tuple[bytes, bytes, int, int]:
    """Return beginning and end with so many lines at most, and the bytes and lines that fell."""
    if not tail:
        lines = head.splitlines(keepends=True)
        if len(lines) <= most:
            return head, tail, 0, 0
        first, last = lines[: most // 2], lines[len(lines) - (most - most // 2) :]
        middle = lines[len(first) : len(lines) - len(last)]
        return b"".join(first), b"".join(last), sum(map(len, middle)), len(middle)
    first = head.splitlines(keepends=True)
    last = tail.splitlines(keepends=True)
    gone = first[most // 2 :] + last[: max(0, len(last) - (most - most // 2))]
    kept_last = last[max(0, len(last) - (most - most // 2)) :]
    return b"".join(first[: most // 2]), b"".join(kept_last), sum(map(len, gone)), len(gone)


def whole_characters(data: bytes) -> bytes:
    """Return bytes without the beginning of a character at their end."""
    for back in range(1, min(4, len(data)) + 1):
        lead = data[-back]
        if lead < 0x80:
            break
        if lead >= 0xC0:
            size = 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
            return data[:-back] if size > back else data
    return data


def _cut_end(data: bytes) -> str:
    """Return text up to a cut, which may be in the middle of a character."""
    return whole_characters(data).decode("utf-8", "replace").removesuffix("\n")


def _cut_start(data: bytes) -> str:
    """Return text from a cut on, which may be in the middle of a character."""
    skip = 0
    while skip < min(3, len(data)) and 0x80 <= data[skip] < 0xC0:
        skip += 1
    return data[skip:].decode("utf-8", "replace")
