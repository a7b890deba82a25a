"""Trees as a stream of packed records, to bytes and back. ``PROTOCOL.md`` has their form."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import Enum, auto
from typing import NamedTuple

from fumehood._wire.codec import WireViolationError
from fumehood._wire.table import MAX_PATH, ErrorCode, FileCode, Violation

END = 0x10
FAILED = 0x11
CHECKED = 1
BROKEN = (1 << 32) - 1
MAX_PIECE = 1 << 20
"""What one piece of a file's content may be; the supervisor's are smaller."""

_HEADER = struct.Struct(">BBHHHQQ")
_NUMBER = struct.Struct(">I")
_TYPES = frozenset({*(int(code) for code in FileCode), FAILED})


class Record(NamedTuple):
    """One entry of a tree. Of a failed one, ``mode`` is an ``ErrorCode`` and ``size`` an errno."""

    type: int
    flags: int
    mode: int
    modified_ns: int
    size: int
    path: bytes
    link: bytes = b""

    def encode(self) -> bytes:
        """Return its bytes."""
        kind, flags, mode, modified_ns, size, path, link = self
        header = _HEADER.pack(kind, flags, mode, len(path), len(link), modified_ns, size)
        return header + path + link


class FileEnd(NamedTuple):
    """The end of a file's content."""

    error: ErrorCode | None
    """Why it could not be read to its end."""
    checksum: int


Event = Record | FileEnd | memoryview
"""A memoryview is a piece of the content of the file whose record came last."""

END_RECORD = Record(END, 0, 0, 0, 0, b"").encode()


def piece_header(size: int) -> bytes:
    """Return what comes before ``size`` bytes of content."""
    return _NUMBER.pack(size)


def file_end(checksum: int = 0) -> bytes:
    """Return what comes behind a file's content."""
    return _NUMBER.pack(0) + _NUMBER.pack(checksum)


def file_broken(error: ErrorCode) -> bytes:
    """Return what comes behind the content of a file that cannot be finished."""
    return _NUMBER.pack(BROKEN) + _NUMBER.pack(error)


class _State(Enum):
    RECORD = auto()
    LENGTH = auto()
    PIECE = auto()
    CHECKSUM = auto()
    ERROR = auto()


class PackedReader:
    """Cut the output of ``scan_tree``, ``put_tree`` and ``get_tree`` into records and content.

    At most one record's header and names are kept between two calls; content is passed on as it
    comes.

    Args:
        content: whether a file's record is followed by its content.
    """

    __slots__ = ("_content", "_left", "_pending", "_state")

    def __init__(self, *, content: bool) -> None:
        self._content = content
        self._pending = b""
        self._state = _State.RECORD
        self._left = 0

    def feed(self, data: bytes) -> Iterator[Event]:
        """Yield what is complete with ``data``; views of it are good for as long as it is.

        Raises:
            WireViolationError: bytes that may not be there.
        """
        if self._pending:
            data = self._pending + data
            self._pending = b""
        at, end = 0, len(data)
        while True:
            if self._state is _State.RECORD:
                record = _record(data, at)
                if record is None:
                    break
                at += _HEADER.size + len(record.path) + len(record.link)
                if record.type == FileCode.FILE and self._content:
                    self._state = _State.LENGTH
                yield record
            elif self._state is _State.PIECE:
                if at == end:
                    break
                stop = min(end, at + self._left)
                self._left -= stop - at
                if not self._left:
                    self._state = _State.LENGTH
                yield memoryview(data)[at:stop]
                at = stop
            else:
                if end - at < _NUMBER.size:
                    break
                (number,) = _NUMBER.unpack_from(data, at)
                at += _NUMBER.size
                yield from self._number(number)
        self._pending = bytes(data[at:])

    def _number(self, number: int) -> Iterator[FileEnd]:
        if self._state is not _State.LENGTH:
            broken = self._state is _State.ERROR
            self._state = _State.RECORD
            yield FileEnd(error_code(number), 0) if broken else FileEnd(None, number)
        elif number == 0:
            self._state = _State.CHECKSUM
        elif number == BROKEN:
            self._state = _State.ERROR
        elif number > MAX_PIECE:
            raise WireViolationError(Violation.TOO_LONG, f"a piece of {number} bytes")
        else:
            self._left = number
            self._state = _State.PIECE

    def finish(self) -> None:
        """Note the end of the output.

        Raises:
            WireViolationError: it ended inside a record or a file.
        """
        if self._pending or self._state is not _State.RECORD:
            raise WireViolationError(Violation.TOO_SHORT, "the output ends inside a record")


def _record(data: bytes, at: int) -> Record | None:
    """Return the record that begins there, or None where a part of it is missing."""
    names = at + _HEADER.size
    if len(data) < names:
        return None
    kind, flags, mode, path, link, modified_ns, size = _HEADER.unpack_from(data, at)
    if path > MAX_PATH or link > MAX_PATH:
        raise WireViolationError(Violation.TOO_LONG, f"a name of {max(path, link)} bytes")
    if kind not in _TYPES:
        raise WireViolationError(Violation.BAD_VALUE, f"a record of type {kind}")
    middle = names + path
    end = middle + link
    if len(data) < end:
        return None
    return Record(kind, flags, mode, modified_ns, size, data[names:middle], data[middle:end])


def error_code(number: int) -> ErrorCode:
    """Return a code that came in a record.

    Raises:
        WireViolationError: there is no such code.
    """
    try:
        return ErrorCode(number)
    except ValueError:
        raise WireViolationError(Violation.BAD_VALUE, f"a record's error {number}") from None
