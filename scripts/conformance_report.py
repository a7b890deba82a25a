"""What a run of a suite came to: is that as it must be, and its line of the table."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from conformance_table import Own, Suite

HEAD = (
    "| framework | suite | result | wall time | the shared rules | by its own backend | |",
    "|---|---|---|---:|---:|---|---|",
)


@dataclass(slots=True)
class Side:
    """What a report says of some of its tests."""

    counts: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    def __str__(self) -> str:
        return ", ".join(f"{number} {kind}" for kind, number in self.counts.items() if number)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What became of the tests, by whose backend they ran on."""

    ours: Side
    compared: Side
    """Those of ours that the framework's own backend has passed as well, or should have."""
    own: Side


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a suite came to."""

    suite: Suite
    own: Own | str
    """The framework's own backend as far as it took part, or why it did not."""
    version: str
    report: Report
    seconds: float
    code: int

    @property
    def good(self) -> bool:
        """Whether that is exactly what it must come to."""
        if self.code or not _is(self.report.ours, self.suite):
            return False
        return isinstance(self.own, str) or (_is(self.report.own, self.own) and self.faster)

    @property
    def faster(self) -> bool:
        """Whether the same rules took less time than on the framework's own backend."""
        return self.report.compared.seconds < self.report.own.seconds

    @property
    def comparison(self) -> str:
        """The times of the same rules on both sides; empty where there is no other side."""
        report = self.report
        if isinstance(self.own, str) or not report.compared.seconds:
            return ""
        times = report.own.seconds / report.compared.seconds
        return (
            f"the same rules: {report.compared.seconds:.1f} s, by its own {self.own.name}: "
            f"{report.own.seconds:.1f} s, {times:.1f} times as long"
        )

    def row(self) -> str:
        """Return the line of the table."""
        report = self.report
        if isinstance(self.own, str):
            compared, own = "", self.own
        else:
            compared = f"{report.compared.seconds:.1f} s"
            own = f"{report.own.seconds:.1f} s, {self.own.name} ({report.own})"
        return (
            f"| {self.suite.package} {self.version} | {self.suite.what} | {report.ours} "
            f"| {self.seconds - report.own.seconds:.0f} s | {compared} | {own} | {self.suite.why} |"
        )


def _is(side: Side, wanted: Suite | Own) -> bool:
    expected = Counter(passed=wanted.passed, skipped=wanted.skipped, xfailed=wanted.xfailed)
    return +side.counts == +expected


def read_report(path: Path) -> Report:
    """Read what pytest has written of a run: nothing when there is no report."""
    ours, compared, own = Side(), Side(), Side()
    # It was written by pytest here, a moment ago.
    cases = ElementTree.parse(path).iter("testcase") if path.exists() else ()  # noqa: S314
    told: tuple[Side, ...]
    for case in cases:
        sides = {
            noticed.get("value")
            for noticed in case.iter("property")
            if noticed.get("name") == "side"
        }
        if "baseline" in sides:
            told = (own,)
        elif "compared" in sides:
            told = (ours, compared)
        else:
            told = (ours,)
        for side in told:
            side.counts[ending(case)] += 1
            side.seconds += float(case.get("time", 0))
    return Report(ours=ours, compared=compared, own=own)


def ending(case: ElementTree.Element) -> str:
    """Return how a test of a report has ended."""
    skipped = case.find("skipped")
    if case.find("failure") is not None or case.find("error") is not None:
        return "failed"
    if skipped is not None:
        return "xfailed" if skipped.get("type") == "pytest.xfail" else "skipped"
    return "passed"
