"""Running ``true``: one at a time, and many at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import cycle
from typing import Any

from benchmarks.baseline import BaselineContainer, local_true, run_true
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
_LOCAL_CROWD = f"subprocess.run in {_AT_ONCE} threads, no container"


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
        for side, against, targets in (
            ("engine", "docker exec (Engine API)", {50: one_in(30), 99: one_in(30)}),
            ("local", "subprocess.run, no container", {50: at_most(1.5), 99: at_most(3)}),
        )
        for percent, target in targets.items()
    ]


async def _many_at_once(bench: Bench) -> list[Row]:
    async with bench.pair() as (session, container), _threads() as local:

        async def ours() -> None:
            await session.exec(["true"], check=True)

        times = await alternate(
            _TOTAL // _PART,
            {"ours": _crowd(ours), "engine": _crowd_of_execs(container), "local": _crowd(local)},
        )
    what = f"{_TOTAL:,} execs of `true`, {_AT_ONCE} at a time"
    return [
        _throughput("exec-1000x16", what, times, "engine", "the same by docker exec", 30),
        _throughput("exec-1000x16-local", what, times, "local", _LOCAL_CROWD, 0.6),
    ]


async def _over_many_sessions(bench: Bench) -> list[Row]:
    async with AsyncExitStack() as stack:
        sessions = [
            await stack.enter_async_context(bench.sandbox.create_session()) for _ in range(_AT_ONCE)
        ]
        local = await stack.enter_async_context(_threads())
        turn = cycle(sessions)

        async def ours() -> None:
            await next(turn).exec(["true"], check=True)

        times = await alternate(_TOTAL // _PART, {"ours": _crowd(ours), "local": _crowd(local)})
    what = f"the same over {_AT_ONCE} sessions"
    return [_throughput("exec-1000x16-sessions", what, times, "local", _LOCAL_CROWD, 0.6)]


@asynccontextmanager
async def _threads() -> AsyncIterator[Callable[[], Coroutine[Any, Any, None]]]:
    """Lend what runs ``true`` on this machine in a thread: as many at once as there are callers."""
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(_AT_ONCE) as pool:

        async def call() -> None:
            await loop.run_in_executor(pool, run_true)

        yield call


def _crowd(call: Callable[[], Coroutine[Any, Any, None]]) -> Side:
    return Side(call=lambda: crowd(call, total=_PART, at_once=_AT_ONCE))


def _crowd_of_execs(container: BaselineContainer) -> Side:
    return Side(
        call=lambda: crowd(lambda: container.run(["true"]), total=_PART, at_once=_AT_ONCE),
        settle=_SETTLE,
    )


def _throughput(
    name: str, what: str, times: dict[str, list[float]], side: str, against: str, least: float
) -> Row:
    return Row(
        name=name,
        what=what,
        unit="/s",
        ours=_TOTAL / sum(times["ours"]),
        baseline=_TOTAL / sum(times[side]),
        against=against,
        target=at_least(least),
        samples=_TOTAL,
    )


GROUPS = (
    Group(
        rows=("exec-p50-engine", "exec-p99-engine", "exec-p50-local", "exec-p99-local"),
        measure=_one_at_a_time,
    ),
    Group(rows=("exec-1000x16", "exec-1000x16-local"), measure=_many_at_once),
    Group(rows=("exec-1000x16-sessions",), measure=_over_many_sessions),
)
