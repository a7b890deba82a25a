"""The golden vectors, read; protocol/vectors/README.md describes their format."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

VECTORS = Path(__file__).resolve().parents[2] / "protocol" / "vectors"
_RUN = re.compile(r"([0-9a-f]{2})\*(\d+)")


@dataclass(slots=True)
class Case:
    name: str
    sender: str = ""
    data: bytes = b""
    lines: list[str] = field(default_factory=list)
    violation: str | None = None

    @property
    def expected(self) -> list[str]:
        return self.lines + ([f"violation {self.violation}"] if self.violation else [])


def load() -> list[Case]:
    """Return every case of every file; a line that the format does not have is an error."""
    cases: list[Case] = []
    for path in sorted(VECTORS.glob("*.txt")):
        for block in re.split(r"\n{2,}", path.read_text(encoding="utf-8")):
            lines = [line for line in block.splitlines() if not line.startswith("#")]
            if lines:
                cases.append(_case(path.stem, lines))
    return cases


def _case(stem: str, lines: list[str]) -> Case:
    word, _, name = lines[0].partition(" ")
    assert word == "case", lines[0]
    case = Case(f"{stem}: {name}")
    for line in lines[1:]:
        word, _, rest = line.partition(" ")
        if word == "from":
            case.sender = rest
        elif word == "hex":
            case.data += _bytes(rest)
        elif word == "line":
            case.lines.append(_RUN.sub(lambda run: run[1] * int(run[2]), rest))
        elif word == "violation":
            case.violation = rest
        else:
            raise AssertionError(f"{case.name}: {line!r}")
    return case


def _bytes(text: str) -> bytes:
    return bytes.fromhex(_RUN.sub(lambda run: run[1] * int(run[2]), text))
