"""What every measurement works with: an image, a sandbox and the baseline on the same engine."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from aiodocker import Docker

from benchmarks.baseline import Baseline, BaselineContainer
from benchmarks.row import Row
from fumehood import AsyncDockerSandbox, AsyncSession, Limits

# The defaults, except that a busy machine must not turn a slow figure into a timeout.
LIMITS = Limits(timeout=120)
GIGABYTE_LIMITS = replace(LIMITS, max_file_bytes=2 << 30)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """The two sides."""

    image: str
    sandbox: AsyncDockerSandbox
    baseline: Baseline

    @asynccontextmanager
    async def pair(self) -> AsyncIterator[tuple[AsyncSession, BaselineContainer]]:
        """Lend a session and a baseline container, both used once, removed at the end."""
        async with self.sandbox.create_session() as session, self.baseline.container() as container:
            await session.exec(["true"], check=True)
            await container.run(["true"])
            yield session, container


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Rows that are measured together."""

    rows: tuple[str, ...]
    measure: Callable[[Bench], Awaitable[list[Row]]]
    long: bool = False
    """Takes half a minute or so: not measured unless it is named, or all are asked for."""


@asynccontextmanager
async def open_bench(image: str) -> AsyncIterator[Bench]:
    """Open both sides, and leave nothing behind on the engine."""
    docker = Docker()
    try:
        async with AsyncDockerSandbox(image=image, pull="missing", limits=LIMITS) as sandbox:
            # The first session of a sandbox also looks for leftovers and installs the supervisor.
            async with sandbox.create_session() as session:
                await session.exec(["true"], check=True)
            yield Bench(image=image, sandbox=sandbox, baseline=Baseline(docker, image, LIMITS))
    finally:
        await docker.close()
