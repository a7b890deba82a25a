"""Frames as hypothesis draws them: legal ones by the table, and ones that are nearly legal."""

from __future__ import annotations

from hypothesis import strategies as st

from fumehood._wire import codec, table
from fumehood._wire.codec import Side
from fumehood._wire.table import Field, Frame, Operation

UINTS = st.one_of(
    st.integers(0, 8), st.integers(0, 300), st.integers(0, 2**64 - 1), st.just(2**64 - 1)
)
_CONTROLS = [chr(code) for code in (*range(32), *range(127, 160))]
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters=_CONTROLS), max_size=20)
BYTES = st.binary(max_size=20)


def values(field: Field) -> st.SearchStrategy[int | str | bytes]:
    kind = table.FIELD_KIND[field]
    if kind == "flag":
        return st.integers(0, 1)
    if field in table.FIELD_VALUES:
        return st.sampled_from(sorted(table.FIELD_VALUES[field]))
    if kind == "uint":
        return UINTS
    return TEXTS if kind == "text" else BYTES


def encoded(field: Field, value: int | str | bytes) -> bytes:
    return codec.encode_fields({field: value})


@st.composite
def legal_fields(draw: st.DrawFn, frame: Frame) -> bytes:
    """A payload that has all required fields and some of the others, extensions included."""
    required, optional = set(table.FRAME_REQUIRED[frame]), set(table.FRAME_OPTIONAL[frame])
    chosen: dict[Field, int | str | bytes] = {}
    if frame is Frame.OPEN:
        operation = draw(st.sampled_from(Operation))
        required |= table.OPERATION_REQUIRED[operation]
        optional |= table.OPERATION_OPTIONAL[operation]
        chosen[Field.OPERATION] = int(operation)
    fields = required | {field for field in sorted(optional) if draw(st.booleans())}
    out = b""
    for field in sorted(fields):
        codes = table.FRAME_VALUES.get((frame, field))
        strategy = st.sampled_from(sorted(codes)) if codes else values(field)
        times = draw(st.integers(1, 3)) if field in table.REPEATED else 1
        for _ in range(times):
            out += encoded(field, chosen.get(field) or draw(strategy))
    if draw(st.booleans()):
        tag = draw(st.integers(0x80, 0xFF))
        body = draw(BYTES)
        out += (tag << 24 | len(body)).to_bytes(4, "big") + body
    return out


@st.composite
def legal_frame(draw: st.DrawFn, sender: Side) -> bytes:
    """One frame that this side may send, in parts now and then."""
    frames = [
        frame
        for frame in Frame
        if table.FRAME_FROM[frame] in (sender, "both") and frame is not Frame.PART
    ]
    frame = draw(st.sampled_from(frames))
    where = table.FRAME_CHANNEL[frame]
    channel = draw(
        st.integers({"zero": 0, "live": 1, "any": 0}[where], 0 if where == "zero" else 9)
    )
    least, most = table.FRAME_LENGTH[frame]
    kind = table.FRAME_PAYLOAD[frame]
    if kind == "fields":
        payload = draw(legal_fields(frame))
    elif kind == "credit":
        payload = draw(st.integers(1, 2**32 - 1)).to_bytes(4, "big")
    else:
        payload = draw(st.binary(min_size=least, max_size=min(most, 40)))
    parted = b""
    if frame in (Frame.OPEN, Frame.CONFIGURE) and payload and draw(st.booleans()):
        for _ in range(draw(st.integers(1, 3))):
            size = draw(st.integers(1, len(payload))) if payload else 0
            if size:
                parted += codec.encode_frame(Frame.PART, channel, payload[:size])
                payload = payload[size:]
    return parted + codec.encode_frame(frame, channel, payload)


@st.composite
def mutated(draw: st.DrawFn, data: bytes) -> bytes:
    """The same bytes with a few of them wrong."""
    out = bytearray(data)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(0, len(out) - 1)))
        change = draw(st.integers(0, 5))
        if change == 0 and out:
            out[at] ^= 1 << draw(st.integers(0, 7))
        elif change == 1 and out:
            out[at] = draw(st.integers(0, 255))
        elif change == 2:
            del out[at : at + draw(st.integers(1, 12))]
        elif change == 3:
            out[at:at] = draw(st.binary(min_size=1, max_size=12))
        elif change == 4:
            out[at:at] = out[at : at + draw(st.integers(1, 24))]
        else:
            del out[at:]
    return bytes(out)


@st.composite
def nearly_legal_fields(draw: st.DrawFn, frame: Frame) -> bytes:
    """Fields of the table in a frame that may not want them, out of order, twice, cut."""
    wanted = sorted(table.FRAME_REQUIRED[frame] | table.FRAME_OPTIONAL[frame])
    pool = st.sampled_from([*wanted, *wanted, *Field] if wanted else list(Field))
    out = []
    for field in draw(st.lists(pool, max_size=14)):
        value = draw(st.one_of(values(field), UINTS, BYTES))
        out.append(encoded(field, value))
    if draw(st.booleans()):
        out.sort()
    payload = b"".join(out)
    return payload[: draw(st.integers(0, len(payload)))] if draw(st.booleans()) else payload


@st.composite
def nearly_legal_frame(draw: st.DrawFn, sender: Side) -> bytes:
    frames = [frame for frame in Frame if table.FRAME_PAYLOAD[frame] == "fields"]
    frame = draw(st.sampled_from([f for f in frames if table.FRAME_FROM[f] in (sender, "both")]))
    payload = draw(nearly_legal_fields(frame))
    channel = int(table.FRAME_CHANNEL[frame] == "live")
    return codec.encode_frame(frame, channel, payload)


@st.composite
def streams(draw: st.DrawFn, sender: Side) -> bytes:
    """A stream as a side would write it, as a hostile one would, or plain noise."""
    legal = b"".join(draw(st.lists(legal_frame(sender), max_size=5)))
    match draw(st.integers(0, 3)):
        case 0:
            return legal
        case 1:
            return draw(mutated(legal))
        case 2:
            return legal + draw(nearly_legal_frame(sender))
        case _:
            return legal + draw(st.binary(max_size=64))


@st.composite
def record_streams(draw: st.DrawFn) -> bytes:
    """Records of a listing, legal or not."""
    out = b""
    for _ in range(draw(st.integers(0, 4))):
        body = b"".join(
            encoded(field, draw(values(field)))
            for field in sorted(table.ENTRY_REQUIRED | table.ENTRY_OPTIONAL)
            if field in table.ENTRY_REQUIRED or draw(st.booleans())
        )
        out += len(body).to_bytes(4, "big") + body
    return draw(mutated(out)) if draw(st.booleans()) else out


@st.composite
def pieces(draw: st.DrawFn, data: bytes) -> list[bytes]:
    """The same bytes, cut anywhere."""
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=8)))
    return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
