"""The one verdict over several runs of pytest."""

from __future__ import annotations

import importlib.util
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


def load() -> Any:
    path = ROOT / "scripts" / "run_tests.py"
    spec = importlib.util.spec_from_file_location("run_tests", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


run_tests = load()


def test_every_directory_with_tests_is_run_once() -> None:
    named = [
        name for kind in run_tests.kinds(engine=True) for name in kind if name.startswith("tests/")
    ]
    present = {
        f"tests/{file.relative_to(ROOT / 'tests').parts[0]}"
        for file in ROOT.glob("tests/*/test_*.py")
    }
    assert sorted(named) == sorted(present)


def test_without_an_engine_nothing_runs_that_needs_one() -> None:
    named = {
        name for kind in run_tests.kinds(engine=False) for name in kind if name.startswith("tests/")
    }
    assert named.isdisjoint({"tests/engine", "tests/contract", "tests/cli", "tests/docs"})


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


@pytest.mark.parametrize(
    "arguments, named",
    [
        (["tests/unit"], True),
        (["-x", "tests/unit/test_run_tests.py::test_nothing"], True),
        (["-k", "docs"], False),
        (["tests/no-such-directory"], False),
    ],
)
def test_a_path_of_tests_is_told_from_an_option(arguments: list[str], named: bool) -> None:
    assert run_tests.names_tests(arguments) is named
