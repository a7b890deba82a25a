"""The table, for a terminal and for a README."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.row import Row

_HEADINGS = ("row", "ours", "baseline", "what the baseline is", "ratio", "target", "")
_RIGHT = (False, True, True, False, True, False, False)

BEGIN, END = "<!-- bench -->", "<!-- /bench -->"


def text(rows: Sequence[Row]) -> str:
    """Return the table in columns."""
    cells = [_HEADINGS, *map(_cells, rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(_HEADINGS))]
    lines = ["  ".join(_padded(line, widths)).rstrip() for line in cells]
    rule = "─" * sum((*widths, 2 * (len(widths) - 1)))
    return "\n".join((lines[0], rule, *lines[1:]))


def markdown(rows: Sequence[Row]) -> str:
    """Return the table as Markdown, between the markers that a README has for it."""
    lines = [BEGIN, _line(_HEADINGS), _line(["---:" if right else "---" for right in _RIGHT])]
    lines += [_line(_cells(row)) for row in rows]
    return "\n".join((*lines, END))


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _padded(cells: Sequence[str], widths: Sequence[int]) -> list[str]:
    return [
        cell.rjust(width) if right else cell.ljust(width)
        for cell, width, right in zip(cells, widths, _RIGHT, strict=True)
    ]


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.what,
        f"{_number(row.ours)} {row.unit}",
        "-" if row.baseline is None else f"{_number(row.baseline)} {row.unit}",
        row.against,
        _ratio(row.ratio),
        row.target.text,
        "met" if row.met else "MISSED",
    )


def _ratio(ratio: float | None) -> str:
    if ratio is None:
        return "-"
    # As the targets are written: small ones as fractions.
    return f"1/{1 / ratio:.3g}" if 0 < ratio < 0.2 else f"{ratio:.3g} x"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"
