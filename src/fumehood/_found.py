"""What a search's records mean: put together, and checked as hostile input."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass, field

from fumehood._wire.codec import WireViolationError
from fumehood._wire.records import Event
from fumehood._wire.table import EventCode, Violation
from fumehood.search_results import SearchMatch, SearchResult, StoppedBy

MAX_SHOWN = 4096
"""Bytes of a line that the supervisor sends."""
_STOPS: dict[int, StoppedBy] = {1: "matches", 2: "output", 3: "time"}
_COUNTS = frozenset(
    {
        EventCode.SEARCHED,
        EventCode.BINARY,
        EventCode.TOO_LARGE,
        EventCode.UNREADABLE,
        EventCode.LONG_LINES,
        EventCode.STOPPED,
    }
)
# One character for each byte that is no UTF-8, as the supervisor counts them.
_STRAY = {0xDC80 + byte: 0xFFFD for byte in range(0x80)}


def text_of(raw: bytes) -> str:
    """Return a line as text."""
    return raw.decode("utf-8", "surrogateescape").translate(_STRAY)


@dataclass(slots=True)
class _Match:
    path: str
    number: int
    line: str
    start: int
    end: int
    cut: bool
    before: list[str]
    after: list[str] = field(default_factory=list[str])


class Found:
    """The matches of one search as they come.

    Args:
        base: what paths are relative to.
        limit: how many matches were asked for.
        after: how many lines behind each.
    """

    def __init__(self, base: str, limit: int, after: int) -> None:
        self._base = base
        self._limit = limit
        self._after = after
        self._matches: list[_Match] = []
        self._counts: dict[EventCode, int] = {}
        self._waiting: list[str] = []
        self._place = ("", 0)

    def take(self, event: Event) -> None:
        """Take one record.

        Raises:
            WireViolationError: it may not be.
        """
        if event.event in _COUNTS and event.entries is not None:
            self._counts[event.event] = event.entries
            return
        name, line, number = event.name, event.line, event.entries
        if event.event not in (EventCode.MATCH, EventCode.CONTEXT) or (
            name is None or line is None or number is None
        ):
            raise WireViolationError(Violation.BAD_VALUE, f"search: a record of {event.event.name}")
        if len(line) > MAX_SHOWN or event.size is None or event.size < len(line):
            raise WireViolationError(Violation.BAD_VALUE, f"search: a line of {event.size}")
        path = self._path(name)
        follows = self._place == (path, number - 1)
        self._place = (path, number)
        if event.event is EventCode.CONTEXT:
            self._context(path, number, text_of(line), follows=follows)
            return
        self._match(event, path, number, line)

    def _path(self, name: bytes) -> str:
        text = name.decode("utf-8", "surrogateescape")
        if text == ".":
            return self._base or "."
        if any(part in ("", ".", "..") for part in text.split("/")):
            raise WireViolationError(Violation.BAD_VALUE, f"search: name={text[:100]!r}")
        return posixpath.join(self._base, text)

    def _context(self, path: str, number: int, line: str, *, follows: bool) -> None:
        last = self._matches[-1] if self._matches else None
        # Lines behind a match follow it one by one; where a line is missing, another match comes.
        if (
            last is not None
            and follows
            and not self._waiting
            and last.path == path
            and len(last.after) < self._after
            and number == last.number + len(last.after) + 1
        ):
            last.after.append(line)
        else:
            self._waiting.append(line)

    def _match(self, event: Event, path: str, number: int, line: bytes) -> None:
        start, end = event.offset, event.limit
        if start is None or end is None or not start <= end <= len(line):
            raise WireViolationError(Violation.BAD_VALUE, f"search: {start} to {end}")
        if len(self._matches) == self._limit:
            raise WireViolationError(Violation.BAD_VALUE, f"more than {self._limit} matches")
        before, self._waiting = self._waiting, []
        self._matches.append(
            _Match(
                path=path,
                number=number,
                line=text_of(line),
                start=len(text_of(line[:start])),
                end=len(text_of(line[:end])),
                cut=(event.size or 0) > len(line),
                before=before,
            )
        )

    def result(self) -> SearchResult:
        """Return what has come."""
        counts = self._counts
        return SearchResult(
            matches=tuple(
                SearchMatch(
                    path=match.path,
                    line_number=match.number,
                    line=match.line,
                    start=match.start,
                    end=match.end,
                    cut=match.cut,
                    before=tuple(match.before),
                    after=tuple(match.after),
                )
                for match in sorted(self._matches, key=lambda item: (item.path, item.number))
            ),
            stopped_by=_STOPS.get(counts.get(EventCode.STOPPED, 0)),
            files_searched=counts.get(EventCode.SEARCHED, 0),
            skipped_binary=counts.get(EventCode.BINARY, 0),
            skipped_large=counts.get(EventCode.TOO_LARGE, 0),
            skipped_unreadable=counts.get(EventCode.UNREADABLE, 0),
            long_lines=counts.get(EventCode.LONG_LINES, 0),
        )
