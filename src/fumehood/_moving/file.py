"""The file that a snapshot travels in: one tar archive, written and read as a stream.

Its members, in this order:

``snapshot.json``
    what it is, and what sessions that are made of it begin with
``files/00000000`` …
    the file system of the container, itself a tar archive, cut into pieces because nobody knows its
    length before its end
``workspace/00000000`` …
    the workspace's files, likewise
``end.json``
    a digest of everything before it: a file that was cut short or damaged is never taken for whole

The digest tells damage. It is no signature: whoever can write the file can make another one.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator, Mapping
from typing import BinaryIO, cast

from fumehood._moving.forward import Forward, content, members
from fumehood.errors import SnapshotFileError

FORMAT = "fumehood-snapshot"
VERSION = 1
PARTS: tuple[str, ...] = ("files", "workspace")
PIECE = 4 << 20
"""Bytes of one piece: what is held in memory."""

_HEAD = "snapshot.json"
_END = "end.json"
_MOST_JSON = 1 << 20
_BLOCK = 512


class SnapshotWriter:
    """Writes one, from its head to its end."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self.size: int = 0
        """Bytes written until now."""
        self._pending = bytearray()
        self._part = ""
        self._number = 0

    def head(self, head: Mapping[str, object]) -> None:
        """Write what the snapshot is."""
        self._member(_HEAD, json.dumps({"format": FORMAT, "version": VERSION, **head}).encode())

    def begin(self, part: str) -> None:
        """End the part before, and begin with the pieces of the next."""
        self._rest()
        self._part, self._number = part, 0

    def add(self, data: bytes) -> None:
        """Write, or keep for the next piece, what comes next of the part."""
        self._pending += data
        while len(self._pending) >= PIECE:
            self._piece(bytes(self._pending[:PIECE]))
            del self._pending[:PIECE]

    def end(self) -> None:
        """Write what is left, and the end."""
        self._rest()
        digest = self._digest.hexdigest()
        self._member(_END, json.dumps({"sha256": digest}).encode())
        self._write(bytes(2 * _BLOCK))

    def _rest(self) -> None:
        if self._pending:
            self._piece(bytes(self._pending))
            self._pending.clear()

    def _piece(self, data: bytes) -> None:
        self._member(_piece_name(self._part, self._number), data)
        self._number += 1

    def _member(self, name: str, data: bytes) -> None:
        member = tarfile.TarInfo(name)
        member.size = len(data)
        member.mode = 0o600
        self._digest.update(_note(name, len(data)))
        self._digest.update(data)
        self._write(member.tobuf(tarfile.USTAR_FORMAT))
        self._write(data)
        self._write(bytes(-len(data) % _BLOCK))

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self.size += len(data)


class SnapshotReader:
    """Reads one, which may be anybody's: nothing is believed, and little is held.

    Call :meth:`head`, then :meth:`part` for each of :data:`PARTS`, each to its end, then
    :meth:`end`. Until that one has returned, nothing that was read counts.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._source = Forward(file)
        self._members = members(self._source)
        self._digest = hashlib.sha256()
        self._before_this = self._digest.copy()
        self._next: tarfile.TarInfo | None = None

    @property
    def position(self) -> int:
        """How many bytes of the file have been read."""
        return self._source.tell()

    def head(self) -> Mapping[str, object]:
        """Return what the snapshot is.

        Raises:
            SnapshotFileError: the file is another's, or of another version.
        """
        self._advance()
        found = self._json(_HEAD)
        if found.get("format") != FORMAT:
            raise SnapshotFileError("it is no snapshot")
        if found.get("version") != VERSION:
            raise SnapshotFileError(
                f"it is of version {found.get('version')!r}, and {VERSION} is known: "
                "another version of fumehood has written it"
            )
        return found

    def part(self, part: str) -> Iterator[bytes]:
        """Yield the bytes of one part."""
        number = 0
        while self._next is not None and self._next.name == _piece_name(part, number):
            size = self._next.size
            if size > PIECE:
                raise SnapshotFileError(f"a piece of {size} bytes")
            for piece in content(self._source, size):
                self._digest.update(piece)
                yield piece
            self._advance()
            number += 1

    def end(self) -> None:
        """Check that all of it was there, unchanged.

        Raises:
            SnapshotFileError: it was not.
        """
        expected = self._before_this.hexdigest()
        if self._json(_END).get("sha256") != expected:
            raise SnapshotFileError("it is damaged: its digest is another one")

    def _advance(self) -> None:
        member = next(self._members, None)
        if member is not None and not member.isreg():
            raise SnapshotFileError("it is no snapshot")
        self._next = member
        self._before_this = self._digest.copy()
        if member is not None:
            self._digest.update(_note(member.name, member.size))

    def _json(self, name: str) -> Mapping[str, object]:
        member = self._next
        if member is None:
            raise SnapshotFileError("it ends in the middle")
        if member.name != name:
            raise SnapshotFileError("it is no snapshot" if name == _HEAD else "it is out of order")
        if member.size > _MOST_JSON:
            raise SnapshotFileError(f"{name} has {member.size} bytes")
        data = b"".join(content(self._source, member.size))
        self._digest.update(data)
        try:
            found: object = json.load(io.BytesIO(data))
        except (ValueError, RecursionError) as exc:
            raise SnapshotFileError(f"{name} is no JSON") from exc
        if not isinstance(found, dict):
            raise SnapshotFileError(f"{name} is no object")
        if name == _HEAD:
            self._advance()
        return cast("Mapping[str, object]", found)


def _note(name: str, size: int) -> bytes:
    """Return what a digest is told of a member: pieces that are cut elsewhere are another file."""
    return f"{name}\0{size}\0".encode("utf-8", "surrogateescape")


def _piece_name(part: str, number: int) -> str:
    return f"{part}/{number:08d}"
