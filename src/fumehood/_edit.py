"""Replacing text in bytes, with the care that an edit by a program needs. Pure."""

from __future__ import annotations

from dataclasses import dataclass

_MOST_HINTS = 10
OVERLAP = "its occurrences overlap"


@dataclass(frozen=True, slots=True)
class Miss:
    """Why a text cannot be replaced."""

    found: int
    lines: tuple[int, ...]
    reason: str


def lines_of(data: bytes) -> list[bytes]:
    r"""Cut into lines, each with its ``\n``, the last one perhaps without."""
    parts = data.split(b"\n")
    lines = [part + b"\n" for part in parts[:-1]]
    return [*lines, parts[-1]] if parts[-1] else lines


def is_crlf(data: bytes) -> bool:
    """Whether there are lines, and all of them end with CRLF."""
    ends = data.count(b"\n")
    return ends > 0 and data.count(b"\r\n") == ends


def lines_like(lines: list[bytes], wanted: list[bytes]) -> tuple[int, ...]:
    """Return the lines (from 1) at which something stands that differs in white space only.

    Where there is none: those that are like the first line that says something.
    """
    bare = [b"".join(line.split()) for line in lines]
    block = [b"".join(line.split()) for line in wanted]
    first = next((index for index, line in enumerate(block) if line), None)
    if first is None:
        return ()
    starts = [at for at, line in enumerate(bare) if line == block[first]]
    whole = [
        at - first + 1
        for at in starts
        if at >= first and bare[at - first : at - first + len(block)] == block
    ]
    return tuple((whole or [at + 1 for at in starts])[:_MOST_HINTS])


def replace_text(
    data: bytes, old: bytes, new: bytes, count: int | None
) -> tuple[bytes, int] | Miss:
    """Return the new content and how often it was replaced, or why it cannot be.

    Args:
        data: the file.
        old: what is replaced; not empty.
        new: what takes its place.
        count: how often ``old`` must be there; None: once or more often.
    """
    if is_crlf(data) and b"\r" not in old + new:
        old, new = old.replace(b"\n", b"\r\n"), new.replace(b"\n", b"\r\n")
    found = data.count(old)
    places = _places(data, old, found)
    if found == 0:
        like = lines_like(lines_of(data), lines_of(old))
        return Miss(0, like, "it is not there")
    if places > found:
        return Miss(found, _line_numbers(data, old), OVERLAP)
    if count is not None and found != count:
        return Miss(found, _line_numbers(data, old), f"it is there {found} times, not {count}")
    return data.replace(old, new), found


def _places(data: bytes, old: bytes, found: int) -> int:
    """How often it is there when occurrences may overlap; more than ``found`` is enough to know."""
    places, at = 0, data.find(old)
    while at >= 0 and places <= found:
        places += 1
        at = data.find(old, at + 1)
    return places


def _line_numbers(data: bytes, old: bytes) -> tuple[int, ...]:
    numbers: list[int] = []
    at = data.find(old)
    while at >= 0 and len(numbers) < _MOST_HINTS:
        numbers.append(data.count(b"\n", 0, at) + 1)
        at = data.find(old, at + 1)
    return tuple(numbers)
