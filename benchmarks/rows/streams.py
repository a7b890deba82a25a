"""100 MB of standard output: all of it to the client, and beyond the default cap."""

from __future__ import annotations

from benchmarks.bench import Bench, Group
from benchmarks.measure import Side, alternate, median
from benchmarks.output import COMMAND, SIZE, take
from benchmarks.row import Row, at_least, at_most
from fumehood import AsyncSession

_ROUNDS = 21

# The shell's own clock around the pipe: what the kernel needs with nobody else in the way.
_DRAINED = f"s=$(date +%s%N); {COMMAND} | cat >/dev/null; e=$(date +%s%N); echo $((e - s))"


async def _stream(bench: Bench) -> list[Row]:
    async with bench.pair() as (session, container):
        times = await alternate(
            _ROUNDS,
            {
                "ours": Side(call=lambda: take(session)),
                "engine": Side(call=lambda: container.run(["sh", "-c", COMMAND])),
            },
        )
    return [
        Row(
            name="stream-100m",
            what="100 MB of stdout to the client",
            unit="MB/s",
            ours=SIZE / 1e6 / median(times["ours"]),
            baseline=SIZE / 1e6 / median(times["engine"]),
            against="docker exec stream",
            target=at_least(1),
            samples=len(times["ours"]),
        )
    ]


async def _capped(bench: Bench) -> list[Row]:
    drained: list[float] = []

    async def drain(session: AsyncSession) -> None:
        result = await session.exec(["sh", "-c", _DRAINED], check=True)
        drained.append(int(result.stdout) / 1e9)

    async def capped(session: AsyncSession) -> None:
        result = await session.exec(["sh", "-c", COMMAND], check=True)
        if len(result.stdout_bytes) + result.stdout_dropped != SIZE or not result.stdout_dropped:
            raise RuntimeError(f"{result.stdout_dropped} bytes were dropped")

    async with bench.sandbox.create_session() as session:
        times = await alternate(
            _ROUNDS,
            {"ours": Side(call=lambda: capped(session)), "in": Side(call=lambda: drain(session))},
        )
    return [
        Row(
            name="capped-100m",
            what="100 MB of stdout, default cap",
            unit="ms",
            ours=median(times["ours"]) * 1e3,
            baseline=median(drained) * 1e3,
            against="piped into cat, timed inside",
            target=at_most(1.3),
            samples=len(drained),
        )
    ]


GROUPS = (
    Group(rows=("stream-100m",), measure=_stream),
    Group(rows=("capped-100m",), measure=_capped),
)
