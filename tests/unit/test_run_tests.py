"""Which tests run where, and the one verdict over several runs of pytest."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

import run_tests
import tests_again
import tests_plan
import tests_processes
import tests_reports
from tests_plan import Part
from tests_processes import Bad, Outcome

ROOT = Path(__file__).resolve().parents[2]
EVERY_FILE = sorted(file.relative_to(ROOT).as_posix() for file in ROOT.glob("tests/**/test_*.py"))


def files(parts: list[Part]) -> list[str]:
    return sorted(name for part in parts for name in part.arguments if name.startswith("tests/"))


# --- the plan ------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", [{}, tests_plan.read_table()], ids=["unknown", "known"])
def test_every_file_of_tests_is_run_once(table: dict[str, float]) -> None:
    assert files(tests_plan.parts(table, engine=True)) == EVERY_FILE


def test_without_an_engine_nothing_runs_that_needs_one() -> None:
    kinds = {tests_plan.kind_of(name) for name in files(tests_plan.parts({}, engine=False))}
    assert kinds == set(tests_plan.WITHOUT_ENGINE)


def test_no_process_runs_two_kinds() -> None:
    for part in tests_plan.parts({}, engine=True):
        kinds = {tests_plan.kind_of(name) for name in files([part])}
        assert len(kinds) == 1 or kinds <= set(tests_plan.WITHOUT_ENGINE)


def test_of_the_cases_every_part_runs_the_quick_ones() -> None:
    for part in tests_plan.parts({}, engine=True):
        cases = {tests_plan.kind_of(name) for name in files([part])} & set(tests_plan.CASES)
        assert ("not slow" in part.arguments) is bool(cases)


def test_kinds_can_be_run_whole_and_alone() -> None:
    parts = tests_plan.whole(["contract", "faults"], {})
    kinds = {"contract", "faults"}
    assert files(parts) == [name for name in EVERY_FILE if tests_plan.kind_of(name) in kinds]
    assert all("not slow" not in part.arguments for part in parts)


def test_a_kind_that_is_not_there_is_an_error() -> None:
    with pytest.raises(SystemExit, match="no-such-kind"):
        tests_plan.whole(["no-such-kind"], {})


def test_what_takes_longest_begins_first() -> None:
    seconds = [part.seconds for part in tests_plan.parts(tests_plan.read_table(), engine=True)]
    assert seconds == sorted(seconds, reverse=True)


def test_the_table_names_files_that_exist() -> None:
    assert set(tests_plan.read_table()) <= set(EVERY_FILE)


def test_shares_are_of_about_equal_weight() -> None:
    shares = tests_plan.share({"a": 6, "b": 5, "c": 4, "d": 3, "e": 2}, at_most=10)
    assert [sorted(share) for share in shares] == [["a", "d"], ["b", "c", "e"]] or sorted(
        sum(share.values()) for share in shares
    ) == [9, 11]


def test_what_outweighs_a_share_is_alone() -> None:
    shares = tests_plan.share({"a": 50, "b": 1, "c": 1}, at_most=10)
    assert {"a": 50} in shares
    assert sorted(name for share in shares for name in share) == ["a", "b", "c"]


# --- the verdict ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "codes, skipped, expected",
    [
        ([0, 0, 0], 0, 0),
        ([0, 5, 5], 0, 0),  # -k selected tests of one kind
        ([5, 5, 5], 0, 5),  # a misspelt name must not look like success
        ([1, 0, 0], 0, 1),
        ([0, 1, 4], 0, 1),
        ([0, 2], 0, 2),
        ([0, 0, 0], 1, 1),
    ],
)
def test_one_exit_code_speaks_for_all_kinds(codes: list[int], skipped: int, expected: int) -> None:
    assert run_tests.verdict(codes, Counter(tests=9, skipped=skipped)) == expected


def test_the_closing_line_counts_all_kinds() -> None:
    line = run_tests.closing_line(Counter(tests=12, failures=1, errors=2, skipped=3), 4.5)
    assert line.strip("= ") == "1 failed, 2 errors, 3 skipped, 6 passed in 4.50s"


def outcome(
    code: int, *failed: str, tests: int = 5, skipped: int = 0, fixture: str = ""
) -> Outcome:
    """Return that of some part, where tests failed, each by itself or all by one fixture."""
    became = "ERROR" if fixture else "FAILED"
    bad = tuple(Bad(became, name, fixture or "assert 1 == 2") for name in failed)
    counted = Counter(
        tests=tests,
        failures=0 if fixture else len(failed),
        errors=len(failed) if fixture else 0,
        skipped=skipped,
    )
    return Outcome(Part(name="some", arguments=(), seconds=0), code, counted, bad, {})


@pytest.mark.parametrize(
    "first, runs",
    [
        ([outcome(0), outcome(0)], None),
        ([outcome(1, "a"), outcome(1, "b", "a")], ("a", "b")),
        ([outcome(1, "a", "b", "c")], None),  # no race, though they read alike
        ([outcome(1, "a"), outcome(1)], None),  # what failed there is not known
        # One failure, whose fixture all of them share.
        ([outcome(1, "a"), outcome(1, "b", "c", "d", fixture="f")], ("a", "b", "c", "d")),
        ([outcome(1, *"ab", fixture=name) for name in "fg"], ("a", "b")),
        ([outcome(1, name, fixture=f"of {name}") for name in "abc"], None),
    ],
)
def test_only_a_few_failures_run_once_more(
    first: list[Outcome], runs: tuple[str, ...] | None
) -> None:
    again = tests_again.second_parts(first, at_most=2)
    assert [part.arguments for part in again] == ([runs] if runs else [])


def test_kinds_are_apart_the_second_time_too() -> None:
    """The fixtures of one put a stand-in in the place of what the other tests."""
    names = ("tests/engine/test_x.py::a", "tests/contract/test_y.py::b", "tests/engine/test_z.py")
    again = tests_again.second_parts([outcome(1, *names)], at_most=3)
    assert [part.arguments for part in again] == [(names[0], names[2]), (names[1],)]


def test_the_reason_of_many_errors_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    names = [f"test_{number}" for number in range(20)]
    run_tests.show_bad([outcome(1, "a"), outcome(1, *names, fixture="no engine")])
    said = capsys.readouterr().out.splitlines()
    assert said[:3] == ["FAILED a", "    assert 1 == 2", "ERROR test_0"]
    assert said[-1] == "    and 12 more: no engine"
    assert len(said) == 2 + 8 + 1


@pytest.mark.parametrize(
    "second, code, failures",
    [(outcome(0, tests=2), 0, 0), (outcome(1, "a", tests=2), 1, 1), (outcome(4, tests=0), 4, 0)],
)
def test_the_second_run_decides(second: Outcome, code: int, failures: int) -> None:
    first = [outcome(0), outcome(1, "a"), outcome(1, "b")]
    codes, counted = tests_again.settled(first, [second])
    assert run_tests.verdict(codes, counted) == code
    assert (counted["tests"], counted["failures"]) == (15, failures)


def test_a_second_run_excuses_neither_a_crash_nor_a_skipped_test() -> None:
    second = outcome(0)
    codes, counted = tests_again.settled([outcome(3), outcome(1, "a")], [second])
    assert run_tests.verdict(codes, counted) == 3
    codes, counted = tests_again.settled([outcome(0, skipped=1), outcome(1, "a")], [second])
    assert run_tests.verdict(codes, counted) == 1


def test_what_passed_the_second_time_only_is_named() -> None:
    first = [outcome(1, "a", "b")]
    (part,) = tests_again.second_parts(first, at_most=2)
    (line,) = tests_again.unsteady(first, [replace(outcome(1, "b"), part=part)])
    assert line.startswith("UNSTEADY a:")
    assert "assert 1 == 2" in line


@pytest.mark.parametrize(
    "arguments, jobs",
    [
        ([], tests_processes.default_jobs()),
        (["--jobs=4", "-k", "docs"], 4),
        (["--jobs=0"], 1),
        (["tests/unit"], 1),
        (["-x", "tests/unit/test_run_tests.py::test_nothing"], 1),
        (["tests/no-such-directory"], tests_processes.default_jobs()),
        (["--pdb"], 1),
    ],
)
def test_who_names_tests_or_debugs_has_the_terminal_for_one_process(
    arguments: list[str], jobs: int
) -> None:
    assert run_tests.jobs_of(arguments) == jobs


# --- the processes -------------------------------------------------------------------------------

# Runs the parts that the command line names, one file of tests each.
_RUN = """\
import asyncio, sys
from tests_plan import Part
from tests_processes import Runner
parts = [Part(name=path.rpartition("/")[2], arguments=(path,), seconds=0) for path in sys.argv[2:]]
runner = Runner(["--color=no", "-p", "no:cacheprovider"], jobs=int(sys.argv[1]))
outcomes = asyncio.run(runner.run(parts))
for outcome in outcomes:
    print("outcome", outcome.part.name, outcome.code, *outcome.bad)
"""


def start(jobs: int, *paths: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _RUN, str(jobs), *map(str, paths)],
        env={"PYTHONPATH": str(ROOT / "scripts"), "PATH": "/usr/bin:/bin"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def outcomes(output: str) -> list[str]:
    return sorted(line for line in output.splitlines() if line.startswith("outcome"))


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="ascii")
    return path


def test_processes_run_side_by_side_and_each_prints_in_one_piece(tmp_path: Path) -> None:
    # Each waits for the other to have begun.
    meeting = """\
import pathlib, time
def test_meets():
    here = pathlib.Path(__file__).parent
    (here / "{me}").touch()
    print("words of {me}")
    while not (here / "{other}").exists():
        time.sleep(0.01)
    assert "{me}" == "left", "as it should be"
"""
    left = write(tmp_path / "test_left.py", meeting.format(me="left", other="right"))
    right = write(tmp_path / "test_right.py", meeting.format(me="right", other="left"))
    output, _ = start(2, left, right).communicate(timeout=60)
    passed, failed = outcomes(output)
    assert passed == "outcome test_left.py 0"
    assert failed.startswith("outcome test_right.py 1 FAILED ")
    assert failed.endswith("::test_meets")
    # Each piece has the title of its own part and pytest's last line for it alone.
    pieces = output.split("\n##")[1:]
    assert sorted(
        ("test_left" in piece.splitlines()[0], "1 passed in" in piece, "words of right" in piece)
        for piece in pieces
    ) == [(False, False, True), (True, True, False)]


def test_an_interrupt_ends_every_process_and_begins_no_other(tmp_path: Path) -> None:
    waits = """\
import pathlib, time
def test_waits():
    try:
        pathlib.Path(__file__).with_suffix(".begun").touch()
        time.sleep(100)
    finally:
        pathlib.Path(__file__).with_suffix(".tidied").touch()
"""
    names = ["test_a.py", "test_b.py", "test_c.py"]
    paths = [write(tmp_path / name, waits) for name in names]
    process = start(2, *paths)
    begun = [path.with_suffix(".begun") for path in paths[:2]]
    while not all(path.exists() for path in begun):
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert outcomes(output) == ["outcome test_a.py 2", "outcome test_b.py 2"]
    assert all(path.with_suffix(".tidied").exists() for path in paths[:2])
    assert not paths[2].with_suffix(".begun").exists()


def test_what_pytest_could_not_read_is_named(tmp_path: Path) -> None:
    broken = write(tmp_path / "test_broken.py", "import no_such_module\n")
    output, _ = start(1, broken).communicate(timeout=60)
    assert [line.split()[:4] for line in outcomes(output)] == [
        ["outcome", "test_broken.py", "2", "ERROR"]
    ]


# --- reports of cases -----------------------------------------------------------------------------


def report(*results: tuple[str, str, bool]) -> str:
    found = [{"test": test, "case": case, "held": held} for test, case, held in results]
    return json.dumps({"date": "2026-01-02", "cases": 0, "tests": 0, "held": 0, "results": found})


def test_what_processes_have_reported_is_one_report_for_each_kind(tmp_path: Path) -> None:
    texts = [
        report(
            ("tests/hostile/test_b.py::x", "H01", True),
            ("tests/hostile/test_b.py::y", "H01", False),
        ),
        report(("tests/faults/test_a.py::x", "F01", True)),
        report(("tests/hostile/test_a.py::x", "H02", True)),
        report(),
    ]
    paths = [write(tmp_path / f"{number}.json", text) for number, text in enumerate(texts)]
    tests_reports.write(tmp_path / "reports", [*paths, tmp_path / "ended-early.json"])
    hostile = json.loads((tmp_path / "reports" / "hostile.json").read_text(encoding="utf-8"))
    assert [hostile[name] for name in ("cases", "tests", "held")] == [2, 3, 2]
    assert [result["test"] for result in hostile["results"]] == [
        "tests/hostile/test_a.py::x",
        "tests/hostile/test_b.py::x",
        "tests/hostile/test_b.py::y",
    ]
    assert hostile["date"] == "2026-01-02"
    faults = json.loads((tmp_path / "reports" / "faults.json").read_text(encoding="utf-8"))
    assert [faults[name] for name in ("cases", "tests", "held")] == [1, 1, 1]
