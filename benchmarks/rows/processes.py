"""Managed processes: from the call to the first line of the log."""

from __future__ import annotations

from benchmarks.bench import Bench, Group
from benchmarks.measure import Side, alternate, percentile
from benchmarks.row import Row, one_in
from fumehood import Stdout

_ROUNDS = 60
_PER_ROUND = 5
# As for commands: the engine tidies up after an exec.
_SETTLE = 0.05


async def _first_line(bench: Bench) -> list[Row]:
    async with bench.pair() as (session, container):

        async def ours() -> None:
            process = await session.start_process(["echo", "ready"])
            async with process.stream() as stream:
                first = await anext(stream)
            assert isinstance(first, Stdout)
            assert first.data == b"ready\n"

        times = await alternate(
            _ROUNDS,
            {
                "ours": Side(call=ours, times=_PER_ROUND, warm=1),
                "engine": Side(
                    call=lambda: container.run(["echo", "ready"]), warm=1, settle=_SETTLE
                ),
            },
        )
    return [
        Row(
            name=f"process-first-line-p{percent}",
            what=f"start a managed process, read its first line, p{percent}",
            unit="ms",
            ours=percentile(times["ours"], percent) * 1e3,
            baseline=percentile(times["engine"], percent) * 1e3,
            against="docker exec `echo` (Engine API)",
            target=one_in(10),
            samples=len(times["ours"]),
        )
        for percent in (50, 99)
    ]


GROUPS = (Group(rows=("process-first-line-p50", "process-first-line-p99"), measure=_first_line),)
