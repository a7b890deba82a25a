"""SECURITY.md's table is held to the cases, and what is written of a run is what it has shown."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


def load() -> Any:
    """Import the script."""
    spec = importlib.util.spec_from_file_location("promises", ROOT / "scripts" / "promises.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Its dataclasses look their module up.
    sys.modules["promises"] = module
    spec.loader.exec_module(module)
    return module


promises = load()

PAGE = """# Security

| promise | level | enforced by | shown by |
|---|---|---|---|
| A door is shut: always | Guaranteed | a lock | `tests/hostile/test_door.py` (`test_a_door`) |
| A window is shut | Not promised | | |

<!-- promises: begin -->
old
<!-- promises: end -->

After.
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A checkout with one case."""
    for suite in ("hostile", "faults"):
        (tmp_path / "tests" / suite).mkdir(parents=True)
    source = 'DOOR = "A door is"\n\n@case("H01", DOOR)\ndef test_a_door():\n    pass\n'
    (tmp_path / "tests" / "hostile" / "test_door.py").write_text(source)
    return tmp_path


def complaints(root: Path, page: str) -> list[str]:
    found = promises.complaints(root, page, list(promises.cases(root)))
    # This checkout has one case of the many.
    return [line for line in found if "no case" not in line and "of our own" not in line]


def test_a_page_whose_tests_and_cases_are_there_is_fine(root: Path) -> None:
    assert complaints(root, PAGE) == []


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("test_door.py", "test_gate.py", "there is no tests/hostile/test_gate.py"),
        ("(`test_a_door`)", "(`test_a_gate`)", "there is no test test_a_gate"),
        (" `tests/hostile/test_door.py` (`test_a_door`) ", " ", "and no test shows it"),
        ("| Guaranteed |", "| Surely |", "'Surely' is none of"),
        ("| A door is shut", "| A gate is shut", "test_door.py:3: 'A door is' begins no row"),
        ("| A window is", "| A door is", "test_door.py:3: 'A door is' begins no row"),
        ("<!-- promises: end -->", "", "the markers"),
    ],
)
def test_what_does_not_fit_is_named(root: Path, old: str, new: str, complaint: str) -> None:
    assert old in PAGE
    assert any(complaint in line for line in complaints(root, PAGE.replace(old, new)))


def test_every_class_has_a_case_or_a_reason_and_not_both(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(promises.WITHOUT, "H55", "there is no window yet")
    found = list(promises.complaints(root, PAGE, list(promises.cases(root))))
    assert "H02 has no case, and no reason why" in found
    assert not any(line.startswith("H55") for line in found)
    extra = [promises.Case("H55", "A door is", "x:1"), promises.Case("H98", "A door is", "x:2")]
    found = list(promises.complaints(root, PAGE, extra))
    assert "H55 has a case: it needs no reason any more" in found
    assert "H98 is not in the list of classes" in found


def report(**changes: Any) -> dict[str, Any]:
    result = {"test": "tests/a.py::test_a", "case": "H01", "promise": "A door is", "held": True}
    return {
        "date": "2026-01-02",
        "kernel": "6.1",
        "machine": "x86_64",
        "engine": {"Engine": "20.10", "API": "1.41"},
        "results": [result | changes],
    }


def test_a_run_becomes_a_block_between_the_markers() -> None:
    other = report(test="tests/b.py::test_b", case="X01")
    page = promises.with_block(PAGE, promises.block([report(), other], PAGE))
    before, _, rest = page.partition("<!-- promises: begin -->\n")
    block, _, after = rest.partition("\n<!-- promises: end -->")
    assert before + after == PAGE.replace(
        "<!-- promises: begin -->\nold\n<!-- promises: end -->", ""
    )
    assert block.startswith("2 of 2 tests held (2 cases) on 2026-01-02:\n")
    assert "- Engine 20.10, API 1.41; Linux 6.1, x86_64\n" in block
    assert "| A door is shut | 2 | 2 | 2 |\n" in block
    assert "window" not in block


def test_what_failed_is_listed_with_its_reason_as_text() -> None:
    text = promises.block([report(held=False, reason="a | <b>\x1b[2J")], PAGE)
    assert "| A door is shut | 1 | 1 | 0 |" in text
    assert "- H01, `tests/a.py::test_a`: a ? ?b???2J" in text


@pytest.mark.parametrize(
    ("reports", "says"),
    [([], "there is no report"), ([report(promise="A gate is")], "belongs to no row")],
)
def test_no_run_or_an_old_one_is_an_error(reports: list[dict[str, Any]], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        promises.block(reports, PAGE)
