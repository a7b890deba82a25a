"""Write the golden vectors: bytes of the wire, and what both readers must make of them.

The encoder here is a third one: it knows tags and codes from ``wire.toml`` and shares nothing with either
implementation. Run it after a change of the table and read the difference; ``--check`` fails
when what is committed is not what it writes.
"""

from __future__ import annotations

import re
import sys
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
TABLE = tomllib.loads((HERE.parent / "wire.toml").read_text(encoding="utf-8"))
FIELDS, FRAMES, OPERATIONS = TABLE["fields"], TABLE["frames"], TABLE["operations"]
CODES, LIMITS = TABLE["codes"], TABLE["limits"]
MAX_PAYLOAD, MAX_BODY = LIMITS["max_payload"], LIMITS["max_body"]
MAX_UINT, MAX_CHANNEL = (1 << 64) - 1, (1 << 32) - 1

Value = int | bytes | str
Fields = list[tuple[str, Value]]


# --- bytes ---------------------------------------------------------------------------------------


def raw_field(tag: int, value: bytes, length: int | None = None) -> bytes:
    """A field as it stands, with a length that may lie."""
    return bytes([tag]) + (len(value) if length is None else length).to_bytes(3, "big") + value


def encode(fields: Fields) -> bytes:
    """Fields in the order in which they are given, right or wrong."""
    out = b""
    for name, value in fields:
        if isinstance(value, int):
            raw = value.to_bytes(8, "big")
        else:
            raw = value.encode() if isinstance(value, str) else value
        out += raw_field(FIELDS[name]["tag"], raw)
    return out


def header(name: str | int, channel: int, length: int) -> bytes:
    """The 8 bytes before a payload."""
    code = name if isinstance(name, int) else FRAMES[name]["code"]
    return bytes([code]) + length.to_bytes(3, "big") + channel.to_bytes(4, "big")


def frame(name: str | int, channel: int = 0, payload: bytes | Fields = b"") -> bytes:
    """One frame, right or wrong."""
    body = payload if isinstance(payload, bytes) else encode(payload)
    return header(name, channel, len(body)) + body


def record(fields: Fields) -> bytes:
    """One record of `list` and `stat`."""
    body = encode(fields)
    return len(body).to_bytes(4, "big") + body


# --- text ----------------------------------------------------------------------------------------


def field_text(name: str, value: Value) -> str:
    """One field as the readers print it."""
    if isinstance(value, int):
        return f"{name}={value}"
    if FIELDS[name]["kind"] == "text":
        assert isinstance(value, str)
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'{name}="{escaped}"'
    return f"{name}={value.encode().hex() if isinstance(value, str) else value.hex()}"


def line(name: str, channel: int | None, fields: Fields) -> str:
    """One frame with fields as the readers print it: by tag, whatever the order here."""
    ordered = sorted(fields, key=lambda item: FIELDS[item[0]]["tag"])
    head = [name] if channel is None else [name, str(channel)]
    return " ".join([*head, *(field_text(*item) for item in ordered)])


def pack(text: str) -> str:
    """Shorten runs of 33 or more equal bytes in hex to ``XX*N``."""
    return re.sub(r"((?:[0-9a-f]{2}))\1{32,}", lambda m: f" {m[1]}*{len(m[0]) // 2} ", text).strip()


def pack_line(text: str) -> str:
    """The same within a line, where a value must stay one word."""
    return re.sub(r"(?<==)([0-9a-f]{2})\1{32,}(?=$| )", lambda m: f"{m[1]}*{len(m[0]) // 2}", text)


@dataclass(kw_only=True)
class Case:
    """Bytes from one side and what comes of them."""

    name: str
    data: bytes
    side: str = "client"
    lines: list[str] = field(default_factory=list)
    violation: str | None = None

    def text(self) -> str:
        """The case as it stands in the file."""
        out = [f"case {self.name}", f"from {self.side}"]
        packed = pack(self.data.hex())
        for word in packed.split():
            out += (
                [f"hex {word}"]
                if "*" in word
                else [f"hex {word[at : at + 96]}" for at in range(0, len(word), 96)]
            )
        out += [f"line {pack_line(line)}" for line in self.lines]
        if self.violation:
            out.append(f"violation {self.violation}")
        return "\n".join(out) + "\n"


# --- a good example of everything ----------------------------------------------------------------

NONCE = bytes(range(32))
EXAMPLES: dict[str, Value] = {
    "version_min": 1, "version_max": 1, "version": 1, "nonce": NONCE, "client": "fumehood/0.1",
    "build": "0123456789abcdef", "architecture": "amd64", "configured": 0, "connection": 1,
    "user": "node", "workdir": b"/workspace", "env": b"PATH=/bin", "ttl_ms": 600_000,
    "idle_ms": 60_000, "grace_ms": 10_000, "heartbeat_ms": 60_000, "detached": 0,
    "metadata": b'{"run": "7"}', "workload_caps": 0, "max_file_bytes": 1 << 26, "max_processes": 16, "chown_workspace": 1,
    "write_hosts": 0, "disk_floor_bytes": 1 << 30, "workspace_quota_bytes": 0, "uid": 1000, "gid": 1000, "home": b"/home/node", "memory_max": 1 << 29,
    "swap_max": 0, "pids_max": 512, "cpu_quota_us": 100_000, "cpu_period_us": 100_000,
    "open_files": 65_536, "no_new_privs": 1, "seccomp": 2, "cap_bounding": 0xE0,
    "workspace_fs": 0xEF53, "workspace_bytes": 0, "rootfs_readonly": 0, "kernel": "6.1.0",
    "cgroup_version": 2, "tmp_bytes": 1 << 27, "uptime_ms": 1234, "ttl_left_ms": 5,
    "idle_left_ms": 6, "channels": 7, "connections": 1, "trees": 0, "rows": 24, "columns": 80,
    "operation": 1,
    "argument": b"/bin/true", "cwd": b".", "timeout_ms": 30_000, "stdout_limit": 1 << 20,
    "stderr_limit": 1 << 20, "stdin": 0, "path": b"a/b", "target": b"c", "root": 0, "offset": 0,
    "limit": 1 << 26, "mode": 0o644, "parents": 1, "recursive": 0, "follow": 1, "reason": 1,
    "exit_code": 0, "signal": 0, "duration_us": 1100, "stdout_total": 5, "stderr_total": 0,
    "killed": 0, "left_running": 0, "size": 5, "entries": 3, "error": 1, "errno": 2,
    "step": "open", "message": "no such file", "type": 1, "modified_ns": 1_700_000_000_000_000_000,
    "name": b"a", "link": b"../b", "capability": "extra", "paused_ms": 1500,
    "resume_key": NONCE[::-1], "received": 1 << 20, "port": 8080, "ticket": 5,
    "process": 7, "log_bytes": 1 << 20, "process_name": "dev-server", "at_end": 0, "group": 1, "close": 0,
    "pid": 42, "started_ns": 1_700_000_000_000_000_000, "ended_ns": 1_700_000_001_000_000_000,
    "include": b"p", "exclude": b"q", "program": b"r", "line": b"l", "before": 2, "after": 3, "event": 1,
    "log_first": 100, "log_end": 5000, "argv_cut": 1, "tied": 1, "environment": b"A=1\0B=2\0",
}  # fmt: skip


def example(names: list[str]) -> Fields:
    """These fields with their example values, by tag."""
    return [(n, EXAMPLES[n]) for n in sorted(names, key=lambda n: FIELDS[n]["tag"])]


def open_fields(operation: str, *, optional: bool = False, without: str = "") -> Fields:
    """What OPEN of an operation holds."""
    rule = OPERATIONS[operation]
    names = [*rule["required"], *(rule["optional"] if optional else [])]
    fields = example(["operation", *(name for name in names if name != without)])
    return [(n, rule["code"] if n == "operation" else v) for n, v in fields]


def channel_of(name: str) -> int:
    """A channel that the frame may be on."""
    return 0 if FRAMES[name]["channel"] == "zero" else 3


def sides_of(name: str) -> list[str]:
    """Who may send it."""
    sender = FRAMES[name]["from"]
    return ["client", "supervisor"] if sender == "both" else [sender]


def with_fields() -> list[str]:
    """The frames with fields, without OPEN."""
    return [n for n, f in FRAMES.items() if f["payload"] == "fields" and n != "OPEN"]


def replaced(fields: Fields, name: str, value: Value) -> Fields:
    """The same fields with another value for one."""
    return [(n, value if n == name else v) for n, v in fields]


# --- legal ---------------------------------------------------------------------------------------


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


# --- illegal -------------------------------------------------------------------------------------


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


# --- records -------------------------------------------------------------------------------------


def records() -> list[Case]:
    """The output of `list` and `stat`: a stream within a stream, read by the client alone."""
    rule = TABLE["records"]["entry"]
    least, most = example(rule["required"]), example([*rule["required"], *rule["optional"]])
    deep = replaced(most, "name", b"\xff/" * 2047 + b"x")
    cases = [
        Case(name="the least that a record may hold", data=record(least), lines=[line("entry", None, least)]),
        Case(name="all that a record may hold", data=record(most), lines=[line("entry", None, most)]),
        Case(name="the longest name", data=record(deep), lines=[line("entry", None, deep)]),
        Case(name="three records", data=record(least) + record(most) + record(least),
             lines=[line("entry", None, f) for f in (least, most, least)]),
        Case(name="a record that is not all there", data=record(least) + record(most)[:-1],
             lines=[line("entry", None, least)]),
        Case(name="a record with an extension",
             data=(len(encode(least)) + 5).to_bytes(4, "big") + encode(least) + raw_field(0x80, b"x"),
             lines=[line("entry", None, least)]),
        bad("a record that is too long", "too_long", (LIMITS["max_record"] + 1).to_bytes(4, "big")),
        bad("a record of nothing", "field_missing", b"\0\0\0\0"),
        bad("a record behind a bad one", "bad_value",
            record(replaced(least, "type", 8)) + record(least)),
        bad("a record with a field of a frame", "bad_field", record(example([*rule["required"], "error"]))),
    ]  # fmt: skip
    cases += [
        bad(f"a file type of {value}", "bad_value", record(replaced(least, "type", value)))
        for value in (8, 64, MAX_UINT)
    ]
    cases += [
        bad(f"a record without {missing}", "field_missing",
            record(example([n for n in rule["required"] if n != missing])))
        for missing in rule["required"]
    ]  # fmt: skip
    for case in cases:
        case.side = "record"
    return cases


def render(cases: list[Case]) -> str:
    """The text of one file."""
    names = [case.name + case.side for case in cases]
    if len(set(names)) != len(names):
        raise SystemExit(f"two cases are called {max(names, key=names.count)!r}")
    head = "# Written by make.py; README.md describes the format.\n\n"
    return head + "\n".join(case.text() for case in cases)


def main(arguments: list[str]) -> int:
    """Write the files, or compare them with what is there."""
    stale = []
    for name, cases in (("legal", legal()), ("illegal", illegal()), ("records", records())):
        path, text = HERE / f"{name}.txt", render(cases)
        if "--check" not in arguments:
            path.write_text(text, encoding="utf-8")
            print(f"{path.name}: {len(cases)} cases")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(path.name)
    if stale:
        print(f"not what make.py writes: {', '.join(stale)}; run python protocol/vectors/make.py")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
