"""The records that ``watch`` and ``search`` answer with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from fumehood._wire import codec, table
from fumehood._wire.codec import Value
from fumehood._wire.messages import RecordReader
from fumehood._wire.table import EventCode, Field, FileCode


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One record; what is there beside ``event`` depends on it, and is None where it is not."""

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
