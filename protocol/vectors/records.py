"""Records inside output: good ones, and bad ones."""

from __future__ import annotations

from encoding import LIMITS, MAX_UINT, TABLE, Case, encode, line, raw_field, record
from examples import example, replaced
from illegal import bad


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
