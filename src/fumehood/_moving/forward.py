"""Reading hostile tar archives forwards: never back, and never much at once."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from typing import BinaryIO, Protocol, cast

from fumehood.errors import SnapshotFileError

MOST = 1 << 20
"""Bytes of one member's headers: :mod:`tarfile` holds them in memory, however long they say that
they are. No honest ones are so long."""
_SKIP = 1 << 18
_LOOKS_AT_THE_END = 2
"""How often an archive's end may be met. Some broken headers are looked for without end."""


class Source(Protocol):
    """What bytes come from."""

    def read(self, size: int, /) -> bytes:
        """Return up to ``size`` bytes; none at the end."""
        ...


class Pieces:
    """A source made of pieces of any length."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = memoryview(b"")

    def read(self, size: int, /) -> bytes:
        """Return up to ``size`` bytes; none at the end."""
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return b""
            self._rest = memoryview(piece)
        taken, self._rest = self._rest[:size], self._rest[size:]
        return bytes(taken)


class Forward:
    """As much of a file as :mod:`tarfile` needs to read an archive, over any source.

    Seeking back is refused, and so is a header that does not end: there is a limit on what may be
    read between two calls of :meth:`begin_header`.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._at = 0
        self._left = MOST
        self._ends = 0

    def begin_header(self) -> None:
        """Allow another header to be read."""
        self._left = MOST

    def tell(self) -> int:
        """Return how many bytes have been read."""
        return self._at

    def read(self, size: int) -> bytes:
        """Return ``size`` bytes of a header, fewer at the end alone."""
        self._left -= size
        if size < 0 or self._left < 0:
            raise SnapshotFileError("a header without an end")
        found = self.take(size)
        self._ends += not found
        if self._ends > _LOOKS_AT_THE_END:
            raise SnapshotFileError("it ends in the middle")
        return found

    def take(self, size: int) -> bytes:
        """Return ``size`` bytes of a member's content, fewer at the end alone."""
        result = bytearray()
        while len(result) < size:
            piece = self._source.read(size - len(result))
            if not piece:
                break
            result += piece
        self._at += len(result)
        return bytes(result)

    def seek(self, to: int) -> int:
        """Skip what lies before ``to``."""
        if to < self._at:
            raise SnapshotFileError("an archive that does not go forwards")
        while self._at < to:
            if not self.take(min(_SKIP, to - self._at)):
                raise SnapshotFileError("it ends in the middle")
        return self._at


def members(source: Forward) -> Iterator[tarfile.TarInfo]:
    """Yield the members of an uncompressed archive, each before its content is read.

    Raises:
        SnapshotFileError: it is no such archive.
    """
    try:
        source.begin_header()
        archive = tarfile.open(  # noqa: SIM115 - there is nothing in it to be closed
            fileobj=cast("BinaryIO", source), mode="r:", errors="surrogateescape"
        )
        while (member := archive.next()) is not None:
            # It would keep every one of them, however many there are.
            archive.members = []  # type: ignore[attr-defined]  # it is documented, and not in typeshed
            if archive.pax_headers:
                raise SnapshotFileError("headers for more than one member")
            yield member
            source.begin_header()
    except (tarfile.TarError, ValueError, OverflowError, RecursionError) as exc:
        raise SnapshotFileError(f"not an archive: {exc}") from exc


def content(source: Forward, size: int) -> Iterator[bytes]:
    """Yield the content of the member that was just met, in pieces."""
    left = size
    while left:
        piece = source.take(min(_SKIP, left))
        if not piece:
            raise SnapshotFileError("it ends in the middle")
        left -= len(piece)
        yield piece
