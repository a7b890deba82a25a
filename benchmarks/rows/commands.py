"""Running ``true``: one at a time, and many at once."""

from __future__ import annotations

from benchmarks.baseline import local_true
from benchmarks.bench import Bench, Group
from benchmarks.measure import Side, alternate, crowd, percentile
from benchmarks.row import Row, at_least, at_most, one_in

_ROUNDS = 120
_PER_ROUND = 10
# The engine tidies up after an exec: the processes of its runtime end, a shim takes note, events
# are written. The next two commands, of whatever kind, took up to twice their time.
_SETTLE = 0.05

_TOTAL = 1000
_AT_ONCE = 16
_PART = 100


async def _one_at_a_time(bench: Bench) -> list[Row]:
    async with bench.pair() as (session, container):

        async def ours() -> None:
            await session.exec(["true"], check=True)

        times = await alternate(
            _ROUNDS,
            {
                "ours": Side(call=ours, times=_PER_ROUND, warm=1),
                "engine": Side(call=lambda: container.run(["true"]), warm=1, settle=_SETTLE),
                "local": Side(call=local_true, times=_PER_ROUND, warm=1),
            },
        )
    return [
        Row(
            name=f"exec-p{percent}-{side}",
            what=f"exec `true`, p{percent}",
            unit="ms",
            ours=percentile(times["ours"], percent) * 1e3,
            baseline=percentile(times[side], percent) * 1e3,
            against=against,
            target=target,
            samples=len(times["ours"]),
        )
        for side, against, target in (
            ("engine", "docker exec (Engine API)", one_in(30)),
            ("local", "subprocess.run, no container", at_most(2.5)),
        )
        for percent in (50, 99)
    ]


async def _many_at_once(bench: Bench) -> list[Row]:
    async with bench.pair() as (session, container):

        async def ours() -> None:
            await session.exec(["true"], check=True)

        times = await alternate(
            _TOTAL // _PART,
            {
                "ours": Side(call=lambda: crowd(ours, total=_PART, at_once=_AT_ONCE)),
                "engine": Side(
                    call=lambda: crowd(
                        lambda: container.run(["true"]), total=_PART, at_once=_AT_ONCE
                    )
                ),
            },
        )
    return [
        Row(
            name="exec-1000x16",
            what=f"{_TOTAL:,} execs of `true`, {_AT_ONCE} at a time",
            unit="/s",
            ours=_TOTAL / sum(times["ours"]),
            baseline=_TOTAL / sum(times["engine"]),
            against="the same by docker exec",
            target=at_least(30),
            samples=_TOTAL,
        )
    ]


GROUPS = (
    Group(
        rows=("exec-p50-engine", "exec-p99-engine", "exec-p50-local", "exec-p99-local"),
        measure=_one_at_a_time,
    ),
    Group(rows=("exec-1000x16",), measure=_many_at_once),
)
