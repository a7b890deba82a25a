"""Turn ``wire.toml`` into the constants of both implementations.

Run it after a change of the table; ``--check`` (part of ``make lint``) fails when what is committed
is not what the table says.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
PYTHON = ROOT / "src" / "fumehood" / "_wire" / "table.py"
HEADER = ROOT / "supervisor" / "src" / "wire_table.h"
NOTICE = "Generated from protocol/wire.toml by protocol/generate.py. Do not edit."

Table = dict[str, dict]  # type: ignore[type-arg]


def check_table(table: Table) -> None:
    """Refuse a table that contradicts itself, so that no constant of it can."""
    fields = table["fields"]
    tags = [field["tag"] for field in fields.values()]
    if len(set(tags)) != len(tags) or not all(0 < tag < 0x80 for tag in tags):
        raise SystemExit("wire.toml: tags must be unique and below 0x80")
    groups = [*table["frames"].values(), *table["operations"].values(), *table["records"].values()]
    for group in groups:
        for name in [*group.get("required", []), *group.get("optional", [])]:
            if name not in fields:
                raise SystemExit(f"wire.toml: no field is called {name!r}")
    sets = code_sets(table)
    named = [field["values"] for field in fields.values() if "values" in field]
    for frame in table["frames"].values():
        named += frame.get("values", {}).values()
    for name in named:
        if name not in sets or not all(0 <= code < 64 for code in sets[name]):
            raise SystemExit(f"wire.toml: {name!r} is no code set with codes below 64")
    codes = [frame["code"] for frame in table["frames"].values()]
    if len(set(codes)) != len(codes):
        raise SystemExit("wire.toml: two frames share a code")


def code_sets(table: Table) -> dict[str, list[int]]:
    """What a field's `values` can name."""
    sets = {name: sorted(codes.values()) for name, codes in table["codes"].items()}
    sets["operation"] = sorted(operation["code"] for operation in table["operations"].values())
    return sets


def python_values(table: Table) -> tuple[list[str], list[str]]:
    """The code sets of fields everywhere, and of fields in one frame."""
    sets = {
        name: f"frozenset({{{', '.join(map(str, members))}}})"
        for name, members in code_sets(table).items()
    }
    everywhere = [
        f"Field.{name.upper()}: {sets[field['values']]}"
        for name, field in table["fields"].items()
        if "values" in field
    ]
    in_frames = [
        f"(Frame.{name}, Field.{field.upper()}): {sets[values]}"
        for name, frame in table["frames"].items()
        for field, values in frame.get("values", {}).items()
    ]
    return everywhere, in_frames


def python(table: Table) -> str:
    """The Python side: enums and frozen tables."""
    out = [f'"""{NOTICE}"""', "", "from __future__ import annotations", ""]
    out += ["from enum import IntEnum", "from types import MappingProxyType"]
    out += ["from typing import Final", ""]
    for name, value in table["protocol"].items():
        if name == "capabilities":
            out.extend(f'CAPABILITY_{item.upper()}: Final = "{item}"' for item in value)
        else:
            out.append(f"{name.upper()}: Final = {value}")
    for name, value in table["limits"].items():
        out.append(f"{name.upper()}: Final = {value}")

    def enum(title: str, members: dict[str, int], doc: str) -> None:
        out.extend(["", "", f"class {title}(IntEnum):", f'    """{doc}"""', ""])
        out.extend(f"    {name.upper()} = {value:#04x}" for name, value in members.items())

    enum("Frame", {n: f["code"] for n, f in table["frames"].items()}, "The type byte of a frame.")
    enum("Field", {n: f["tag"] for n, f in table["fields"].items()}, "The tag byte of a field.")
    enum(
        "Operation",
        {n: o["code"] for n, o in table["operations"].items()},
        "What OPEN asks for.",
    )
    titles = {
        "exec_reason": ("ExecCode", "Why a command ended."),
        "end_reason": ("EndCode", "Why a session ended."),
        "file_type": ("FileCode", "What a directory entry is."),
        "event": ("EventCode", "What a record of `watch` or `search` tells."),
        "root": ("Root", "What a path is relative to."),
        "error": ("ErrorCode", "Why an operation failed."),
        "violation": ("Violation", "How bytes can break the rules."),
    }
    for name, (title, doc) in titles.items():
        enum(title, table["codes"][name], doc)

    def names(values: list[str]) -> str:
        inner = ", ".join(f"Field.{value.upper()}" for value in values)
        return f"frozenset({{{inner}}})" if values else "frozenset()"

    def mapping(name: str, kind: str, rows: list[str]) -> None:
        out.extend(["", f"{name}: Final[MappingProxyType[{kind}]] = MappingProxyType("])
        out.extend(["    {", *(f"        {row}," for row in rows), "    }", ")"])

    out.append("")
    mapping(
        "FIELD_KIND",
        "Field, str",
        [f'Field.{n.upper()}: "{f["kind"]}"' for n, f in table["fields"].items()],
    )
    field_values, frame_values = python_values(table)
    mapping("FIELD_VALUES", "Field, frozenset[int]", field_values)
    mapping("FRAME_VALUES", "tuple[Frame, Field], frozenset[int]", frame_values)
    repeated = [n for n, f in table["fields"].items() if f.get("repeated")]
    out += ["", f"REPEATED: Final = {names(repeated)}"]
    frames = table["frames"].items()
    for title, key, kind in (
        ("FRAME_FROM", "from", "Frame, str"),
        ("FRAME_CHANNEL", "channel", "Frame, str"),
        ("FRAME_PAYLOAD", "payload", "Frame, str"),
    ):
        mapping(title, kind, [f'Frame.{n}: "{f[key]}"' for n, f in frames])
    mapping(
        "FRAME_LENGTH",
        "Frame, tuple[int, int]",
        [f"Frame.{n}: {bounds(f, table)}" for n, f in frames],
    )
    with_fields = [(n, f) for n, f in frames if f["payload"] == "fields"]
    for title, key in (("FRAME_REQUIRED", "required"), ("FRAME_OPTIONAL", "optional")):
        mapping(
            title,
            "Frame, frozenset[Field]",
            [f"Frame.{n}: {names(f[key])}" for n, f in with_fields],
        )
    operations = table["operations"].items()
    for title, key in (("OPERATION_REQUIRED", "required"), ("OPERATION_OPTIONAL", "optional")):
        mapping(
            title,
            "Operation, frozenset[Field]",
            [f"Operation.{n.upper()}: {names(o[key])}" for n, o in operations],
        )
    mapping(
        "OPERATION_INPUT",
        "Operation, bool",
        [f"Operation.{n.upper()}: {o['input']}" for n, o in operations],
    )
    mapping(
        "OPERATION_OUTPUT",
        "Operation, str",
        [f'Operation.{n.upper()}: "{o["output"]}"' for n, o in operations],
    )
    mapping(
        "OPERATION_ANSWER",
        "Operation, Frame",
        [f"Operation.{n.upper()}: Frame.{o['answer']}" for n, o in operations],
    )
    mapping(
        "OPERATION_ALSO",
        "Operation, Frame",
        [f"Operation.{n.upper()}: Frame.{o['also']}" for n, o in operations if "also" in o],
    )
    sockets = [n for n, o in operations if o.get("socket")]
    members = ", ".join(f"Operation.{n.upper()}" for n in sockets)
    out += ["", f"OPERATION_SOCKET: Final = frozenset({{{members}}})"]
    for name, record in table["records"].items():
        out += ["", f"{name.upper()}_REQUIRED: Final = {names(record['required'])}"]
        out += [f"{name.upper()}_OPTIONAL: Final = {names(record['optional'])}"]
    return "\n".join(out) + "\n"


def bounds(frame: dict, table: Table) -> tuple[int, int]:  # type: ignore[type-arg]
    """The least and the most payload bytes that a frame of this type may announce."""
    if frame["payload"] == "empty":
        return (0, 0)
    if frame["payload"] == "credit":
        return (4, 4)
    return (frame.get("min_payload", 0), frame.get("max_payload", table["limits"]["max_payload"]))


def header(table: Table) -> str:
    """The C side: enumerations, and X-macro lists for the tables that need them."""
    out = [f"/* {NOTICE} */", "#ifndef FUMEHOOD_WIRE_TABLE_H", "#define FUMEHOOD_WIRE_TABLE_H", ""]
    for name, value in table["protocol"].items():
        if name == "capabilities":
            out.extend(f'#define WIRE_CAPABILITY_{item.upper()} "{item}"' for item in value)
        else:
            out.append(f"#define WIRE_{name.upper()} {value}")
    out.extend(f"#define WIRE_{n.upper()} {v}" for n, v in table["limits"].items())

    def enum(prefix: str, members: dict[str, int]) -> None:
        out.extend(["", f"enum {prefix.lower()} {{"])
        out.extend(f"\t{prefix}_{name.upper()} = {value:#04x}," for name, value in members.items())
        out.append("};")

    enum("FRAME", {n: f["code"] for n, f in table["frames"].items()})
    enum("FIELD", {n: f["tag"] for n, f in table["fields"].items()})
    enum("OPERATION", {n: o["code"] for n, o in table["operations"].items()})
    prefixes = {
        "exec_reason": "EXEC",
        "end_reason": "END",
        "file_type": "FILE_TYPE",
        "event": "EVENT",
        "root": "ROOT",
        "error": "ERROR",
        "violation": "VIOLATION",
    }
    for name, prefix in prefixes.items():
        enum(prefix, table["codes"][name])

    def rows(title: str, comment: str, lines: list[str]) -> None:
        out.extend(["", f"/* {comment} */", f"#define {title}(X) \\"])
        out.extend(f"\t{line} \\" for line in lines[:-1])
        out.append(f"\t{lines[-1]}")

    sides = {"client": "SIDE_CLIENT", "supervisor": "SIDE_SUPERVISOR", "both": "SIDE_BOTH"}
    frames = table["frames"].items()
    rows(
        "WIRE_FRAMES",
        "name, sender, channel, payload, least and most payload bytes",
        [
            f"X({n}, {sides[f['from']]}, CHANNEL_{f['channel'].upper()}, "
            f"PAYLOAD_{f['payload'].upper()}, {bounds(f, table)[0]}, {bounds(f, table)[1]})"
            for n, f in frames
        ],
    )
    rows(
        "WIRE_FIELDS",
        "name, kind, whether it may be repeated",
        [
            f"X({n.upper()}, KIND_{f['kind'].upper()}, {int(f.get('repeated', False))})"
            for n, f in table["fields"].items()
        ],
    )

    sets = code_sets(table)
    masks = {name: f"{sum(1 << code for code in members):#x}ull" for name, members in sets.items()}
    rows(
        "WIRE_FIELD_VALUES",
        "field, the codes it may have as a set of bits",
        [
            f"X({n.upper()}, {masks[f['values']]})"
            for n, f in table["fields"].items()
            if "values" in f
        ],
    )
    rows(
        "WIRE_FRAME_VALUES",
        "frame, field, the codes it may have there as a set of bits",
        [
            f"X({n}, {field.upper()}, {masks[name]})"
            for n, f in frames
            for field, name in f.get("values", {}).items()
        ],
    )

    def uses(title: str, comment: str, groups: list[tuple[str, dict]]) -> None:  # type: ignore[type-arg]
        lines = [
            f"X({name.upper()}, {field.upper()}, {int(key == 'required')})"
            for name, group in groups
            for key in ("required", "optional")
            for field in group.get(key, [])
        ]
        rows(title, comment, lines)

    uses("WIRE_FRAME_FIELDS", "frame, field, whether it is required", list(frames))
    operations = list(table["operations"].items())
    uses("WIRE_OPERATION_FIELDS", "operation, field, whether it is required", operations)
    records = list(table["records"].items())
    uses("WIRE_RECORD_FIELDS", "record, field, whether it is required", records)
    outputs = {"none": 0, "stdout": 1, "both": 2}
    rows(
        "WIRE_OPERATIONS",
        "name, has input, output streams (0 none, 1 stdout, 2 both)",
        [f"X({n.upper()}, {int(o['input'])}, {outputs[o['output']]})" for n, o in operations],
    )
    rows(
        "WIRE_SOCKET_OPERATIONS",
        "the operations whose other end is a socket",
        [f"X({n.upper()})" for n, o in operations if o.get("socket")],
    )
    for name, members in (
        ("FRAME", table["frames"]),
        ("FIELD", table["fields"]),
        ("VIOLATION", table["codes"]["violation"]),
    ):
        rows(
            f"WIRE_{name}_NAMES",
            f"code and name of every {name.lower()}, for messages and dumps",
            [f'X({name}_{member.upper()}, "{member}")' for member in members],
        )
    out += ["", "#endif", ""]
    return "\n".join(out)


def main(arguments: list[str]) -> int:
    """Write both files, or compare them with what is there."""
    table = tomllib.loads((HERE / "wire.toml").read_text(encoding="utf-8"))
    check_table(table)
    stale = []
    for path, text in ((PYTHON, python(table)), (HEADER, header(table))):
        if "--check" not in arguments:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(str(path.relative_to(ROOT)))
    if stale:
        print(f"not what wire.toml says: {', '.join(stale)}; run python protocol/generate.py")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
