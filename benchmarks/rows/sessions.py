"""A session's life: create to first result, destroy, and what it costs while it is idle."""

from __future__ import annotations

import time

from benchmarks.baseline import pid_of
from benchmarks.bench import Bench, Group
from benchmarks.measure import median, pss_mib
from benchmarks.row import Row, at_most, below, one_in

_ROUNDS = 15


async def _life(bench: Bench) -> list[Row]:
    times: dict[str, list[float]] = {"create": [], "raw": [], "destroy": [], "remove": []}

    async def ours() -> None:
        start = time.perf_counter()
        session = await bench.sandbox.create_session()
        try:
            await session.exec(["true"], check=True)
            ready = time.perf_counter()
        finally:
            await session.destroy()
        times["create"].append(ready - start)
        times["destroy"].append(time.perf_counter() - ready)
        # The engine's own work goes on behind it: whoever came next would pay for it.
        await session.destroy(wait=True)

    async def engine() -> None:
        start = time.perf_counter()
        container = await bench.baseline.create()
        try:
            await container.run(["true"])
            ready = time.perf_counter()
        finally:
            await container.remove()
        times["raw"].append(ready - start)
        times["remove"].append(time.perf_counter() - ready)

    order = [ours, engine]
    for _ in range(_ROUNDS):
        for side in order:
            await side()
        order.reverse()
    return [
        Row(
            name="create",
            what="create to first result",
            unit="ms",
            ours=median(times["create"]) * 1e3,
            baseline=median(times["raw"]) * 1e3,
            against="Engine API create + start + exec",
            target=at_most(0.5),
            samples=_ROUNDS,
        ),
        Row(
            name="destroy",
            what="destroy returns",
            unit="ms",
            ours=median(times["destroy"]) * 1e3,
            baseline=median(times["remove"]) * 1e3,
            against="Engine API force-remove",
            target=one_in(10),
            samples=_ROUNDS,
        ),
    ]


async def _idle(bench: Bench) -> list[Row]:
    async with bench.sandbox.create_session() as session:
        # Idle after work, not fresh: buffers that work leaves behind count.
        for _ in range(20):
            await session.exec(["true"], check=True)
        await session.write_file("figure.bin", bytes(1 << 20))
        await session.read_file("figure.bin")
        pid = await pid_of(bench.baseline.docker, f"fumehood-{session.id}")
        return [
            Row(
                name="supervisor-memory",
                what="supervisor memory, idle (PSS)",
                unit="MiB",
                ours=pss_mib(pid),
                target=below(1, "MiB"),
                samples=1,
            )
        ]


GROUPS = (
    Group(rows=("create", "destroy"), measure=_life),
    Group(rows=("supervisor-memory",), measure=_idle),
)
