"""What the Python reader makes of bytes, as the text of protocol/vectors/README.md."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import cast

from fumehood._wire import codec, table
from fumehood._wire.codec import FrameReader, Side, Value, WireViolationError
from fumehood._wire.records import Entry, EntryReader
from fumehood._wire.table import Field, Frame


def dump(sender: str, pieces: Iterable[bytes]) -> list[str]:
    """Return one line for each frame or record, and the violation that ended it, if any."""
    lines: list[str] = []
    made = _records(pieces) if sender == "record" else _frames(cast("Side", sender), pieces)
    try:
        lines.extend(made)
    except WireViolationError as violation:
        lines.append(f"violation {violation.violation.name.lower()}")
    return lines


def _frames(sender: Side, pieces: Iterable[bytes]) -> Iterator[str]:
    reader = FrameReader(sender)
    for piece in pieces:
        for raw in reader.feed(piece):
            line = f"{raw.frame.name} {raw.channel}"
            if table.FRAME_PAYLOAD[raw.frame] == "fields":
                line += _fields(codec.decode_frame_fields(raw))
            elif raw.frame is Frame.CREDIT:
                line += f" credit={codec.decode_credit(raw)}"
            elif raw.payload:
                line += f" bytes={raw.payload.hex()}"
            yield line


def _records(pieces: Iterable[bytes]) -> Iterator[str]:
    reader = EntryReader()
    for piece in pieces:
        for entry in reader.feed(piece):
            yield "entry" + _fields(_entry(entry))


def _entry(entry: Entry) -> dict[Field, Value]:
    fields: dict[Field, Value] = {
        Field.UID: entry.uid,
        Field.GID: entry.gid,
        Field.MODE: entry.mode,
        Field.SIZE: entry.size,
        Field.TYPE: int(entry.type),
        Field.MODIFIED_NS: entry.modified_ns,
        Field.NAME: entry.name,
    }
    if entry.link is not None:
        fields[Field.LINK] = entry.link
    return fields


def _fields(fields: dict[Field, Value]) -> str:
    out = ""
    for field in sorted(fields):
        value = fields[field]
        for item in value if isinstance(value, list) else [value]:
            out += f" {field.name.lower()}={_value(item)}"
    return out


def _value(value: int | bytes | str) -> str:
    if isinstance(value, int):
        return str(value)
    return value.hex() if isinstance(value, bytes) else json.dumps(value, ensure_ascii=False)
