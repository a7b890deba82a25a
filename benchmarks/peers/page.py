"""The page: `docs/benchmarks.md` and its plots, made from the figures and from nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.peers import carried, plots, text
from benchmarks.peers.ahead import Ahead, who_is_ahead
from benchmarks.peers.catalog import CATALOG, Entry
from benchmarks.peers.figures import METRIC, METRICS, Run, quartiles
from benchmarks.peers.phases import FULL
from benchmarks.peers.plots import number_of
from uv_environments import ROOT

PAGE = ROOT / "docs" / "benchmarks.md"
PLOTS = ROOT / "docs" / "benchmarks"
ROWS = ROOT / ".build" / "bench" / "rows.jsonl"

_GROUPS = (
    ("Begin and end", ("create", "destroy", "gone")),
    ("Commands", ("exec", "crowd")),
    ("Files", ("write_small", "read_small", "write_large", "read_large")),
    ("Output and memory", ("flood", "flood_memory", "memory_few", "memory_many")),
)


def summary(run: Run) -> str:
    """Return the medians of a run, for a terminal."""
    shown = [metric for metric in METRICS if run.values.get(metric.name)]
    heads = ["", *(f"{metric.name} {metric.unit}" for metric in shown)]
    lines = [heads]
    for entry in _present(run):
        cells = [run.median(metric.name, entry.name) for metric in shown]
        lines.append([entry.name, *("-" if cell is None else number_of(cell) for cell in cells)])
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    table = [
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        for line in lines
    ]
    table += [f"{name} is left out: {why}" for name, why in run.left_out.items()]
    table += [f"{name}: {json.dumps(found)}" for name, found in run.ends.items()]
    return "\n".join(table)


def write(run: Run) -> list[Path]:
    """Write the page and its plots; return their paths."""
    PLOTS.mkdir(exist_ok=True)
    for old in PLOTS.glob("*.svg"):
        old.unlink()
    made = {PLOTS / f"{name}.svg": drawn for name, drawn in _plots(run)}
    growth = list(_growth())
    made |= {PLOTS / f"{row['row']}.svg": drawn for row, drawn in growth}
    made[PAGE] = _page(run, [row for row, _ in growth])
    for path, content in made.items():
        path.write_text(content, encoding="utf-8")
    return sorted(made)


def _present(run: Run) -> list[Entry]:
    return [entry for entry in CATALOG if entry.name in run.versions]


# --- plots -------------------------------------------------------------------------------------


def _plots(run: Run) -> Iterator[tuple[str, str]]:
    for metric in METRICS:
        found: list[plots.Bar] = []
        for entry in _present(run):
            values = run.of(metric.name, entry.name)
            if values:
                low, high = quartiles(values)
                middle = run.median(metric.name, entry.name) or 0.0
                found.append(
                    plots.Bar(name=entry.name, kind=entry.kind, value=middle, low=low, high=high)
                )
        if metric.name in carried.MEDIANS:
            value = carried.MEDIANS[metric.name]
            found.append(
                plots.Bar(
                    name="@anvia (carried)", kind="carried", value=value, low=value, high=value
                )
            )
        if found:
            drawn = plots.bars(
                run.title(metric.name), metric.unit, found, more_is_better=metric.more_is_better
            )
            yield metric.name, drawn


def _growth() -> Iterator[tuple[dict[str, Any], str]]:
    if not ROWS.exists():
        return
    for line in ROWS.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if row.get("points") and row["row"] in text.GROWTH:
            title, along = text.GROWTH[row["row"]]
            points = [(count, value) for count, value in row["points"]]
            yield row, plots.line(title, row["unit"], along, points)


# --- the page ----------------------------------------------------------------------------------


def _page(run: Run, growth: Sequence[dict[str, Any]]) -> str:
    parts = [text.HEAD.format(**run.machine)]
    if run.amounts["lives"] < FULL.lives:
        parts.append(text.SHORT)
    parts += _short_answer(run)
    for title, metrics in _GROUPS:
        parts += [f"## {title}", *_table(run, metrics)]
        parts += [
            f"![{run.title(name)}](benchmarks/{name}.svg)"
            for name in metrics
            if run.values.get(name)
        ]
    parts += [
        "## What outlives a timeout, and a killed client",
        text.ENDS.format(**_amounts(run)),
        _ends(run),
    ]
    if growth:
        parts += ["## What the ten-thousandth costs", text.GROWTH_NOTE]
        parts += [f"![{text.GROWTH[row['row']][0]}](benchmarks/{row['row']}.svg)" for row in growth]
    parts += ["## Method", text.METHOD.format(**_amounts(run))]
    parts += ["## Who was measured", _who(run), *_left_out(run), text.CARRIED, text.AGAIN]
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def _amounts(run: Run) -> dict[str, str]:
    return {
        name: f"{value / 1e6:g}" if name.endswith("_bytes") else f"{value:g}"
        for name, value in run.amounts.items()
    }


def _short_answer(run: Run) -> Iterator[str]:
    ahead = who_is_ahead(run)
    measured = [metric.name for metric in METRICS if run.of(metric.name, "fumehood")]
    best = [name for name in measured if name not in {one.metric for one in ahead}]
    yield (
        f"Of {len(measured)} measurements fumehood is ahead of every peer in {len(best)}. "
        "Where one of them is ahead, it stands here:"
    )
    if not ahead:
        yield "None is."
    else:
        yield "\n".join(_line(run, one) for one in ahead)
    yield text.FLOORS


def _line(run: Run, one: Ahead) -> str:
    close = "; **the quartiles overlap: a draw on this machine**" if one.close else ""
    return (
        f"* **{run.title(one.metric)}**: {one.peer}, {number_of(one.theirs)} against "
        f"{number_of(one.ours)} {METRIC[one.metric].unit}{close}. "
        f"{text.WHY.get(one.metric, text.WHY_UNKNOWN)}"
    )


def _table(run: Run, metrics: Sequence[str]) -> Iterator[str]:
    heads = [f"{run.title(name)}, {METRIC[name].unit}" for name in metrics]
    lines = [f"| | {' | '.join(heads)} |", f"|---{'|---:' * len(metrics)}|"]
    notes: list[str] = []
    for entry in _present(run):
        cells: list[str] = []
        for name in metrics:
            cell = _cell(run, name, entry.name)
            note = run.notes.get(name, {}).get(entry.name)
            if note and entry.kind != "variant":
                told = f"{entry.name}: {note}"
                if told not in notes:
                    notes.append(told)
                cell += f" <sup>{notes.index(told) + 1}</sup>"
            cells.append(cell)
        if any(cell != "–" for cell in cells):
            name = f"**{entry.name}**" if entry.kind == "ours" else entry.name
            lines.append(f"| {name}{' (floor)' * (entry.kind == 'floor')} | {' | '.join(cells)} |")
    values = [carried.MEDIANS.get(name) for name in metrics]
    if any(value is not None for value in values):
        cells = ["–" if value is None else f"*{number_of(value)}*" for value in values]
        lines.append(f"| *{carried.NAME}, carried over* | {' | '.join(cells)} |")
    yield "\n".join(lines)
    if notes:
        yield "\n".join(f"{number}. {note}" for number, note in enumerate(notes, start=1))


def _cell(run: Run, metric: str, peer: str) -> str:
    values = run.of(metric, peer)
    if not values:
        return "–"
    middle = number_of(run.median(metric, peer) or 0.0)
    if len(values) < 2:
        return middle
    low, high = quartiles(values)
    return f"{middle} ({number_of(low)}–{number_of(high)})"


def _ends(run: Run) -> str:
    lines = [text.ENDS_HEAD, "|---|---|---|---|---:|---|---|---|---:|"]
    for entry in _present(run):
        found = run.ends.get(entry.name)
        if found:
            name = f"**{entry.name}**" if entry.kind == "ours" else entry.name
            lines.append(_ends_line(name, found))
    lines.append(_ends_line(f"*{carried.NAME}, carried over*", carried.ENDS))
    failed = [
        f"* {name}, {key.removeprefix('failed: ')}: {why}"
        for name, found in run.ends.items()
        for key, why in found.items()
        if key.startswith("failed: ")
    ]
    return "\n".join(lines) + ("\n\n" + "\n".join(failed) if failed else "")


def _ends_line(name: str, found: dict[str, Any]) -> str:
    def survives(key: str) -> str:
        return {True: "SURVIVES", False: "dead", None: "–"}[found.get(key)]

    usable = {True: "yes", False: "NO", None: "–"}[found.get("usable")]
    left = {True: "LEFT", False: "gone", None: "–"}[found.get("killed: container is left")]
    took = found.get("alone: call took")
    cells = [
        name,
        survives("alone: survives"),
        survives("child: survives"),
        survives("escaped: survives"),
        "–" if took is None else f"{took:.1f} s",
        usable,
        survives("killed: command survives"),
        left,
        str(found.get("killed: helpers left", "–")),
    ]
    return f"| {' | '.join(cells)} |"


def _who(run: Run) -> str:
    lines = [
        "| | versions | how it was used | threads, descriptors, helpers |",
        "|---|---|---|---|",
    ]
    for entry in _present(run):
        versions = ", ".join(f"{n} {v}" for n, v in run.versions[entry.name].items()) or "–"
        idle = run.idle.get(entry.name)
        cost = (
            f"{idle['threads']}, {idle['descriptors']}, {idle['helpers']} "
            f"({idle['sessions']} sessions)"
            if idle
            else "–"
        )
        lines.append(f"| {entry.name} | {versions} | {entry.how} | {cost} |")
    return "\n".join(lines)


def _left_out(run: Run) -> Iterator[str]:
    if run.left_out:
        yield "Could not be run, or not all the time:"
        yield "\n".join(f"* {name}: {why}" for name, why in run.left_out.items())
