"""Frames and fields: the lowest layer, which knows the table and no state.

The reader takes bytes in any pieces and yields whole frames. Everything that can be wrong with a
frame by itself is found here; what is wrong only in its context is found by the connection.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal, NamedTuple

from fumehood._wire import table
from fumehood._wire.table import Field, Frame, Operation, Violation
from fumehood.errors import LocalProtocolError, ProtocolError

Side = Literal["client", "supervisor"]
Value = int | bytes | str | list[bytes] | list[str]

_HEADER = struct.Struct(">II")  # type and length share the first word: u8 | u24
_UINT = struct.Struct(">Q")
_UINT_FIELD = struct.Struct(">IQ")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_MAX_UINT = (1 << 64) - 1
_EXTENSION = 0x80
_CHANNELS = 1 << 32

_FLAGS = frozenset(field for field, kind in table.FIELD_KIND.items() if kind == "flag")
_TEXTS = frozenset(field for field, kind in table.FIELD_KIND.items() if kind == "text")
_UINTS = frozenset(field for field, kind in table.FIELD_KIND.items() if kind in ("uint", "flag"))
_FIELDS: tuple[Field | None, ...] = tuple(
    Field(tag) if tag in Field._value2member_map_ else None for tag in range(256)
)


class WireViolationError(ProtocolError):
    """Bytes that break the rules; ``violation`` names which, as the C reader does."""

    def __init__(self, violation: Violation, detail: str) -> None:
        super().__init__(f"the supervisor's bytes break the wire's rules: {detail}")
        self.violation = violation
        self.detail = detail


class RawFrame(NamedTuple):
    """One frame; a CONFIGURE or OPEN that came in parts is one, with its whole body."""

    frame: Frame
    channel: int
    payload: bytes


class _Rule(NamedTuple):
    frame: Frame
    senders: frozenset[str]
    channel: str
    least: int
    most: int


def _rule(code: int) -> _Rule | None:
    if code not in Frame._value2member_map_:
        return None
    frame = Frame(code)
    sender = table.FRAME_FROM[frame]
    senders = frozenset(("client", "supervisor") if sender == "both" else (sender,))
    least, most = table.FRAME_LENGTH[frame]
    return _Rule(frame, senders, table.FRAME_CHANNEL[frame], least, most)


_RULES: tuple[_Rule | None, ...] = tuple(_rule(code) for code in range(256))


class FrameReader:
    """Cut a stream into frames; at most one frame, or one body that comes in parts, is kept.

    Args:
        sender: who writes the stream that is read.
    """

    __slots__ = (
        "_body",
        "_body_channel",
        "_body_length",
        "_channel",
        "_head",
        "_left",
        "_payload",
        "_rule",
        "_sender",
        "_violated",
    )

    def __init__(self, sender: Side) -> None:
        self._sender = sender
        self._head = b""  # of a header that has not fully arrived
        self._rule: _Rule | None = None  # of the frame whose payload has not
        self._channel = 0
        self._left = 0
        self._payload = bytearray()
        self._body: list[bytes] = []
        self._body_length = 0
        self._body_channel = 0
        self._violated = False

    @property
    def pending(self) -> int:
        """Bytes of a frame, or of a body in parts, that has not fully arrived."""
        return len(self._head) + len(self._payload) + self._body_length

    def feed(self, data: bytes | memoryview) -> Iterator[RawFrame]:
        """Yield the frames that are complete with ``data``; nothing of it is kept uncopied.

        Raises:
            WireViolationError: a frame that may not be; the reader is not usable after it.
        """
        if self._violated:
            raise LocalProtocolError("the reader has seen a violation and cannot go on")
        at, end = 0, len(data)
        while at < end or self._rule is not None:
            if self._rule is None:
                at = self._take_header(data, at, end)
                if self._rule is None:
                    return
            stop = at + self._left
            if stop > end:
                self._payload += memoryview(data)[at:]
                self._left = stop - end
                return
            if self._payload:
                self._payload += memoryview(data)[at:stop]
                payload = bytes(self._payload)
                self._payload.clear()
            else:
                payload = bytes(data[at:stop])
            at = stop
            frame, self._rule = self._rule.frame, None
            raw = self._whole(RawFrame(frame, self._channel, payload))
            if raw is not None:
                yield raw

    def _take_header(self, data: bytes | memoryview, at: int, end: int) -> int:
        """Read a header and check it before any of its payload is kept; return where it ends."""
        if not self._head and end - at >= table.HEADER_BYTES:
            word, self._channel = _HEADER.unpack_from(data, at)
            at += table.HEADER_BYTES
        else:
            stop = min(at + table.HEADER_BYTES - len(self._head), end)
            self._head += data[at:stop]
            at = stop
            if len(self._head) < table.HEADER_BYTES:
                return at
            word, self._channel = _HEADER.unpack(self._head)
            self._head = b""
        self._left = word & 0xFFFFFF
        self._rule = self._check(word >> 24, self._left, self._channel)
        return at

    def _check(self, code: int, length: int, channel: int) -> _Rule:
        rule = _RULES[code]
        if rule is None:
            raise self._violation(Violation.BAD_FRAME, f"frame type {code:#04x} is not known")
        name = rule.frame.name
        if self._sender not in rule.senders:
            raise self._violation(
                Violation.BAD_DIRECTION, f"{name} is not a {self._sender}'s to send"
            )
        if (rule.channel == "zero") != (channel == 0) and rule.channel != "any":
            raise self._violation(Violation.BAD_CHANNEL, f"{name} on channel {channel}")
        if length > rule.most:
            raise self._violation(Violation.TOO_LONG, f"{name} of {length} bytes")
        if length < rule.least:
            raise self._violation(Violation.TOO_SHORT, f"{name} of {length} bytes")
        if self._body:
            last = Frame.CONFIGURE if self._body_channel == 0 else Frame.OPEN
            if channel != self._body_channel or rule.frame not in (Frame.PART, last):
                raise self._violation(
                    Violation.BAD_STATE, f"{name} on channel {channel} inside a body in parts"
                )
            if self._body_length + length > table.MAX_BODY:
                raise self._violation(
                    Violation.BODY_TOO_LONG, f"a body of {self._body_length + length} bytes"
                )
        return rule

    def _whole(self, raw: RawFrame) -> RawFrame | None:
        """Put a body together; check what the payload alone can show."""
        if raw.frame is Frame.PART:
            self._body.append(raw.payload)
            self._body_length += len(raw.payload)
            self._body_channel = raw.channel
            return None
        if self._body:
            body = b"".join((*self._body, raw.payload))
            self._body.clear()
            self._body_length = 0
            return RawFrame(raw.frame, raw.channel, body)
        if raw.frame is Frame.CREDIT and not any(raw.payload):
            raise self._violation(Violation.BAD_CREDIT, "CREDIT of nothing")
        return raw

    def _violation(self, violation: Violation, detail: str) -> WireViolationError:
        self._violated = True
        self._rule = None
        self._payload.clear()
        self._body.clear()
        self._body_length = 0
        return WireViolationError(violation, detail)


def encode_header(frame: Frame, channel: int, length: int) -> bytes:
    """Return what comes before a payload. Too large a one is a bug of the caller's."""
    least, most = table.FRAME_LENGTH[frame]
    if not least <= length <= most or not 0 <= channel < _CHANNELS:
        raise LocalProtocolError(f"{frame.name} of {length} bytes on channel {channel}")
    return _HEADER.pack(frame << 24 | length, channel)


def encode_frame(frame: Frame, channel: int, payload: bytes = b"") -> bytes:
    """Return one frame. Too large a payload is a bug of the caller's."""
    return encode_header(frame, channel, len(payload)) + payload


def encode_body(frame: Frame, channel: int, body: bytes) -> bytes:
    """Return a CONFIGURE or OPEN, in parts where it does not fit one frame."""
    if len(body) <= table.MAX_PAYLOAD:
        return encode_frame(frame, channel, body)
    if len(body) > table.MAX_BODY:
        raise LocalProtocolError(f"{frame.name} of {len(body)} bytes")
    step = table.MAX_PAYLOAD
    cuts = range(0, len(body), step)
    return b"".join(
        encode_frame(
            Frame.PART if start + step < len(body) else frame, channel, body[start : start + step]
        )
        for start in cuts
    )


def encode_fields(values: Mapping[Field, int | bytes | str | Iterable[bytes | str]]) -> bytes:
    """Return fields in the order of their tags; lists only for repeated ones."""
    out: list[bytes] = []
    for field in sorted(values):
        value = values[field]
        if isinstance(value, int):
            if not 0 <= value <= _MAX_UINT:
                raise LocalProtocolError(f"{field.name.lower()} of {value}")
            out.append(_UINT_FIELD.pack(field << 24 | 8, value))
            continue
        items: Iterable[bytes | str] = (value,) if isinstance(value, (bytes, str)) else value
        for item in items:
            raw = item.encode() if isinstance(item, str) else item
            if len(raw) > 0xFFFFFF:
                raise LocalProtocolError(f"{field.name.lower()} of {len(raw)} bytes")
            out.append((field << 24 | len(raw)).to_bytes(4, "big") + raw)
    return b"".join(out)


def decode_fields(
    payload: bytes,
    required: frozenset[Field],
    optional: frozenset[Field],
    what: str,
    frame: Frame | None = None,
) -> dict[Field, Value]:
    """Return the fields of a payload, checked against what may and must be there.

    Args:
        payload: the bytes.
        required: the fields that must be there.
        optional: those that may.
        what: for messages.
        frame: whose payload it is; None for a record.

    Raises:
        WireViolationError: the first thing found wrong, from the front.
    """
    values: dict[Field, Value] = {}
    at, end, last = 0, len(payload), 0
    while at < end:
        if end - at < 4:
            raise WireViolationError(Violation.FIELD_LENGTH, f"{what}: a field header is cut")
        word = int.from_bytes(payload[at : at + 4], "big")
        tag, length = word >> 24, word & 0xFFFFFF
        at += 4
        if length > end - at:
            raise WireViolationError(Violation.FIELD_LENGTH, f"{what}: a field runs past the end")
        if tag < last:
            raise WireViolationError(
                Violation.FIELD_ORDER, f"{what}: tag {tag:#04x} is out of order"
            )
        last = tag
        raw = payload[at : at + length]
        at += length
        field = _FIELDS[tag]
        if tag >= _EXTENSION:
            continue
        if field is None or (field not in required and field not in optional):
            raise WireViolationError(Violation.BAD_FIELD, f"{what}: tag {tag:#04x} does not belong")
        value = _value(field, raw, what)
        if field in table.REPEATED:
            values.setdefault(field, []).append(value)  # type: ignore[union-attr, arg-type]
        elif field in values:
            raise WireViolationError(
                Violation.FIELD_REPEATED, f"{what}: {field.name.lower()} comes twice"
            )
        else:
            values[field] = value
    missing = required - values.keys()
    if missing:
        raise WireViolationError(
            Violation.FIELD_MISSING, f"{what}: {min(missing).name.lower()} is missing"
        )
    _check_codes(values, what, frame)
    return values


def _check_codes(values: Mapping[Field, Value], what: str, frame: Frame | None) -> None:
    for field, value in values.items():
        codes = table.FIELD_VALUES.get(field)
        if codes is None and frame is not None:
            codes = table.FRAME_VALUES.get((frame, field))
        if codes is not None and value not in codes:
            raise WireViolationError(Violation.BAD_VALUE, f"{what}: {field.name.lower()}={value!r}")


def _value(field: Field, raw: bytes, what: str) -> int | bytes | str:
    if field in _UINTS:
        if len(raw) != 8:
            raise WireViolationError(
                Violation.FIELD_LENGTH, f"{what}: {field.name.lower()} of {len(raw)} bytes"
            )
        number: int = _UINT.unpack(raw)[0]
        if field in _FLAGS and number > 1:
            raise WireViolationError(Violation.BAD_VALUE, f"{what}: {field.name.lower()}={number}")
        return number
    if field not in _TEXTS:
        return raw
    if len(raw) > table.MAX_TEXT:
        raise WireViolationError(Violation.BAD_TEXT, f"{what}: {field.name.lower()} is too long")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise WireViolationError(
            Violation.BAD_TEXT, f"{what}: {field.name.lower()} is not UTF-8"
        ) from exc
    if _CONTROL.search(text):
        raise WireViolationError(
            Violation.BAD_TEXT, f"{what}: {field.name.lower()} holds control characters"
        )
    return text


class _Layout:
    """A body that holds what is required and no more: numbers, none of them a flag.

    It is read at once; one that is anything else, be it right or wrong, is for
    :func:`decode_fields`. The answer to every command is such a body.
    """

    __slots__ = ("_codes", "_fields", "_headers", "_struct")

    def __init__(self, frame: Frame) -> None:
        self._fields = sorted(table.FRAME_REQUIRED[frame])
        self._headers = tuple(field << 24 | 8 for field in self._fields)
        self._struct = struct.Struct(">" + "IQ" * len(self._fields))
        codes = (
            (field, table.FIELD_VALUES.get(field, table.FRAME_VALUES.get((frame, field))))
            for field in self._fields
        )
        self._codes = tuple((field, legal) for field, legal in codes if legal is not None)

    def read(self, payload: bytes) -> dict[Field, Value] | None:
        """Return the fields, or None if the body is not a right one of this layout."""
        if len(payload) != self._struct.size:
            return None
        words = self._struct.unpack(payload)
        if words[::2] != self._headers:
            return None
        values: dict[Field, Value] = dict(zip(self._fields, words[1::2], strict=True))
        for field, legal in self._codes:
            if values[field] not in legal:
                return None
        return values


_LAYOUTS: dict[Frame, _Layout] = {
    frame: _Layout(frame)
    for frame, required in table.FRAME_REQUIRED.items()
    if frame is not Frame.OPEN and required and required <= _UINTS - _FLAGS - table.REPEATED
}


def decode_frame_fields(raw: RawFrame) -> dict[Field, Value]:
    """Return the fields of a frame by its own rules; an OPEN's depend on its operation."""
    layout = _LAYOUTS.get(raw.frame)
    if layout is not None and (numbers := layout.read(raw.payload)) is not None:
        return numbers
    what = raw.frame.name
    if raw.frame is not Frame.OPEN:
        return decode_fields(
            raw.payload,
            table.FRAME_REQUIRED[raw.frame],
            table.FRAME_OPTIONAL[raw.frame],
            what,
            raw.frame,
        )
    operation = operation_of(raw.payload)
    return decode_fields(
        raw.payload,
        table.OPERATION_REQUIRED[operation] | {Field.OPERATION},
        table.OPERATION_OPTIONAL[operation],
        what,
        raw.frame,
    )


def operation_of(payload: bytes) -> Operation:
    """Return the operation of an OPEN, which says what other fields belong: it is looked for first.

    Raises:
        WireViolationError: there is none before the first field that is cut, or it is not known.
    """
    at, end = 0, len(payload)
    while end - at >= 4:
        word = int.from_bytes(payload[at : at + 4], "big")
        length = word & 0xFFFFFF
        at += 4
        if length > end - at:
            break
        if word >> 24 == Field.OPERATION and length == 8:
            code = _UINT.unpack_from(payload, at)[0]
            if code not in Operation._value2member_map_:
                raise WireViolationError(Violation.BAD_VALUE, f"OPEN: operation={code}")
            return Operation(code)
        at += length
    raise WireViolationError(Violation.FIELD_MISSING, "OPEN: operation is missing")


def decode_credit(raw: RawFrame) -> int:
    """Return the bytes of a CREDIT frame; the reader has refused 0."""
    return int.from_bytes(raw.payload, "big")
