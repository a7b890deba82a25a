"""What many sessions cost that are alive at once: ``python -m benchmarks.many --sessions 500``.

One process, one event loop. Memory of the machine is what became unavailable on it meanwhile
(``/proc/meminfo``), so nothing else should run: it holds the engine's share and the kernel's too.
It needs root on the engine's own Linux machine.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import time

from benchmarks.bench import Bench, open_bench
from benchmarks.measure import available_mib, median, status_mib, status_threads
from benchmarks.rows.starts import engine_cost
from fumehood import AsyncSession

_IDLE_SECONDS = 10.0
_SHIMS = 20
"""Sessions whose shim and supervisor are looked at: all are alike."""
_SETTLE_SECONDS = 2.0
"""Until what the engine does behind the last create is over."""


async def _exec(session: AsyncSession) -> None:
    await session.exec(["true"], check=True)


async def measure(bench: Bench, count: int) -> list[tuple[str, str]]:
    """Make so many sessions, look at them, end them; return what was seen, in words."""
    gc.collect()
    memory, client, threads = available_mib(), status_mib("VmRSS"), status_threads()
    start = time.perf_counter()
    sessions = await asyncio.gather(*(bench.sandbox.create_session() for _ in range(count)))
    try:
        made = time.perf_counter() - start
        start = time.perf_counter()
        await asyncio.gather(*map(_exec, sessions))
        everywhere = time.perf_counter() - start
        await asyncio.sleep(_SETTLE_SECONDS)
        gc.collect()
        used = (memory - available_mib()) / count
        own = (status_mib("VmRSS") - client) / count * 1024
        more = status_threads() - threads
        inside = median([await engine_cost(bench, session) for session in sessions[:_SHIMS]])
        busy = time.process_time()
        await asyncio.sleep(_IDLE_SECONDS)
        idle = (time.process_time() - busy) / _IDLE_SECONDS * 100
        start = time.perf_counter()
    finally:
        await asyncio.gather(*(session.destroy() for session in sessions))
    ended = time.perf_counter() - start
    return [
        ("memory of the machine, each session", f"{used:.1f} MiB"),
        ("of it the shim and the supervisor", f"{inside:.1f} MiB"),
        ("memory of the client, each session", f"{own:.0f} KiB"),
        ("threads of the client for all of them", f"{more} more"),
        ("CPU time of the client while all are idle", f"{idle:.1f} % of a core for all"),
        ("making all of them, asked for at once", f"{made:.0f} s"),
        ("a command in each of them at once", f"{everywhere:.1f} s in all"),
        ("ending all of them at once", f"{ended:.1f} s"),
    ]


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.many", description=__doc__)
    parser.add_argument("--sessions", type=int, default=500, help="how many (%(default)s)")
    parser.add_argument(
        "--image", default=os.environ.get("FUMEHOOD_IMAGE", "fumehood/test-python"), help="of all"
    )
    arguments = parser.parse_args()
    if arguments.sessions < 1:
        parser.error("at least one session")

    async def work() -> list[tuple[str, str]]:
        async with open_bench(arguments.image) as bench:
            return await measure(bench, arguments.sessions)

    print(f"| {arguments.sessions} sessions alive | |\n|---|---|", flush=True)
    for what, cost in asyncio.run(work()):
        print(f"| {what} | {cost} |")


if __name__ == "__main__":
    main()
