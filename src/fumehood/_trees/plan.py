"""What of a session's tree is taken: decided record by record, before anything is asked for."""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from fumehood._trees.landing import Landing
from fumehood._trees.names import folded, link_target, name_fault
from fumehood._trees.source import Options
from fumehood._trees.tally import Tally, reason
from fumehood._wire.codec import WireViolationError
from fumehood._wire.packed import CHECKED, FAILED, PackedReader, Record, error_code
from fumehood._wire.table import FileCode, Violation
from fumehood.errors import FileTooLargeError

MAX_ENTRIES = 1_000_000
"""Of a tree: each is a file of this machine, and a container makes a million in seconds."""


def too_large(path: str) -> FileTooLargeError:
    """Return the error of a tree that holds more than its caller allows."""
    return FileTooLargeError(
        f"download: more than max_bytes would come, at {path!r}; what is whole stays",
        path=path,
        op="download",
    )


class Wanted(NamedTuple):
    """Something that has been asked for; answers come in the same order."""

    path: bytes
    parts: tuple[str, ...]
    kind: FileCode
    mode: int = 0
    link: str = ""


class Plan:
    """Reads the records of a scan and asks for what is to be copied. May block.

    Everything that is taken has an answer in the stream, so what is asked for and not yet answered
    is bounded by the stream's windows: directories and links too, which are sent back as they are.

    Args:
        options: how.
        tally: where what is left out is noted.
        existing: what the files of the target are looked up in, for ``skip_same``.
        prefix: the tree's place in it.
        folds_case: whether the target takes names that differ in case for one.
        max_bytes: what all files together may have.
    """

    def __init__(
        self,
        options: Options,
        tally: Tally,
        *,
        existing: Landing | None,
        prefix: tuple[str, ...],
        folds_case: bool,
        max_bytes: int,
    ) -> None:
        self._options = options
        self._tally = tally
        self._existing = existing
        self._prefix = prefix
        self._seen: set[str] | None = set() if folds_case else None
        self._reader = PackedReader(content=False)
        self._max_bytes = max_bytes
        self._left_out: str | None = None
        self._records = 0
        self.wanted: deque[Wanted] = deque()
        self.files = 0
        self.bytes = 0

    def feed(self, data: bytes) -> bytes:
        """Take a part of the scan; return the requests to send for it.

        Raises:
            WireViolationError: bytes or names that cannot come from a directory.
        """
        return b"".join(
            request for event in self._reader.feed(data) for request in self._take(event)
        )

    def finish(self) -> None:
        """Note the end of the scan."""
        self._reader.finish()
        self._tally.total_files, self._tally.total_bytes = self.files, self.bytes

    def _take(self, record: object) -> Iterator[bytes]:
        assert isinstance(record, Record)
        self._records += 1
        if self._records > 2 * MAX_ENTRIES:  # one for each, and one for what is wrong with it
            raise WireViolationError(Violation.BAD_VALUE, "more entries than were asked for")
        path = os.fsdecode(record.path)
        parts = tuple(path.split("/"))
        if any(part in ("", ".", "..") for part in parts) or "\0" in path:
            raise WireViolationError(Violation.BAD_VALUE, f"record: name={path[:100]!r}")
        if self._left_out is not None and path.startswith(self._left_out):
            return
        if record.type == FAILED:
            self._tally.skip(path, reason(error_code(record.mode), record.size))
            return
        kind = FileCode(record.type)
        is_directory = kind is FileCode.DIRECTORY
        if self._options.ignore.covers(parts, directory=is_directory):
            self._leave_out(path, is_directory)
            return
        if fault := self._fault(record, path, parts):
            self._tally.skip(path, fault)
            self._leave_out(path, is_directory)
            return
        if kind is FileCode.SYMLINK and self._options.symlinks == "follow":
            kind = FileCode.FILE
        elif kind is FileCode.FILE:
            if self._is_same(record, parts):
                self._tally.unchanged += 1
                return
            self.files += 1
            self.bytes += record.size
            if self.bytes > self._max_bytes:
                raise too_large(path)
        flags = CHECKED if self._options.verify else 0
        self.wanted.append(Wanted(record.path, parts, kind, record.mode, os.fsdecode(record.link)))
        yield Record(kind, flags, 0, 0, 0, record.path).encode()

    def _leave_out(self, path: str, is_directory: bool) -> None:
        """Nothing that is in it comes either; a scan goes through it before it goes on."""
        if is_directory:
            self._left_out = f"{path}/"

    def _fault(self, record: Record, path: str, parts: tuple[str, ...]) -> str | None:
        kind = FileCode(record.type)
        if fault := name_fault(parts):
            return fault
        if kind is FileCode.SYMLINK:
            if self._options.symlinks == "skip":
                return "a symbolic link"
            if link_target(parts, os.fsdecode(record.link)) is None:
                return "a symbolic link that leads out of the tree"
        elif kind not in (FileCode.FILE, FileCode.DIRECTORY):
            return f"no regular file, but {kind.name.lower()}"
        if self._seen is not None:
            same = folded(path)
            if same in self._seen:
                return "its name differs from another's only in case"
            self._seen.add(same)
        return None

    def _is_same(self, record: Record, parts: tuple[str, ...]) -> bool:
        if self._existing is None:
            return False
        there = self._existing.holds((*self._prefix, *parts))
        return (
            there is not None
            and stat.S_ISREG(there.st_mode)
            and (there.st_size, there.st_mtime_ns) == (record.size, record.modified_ns)
        )
