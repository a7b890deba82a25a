"""What must be measured in an interpreter that has done nothing else; prints one JSON line.

python -m benchmarks.probe stream IMAGE     memory that 100 MB of output take at their peak
python -m benchmarks.probe idle IMAGE       memory and threads of idle sessions
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys

from benchmarks.bench import LIMITS
from benchmarks.measure import forget_peak, status_mib, status_threads
from benchmarks.output import take
from benchmarks.row import NotMeasurableError
from fumehood import AsyncDockerSandbox, AsyncSession

_SESSIONS = 20
_AT_ONCE = 4


async def _stream(image: str) -> dict[str, float]:
    async with (
        AsyncDockerSandbox(image=image, limits=LIMITS) as sandbox,
        sandbox.create_session() as session,
    ):
        await session.exec(["true"], check=True)
        gc.collect()
        forget_peak()
        before = status_mib("VmRSS")
        await take(session)
        return {"before": before, "growth": status_mib("VmHWM") - before}


async def _idle(image: str) -> dict[str, float]:
    limit = asyncio.Semaphore(_AT_ONCE)
    sessions: list[AsyncSession] = []
    async with AsyncDockerSandbox(image=image, limits=LIMITS) as sandbox:

        async def create() -> None:
            async with limit:
                session = await sandbox.create_session()
                sessions.append(session)
                await session.exec(["true"], check=True)

        async def create_some(count: int) -> tuple[float, int]:
            async with asyncio.TaskGroup() as group:
                for _ in range(count):
                    group.create_task(create())
            gc.collect()
            return status_mib("VmRSS"), status_threads()

        # What the first ones bring with them (code, connections) is not each session's.
        memory, threads = await create_some(_AT_ONCE)
        memory_after, threads_after = await create_some(_SESSIONS)
        # They must have been alive all the time; closing the sandbox destroys them.
        await asyncio.gather(*(session.ping() for session in sessions))
    return {
        "sessions": _SESSIONS,
        "each": (memory_after - memory) / _SESSIONS,
        "threads": threads_after - threads,
    }


def _main() -> None:
    name, image = sys.argv[1:]
    probe = {"stream": _stream, "idle": _idle}[name]
    try:
        answer: dict[str, float] | dict[str, str] = asyncio.run(probe(image))
    except NotMeasurableError as exc:
        answer = {"not_measurable": str(exc)}
    print(json.dumps(answer))


if __name__ == "__main__":
    _main()
