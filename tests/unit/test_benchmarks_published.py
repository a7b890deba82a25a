"""What the repository holds of a run of the benchmarks."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks import published, table
from benchmarks.row import Row, at_most
from benchmarks.rows import GROUPS

ROOT = Path(__file__).resolve().parents[2]
EVERY_NAME = [name for group in GROUPS for name in group.rows]


def row(name: str, ours: float = 1.0) -> Row:
    return Row(
        name=name,
        what=f"what {name} is",
        unit="ms",
        ours=ours,
        baseline=1.0,
        against="the same by hand",
        target=at_most(2),
        samples=3,
    )


def test_the_short_table_has_its_own_order_and_only_its_rows() -> None:
    rows = published.headlines([row(name) for name in reversed(EVERY_NAME)])
    assert [row.name for row in rows] == list(published.HEADLINES)


def test_a_run_without_one_of_them_is_not_published(tmp_path: Path) -> None:
    readme = tmp_path / published.README
    readme.write_text(f"{table.BEGIN}{table.END}", encoding="utf-8")
    with pytest.raises(ValueError, match=r"not measured: .*exec-p50-local"):
        published.write(tmp_path, [row("exec-p50-engine")], "here")
    assert readme.read_text(encoding="utf-8") == f"{table.BEGIN}{table.END}"
    assert not (tmp_path / published.PAGE).exists()


def test_a_table_takes_the_place_of_the_one_before() -> None:
    once = published.with_table(f"a\n{table.BEGIN}\nold\n{table.END}\nb\n", [row("new")])
    assert once.startswith(f"a\n{table.BEGIN}\n| row |")
    assert once.endswith(f"| met |\n{table.END}\nb\n")
    assert "old" not in once
    assert published.with_table(once, [row("new")]) == once


def test_a_text_without_a_place_for_it_is_refused() -> None:
    with pytest.raises(ValueError, match="there is no"):
        published.with_table("no marks", [])


def test_the_page_says_what_was_missed() -> None:
    page = published.page([row("good"), row("bad", ours=3.0)], "A machine.")
    assert "A machine.\n\n1 of 2 targets were met; missed: what bad is.\n" in page
    assert published.page([row("good")], "").count("1 of 1 targets were met.\n") == 1


def test_the_readme_has_one_place_for_it() -> None:
    text = (ROOT / published.README).read_text(encoding="utf-8")
    assert (text.count(table.BEGIN), text.count(table.END)) == (1, 1)
