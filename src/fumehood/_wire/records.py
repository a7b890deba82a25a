"""Records inside an operation's output: of ``list`` and ``stat``, of ``watch`` and ``search``.

Those of whole trees are packed closer: :mod:`fumehood._wire.packed`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar, cast

from fumehood._wire import codec, table
from fumehood._wire.codec import Value, WireViolationError
from fumehood._wire.table import EventCode, Field, FileCode, Violation

_HEADER = 4  # the length before a record

_Record = TypeVar("_Record")


class RecordReader(Generic[_Record]):
    """Cut output into records; nothing longer than one is kept.

    Args:
        decode: builds one from its fields' bytes.
    """

    __slots__ = ("_decode", "_needed", "_pending")

    def __init__(self, decode: Callable[[bytes], _Record]) -> None:
        self._decode = decode
        self._pending = bytearray()
        self._needed = _HEADER

    def feed(self, data: bytes) -> Iterator[_Record]:
        """Yield the records that are complete with ``data``.

        Raises:
            WireViolationError: a record that may not be.
        """
        if self._pending:
            self._pending += data
            if len(self._pending) < self._needed:
                return
            data = bytes(self._pending)
            self._pending.clear()
        at, end = 0, len(data)
        self._needed = _HEADER
        while end - at >= _HEADER:
            length = int.from_bytes(data[at : at + _HEADER], "big")
            if length > table.MAX_RECORD:
                raise WireViolationError(Violation.TOO_LONG, f"a record of {length} bytes")
            stop = at + _HEADER + length
            if stop > end:
                self._needed = _HEADER + length
                break
            yield self._decode(data[at + _HEADER : stop])
            at = stop
        self._pending += data[at:]

    def finish(self) -> None:
        """Note the end of the output.

        Raises:
            WireViolationError: it ended inside a record.
        """
        if self._pending:
            raise WireViolationError(Violation.TOO_SHORT, "the output ends inside a record")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One record in the output of ``list`` and ``stat``."""

    type: FileCode
    size: int
    mode: int
    modified_ns: int
    uid: int
    gid: int
    name: bytes
    link: bytes | None


class EntryReader(RecordReader[Entry]):
    """Cut the output of ``list`` and ``stat`` into records."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(_entry)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One record in the output of ``watch`` and ``search``.

    What is there beside ``event`` depends on it, and is None where it is not.
    """

    event: EventCode
    name: bytes | None
    target: bytes | None
    type: FileCode | None
    entries: int | None
    line: bytes | None
    size: int | None
    offset: int | None
    limit: int | None


class EventReader(RecordReader[Event]):
    """Cut the output of ``watch`` and ``search`` into records."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(_event)


def _entry(record: bytes) -> Entry:
    fields = codec.decode_fields(record, table.ENTRY_REQUIRED, table.ENTRY_OPTIONAL, "record")

    def number(field: Field) -> int:
        return cast("int", fields[field])

    return Entry(
        type=FileCode(number(Field.TYPE)),
        size=number(Field.SIZE),
        mode=number(Field.MODE),
        modified_ns=number(Field.MODIFIED_NS),
        uid=number(Field.UID),
        gid=number(Field.GID),
        name=cast("bytes", fields[Field.NAME]),
        link=cast("bytes | None", fields.get(Field.LINK)),
    )


def _event(record: bytes) -> Event:
    fields = codec.decode_fields(record, table.EVENT_REQUIRED, table.EVENT_OPTIONAL, "record")

    def number(field: Field) -> int | None:
        return cast("int | None", fields.get(field))

    def raw(field: Field) -> bytes | None:
        return cast("bytes | None", fields.get(field))

    kind: Value | None = fields.get(Field.TYPE)
    return Event(
        event=EventCode(cast("int", fields[Field.EVENT])),
        name=raw(Field.NAME),
        target=raw(Field.TARGET),
        type=None if kind is None else FileCode(cast("int", kind)),
        entries=number(Field.ENTRIES),
        line=raw(Field.LINE),
        size=number(Field.SIZE),
        offset=number(Field.OFFSET),
        limit=number(Field.LIMIT),
    )
