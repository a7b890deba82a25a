"""What a session in memory does with uploads and downloads of trees."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field

from fumehood._wire.packed import (
    CHECKED,
    END_RECORD,
    FAILED,
    FileEnd,
    PackedReader,
    Record,
    file_end,
    piece_header,
)
from fumehood._wire.table import ErrorCode, Field, FileCode, Frame, Operation
from fumehood.testing._talk import Place, Serve, Talk, number, path_of
from fumehood.testing.files import Directory, File, Node, RefusedError

_PIECE = 1 << 16


class TreeOperations:
    """Those on trees.

    Args:
        place: the session's.
    """

    def __init__(self, place: Place) -> None:
        self._files = place.files
        self.table: dict[Operation, Serve] = {
            Operation.PUT_TREE: self._put,
            Operation.GET_TREE: self._get,
            Operation.SCAN_TREE: self._scan,
        }

    async def _scan(self, talk: Talk) -> None:
        found = list(self._files.walk(path_of(self._files, talk)))
        if len(found) > number(talk, Field.LIMIT):
            raise RefusedError(ErrorCode.TOO_MANY_ENTRIES)
        entries = [_entry(_raw(name), node) for name, node in found]
        await talk.output(Frame.STDOUT, b"".join(entry.encode() for entry in entries))
        talk.finish(Frame.DONE, {Field.ENTRIES: len(found)})

    async def _get(self, talk: Talk) -> None:
        base = path_of(self._files, talk)
        self._files.directory(base)
        for event in PackedReader(content=False).feed(await _records(talk)):
            assert isinstance(event, Record)
            if event.type == FileCode.FILE:
                await talk.output(Frame.STDOUT, self._file(base, event))
            else:
                await talk.output(Frame.STDOUT, event.encode())
        talk.finish(Frame.DONE, {})

    def _file(self, base: str, asked: Record) -> bytes:
        """Return a file's record with its content, or a failed one."""
        try:
            node = self._files.file(f"{base}/{_name(asked)}")
        except RefusedError as refusal:
            return _failed(asked, refusal, flags=0)
        checked = asked.flags & CHECKED
        out = bytearray(_entry(asked.path, node)._replace(flags=checked).encode())
        for at in range(0, len(node.data), _PIECE):
            piece = node.data[at : at + _PIECE]
            out += piece_header(len(piece)) + piece
        return bytes(out + file_end(zlib.crc32(node.data) if checked else 0))

    async def _put(self, talk: Talk) -> None:
        base = path_of(self._files, talk)
        data = await _records(talk)
        self._files.make_directory(base)
        put = _Put(number(talk, Field.LIMIT))
        for event in PackedReader(content=True).feed(data):
            try:
                self._take(put, base, event)
            except RefusedError as refusal:
                assert put.record is not None
                put.failures.append(_failed(put.record, refusal, flags=put.record.type))
        await talk.output(Frame.STDOUT, b"".join(put.failures))
        talk.finish(Frame.DONE, {Field.SIZE: put.size, Field.ENTRIES: put.entries})

    def _take(self, put: _Put, base: str, event: Record | FileEnd | bytes | memoryview) -> None:
        if isinstance(event, Record):
            put.record = event
            put.content.clear()
            if event.type == FileCode.DIRECTORY:
                self._directory(f"{base}/{_name(event)}", event)
                put.entries += 1
            elif event.type != FileCode.FILE:
                # There are no links in memory, and nothing else comes.
                raise RefusedError(ErrorCode.UNSUPPORTED)
        elif not isinstance(event, FileEnd):
            put.content += event
        elif event.error is None:
            assert put.record is not None
            self._place(put, f"{base}/{_name(put.record)}", put.record, event.checksum)

    def _directory(self, path: str, record: Record) -> None:
        if isinstance(self._files.find(path) if self._files.exists(path) else None, File):
            raise RefusedError(ErrorCode.EXISTS)
        if not self._files.exists(path):
            self._files.make_directory(path, record.mode)
            self._files.directory(path).modified_ns = record.modified_ns

    def _place(self, put: _Put, path: str, record: Record, checksum: int) -> None:
        data = bytes(put.content)
        if len(data) > put.limit:
            raise RefusedError(ErrorCode.TOO_LARGE)
        if record.flags & CHECKED and checksum != zlib.crc32(data):
            raise RefusedError(ErrorCode.IO)
        self._files.place(path, File(data, record.mode, record.modified_ns))
        put.size += len(data)
        put.entries += 1


@dataclass(slots=True)
class _Put:
    """One upload as it comes."""

    limit: int
    record: Record | None = None
    content: bytearray = field(default_factory=bytearray)
    failures: list[bytes] = field(default_factory=list[bytes])
    size: int = 0
    entries: int = 0


async def _records(talk: Talk) -> bytes:
    """Return what has been sent, without what says that it is all.

    Raises:
        RefusedError: its sender gave up.
    """
    data = await talk.whole_input()
    if not data.endswith(END_RECORD):
        raise RefusedError(ErrorCode.CANCELLED)
    return data[: -len(END_RECORD)]


def _raw(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def _name(record: Record) -> str:
    return record.path.decode("utf-8", "surrogateescape")


def _entry(path: bytes, node: Node) -> Record:
    if isinstance(node, Directory):
        return Record(FileCode.DIRECTORY, 0, node.mode, node.modified_ns, 0, path)
    return Record(FileCode.FILE, 0, node.mode, node.modified_ns, len(node.data), path)


def _failed(record: Record, refusal: RefusedError, *, flags: int) -> bytes:
    return Record(FAILED, flags, int(refusal.code), 0, refusal.number, record.path).encode()
