"""How `make conformance` reads what a suite has come to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from conformance_report import HEAD, Outcome, Report, read_report
from conformance_table import Own, Suite

OWN = Own(name="`theirs`", passed=1, xfailed=1)
SUITE = Suite(name="x", package="x", what="its rules", passed=3, skipped=1, own=OWN, why="because")
SKIPPED = '<skipped type="pytest.skip"/>'
XFAILED = '<skipped type="pytest.xfail"/>'
COMPARED, BASELINE = (
    f'<properties><property name="side" value="{side}"/></properties>'
    for side in ("compared", "baseline")
)
CASES = (
    (0.5, COMPARED),
    (1.5, COMPARED),
    (0.25, ""),
    (0, SKIPPED),
    (4, BASELINE),
    (2, BASELINE + XFAILED),
)


def report(place: Path, cases: Sequence[tuple[float, str]] = CASES) -> Report:
    tests = "".join(f'<testcase time="{seconds}">{inner}</testcase>' for seconds, inner in cases)
    path = place / "report.xml"
    path.write_text(f"<testsuites><testsuite>{tests}</testsuite></testsuites>", encoding="ascii")
    return read_report(path)


def outcome(report: Report, *, own: Own | str = OWN, code: int = 0) -> Outcome:
    return Outcome(suite=SUITE, own=own, version="1.0", report=report, seconds=10.0, code=code)


def test_each_side_has_its_counts_and_its_time(tmp_path: Path) -> None:
    told = report(tmp_path)
    assert str(told.ours) == "3 passed, 1 skipped"
    assert (str(told.compared), told.compared.seconds) == ("2 passed", 2.0)
    assert (str(told.own), told.own.seconds) == ("1 passed, 1 xfailed", 6.0)


def test_what_is_as_it_must_be_has_its_line(tmp_path: Path) -> None:
    came_to = outcome(report(tmp_path))
    assert came_to.good
    assert came_to.row() == (
        "| x 1.0 | its rules | 3 passed, 1 skipped | 4 s | 2.0 s "
        "| 6.0 s, `theirs` (1 passed, 1 xfailed) | because |"
    )
    assert came_to.row().count("|") == HEAD[0].count("|") == HEAD[1].count("|")
    assert "3.0 times as long" in came_to.comparison


def test_without_the_other_side_its_reason_is_in_the_line(tmp_path: Path) -> None:
    came_to = outcome(report(tmp_path, CASES[:4]), own="it has none")
    assert came_to.good
    assert came_to.row().endswith("| 10 s |  | it has none | because |")
    assert came_to.comparison == ""


def test_anything_else_is_a_failure(tmp_path: Path) -> None:
    good = report(tmp_path)
    assert not outcome(good, code=1).good
    assert not outcome(read_report(tmp_path / "none"), own="it has none").good
    failed = "<failure/>"
    for other in (
        CASES[1:],
        (*CASES, (1.0, "")),
        (*CASES, (1.0, failed)),
        (*CASES, (1.0, BASELINE)),
        (*CASES[:4], (4, BASELINE), (2, BASELINE + "<error/>")),
    ):
        assert not outcome(report(tmp_path, other)).good, other


def test_slower_than_the_frameworks_own_backend_is_a_failure(tmp_path: Path) -> None:
    slow = ((7.0, COMPARED), *CASES[1:])
    assert not outcome(report(tmp_path, slow)).good
    assert outcome(report(tmp_path, slow[:4]), own="not asked for").good
