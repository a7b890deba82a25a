"""Writing and reading files, small and large, against the Engine API's archives."""

from __future__ import annotations

import os

from benchmarks.archives import pack
from benchmarks.bench import Bench, Group
from benchmarks.measure import MIB, Side, alternate, median
from benchmarks.row import Row, Target, at_least, one_in

_NAME = "figure.bin"
_SMALL = 1024
_LARGE = 64 * MIB


async def _times(bench: Bench, size: int, *, rounds: int, per_round: int) -> dict[str, list[float]]:
    """Measure whole files of one size.

    The archives of the baseline are packed before and unpacked after: only the call counts.
    """
    content = os.urandom(min(size, MIB)) * max(1, size // MIB)
    archive = pack(_NAME, content)
    async with bench.pair() as (session, container):
        await session.write_file(_NAME, content)
        await container.put(archive)
        if await session.read_file(_NAME) != content:
            raise RuntimeError("a file came back different")
        return await alternate(
            rounds,
            {
                "write": Side(call=lambda: session.write_file(_NAME, content), times=per_round),
                "put": Side(call=lambda: container.put(archive)),
                "read": Side(call=lambda: session.read_file(_NAME), times=per_round),
                "get": Side(call=lambda: container.get(_NAME)),
            },
        )


def _small_row(times: dict[str, list[float]], side: str, other: str) -> Row:
    return Row(
        name=f"{side}-1k",
        what=f"{side} 1 KB",
        unit="ms",
        ours=median(times[side]) * 1e3,
        baseline=median(times[other]) * 1e3,
        against=f"Engine API archive {other}",
        target=one_in(30),
        samples=len(times[side]),
    )


def _large_row(times: dict[str, list[float]], side: str, other: str, target: Target) -> Row:
    megabytes = _LARGE / 1e6
    return Row(
        name=f"{side}-64m",
        what=f"{side} 64 MiB",
        unit="MB/s",
        ours=megabytes / median(times[side]),
        baseline=megabytes / median(times[other]),
        against=f"Engine API archive {other}",
        target=target,
        samples=len(times[side]),
    )


async def _small(bench: Bench) -> list[Row]:
    times = await _times(bench, _SMALL, rounds=30, per_round=5)
    return [_small_row(times, "write", "put"), _small_row(times, "read", "get")]


async def _large(bench: Bench) -> list[Row]:
    times = await _times(bench, _LARGE, rounds=5, per_round=1)
    return [
        _large_row(times, "write", "put", at_least(1)),
        _large_row(times, "read", "get", at_least(1)),
    ]


GROUPS = (
    Group(rows=("write-1k", "read-1k"), measure=_small),
    Group(rows=("write-64m", "read-64m"), measure=_large),
)
