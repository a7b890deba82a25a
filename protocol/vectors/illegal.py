"""Cases that both readers must refuse, and the violation that each of them names."""

from __future__ import annotations

from encoding import (
    CODES,
    FIELDS,
    FRAMES,
    LIMITS,
    MAX_BODY,
    MAX_PAYLOAD,
    MAX_UINT,
    OPERATIONS,
    Case,
    Fields,
    encode,
    frame,
    header,
    raw_field,
)
from examples import channel_of, example, open_fields, replaced, sides_of, with_fields


def bad(
    name: str, violation: str, data: bytes, side: str = "client", lines: list[str] | None = None
) -> Case:
    """A case that ends with a violation."""
    return Case(name=name, side=side, data=data, lines=lines or [], violation=violation)


def illegal() -> list[Case]:
    """What must be refused, and as what."""
    return [*bad_headers(), *bad_bodies(), *bad_fields(), *bad_values(), *bad_in_order()]


def bad_headers() -> list[Case]:
    """What a header alone can be wrong in: no payload is needed to see it."""
    known = {f["code"] for f in FRAMES.values()}
    cases = [
        bad(f"type {code:#04x}", "bad_frame", header(code, 0, 0))
        for code in [*range(0x20), 0x7F, 0x80, 0xFF]
        if code not in known
    ]
    for name, rule in FRAMES.items():
        channel = channel_of(name)
        side = sides_of(name)[0]
        if rule["from"] != "both":
            other = "supervisor" if side == "client" else "client"
            cases.append(
                bad(f"{name} by the {other}", "bad_direction", header(name, channel, 4), other)
            )
        if rule["channel"] != "any":
            wrong = 1 if rule["channel"] == "zero" else 0
            cases.append(
                bad(f"{name} on channel {wrong}", "bad_channel", header(name, wrong, 8), side)
            )
        least, most = bounds(rule)
        cases.append(
            bad(f"{name} of {most + 1} bytes", "too_long", header(name, channel, most + 1), side)
        )
        cases.append(
            bad(f"{name} of 2^24-1 bytes", "too_long", header(name, channel, 0xFFFFFF), side)
        )
        if least > 0:
            cases.append(
                bad(
                    f"{name} of {least - 1} bytes",
                    "too_short",
                    header(name, channel, least - 1),
                    side,
                )
            )
    return cases


def bounds(rule: dict[str, object]) -> tuple[int, int]:
    """The least and the most bytes of a frame's payload."""
    if rule["payload"] == "empty":
        return (0, 0)
    if rule["payload"] == "credit":
        return (4, 4)
    least, most = rule.get("min_payload", 0), rule.get("max_payload", MAX_PAYLOAD)
    assert isinstance(least, int)
    assert isinstance(most, int)
    return (least, most)


def bad_bodies() -> list[Case]:
    """Parts that are not followed by what they are parts of."""
    part = frame("PART", 5, b"\x40")
    cases = [
        bad("a part of one channel, then an OPEN on another", "bad_state", part + header("OPEN", 6, 0)),
        bad("a part of one channel, then one of another", "bad_state", part + header("PART", 6, 1)),
        bad("a part of a channel, then a CONFIGURE", "bad_state", part + header("CONFIGURE", 0, 0)),
        bad("a part on channel 0, then an OPEN", "bad_state",
            frame("PART", 0, b"\x11") + header("OPEN", 5, 0)),
        bad("a part on channel 0, then a HELLO", "bad_state",
            frame("PART", 0, b"\x11") + header("HELLO", 0, 0)),
    ]  # fmt: skip
    for name, channel, size in (
        ("STDIN", 5, 1), ("EOF", 5, 0), ("CANCEL", 5, 0), ("CREDIT", 5, 4), ("CREDIT", 0, 4),
        ("PING", 0, 8), ("DESTROY", 0, 0), ("ACK", 0, 8), ("LEAVE", 0, 0),
    ):  # fmt: skip
        cases.append(
            bad(
                f"{name} on channel {channel} within a body",
                "bad_state",
                part + header(name, channel, size),
            )
        )
    whole = b"".join(
        frame("PART", 5, b"\x40" * MAX_PAYLOAD) for _ in range(MAX_BODY // MAX_PAYLOAD)
    )
    cases += [
        bad("a part beyond the longest body", "body_too_long", whole + header("PART", 5, 1)),
        bad("an OPEN beyond the longest body", "body_too_long", whole + header("OPEN", 5, 1)),
    ]
    assert MAX_BODY % MAX_PAYLOAD == 0
    return cases


def bad_frame_of(name: str, violation: str, frame_name: str, payload: bytes | Fields) -> Case:
    """A frame with fields that are wrong."""
    side = sides_of(frame_name)[0]
    return bad(name, violation, frame(frame_name, channel_of(frame_name), payload), side)


def bad_fields() -> list[Case]:
    """Fields that are cut, out of order, foreign, doubled or missing."""
    hello = example(FRAMES["HELLO"]["required"])
    plain = encode(hello)
    cases = [
        bad_frame_of(
            f"a field header of {n} bytes", "field_length", "HELLO", plain + b"\x80\0\0\0"[:n]
        )
        for n in (1, 2, 3)
    ]
    cases += [
        bad_frame_of("a value that runs past the end", "field_length", "HELLO",
                     plain + raw_field(0x80, b"abc", 4)),
        bad_frame_of("a value that runs far past the end", "field_length", "HELLO",
                     plain + raw_field(0x80, b"", 0xFFFFFF)),
        bad_frame_of("fields out of order", "field_order", "HELLO", [hello[1], hello[0], hello[2]]),
        bad_frame_of("a field behind an extension", "field_order", "HELLO",
                     raw_field(0x80, b"") + plain),
        bad_frame_of("extensions out of order", "field_order", "HELLO",
                     plain + raw_field(0x81, b"") + raw_field(0x80, b"")),
        bad_frame_of("tag 0", "bad_field", "HELLO", raw_field(0, b"") + plain),
        bad_frame_of("tag 0x7f", "bad_field", "HELLO", plain + raw_field(0x7F, b"")),
        bad_frame_of("a field of another frame", "bad_field", "HELLO", [*hello, ("uid", 1)]),
        bad_frame_of("a field of another operation", "bad_field", "OPEN",
                     [*open_fields("lease"), ("path", b"a")]),
        bad_frame_of("a field of another operation before its number", "bad_field", "OPEN",
                     [("user", "root"), *open_fields("read")]),
        bad_frame_of("a field twice", "field_repeated", "HELLO", [hello[0], *hello]),
        bad_frame_of("an operation twice", "field_repeated", "OPEN",
                     [open_fields("status")[0], *open_fields("status")]),
        bad_frame_of("an OPEN of nothing", "field_missing", "OPEN", b""),
        bad_frame_of("an operation of 4 bytes", "field_missing", "OPEN", raw_field(0x40, b"\0\0\0\x0a")),
        bad_frame_of("an operation cut short", "field_missing", "OPEN",
                     raw_field(0x40, (10).to_bytes(8, "big"), 12)),
    ]  # fmt: skip
    for name in with_fields():
        cases += [
            bad_frame_of(f"{name} without {missing}", "field_missing", name,
                         example([n for n in FRAMES[name]["required"] if n != missing]))
            for missing in FRAMES[name]["required"]
        ]  # fmt: skip
    for operation, rule in OPERATIONS.items():
        cases += [
            bad_frame_of(f"OPEN {operation} without {missing}", "field_missing", "OPEN",
                         open_fields(operation, without=missing))
            for missing in rule["required"]
        ]  # fmt: skip
    return cases


def bad_values() -> list[Case]:
    """Values of the wrong form or outside their set."""
    fail = example(FRAMES["FAIL"]["required"])
    tag = FIELDS["size"]["tag"]
    cases = [
        bad_frame_of(f"a number of {n} bytes", "field_length", "DONE", raw_field(tag, b"\0" * n))
        for n in (0, 1, 4, 7, 9)
    ]
    texts = {
        "a control character": b"a\x00b", "a newline": b"a\nb", "an escape": b"\x1b[31m",
        "a delete": b"a\x7f", "a C1 control": b"\xc2\x80", "the last C1 control": b"\xc2\x9f",
        "a lone continuation": b"\x80", "a cut character": b"ab\xe2\x82", "a lead byte alone": b"\xc3",
        "a lead byte before another character": b"\xc3a", "an overlong slash": b"\xc0\xaf",
        "an overlong of three bytes": b"\xe0\x80\xaf", "an overlong of four bytes": b"\xf0\x80\x80\xaf",
        "a surrogate": b"\xed\xa0\x80", "the last surrogate": b"\xed\xbf\xbf",
        "a character above U+10FFFF": b"\xf4\x90\x80\x80", "a lead byte 0xf8": b"\xf8\x88\x80\x80\x80",
        "0xff": b"\xff", "one byte more than a text may have": b"x" * (LIMITS["max_text"] + 1),
    }  # fmt: skip
    cases += [
        bad_frame_of(f"a text with {what}", "bad_text", "FAIL", replaced(fail, "step", value))
        for what, value in texts.items()
    ]
    return [*cases, *bad_flags(), *bad_codes()]


def bad_flags() -> list[Case]:
    """Flags that are neither 0 nor 1."""
    configure = example(FRAMES["CONFIGURE"]["required"])
    cases = [
        bad_frame_of(
            f"a flag of {value}", "bad_value", "CONFIGURE", replaced(configure, "detached", value)
        )
        for value in (2, 256, 1 << 32, 1 << 63, MAX_UINT)
    ]
    for name, rule in FIELDS.items():
        if rule["kind"] != "flag":
            continue
        for frame_name in with_fields():
            if name in FRAMES[frame_name]["required"]:
                fields = replaced(example(FRAMES[frame_name]["required"]), name, 2)
                cases.append(
                    bad_frame_of(f"{frame_name} with {name} 2", "bad_value", frame_name, fields)
                )
        for operation in OPERATIONS:
            if name in OPERATIONS[operation]["required"]:
                fields = replaced(open_fields(operation), name, 2)
                cases.append(
                    bad_frame_of(f"OPEN {operation} with {name} 2", "bad_value", "OPEN", fields)
                )
    return cases


def bad_codes() -> list[Case]:
    """Codes outside their sets, and credit of nothing."""
    cases = []
    for frame_name, name, values in (
        ("FAIL", "error", (0, 15, 19, 46, 57, 64, 1 << 32 | 1, MAX_UINT)),
        ("EXIT", "reason", (0, 6, 64, 65, MAX_UINT)), ("END", "reason", (0, 1 + max(CODES["end_reason"].values()), 64, 65, MAX_UINT)),
    ):  # fmt: skip
        for value in values:
            fields = replaced(example(FRAMES[frame_name]["required"]), name, value)
            cases.append(
                bad_frame_of(f"{frame_name} with {name} {value}", "bad_value", frame_name, fields)
            )
    cases += [
        bad_frame_of(f"operation {value}", "bad_value", "OPEN", [("operation", value)])
        for value in (0, 12, 63, 64, 1 << 32 | 1, MAX_UINT)
    ]
    cases.append(
        bad_frame_of("a root of 2", "bad_value", "OPEN", replaced(open_fields("stat"), "root", 2))
    )
    cases += [
        bad(
            f"credit of nothing on channel {channel} by the {side}",
            "bad_credit",
            frame("CREDIT", channel, b"\0\0\0\0"),
            side,
        )
        for side in ("client", "supervisor")
        for channel in (0, 3)
    ]
    return cases


def bad_in_order() -> list[Case]:
    """Several things wrong at once: what PROTOCOL.md lists first is named. And what is around a violation."""
    fail = encode(example(FRAMES["FAIL"]["required"]))
    bad_error = encode(replaced(example(FRAMES["FAIL"]["required"]), "error", 0))
    uint = raw_field(FIELDS["size"]["tag"], b"\0")
    good, late = frame("EOF", 1), frame("EOF", 2)
    return [
        bad("an unknown type that is too long", "bad_frame", header(0xEE, 0, 0xFFFFFF)),
        bad("the wrong side on the wrong channel", "bad_direction", header("WELCOME", 1, 0xFFFFFF)),
        bad("the wrong channel and too long", "bad_channel", header("EOF", 0, 1)),
        bad("too long within a body", "too_long",
            frame("PART", 5, b"\x40") + header("STDIN", 5, MAX_PAYLOAD + 1)),
        bad_frame_of("past the end and out of order", "field_length", "FAIL", fail + raw_field(1, b"", 1)),
        bad_frame_of("out of order and foreign", "field_order", "FAIL", fail + raw_field(1, b"")),
        bad_frame_of("foreign and of the wrong length", "bad_field", "FAIL",
                     fail + raw_field(FIELDS["type"]["tag"], b"")),
        bad_frame_of("of the wrong length and doubled", "field_length", "DONE",
                     encode([("size", 1)]) + uint),
        bad_frame_of("doubled, and something is missing", "field_repeated", "FAIL",
                     encode([("error", 1), ("error", 1)])),
        bad_frame_of("missing, and a code that is none", "field_missing", "FAIL",
                     encode([("error", 0)])),
        bad_frame_of("the end is cut, and a code is none", "field_length", "FAIL", bad_error + b"\x80"),
        bad_frame_of("no operation, and fields that are cut", "field_missing", "OPEN", b"\x40\0\0"),
        bad_frame_of("an operation that is none, and fields that are cut", "bad_value", "OPEN",
                     encode([("operation", 99)]) + b"\x80\0"),
        bad("good frames before a violation", "bad_frame", good + late + header(0, 0, 0),
            lines=["EOF 1", "EOF 2"]),
        bad("good frames behind a violation", "bad_credit",
            good + frame("CREDIT", 1, b"\0\0\0\0") + late, lines=["EOF 1"]),
    ]  # fmt: skip
