"""How sessions come to be: from a pool, many at once, and while many are there already."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from benchmarks.baseline import BaselineContainer, pid_of
from benchmarks.bench import LIMITS, Bench, Group
from benchmarks.measure import by_count, median, percentile, pss_mib
from benchmarks.row import NotMeasurableError, Row, at_most, below, one_in
from fumehood import AsyncDockerSandbox, AsyncSession, Pool
from fumehood.engines.docker_turns import AT_ONCE

_WARM = 200
_RAW = 20
_CROWD = 100
_ALIVE = 200
_EDGE = 40
"""Sessions at each end of the growth that are compared."""


async def _first_result(sandbox: AsyncDockerSandbox) -> tuple[float, AsyncSession]:
    start = time.perf_counter()
    session = await sandbox.create_session()
    await session.exec(["true"], check=True)
    return time.perf_counter() - start, session


async def _raw_first_result(bench: Bench) -> tuple[float, BaselineContainer]:
    start = time.perf_counter()
    container = await bench.baseline.create()
    await container.run(["true"])
    return time.perf_counter() - start, container


async def _warm(bench: Bench) -> list[Row]:
    """Sessions from a full pool, one after the other.

    What follows a claim, the next container and the removal of the last one, is waited for and not
    counted: it is there to be done while nobody waits. So is the baseline's removal.
    """
    warm: list[float] = []
    raw: list[float] = []
    async with AsyncDockerSandbox(
        image=bench.image, limits=LIMITS, pool=Pool(min_idle=4)
    ) as sandbox:
        for count in range(_WARM):
            await sandbox.warm_up()
            seconds, session = await _first_result(sandbox)
            if session.start is None or session.start.kind != "warm":
                raise RuntimeError(f"not from the pool: {session.start}")
            warm.append(seconds)
            await session.destroy(wait=True)
            if count % (_WARM // _RAW) == 0:
                seconds, container = await _raw_first_result(bench)
                raw.append(seconds)
                await container.remove()
    return [
        Row(
            name=name,
            what=f"warm create to first result, p{percent}",
            unit="ms",
            ours=percentile(warm, percent) * 1e3,
            baseline=median(raw) * 1e3,
            against="Engine API create + start + exec, median",
            target=one_in(divisor),
            samples=_WARM,
        )
        for name, percent, divisor in (("warm-create", 50, 50), ("warm-create-p99", 99, 20))
    ]


async def _crowd(bench: Bench) -> list[Row]:
    """All asked for in one moment; the baseline gets the concurrency that ours gives itself."""
    turns = asyncio.Semaphore(AT_ONCE)

    async def raw() -> BaselineContainer:
        async with turns:
            return (await _raw_first_result(bench))[1]

    start = time.perf_counter()
    sessions = await asyncio.gather(*(_first_result(bench.sandbox) for _ in range(_CROWD)))
    ours = time.perf_counter() - start
    await asyncio.gather(*(session.destroy(wait=True) for _, session in sessions))
    start = time.perf_counter()
    containers = await asyncio.gather(*(raw() for _ in range(_CROWD)))
    baseline = time.perf_counter() - start
    await asyncio.gather(*(container.remove() for container in containers))
    return [
        Row(
            name="crowd",
            what=f"{_CROWD} sessions at once, cold, to the last first result",
            unit="s",
            ours=ours,
            baseline=baseline,
            against=f"Engine API, {AT_ONCE} at a time",
            target=at_most(1.1),
            samples=1,
        )
    ]


async def _growth(bench: Bench) -> list[Row]:
    """One after the other, and none goes: what the last ones cost, beside the first ones."""
    creates: list[float] = []
    sessions: list[AsyncSession] = []
    alone: list[float] = []
    try:
        for _ in range(_ALIVE):
            seconds, session = await _first_result(bench.sandbox)
            sessions.append(session)
            creates.append(seconds)
            if not alone:
                alone = await _execs(session)
        among = await _execs(sessions[0])
        shims = [await engine_cost(bench, session) for session in sessions[:5]]
    finally:
        await asyncio.gather(*(session.destroy(wait=True) for session in sessions))
    return [
        Row(
            name="growth-create",
            what=f"create to first result, sessions {_ALIVE - _EDGE} to {_ALIVE}",
            unit="ms",
            ours=median(creates[-_EDGE:]) * 1e3,
            baseline=median(creates[:_EDGE]) * 1e3,
            against=f"sessions 1 to {_EDGE}",
            target=at_most(1.5),
            samples=_ALIVE,
            points=by_count(creates, 1e3),
        ),
        Row(
            name="growth-exec",
            what=f"exec true, {_ALIVE} sessions alive",
            unit="ms",
            ours=median(among) * 1e3,
            baseline=median(alone) * 1e3,
            against="one session alive",
            target=at_most(1.5),
            samples=len(among),
        ),
        Row(
            name="session-memory",
            what="the engine's shim and the supervisor of an idle session (PSS)",
            unit="MiB",
            ours=median(shims),
            target=below(16, "MiB"),
            samples=len(shims),
        ),
    ]


async def _execs(session: AsyncSession, count: int = 50) -> list[float]:
    times: list[float] = []
    for _ in range(count):
        start = time.perf_counter()
        await session.exec(["true"], check=True)
        times.append(time.perf_counter() - start)
    return times


async def engine_cost(bench: Bench, session: AsyncSession) -> float:
    """Return the memory of a session's supervisor and of the engine's shim beside it, in MiB."""
    pid = await pid_of(bench.baseline.docker, f"fumehood-{session.id}")
    return pss_mib(pid) + pss_mib(_parent(pid))


def _parent(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("PPid:"):
            return int(line.split()[1])
    raise NotMeasurableError(f"/proc/{pid}/status has no PPid")


GROUPS = (
    Group(rows=("warm-create", "warm-create-p99"), measure=_warm),
    Group(rows=("crowd",), measure=_crowd, long=True),
    Group(rows=("growth-create", "growth-exec", "session-memory"), measure=_growth, long=True),
)
