"""Measuring: alternating sides, percentiles, memory as the kernel counts it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.row import NotMeasurableError

MIB = 1 << 20

Call = Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One of the things that are compared, and how often it runs in each round.

    ``warm`` calls of each turn come first and are not counted: they find the caches full of what
    the other side does. ``ready`` comes before every call, uncounted too: it takes away what the
    last one has made. ``settle`` is for a side that leaves work behind when it answers: seconds,
    not counted either, until that is done. Whoever came next would pay for it.
    """

    call: Call
    times: int = 1
    warm: int = 0
    ready: Call | None = None
    settle: float = 0.0


async def alternate(rounds: int, sides: Mapping[str, Side]) -> dict[str, list[float]]:
    """Run the sides by turns and return the seconds of each call.

    A machine's speed drifts within a minute by more than some targets allow; sides that take turns
    drift together. Every other round goes backwards, so that none always follows the same other.
    """
    times: dict[str, list[float]] = {name: [] for name in sides}
    order = list(sides.items())
    for _ in range(rounds):
        for name, side in order:
            for _ in range(side.warm):
                await side.call()
            for _ in range(side.times):
                if side.ready is not None:
                    await side.ready()
                start = time.perf_counter()
                await side.call()
                times[name].append(time.perf_counter() - start)
            if side.settle:
                await asyncio.sleep(side.settle)
        order.reverse()
    return times


def percentile(values: list[float], percent: float) -> float:
    """Return the smallest value that at least ``percent`` of the values do not exceed."""
    ordered = sorted(values)
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(0, int(rank) - 1)]


def median(values: list[float]) -> float:
    """Return the 50th percentile."""
    return percentile(values, 50)


def by_count(times: list[float], factor: float) -> tuple[tuple[float, float], ...]:
    """Return how calls that came one after the other grew: their number, and the median around it.

    Each point is of the calls since the last one; the numbers grow by a half or more.
    """
    points: list[tuple[float, float]] = []
    start = 0
    while start < len(times):
        end = min(len(times), max(start + 10, start * 3 // 2))
        points.append((end, median(times[start:end]) * factor))
        start = end
    return tuple(points)


async def crowd(call: Call, *, total: int, at_once: int) -> None:
    """Run a call ``total`` times, ``at_once`` at a time."""
    left = iter(range(total))

    async def work() -> None:
        for _ in left:
            await call()

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(work())


# --- memory, by /proc: Linux only -------------------------------------------------------------


def status_mib(field: str) -> float:
    """Return a memory field (``VmRSS``, ``VmHWM``) of this process in MiB."""
    return _number("/proc/self/status", field) / 1024


def status_threads() -> int:
    """Return how many threads this process has."""
    return _number("/proc/self/status", "Threads")


def available_mib() -> float:
    """Return the memory of this machine that is to be had, in MiB."""
    return _number("/proc/meminfo", "MemAvailable") / 1024


def forget_peak() -> None:
    """Make the peak (``VmHWM``) count from now on."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError as exc:
        raise NotMeasurableError(f"the peak of memory cannot be reset: {exc}") from exc


def pss_mib(pid: int) -> float:
    """Return the proportional set size of a process of this machine in MiB."""
    return _number(f"/proc/{pid}/smaps_rollup", "Pss") / 1024


def family_pss_mib(pid: int) -> float:
    """Return the same of a process and all below it; one that ends meanwhile counts as nothing."""
    total = pss_mib(pid)
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    except FileNotFoundError:
        return total
    for child in children:
        with contextlib.suppress(NotMeasurableError):
            total += family_pss_mib(int(child))
    return total


def _number(path: str, field: str) -> int:
    for line in _read(path).splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1])
    raise NotMeasurableError(f"{path} has no {field}")


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii")
    except OSError as exc:
        raise NotMeasurableError(f"needs root on the engine's own Linux machine: {exc}") from exc
