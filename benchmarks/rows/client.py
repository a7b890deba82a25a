"""What the library costs the process that uses it; each figure from fresh interpreters."""

from __future__ import annotations

import asyncio
import json
import sys

from benchmarks.bench import Bench, Group
from benchmarks.measure import median
from benchmarks.row import NotMeasurableError, Row, Target, at_most, below

_IMPORTS = 11


async def _fresh(*arguments: str) -> str:
    """Run a fresh interpreter and return what it prints."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(arguments)} ended with {process.returncode}")
    return out.decode()


async def _probe(name: str, image: str) -> dict[str, float]:
    answer: dict[str, float | str] = json.loads(await _fresh("-m", "benchmarks.probe", name, image))
    if "not_measurable" in answer:
        raise NotMeasurableError(str(answer["not_measurable"]))
    return {key: float(value) for key, value in answer.items()}


async def _stream_memory(bench: Bench) -> list[Row]:
    answer = await _probe("stream", bench.image)
    return [
        Row(
            name="stream-memory",
            what="client memory growth, 100 MB of stdout",
            unit="MiB",
            ours=answer["growth"],
            target=below(16, "MiB"),
            samples=1,
        )
    ]


async def _transfer_memory(bench: Bench) -> list[Row]:
    answer = await _probe("transfer", bench.image)
    return [
        Row(
            name="transfer-memory",
            what="client memory growth, 1 GiB up and down",
            unit="MiB",
            ours=answer["growth"],
            target=below(16, "MiB"),
            samples=1,
        ),
        Row(
            name="transfer-memory-inside",
            what="supervisor and its helpers meanwhile (PSS)",
            unit="MiB",
            ours=answer["inside"],
            target=below(4, "MiB"),
            samples=int(answer["looks"]),
        ),
    ]


async def _idle(bench: Bench) -> list[Row]:
    answer = await _probe("idle", bench.image)
    return [
        Row(
            name="client-memory",
            what="client memory, each idle session",
            unit="MiB",
            ours=answer["each"],
            target=below(0.5, "MiB"),
            samples=int(answer["sessions"]),
        ),
        Row(
            name="client-threads",
            what=f"client threads, {answer['sessions']:g} more sessions",
            unit="more",
            ours=answer["threads"],
            target=Target(text="0 more", limit=0),
            samples=int(answer["sessions"]),
        ),
    ]


async def _imports(_: Bench) -> list[Row]:
    times: dict[str, list[float]] = {"fumehood": [], "aiodocker": []}
    program = "import time; s = time.perf_counter(); import {}; print(time.perf_counter() - s)"
    # One more than is counted: the first fills caches.
    for count in range(_IMPORTS + 1):
        for name, found in times.items():
            seconds = float(await _fresh("-c", program.format(name)))
            if count:
                found.append(seconds)
    return [
        Row(
            name="import",
            what="import fumehood",
            unit="ms",
            ours=median(times["fumehood"]) * 1e3,
            baseline=median(times["aiodocker"]) * 1e3,
            against="import aiodocker",
            target=at_most(1.3),
            samples=_IMPORTS,
        )
    ]


GROUPS = (
    Group(rows=("stream-memory",), measure=_stream_memory),
    Group(rows=("transfer-memory", "transfer-memory-inside"), measure=_transfer_memory),
    Group(rows=("client-memory", "client-threads"), measure=_idle),
    Group(rows=("import",), measure=_imports),
)
