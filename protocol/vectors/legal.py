"""Cases that both readers must take, and what they make of them."""

from __future__ import annotations

from encoding import (
    CODES,
    FIELDS,
    FRAMES,
    LIMITS,
    MAX_BODY,
    MAX_CHANNEL,
    MAX_PAYLOAD,
    MAX_UINT,
    OPERATIONS,
    Case,
    Fields,
    encode,
    frame,
    header,
    line,
    raw_field,
)
from examples import channel_of, example, open_fields, replaced, sides_of, with_fields


def legal() -> list[Case]:
    """What must be read, and how."""
    cases = [*legal_frames(), *legal_values(), *legal_bodies()]
    hello = example(FRAMES["HELLO"]["required"])
    run = open_fields("exec")
    cases.append(
        Case(
            name="a conversation",
            data=frame("HELLO", 0, hello) + frame("OPEN", 1, run) + frame("STDIN", 1, b"hi\n")
            + frame("EOF", 1) + frame("CREDIT", 0, (65536).to_bytes(4, "big")) + frame("DESTROY"),
            lines=[
                line("HELLO", 0, hello), line("OPEN", 1, run), "STDIN 1 bytes=68690a", "EOF 1",
                "CREDIT 0 credit=65536", "DESTROY 0",
            ],
        )
    )  # fmt: skip
    cases.append(Case(name="nothing at all", data=b""))
    cases.append(Case(name="a header that is not all there", data=header("PING", 0, 8)[:7]))
    cases.append(
        Case(name="a frame that is not all there", data=frame("EOF", 1) + frame("STDIN", 1, b"abc")[:-1],
             lines=["EOF 1"])
    )  # fmt: skip
    return cases


def legal_frames() -> list[Case]:
    """Every frame and every operation, with what must be there and with all that may."""
    cases = []
    for name in with_fields():
        required, optional = FRAMES[name]["required"], FRAMES[name]["optional"]
        for what, names in (("the least", required), ("all", [*required, *optional])):
            fields = example(names)
            channel = channel_of(name)
            cases.append(
                Case(
                    name=f"{name} with {what} that it may hold",
                    side=FRAMES[name]["from"],
                    data=frame(name, channel, fields),
                    lines=[line(name, channel, fields)],
                )
            )
    for operation in OPERATIONS:
        for what, optional in (("the least", False), ("all", True)):
            fields = open_fields(operation, optional=optional)
            cases.append(
                Case(
                    name=f"OPEN {operation} with {what} that it may hold",
                    data=frame("OPEN", 3, fields),
                    lines=[line("OPEN", 3, fields)],
                )
            )
    for name in FRAMES:
        kind = FRAMES[name]["payload"]
        for side in sides_of(name):
            if kind == "empty":
                channel = channel_of(name)
                cases.append(
                    Case(name=f"{name}", side=side, data=frame(name, channel),
                         lines=[f"{name} {channel}"])
                )  # fmt: skip
            elif kind == "credit":
                for channel, amount in ((0, 1), (3, 65536), (MAX_CHANNEL, MAX_CHANNEL)):
                    cases.append(
                        Case(name=f"{name} of {amount} on channel {channel} by the {side}", side=side,
                             data=frame(name, channel, amount.to_bytes(4, "big")),
                             lines=[f"{name} {channel} credit={amount}"])
                    )  # fmt: skip
            elif kind == "bytes" and name != "PART":
                least = FRAMES[name].get("min_payload", 0)
                most = FRAMES[name].get("max_payload", MAX_PAYLOAD)
                channel = channel_of(name)
                cases += [
                    Case(
                        name=f"{name} of {size} bytes by the {side}",
                        side=side,
                        data=frame(name, channel, b"\xa5" * size),
                        lines=[f"{name} {channel} bytes={'a5' * size}"],
                    )
                    for size in sorted({least, most})
                ]
    return cases


def one(name: str, frame_name: str, fields: Fields, tail: bytes = b"") -> Case:
    """A case of one frame with fields, and what follows them in its payload unseen."""
    channel = channel_of(frame_name)
    return Case(
        name=name,
        side=sides_of(frame_name)[0],
        data=frame(frame_name, channel, encode(fields) + tail),
        lines=[line(frame_name, channel, fields)],
    )


def legal_values() -> list[Case]:
    """Values at their limits."""
    hello = example(FRAMES["HELLO"]["required"])
    fail = example(FRAMES["FAIL"]["required"])
    done: Fields = [("size", MAX_UINT)]
    run = open_fields("exec")
    ends = "".join(
        map(chr, (0x20, 0x7E, 0xA0, 0x7FF, 0x800, 0xD7FF, 0xE000, 0xFFFF, 0x10000, 0x10FFFF))
    )
    cases = [
        one("the largest number", "DONE", done),
        one("a number of 0", "DONE", [("size", 0)]),
        one("an empty text", "FAIL", replaced(fail, "step", "")),
        one("the longest text", "FAIL", replaced(fail, "step", "é" * (LIMITS["max_text"] // 2))),
        one("the characters at the ends of UTF-8's ranges", "FAIL", replaced(fail, "step", ends)),
        one("a quote and a backslash", "FAIL", replaced(fail, "step", 'a"b\\c')),
        one("empty bytes", "HELLO", replaced(hello, "nonce", b"")),
        one("any bytes", "HELLO", replaced(hello, "nonce", bytes(range(256)))),
        one("a repeated field", "HELLO", [*hello, ("capability", "a"), ("capability", "a"),
                                          ("capability", "")]),
        one("extensions of any length", "HELLO", hello,
            raw_field(0x80, b"") + raw_field(0x80, b"again") + raw_field(0xFF, b"\0" * 300)),
        one("nothing but extensions where nothing is required", "DONE", [],
            raw_field(0x90, b"\xff")),
        Case(name="an operation among its arguments",
             data=frame("OPEN", 7, [("user", "root"), ("env", b"A=1"), ("env", b""), *run,]),
             violation=None,
             lines=[line("OPEN", 7, [("user", "root"), ("env", b"A=1"), ("env", b""), *run])]),
    ]  # fmt: skip
    for name, frame_name in (("exec_reason", "EXIT"), ("end_reason", "END")):
        for code in CODES[name].values():
            fields = example(FRAMES[frame_name]["required"])
            cases.append(
                one(f"{frame_name} for reason {code}", frame_name, replaced(fields, "reason", code))
            )
    cases += [
        one(f"error {code}", "FAIL", replaced(fail, "error", code))
        for code in CODES["error"].values()
    ]
    for channel in (1, MAX_CHANNEL):
        cases.append(
            Case(name=f"channel {channel}", data=frame("EOF", channel), lines=[f"EOF {channel}"])
        )
    return cases


def legal_bodies() -> list[Case]:
    """Bodies in parts."""
    run = encode(open_fields("exec"))
    run_line = line("OPEN", 5, open_fields("exec"))
    configure = example(FRAMES["CONFIGURE"]["required"])
    big = [*open_fields("exec"), ("argument", b"")]
    big.sort(key=lambda item: FIELDS[item[0]]["tag"])
    room = MAX_BODY - len(encode(big))
    index = max(i for i, (name, _) in enumerate(big) if name == "argument")
    big[index] = ("argument", b"\x61" * room)
    largest = encode(big)
    assert len(largest) == MAX_BODY
    pieces = [largest[at : at + MAX_PAYLOAD] for at in range(0, MAX_BODY, MAX_PAYLOAD)]
    return [
        Case(name="an OPEN in two", data=frame("PART", 5, run[:10]) + frame("OPEN", 5, run[10:]),
             lines=[run_line]),
        Case(name="an OPEN in parts of one byte",
             data=b"".join(frame("PART", 5, run[i : i + 1]) for i in range(len(run) - 1))
             + frame("OPEN", 5, run[-1:]),
             lines=[run_line]),
        Case(name="an OPEN that is all in its parts", data=frame("PART", 5, run) + frame("OPEN", 5),
             lines=[run_line]),
        Case(name="a CONFIGURE in two",
             data=frame("PART", 0, encode(configure)[:100])
             + frame("CONFIGURE", 0, encode(configure)[100:]),
             lines=[line("CONFIGURE", 0, configure)]),
        Case(name="two bodies, and frames around them",
             data=frame("PING", 0, b"12345678") + frame("PART", 5, run[:3]) + frame("OPEN", 5, run[3:])
             + frame("EOF", 5) + frame("PART", 5, run[:3]) + frame("OPEN", 5, run[3:])
             + frame("EOF", 5),
             lines=["PING 0 bytes=3132333435363738", run_line, "EOF 5", run_line, "EOF 5"]),
        Case(name="the longest body",
             data=b"".join(frame("PART", 9, piece) for piece in pieces[:-1])
             + frame("OPEN", 9, pieces[-1]),
             lines=[line("OPEN", 9, big)]),
        Case(name="a body that has not ended", data=frame("PART", 5, run)),
    ]  # fmt: skip
