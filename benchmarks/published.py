"""What the repository holds of a whole run: some rows in the README, all of them on a page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks import table
from benchmarks.row import Row

PAGE = Path("docs/figures.md")
README = Path("README.md")

# What somebody asks first: a command, files, output, beginning and end, and what it all weighs.
HEADLINES = (
    "exec-p50-engine",
    "exec-p50-local",
    "exec-1000x16",
    "stream-100m",
    "write-1k",
    "read-64m",
    "tree-10k-up",
    "tree-10k-down",
    "search-word",
    "create",
    "warm-create",
    "crowd",
    "destroy",
    "client-memory",
    "supervisor-memory",
)

_INTRODUCTION = """\
# Figures

Every row of `make bench ARGS=--write`, which has made this page: our figure, the baseline that was
measured beside it by turns, and the ratio of the two. A figure by itself says more about a machine
than about fumehood; rows that are a race between two copies of the same bytes move from run to run,
as the p99 rows do with whatever else the machine does. How each is measured:
[benchmarks/](../benchmarks/README.md#method). Other sandboxes beside ours:
[Benchmarks](benchmarks.md).
"""


def write(root: Path, rows: Sequence[Row], machine: str) -> None:
    """Write the page, and the short table into the README.

    Args:
        root: the checkout.
        rows: all rows of one run.
        machine: what they were measured on, in a sentence.

    Raises:
        ValueError: rows of the short table are missing, or the README has no place for it.
    """
    readme = (root / README).read_text(encoding="utf-8")
    (root / README).write_text(with_table(readme, headlines(rows)), encoding="utf-8")
    (root / PAGE).write_text(page(rows, machine), encoding="utf-8")


def headlines(rows: Sequence[Row]) -> list[Row]:
    """Return the rows of the short table, in its order."""
    by_name = {row.name: row for row in rows}
    if missing := [name for name in HEADLINES if name not in by_name]:
        raise ValueError(f"not measured: {', '.join(missing)}")
    return [by_name[name] for name in HEADLINES]


def with_table(text: str, rows: Sequence[Row]) -> str:
    """Return a text with the table in the place of what is between the two marks."""
    before, begin, rest = text.partition(table.BEGIN)
    _, end, after = rest.partition(table.END)
    if not begin or not end:
        raise ValueError(f"there is no {table.BEGIN} … {table.END}")
    return before + table.markdown(rows) + after


def page(rows: Sequence[Row], machine: str) -> str:
    """Return the page with all rows."""
    missed = [row.what for row in rows if not row.met]
    met = f"{len(rows) - len(missed)} of {len(rows)} targets were met"
    verdict = f"{met}; missed: {'; '.join(missed)}." if missed else f"{met}."
    return f"{_INTRODUCTION}\n{machine}\n\n{verdict}\n\n{table.markdown(rows)}\n"
