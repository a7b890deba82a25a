"""What a search of a session's files gives back: frozen values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

StoppedBy = Literal["matches", "output", "time"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchMatch:
    """One line that matches. A byte that is no UTF-8 is one U+FFFD in every text here."""

    path: str
    """Relative to the workspace (absolute with ``root="/"``)."""
    line_number: int
    """From 1."""
    line: str
    """Without its end; of one longer than 4096 bytes, so much of it around the match."""
    start: int
    """Where the first match in the line begins, as an index into ``line``."""
    end: int
    """Where it ends."""
    cut: bool = False
    """Whether ``line`` is only a part of the line."""
    before: tuple[str, ...] = ()
    """Lines in front of it. Each line comes once: one that is a match, or that stands behind the
    match before, is not repeated here."""
    after: tuple[str, ...] = ()
    """Lines behind it, up to the next match at most."""

    @property
    def text(self) -> str:
        """What matched."""
        return self.line[self.start : self.end]


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """What was found, and what was not looked at."""

    matches: tuple[SearchMatch, ...]
    """By path, then by line."""
    stopped_by: StoppedBy | None
    """What ended the search early: ``max_matches``, 16 MiB of output, or ``timeout``."""
    files_searched: int
    skipped_binary: int
    """Files with a NUL in their first 256 KiB."""
    skipped_large: int
    """Files of more than ``max_file_bytes``."""
    skipped_unreadable: int
    """Files and directories that the session's user may not read, or that could not be read."""
    long_lines: int
    """Lines of more than 1 MiB, which were searched up to there."""

    @property
    def truncated(self) -> bool:
        """Whether there may be more matches in what was asked for."""
        return self.stopped_by is not None
