"""Which tests run in which process, so that processes side by side end at about the same time.

The kinds are apart because some watch their process as a whole: for calls that block an event loop,
for threads and for descriptors. They must not see each other's. A kind that takes long is cut into
parts of about equal time, file by file, by what each file took when the table was last written.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TESTS = ROOT / "tests"
TABLE = Path(__file__).with_name("tests_seconds.json")

# Those that need no engine share processes; of the others each is a kind of its own, a directory
# that is named nowhere too.
WITHOUT_ENGINE = ("unit", "wire", "tether", "supervisor", "typing")
# Of these only the quick part; `make test-hostile` and `make test-faults` run all of them.
CASES = ("hostile", "faults")

PART_SECONDS = 80.0
"""How long a part is to take at most: the last one to end keeps nobody waiting for longer."""

UNKNOWN_SECONDS = 5.0
"""What a file counts that the table does not know yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What one process runs."""

    name: str
    arguments: tuple[str, ...]
    seconds: float
    """What it is expected to take."""


def parts(seconds: Mapping[str, float], *, engine: bool = True) -> list[Part]:
    """Return the parts of a default run, the longest first: what begins last should end soon."""
    present = sorted({file.relative_to(TESTS).parts[0] for file in TESTS.rglob("test_*.py")})
    found = _cut("without an engine", [name for name in present if name in WITHOUT_ENGINE], seconds)
    if engine:
        for name in present:
            if name not in WITHOUT_ENGINE:
                options = ("-m", "not slow") if name in CASES else ()
                found += _cut(name, [name], seconds, options)
    return _longest_first(found)


def whole(kinds: Sequence[str], seconds: Mapping[str, float]) -> list[Part]:
    """Return parts with everything of some kinds, slow cases too."""
    for kind in kinds:
        if not any((TESTS / kind).rglob("test_*.py")):
            raise SystemExit(f"there is no kind of tests called {kind}")
    return _longest_first([part for kind in kinds for part in _cut(kind, [kind], seconds)])


def kind_of(name: str) -> str:
    """Return the kind of tests that a test or a file belongs to, by its path from the root."""
    return name.split("/")[1] if name.startswith("tests/") else ""


def _longest_first(found: list[Part]) -> list[Part]:
    return sorted(found, key=lambda part: part.seconds, reverse=True)


def _cut(
    kind: str,
    directories: Sequence[str],
    seconds: Mapping[str, float],
    options: tuple[str, ...] = (),
) -> list[Part]:
    files = [
        file.relative_to(ROOT).as_posix()
        for directory in directories
        for file in (TESTS / directory).rglob("test_*.py")
    ]
    shares = share(
        {file: seconds.get(file, UNKNOWN_SECONDS) for file in files}, at_most=PART_SECONDS
    )
    return [
        Part(
            name=kind if len(shares) == 1 else f"{kind} ({number} of {len(shares)})",
            arguments=(*sorted(weights), *options),
            seconds=sum(weights.values()),
        )
        for number, weights in enumerate(shares, 1)
    ]


def share(weights: Mapping[str, float], *, at_most: float) -> list[dict[str, float]]:
    """Divide what has weights into as few shares as may be, of about equal weight.

    The heaviest goes first, each to the share that is lightest then. One that alone weighs more
    than ``at_most`` makes a share as heavy as itself.
    """
    shares: list[dict[str, float]] = [
        {} for _ in range(min(len(weights), math.ceil(sum(weights.values()) / at_most)))
    ]
    for name in sorted(weights, key=lambda name: (-weights[name], name)):
        lightest = min(shares, key=lambda share: sum(share.values()))
        lightest[name] = weights[name]
    return shares


def read_table() -> dict[str, float]:
    """Return the seconds that each file takes."""
    table: dict[str, float] = json.loads(TABLE.read_text(encoding="ascii"))
    return table


def write_table(seconds: Mapping[str, float]) -> None:
    """Keep what each file has taken that is there."""
    rounded = {
        name: round(took, 1) for name, took in sorted(seconds.items()) if (ROOT / name).is_file()
    }
    TABLE.write_text(json.dumps(rounded, indent=1) + "\n", encoding="ascii")
