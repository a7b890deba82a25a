"""Somebody else's text, made fit for messages: from engines, registries, containers and ssh."""

from __future__ import annotations

MAX_DETAIL = 600


def printable(text: str, *, limit: int = MAX_DETAIL) -> str:
    """Return somebody else's text on one line, without control characters, cut to ``limit``."""
    clean = "".join(char if char.isprintable() else " " for char in text[: limit * 2])
    clean = " ".join(clean.split())
    return clean if len(clean) <= limit else f"{clean[:limit]}…"


def escaped(data: bytes) -> str:
    """Return a container's bytes as text that is safe to print: lines stay, the rest is escaped."""
    text = data.decode("utf-8", "backslashreplace")
    return "".join(
        char if char.isprintable() or char == "\n" else char.encode("unicode_escape").decode()
        for char in text
    )


class Ring:
    """The last bytes of something that may be endless."""

    __slots__ = ("_data", "_limit", "_total")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._data = bytearray()
        self._total = 0

    def add(self, data: bytes) -> None:
        """Keep the end of what was there and ``data``."""
        self._total += len(data)
        self._data += data[-self._limit :]
        if len(self._data) > self._limit:
            del self._data[: len(self._data) - self._limit]

    def text(self) -> str:
        """Return what is kept, safe to print, saying how much is not."""
        lost = self._total - len(self._data)
        shown = escaped(bytes(self._data))
        return f"[{lost} bytes before] {shown}" if lost else shown
