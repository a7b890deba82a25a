"""Measure, and print one table: ``python -m benchmarks`` in the root of the checkout.

Missed targets are shown, and are no failure: the exit status is 0 unless something broke.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import sys
import time
import traceback
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import published, table
from benchmarks.bench import Bench, Group, open_bench
from benchmarks.row import NotMeasurableError, Row
from benchmarks.rows import GROUPS

_DEFAULT_IMAGE = "fumehood/test-python"


def _arguments() -> argparse.Namespace:
    names = [name for group in GROUPS for name in group.rows]
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Measure fumehood against the engine's own API."
    )
    parser.add_argument(
        "--row",
        metavar="NAME",
        action="append",
        default=[],
        help=f"only rows whose names begin so (repeatable): {', '.join(names)}",
    )
    parser.add_argument(
        "--all",
        action="store_true",
        help="also the rows that take long: "
        + ", ".join(name for group in GROUPS if group.long for name in group.rows),
    )
    parser.add_argument(
        "--json",
        metavar="FILE",
        type=Path,
        default=Path(".build/bench/rows.jsonl"),
        help="one line for each row, from which the page has its plots (default: %(default)s)",
    )
    parser.add_argument(
        "--write",
        action="store_true",
        help=f"measure all rows, and publish them in {published.README} and {published.PAGE}",
    )
    parser.add_argument(
        "--image",
        default=os.environ.get("FUMEHOOD_IMAGE", _DEFAULT_IMAGE),
        help="needs sh, yes, head, cat and date (default: $FUMEHOOD_IMAGE or %(default)s)",
    )
    arguments = parser.parse_args()
    if arguments.write and arguments.row:
        parser.error("--write publishes a whole run: leave --row out")
    for name in arguments.row:
        if not any(known.startswith(name) for known in names):
            parser.error(f"no row's name begins with {name!r}; there are: {', '.join(names)}")
    return arguments


def _chosen(name: str, wanted: Sequence[str]) -> bool:
    return not wanted or any(name.startswith(start) for start in wanted)


async def _measure(bench: Bench, group: Group, wanted: Sequence[str]) -> tuple[list[Row], bool]:
    """Measure one group; return its rows that were asked for, and whether nothing broke."""
    names = ", ".join(group.rows)
    start = time.monotonic()
    try:
        rows = await group.measure(bench)
    except NotMeasurableError as exc:
        _say(f"  {names}: not measurable here: {exc}")
        return [], True
    except Exception:  # noqa: BLE001 - one broken row must not hide the others
        _say(f"  {names}: FAILED\n{traceback.format_exc()}")
        return [], False
    _say(f"  {names}: {time.monotonic() - start:.1f} s")
    return [row for row in rows if _chosen(row.name, wanted)], True


async def _run(image: str, wanted: Sequence[str], *, all_rows: bool) -> tuple[list[Row], bool, str]:
    """Return the rows, whether nothing broke, and what they were measured on."""
    rows: list[Row] = []
    whole = True
    start = time.monotonic()
    load = os.getloadavg()[0]
    left_out: list[str] = []
    async with open_bench(image) as bench:
        for group in GROUPS:
            if group.long and not wanted and not all_rows:
                left_out += group.rows
            elif any(_chosen(name, wanted) for name in group.rows):
                found, good = await _measure(bench, group, wanted)
                rows += found
                whole = whole and good
        info = await bench.sandbox.engine_info()
    machine = (
        f"{datetime.now(UTC):%Y-%m-%d}: Docker {info.version}, {info.operating_system}, "
        f"kernel {info.kernel}, {os.cpu_count()} CPUs, Python {platform.python_version()}; "
        f"{time.monotonic() - start:.0f} s in all, load {load:.1f} before it."
    )
    _say(f"  {machine}")
    if left_out:
        _say(f"  not measured, for their time (--all): {', '.join(left_out)}")
    return rows, whole, machine


def _save(path: Path, rows: Sequence[Row]) -> None:
    """Write the rows; those of an earlier run that were not measured now stay."""
    kept: dict[str, dict[str, object]] = {}
    if path.exists():
        earlier = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        kept = {row["row"]: row for row in earlier}
    kept |= {row.name: row.as_json() for row in rows}
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(row, ensure_ascii=False) for row in kept.values()]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def main() -> int:
    """Run what was asked for and return the exit status."""
    arguments = _arguments()
    rows, whole, machine = asyncio.run(
        _run(arguments.image, arguments.row, all_rows=arguments.all or arguments.write)
    )
    print(f"\n{table.text(rows)}")
    _save(arguments.json, rows)
    if arguments.write and whole:
        published.write(Path.cwd(), rows, machine)
    return 0 if whole else 1


if __name__ == "__main__":
    sys.exit(main())
