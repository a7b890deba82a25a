"""SECURITY.md's table of promises against the cases that prove them.

    python scripts/promises.py --check    every test that a row names is there, and every case
                                          belongs to a row; `make lint` runs it
    python scripts/promises.py --write    put what the last runs have shown (.build/reports)
                                          into the block between the markers; `make promises` runs
                                          the suites first

A case is a test of `tests/hostile` or `tests/faults` with a mark `case(ID, PROMISE)`, where the
promise is the beginning of a row.
"""

from __future__ import annotations

import ast
import json
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "SECURITY.md"
REPORTS = ROOT / ".build" / "reports"
SUITES = ("hostile", "faults")
BEGIN, END = "<!-- promises: begin -->", "<!-- promises: end -->"
LEVELS = ("Guaranteed", "If host", "Best effort", "Not promised")

# The project's list of attack classes and of faults.
CLASSES = [
    "H01",
    "H02",
    "H03",
    "H07",
    "H08",
    "H09",
    "H10",
    "H11",
    "H12",
    "H15",
    "H16",
    "H18",
    "H19",
    "H19b",
    "H20",
    "H22",
    "H23",
    "H24",
    "H25",
    "H25b",
    "H26",
    "H27",
    "H29",
    "H31",
    "H32",
    "H33",
    "H34",
    "H36",
    "H37",
    "H38",
    "H40",
    "H41",
    "H42",
    "H44",
    "H47",
    "H48",
    "H49",
    "H50",
    "H51",
    "H53",
    "H54",
    "H55",
    "H56",
    "H57",
    "H58",
    "H59",
    "H60",
    "F01",
    "F02",
    "F03",
    "F04",
    "F06",
    "F07",
    "F08",
    "F09",
    "F11",
    "F13",
    "F14",
    "F16",
    "F17",
    "F18",
    "F19",
    "F21",
    "F22",
    "F23",
    "F24",
    "F25",
]
# Those that no case stands for yet, and why.
WITHOUT: dict[str, str] = {}
LEAST_OWN = 30
"""How many cases beyond the list there are at least."""


@dataclass(frozen=True, slots=True)
class Row:
    """One promise of the table."""

    promise: str
    level: str
    enforced_by: str
    shown_by: str

    @property
    def short(self) -> str:
        """The promise without its details."""
        return re.split(r"[:;]", self.promise)[0]


@dataclass(frozen=True, slots=True)
class Case:
    """One mark on a test."""

    id: str
    promise: str
    where: str


def rows(page: str) -> list[Row]:
    """Return the table of promises."""
    lines = iter(page.splitlines())
    for line in lines:
        if line.startswith("| promise | level |"):
            break
    else:
        raise ValueError("there is no table of promises")
    next(lines)
    found: list[Row] = []
    for line in lines:
        if not line.startswith("|"):
            break
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        found.append(Row(*(cell.strip(" |") for cell in [*cells, "", "", ""][:4])))
    return found


def row_of(promise: str, table: Sequence[Row]) -> Row | None:
    """Return the row that begins with a case's promise; None unless there is exactly one."""
    found = [row for row in table if row.promise.startswith(promise)]
    return found[0] if len(found) == 1 else None


# --- the cases that there are -----------------------------------------------------------------


def cases(root: Path) -> Iterator[Case]:
    """Find the marks in the suites' sources."""
    for suite in SUITES:
        for path in sorted((root / "tests" / suite).rglob("*.py")):
            tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
            texts = dict(_constants(tree))
            for node in ast.walk(tree):
                if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "case":
                    where = f"{path.relative_to(root)}:{node.lineno}"
                    id, promise = (_text(argument, texts) for argument in node.args)
                    yield Case(id, promise, where)


def _constants(tree: ast.Module) -> Iterator[tuple[str, str]]:
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            for target in node.targets:
                if isinstance(target, ast.Name) and isinstance(node.value.value, str):
                    yield target.id, node.value.value


def _text(node: ast.expr, texts: Mapping[str, str]) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.Name) and node.id in texts:
        return texts[node.id]
    # Whatever is computed is no text that a reader could look for in the table.
    return ast.unparse(node)


# --- check ------------------------------------------------------------------------------------


def complaints(root: Path, page: str, found: Sequence[Case]) -> Iterator[str]:
    """Say what does not fit together."""
    table = rows(page)
    for row in table:
        yield from _of_row(root, row)
    for case in found:
        if row_of(case.promise, table) is None:
            yield f"{case.where}: {case.promise!r} begins no row of the table, or many"
    ids = {case.id for case in found}
    for id in CLASSES:
        if id not in ids and id not in WITHOUT:
            yield f"{id} has no case, and no reason why"
        if id in ids and id in WITHOUT:
            yield f"{id} has a case: it needs no reason any more"
    for id in sorted(id for id in ids if id[0] != "X" and id not in CLASSES):
        yield f"{id} is not in the list of classes"
    own = {id for id in ids if id.startswith("X")}
    if len(own) < LEAST_OWN:
        yield f"there are {len(own)} cases of our own, fewer than {LEAST_OWN}"
    if page.count(BEGIN) != 1 or page.count(END) != 1 or page.index(BEGIN) > page.index(END):
        yield "the markers of the block are missing or doubled"


def _of_row(root: Path, row: Row) -> Iterator[str]:
    name = row.promise[:60]
    if not row.level.startswith(LEVELS):
        yield f"{name}: {row.level!r} is none of {', '.join(LEVELS)}"
    named = re.findall(r"`([^`]+)`", row.shown_by)
    paths = [text for text in named if "/" in text]
    if row.level.startswith("Guaranteed") and not paths:
        yield f"{name}: guaranteed, and no test shows it"
    sources = ""
    for text in paths:
        if (root / text).is_file():
            sources += (root / text).read_text(encoding="utf-8")
        else:
            yield f"{name}: there is no {text}"
    for text in named:
        if text.startswith("test_") and f"def {text}(" not in sources:
            yield f"{name}: there is no test {text}"


# --- the block --------------------------------------------------------------------------------


def read_reports(directory: Path) -> list[dict[str, Any]]:
    """Return the reports of the last runs."""
    paths = [directory / f"{suite}.json" for suite in SUITES]
    return [json.loads(path.read_text("utf-8")) for path in paths if path.is_file()]


def block(reports: Sequence[Mapping[str, Any]], page: str) -> str:
    """Return what is between the markers.

    Raises:
        ValueError: nothing was run, or a result belongs to no row: the reports are old.
    """
    if not reports:
        raise ValueError("there is no report: run `make test-hostile test-faults` first")
    table = rows(page)
    merged = {result["test"]: result for report in reports for result in report["results"]}
    by_row: dict[Row, list[Mapping[str, Any]]] = defaultdict(list)
    for result in merged.values():
        row = row_of(result["promise"], table)
        if row is None:
            raise ValueError(f"{result['test']} belongs to no row: the report is older than it")
        by_row[row].append(result)
    lines = [
        f"{_held(merged.values())} ({_ids(merged.values())} cases) on {_dates(reports)}:",
        "",
        *(f"- {text}" for text in _places(reports)),
        "",
        "| promise | cases | tests | held |",
        "|---|---|---|---|",
        *(
            f"| {row.short} | {_ids(by_row[row])} | {len(by_row[row])} | {_passed(by_row[row])} |"
            for row in table
            if row in by_row
        ),
        "",
        *_failures(merged.values()),
        *(f"- {id} has no case: {why}." for id, why in WITHOUT.items()),
    ]
    return "\n".join(lines)


def _passed(results: Iterable[Mapping[str, Any]]) -> int:
    return sum(result["held"] for result in results)


def _ids(results: Iterable[Mapping[str, Any]]) -> int:
    return len({result["case"] for result in results})


def _held(results: Iterable[Mapping[str, Any]]) -> str:
    found = list(results)
    return f"{_passed(found)} of {len(found)} tests held"


def _dates(reports: Sequence[Mapping[str, Any]]) -> str:
    days = sorted({report["date"] for report in reports})
    return days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"


def _places(reports: Sequence[Mapping[str, Any]]) -> list[str]:
    found: dict[str, None] = {}
    for report in reports:
        parts = ", ".join(f"{name} {text}" for name, text in report["engine"].items())
        found[f"{parts}; Linux {report['kernel']}, {report['machine']}"] = None
    return list(found)


def _failures(results: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    failed = [result for result in results if not result["held"]]
    yield (
        "What does not hold today:" if failed or WITHOUT else "Nothing is known not to hold today."
    )
    yield ""
    for result in sorted(failed, key=lambda result: (result["case"], result["test"])):
        # A reason may quote what came out of a container.
        reason = re.sub(r"[^ -~]|[|<>`\\[\]]", "?", result.get("reason") or "no reason is known")
        yield f"- {result['case']}, `{result['test']}`: {reason[:200]}"


def with_block(page: str, text: str) -> str:
    """Return the page with another block."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{text}\n{END}{after}"


def main(arguments: Sequence[str]) -> int:
    """Do what is asked for; return the exit code."""
    page = PAGE.read_text(encoding="utf-8")
    if list(arguments) == ["--check"]:
        found = list(complaints(ROOT, page, list(cases(ROOT))))
        for line in found:
            print(line, file=sys.stderr)
        return 1 if found else 0
    if list(arguments) == ["--write"]:
        try:
            PAGE.write_text(with_block(page, block(read_reports(REPORTS), page)), encoding="utf-8")
        except ValueError as error:
            print(f"promises: {error}", file=sys.stderr)
            return 1
        return 0
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
