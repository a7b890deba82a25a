"""What the ten-thousandth command, file and megabyte cost, beside the first ones.

Growth that is linear or better is a cost that stays: each row is the price of one more, late over
early. Sessions have their row where they are counted (``starts.py``).
"""

from __future__ import annotations

import time

from benchmarks.bench import Bench, Group
from benchmarks.measure import by_count, median
from benchmarks.row import Row, at_most
from fumehood import AsyncSession, Exit

_MANY = 10_000
_EDGE = 500
"""Calls at each end that are compared."""
_SIZES = (1, 10, 100, 1000)
_SIZE_ROUNDS = (30, 9, 3, 1)
_LISTED = (10, 100, 1000, 10_000)
_TOLERANCE = 1.25
"""A shared machine's speed moves by that much within a minute."""


async def _commands(bench: Bench) -> list[Row]:
    times: list[float] = []
    async with bench.sandbox.create_session() as session:
        for _ in range(_EDGE):
            await session.exec(["true"], check=True)
        for _ in range(_MANY):
            start = time.perf_counter()
            await session.exec(["true"], check=True)
            times.append(time.perf_counter() - start)
    return [_late_over_early("growth-execs", "exec `true`", times)]


async def _files(bench: Bench) -> list[Row]:
    """Files of 1 KB, all into one directory, which is listed while it grows."""
    content = bytes(1024)
    times: list[float] = []
    listing: list[tuple[float, float]] = []
    async with bench.sandbox.create_session() as session:
        for _ in range(_EDGE):
            await session.write_file("warm", content)
        for number in range(_MANY):
            start = time.perf_counter()
            await session.write_file(f"many/f{number}", content)
            times.append(time.perf_counter() - start)
            if number + 1 in _LISTED:
                listing.append((number + 1, await _list(session, number + 1)))
    each = [(count, seconds * 1e6 / count) for count, seconds in listing]
    return [
        _late_over_early("growth-files", "write a file of 1 KB", times),
        Row(
            name="growth-listing",
            what=f"list_files, each of {_LISTED[-1]:,} entries",
            unit="µs",
            ours=each[-1][1],
            baseline=each[1][1],
            against=f"each of {_LISTED[1]}",
            target=at_most(_TOLERANCE),
            samples=5,
            points=tuple(each),
        ),
    ]


async def _list(session: AsyncSession, count: int) -> float:
    times: list[float] = []
    for _ in range(5):
        start = time.perf_counter()
        entries = await session.list_files("many")
        times.append(time.perf_counter() - start)
        if len(entries) != count:
            raise RuntimeError(f"{len(entries)} entries of {count}")
    return median(times)


async def _output(bench: Bench) -> list[Row]:
    each: list[tuple[float, float]] = []
    async with bench.sandbox.create_session() as session:
        await _take(session, _SIZES[1])
        for size, rounds in zip(_SIZES, _SIZE_ROUNDS, strict=True):
            seconds = median([await _take(session, size) for _ in range(rounds)])
            each.append((size, seconds * 1e3 / size))
    return [
        Row(
            name="growth-output",
            what=f"each MB of {_SIZES[-1]:,} MB of stdout",
            unit="ms",
            ours=each[-1][1],
            baseline=each[1][1],
            against=f"each MB of {_SIZES[1]} MB",
            target=at_most(_TOLERANCE),
            samples=_SIZE_ROUNDS[-1],
            points=tuple(each),
        )
    ]


async def _take(session: AsyncSession, megabytes: int) -> float:
    """Stream so much output and let go of it; return the seconds."""
    size = megabytes * 1_000_000
    left = size
    start = time.perf_counter()
    async for event in session.exec_stream(["head", "-c", str(size), "/dev/zero"]):
        if isinstance(event, Exit):
            event.result.check()
        else:
            left -= len(event.data)
    if left:
        raise RuntimeError(f"{left} bytes did not come of {size}")
    return time.perf_counter() - start


def _late_over_early(name: str, what: str, times: list[float]) -> Row:
    return Row(
        name=name,
        what=f"{what}, number {_MANY - _EDGE:,} to {_MANY:,}",
        unit="ms",
        ours=median(times[-_EDGE:]) * 1e3,
        baseline=median(times[:_EDGE]) * 1e3,
        against=f"number 1 to {_EDGE}",
        target=at_most(_TOLERANCE),
        samples=_EDGE,
        points=by_count(times, 1e3),
    )


GROUPS = (
    Group(rows=("growth-execs",), measure=_commands),
    Group(rows=("growth-files", "growth-listing"), measure=_files),
    Group(rows=("growth-output",), measure=_output),
)
