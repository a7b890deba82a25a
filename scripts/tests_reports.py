"""One report for each kind of cases, of what several processes have reported about parts of it."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests_plan import kind_of


def by_kind(paths: Iterable[Path]) -> dict[str, dict[str, Any]]:
    """Return what processes have written (`tests/cases/report.py`), put together by kind of test.

    What is not there was not written: a process that was ended before its last test has no report.
    """
    found: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for path in paths:
        if path.exists():
            report = json.loads(path.read_text(encoding="utf-8"))
            for kind in {kind_of(result["test"]) for result in report["results"]}:
                found[kind].append(report)
    return {kind: joined(reports) for kind, reports in found.items()}


def joined(reports: list[dict[str, Any]]) -> dict[str, Any]:
    """Return one report in the place of several about different tests of one run."""
    results = sorted(
        (result for report in reports for result in report["results"]),
        key=lambda result: result["test"],
    )
    return reports[0] | {
        "cases": len({result["case"] for result in results}),
        "tests": len(results),
        "held": sum(result["held"] for result in results),
        "results": results,
    }


def write(directory: Path, paths: Iterable[Path]) -> None:
    """Write ``KIND.json`` for each kind that was reported, in the place of an earlier one."""
    for kind, report in by_kind(paths).items():
        directory.mkdir(parents=True, exist_ok=True)
        text = json.dumps(report, indent=2) + "\n"
        (directory / f"{kind}.json").write_text(text, encoding="utf-8")
