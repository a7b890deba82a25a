"""Bytes of the wire and the text that stands for them, from ``wire.toml`` alone."""

from __future__ import annotations

import re
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
