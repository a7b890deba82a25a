"""What must be measured in an interpreter that has done nothing else; prints one JSON line.

python -m benchmarks.probe stream IMAGE     memory that 100 MB of output take at their peak
python -m benchmarks.probe idle IMAGE       memory and threads of idle sessions
python -m benchmarks.probe transfer IMAGE   memory that 1 GiB up and down takes, on both ends
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import tempfile
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiodocker import Docker

from benchmarks.baseline import pid_of
from benchmarks.bench import GIGABYTE_LIMITS, LIMITS
from benchmarks.corpus import make_file
from benchmarks.measure import family_pss_mib, forget_peak, status_mib, status_threads
from benchmarks.output import take
from benchmarks.row import NotMeasurableError
from fumehood import AsyncDockerSandbox, AsyncSession

_SESSIONS = 20
_AT_ONCE = 4
_GIGABYTE = 1 << 30
_LOOK_EVERY = 0.05


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
            # Idle is who has gone over to the stream past the engine, which a thread opens.
            for thread in threading.enumerate():
                if thread.name == "fumehood-direct":
                    await asyncio.to_thread(thread.join)
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


@asynccontextmanager
async def _peak_inside(pid: int) -> AsyncIterator[list[float]]:
    """Look at what all processes below a container's PID 1 take, again and again."""
    seen = [family_pss_mib(pid)]

    async def look() -> None:
        while True:
            seen.append(family_pss_mib(pid))
            await asyncio.sleep(_LOOK_EVERY)

    looking = asyncio.create_task(look())
    try:
        yield seen
    finally:
        looking.cancel()
        await asyncio.wait([looking])


async def _transfer(image: str) -> dict[str, float]:
    docker = Docker()
    try:
        async with (
            AsyncDockerSandbox(image=image, limits=GIGABYTE_LIMITS) as sandbox,
            sandbox.create_session() as session,
        ):
            pid = await pid_of(docker, f"fumehood-{session.id}")
            with tempfile.TemporaryDirectory(prefix="fumehood-bench-") as directory:
                make_file(Path(directory, "source"), _GIGABYTE)
                # What a first transfer brings with it (code, a thread) is not a gigabyte's.
                make_file(Path(directory, "first"), 1)
                await session.upload(Path(directory, "first"))
                await session.download("first", Path(directory, "first"))
                gc.collect()
                forget_peak()
                before = status_mib("VmRSS")
                async with _peak_inside(pid) as inside:
                    await session.upload(Path(directory, "source"), "copy")
                    await session.download("copy", Path(directory, "copy"))
                growth = status_mib("VmHWM") - before
        return {"growth": growth, "inside": max(inside), "looks": len(inside)}
    finally:
        await docker.close()


def _main() -> None:
    name, image = sys.argv[1:]
    probe = {"stream": _stream, "idle": _idle, "transfer": _transfer}[name]
    try:
        answer: dict[str, float] | dict[str, str] = asyncio.run(probe(image))
    except NotMeasurableError as exc:
        answer = {"not_measurable": str(exc)}
    print(json.dumps(answer))


if __name__ == "__main__":
    _main()
