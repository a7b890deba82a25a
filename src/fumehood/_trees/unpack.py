"""The stream of a download, put into files. Everything here blocks."""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Sequence

from fumehood._trees import local
from fumehood._trees.crew import Crew, Whole
from fumehood._trees.landing import Draft, Landing
from fumehood._trees.plan import Wanted, too_large
from fumehood._trees.source import Options
from fumehood._trees.tally import Tally, reason
from fumehood._wire.codec import WireViolationError
from fumehood._wire.packed import CHECKED, FAILED, FileEnd, PackedReader, Record, error_code
from fumehood._wire.table import ErrorCode, FileCode, Violation

_SMALL = 64 << 10
"""Bytes of a file that is held until its end has come; a larger one is written as it comes."""


class Unpacker:
    """Takes what ``get_tree`` sends and writes it where it belongs.

    Names come from what was asked for and nowhere else: an answer to anything but the next request
    breaks the session.

    Of small files nothing is written before they are whole. Those that have become so are written
    together, after everything else that was in the same part of the stream.

    Args:
        landing: where to; it stays open.
        prefix: the tree's place in it.
        wanted: what has been asked for.
        options: how.
        tally: what is counted.
        max_bytes: of all contents together.
        alone: one file is all that was asked for. Nobody has listed it: what is known of its size
            comes with it.
    """

    def __init__(
        self,
        landing: Landing,
        prefix: tuple[str, ...],
        wanted: deque[Wanted],
        options: Options,
        tally: Tally,
        max_bytes: int,
        *,
        alone: bool = False,
    ) -> None:
        self._landing = landing
        self._prefix = prefix
        self._wanted = wanted
        self._options = options
        self._tally = tally
        self._left = max_bytes
        self._alone = alone
        self._reader = PackedReader(content=True)
        self._crew = Crew(landing)
        self._whole: list[Whole] = []
        self._small: Whole | None = None
        self._draft: Draft | None = None
        self._path = ""
        self._size = 0
        self._checksum: int | None = None
        self.failed: tuple[ErrorCode, int] | None = None
        """What the supervisor said of the file that came last, if it could not be read."""

    def feed(self, pieces: Sequence[bytes]) -> None:
        """Take a part of the stream.

        Raises:
            WireViolationError: bytes that nobody asked for.
            FileTooLargeError: more than was allowed.
            OSError: the disk is full, or nothing can be written any more.
        """
        try:
            for data in pieces:
                for event in self._reader.feed(data):
                    if isinstance(event, Record):
                        self._begin(event)
                    elif isinstance(event, FileEnd):
                        self._end(event)
                    else:
                        self._write(event)
        finally:
            self._land()  # what was whole before the stream went wrong stays

    def finish(self) -> None:
        """Note the end of the stream."""
        self._reader.finish()
        if self._wanted:
            raise WireViolationError(Violation.BAD_VALUE, f"{len(self._wanted)} files did not come")

    def close(self) -> None:
        """Forget a file that is not whole; nothing more can be taken."""
        self._forget()
        self._crew.close()

    def _forget(self) -> None:
        self._small = None
        if self._draft is not None:
            self._draft.discard()
            self._draft = None

    def _begin(self, record: Record) -> None:
        if not self._wanted or self._wanted[0].path != record.path:
            raise WireViolationError(Violation.BAD_VALUE, "an answer that nobody asked for")
        wanted = self._wanted.popleft()
        self._path = "/".join(wanted.parts)
        self._size = 0
        if record.type == FAILED:
            error = error_code(record.mode)
            self.failed = (error, record.size)
            self._tally.skip(self._path, self._refusal(wanted, error, record.size))
            return
        if record.type != wanted.kind:
            raise WireViolationError(Violation.BAD_VALUE, f"a record of type {record.type}")
        try:
            self._place(wanted, record)
        except OSError as exc:
            self._skip(exc)

    def _place(self, wanted: Wanted, record: Record) -> None:
        parts = (*self._prefix, *wanted.parts)
        if wanted.kind is FileCode.DIRECTORY:
            self._landing.make_directory(parts, self._options.mode(wanted.mode))
            self._tally.directories += 1
        elif wanted.kind is FileCode.SYMLINK:
            self._landing.link(parts, wanted.link)
            self._tally.symlinks += 1
        else:
            if record.size > self._left:
                raise too_large(self._path)
            if self._alone:
                # Files that the kernel makes up have none, and something in them.
                self._tally.total_files, self._tally.total_bytes = 1, record.size or None
            self._checksum = 0 if record.flags & CHECKED else None
            mode = self._options.mode(record.mode)
            self._small = Whole(parts, mode, record.modified_ns)

    def _refusal(self, wanted: Wanted, error: ErrorCode, number: int) -> str:
        if wanted.link:
            return f"a symbolic link: {reason(error, number)}"
        return reason(error, number)

    def _write(self, data: memoryview) -> None:
        if len(data) > self._left:
            raise too_large(self._path)
        self._left -= len(data)
        self._size += len(data)
        self._tally.bytes += len(data)
        if self._checksum is not None:
            self._checksum = zlib.crc32(data, self._checksum)
        try:
            if self._draft is not None:
                self._draft.write(data)
            elif self._small is not None:
                self._small.content += data
                if len(self._small.content) > _SMALL:
                    self._grow(self._small)
        except OSError as exc:
            self._skip(exc)

    def _grow(self, small: Whole) -> None:
        """Go on with a file that is too large to be held."""
        self._draft = self._landing.start(small.parts, small.mode, small.modified_ns)
        self._draft.write(small.content)
        self._small = None

    def _end(self, end: FileEnd) -> None:
        draft, self._draft = self._draft, None
        small, self._small = self._small, None
        if draft is None and small is None:  # it was skipped for a fault of this side
            self._tally.bytes -= self._size
            return
        fault = self._fault(end)
        if small is not None and fault is None:
            self._whole.append(small)
            return
        if draft is not None:
            fault = _settle(draft, fault)
        self._count(self._path, self._size, fault)

    def _fault(self, end: FileEnd) -> str | None:
        if end.error is not None:
            return f"it could not be read to its end: {reason(end.error)}"
        if self._checksum is not None and end.checksum != self._checksum:
            return "its checksum is wrong"
        return None

    def _land(self) -> None:
        """Write what has become whole."""
        files, self._whole = self._whole, []
        self._crew.write(files)
        for file in files:
            path = "/".join(file.parts[len(self._prefix) :])
            self._count(path, len(file.content), file.fault)

    def _count(self, path: str, size: int, fault: str | None) -> None:
        if fault is None:
            self._tally.files += 1
            if self._alone:
                self._tally.total_bytes = self._tally.bytes
        else:
            self._tally.bytes -= size
            self._tally.skip(path, fault)

    def _skip(self, error: OSError) -> None:
        if local.is_fatal(error):
            raise error
        self._forget()
        self._tally.skip(self._path, local.why(error))


def _settle(draft: Draft, fault: str | None) -> str | None:
    """Put a file into its place unless something is wrong with it; return what is."""
    if fault is not None:
        draft.discard()
        return fault
    try:
        draft.keep()
    except OSError as exc:
        if local.is_fatal(exc):
            raise
        return local.why(exc)
    return None
