"""``fumehood pool``: what a pool of warm containers does for sessions on this engine."""

from __future__ import annotations

import dataclasses
import json
import time
from typing import Annotated, Any, Literal

import typer

from fumehood import AsyncDockerSandbox, Lifecycle, Pool, PoolStats
from fumehood.cli import flags, output, running
from fumehood.cli.images import with_any_image
from fumehood.cli.sessions import Json

_MOST = 1000


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What was measured; times in milliseconds."""

    image: str
    filled_ms: float
    """Until the pool was full, from nothing."""
    warm_ms: tuple[float, ...]
    """Each session from the pool: until it was ready and had answered."""
    cold_ms: tuple[float, ...]
    """The same without the pool."""
    stats: PoolStats


def command(
    ctx: typer.Context,
    image: flags.TrialImage = None,
    min_idle: Annotated[
        int, typer.Option("--min-idle", metavar="N", min=1, max=_MOST, help="How many wait.")
    ] = 4,
    sessions: Annotated[
        int,
        typer.Option("--sessions", metavar="N", min=1, max=_MOST, help="How many to make of each."),
    ] = 10,
    as_json: Json = False,
) -> None:
    """Try a pool of warm containers, and print what sessions cost with and without it.

    It fills a pool, takes sessions from it one after the other, makes as many
    without it by turns, and removes everything. Each session is timed until it
    has answered once. Nothing is pulled unless --image names it.

    [bold]Examples[/bold]

      fumehood pool
      fumehood pool --image python:3.13-slim --min-idle 8
      fumehood pool --sessions 50 --json
    """

    async def work() -> int:
        docker_host = running.common(ctx).docker_host
        pool = Pool(min_idle=min_idle, max_idle=max(min_idle, Pool().max_idle))

        async def attempt(name: str, pull: Literal["never", "missing"]) -> Trial:
            async with AsyncDockerSandbox(
                image=name,
                pull=pull,
                lifecycle=Lifecycle(ttl=60),
                docker_host=docker_host,
                pool=pool,
            ) as sandbox:
                return await _trial(sandbox, name, pull, sessions)

        trial = await with_any_image(image, attempt)
        if as_json:
            typer.echo(json.dumps(dataclasses.asdict(trial), indent=2))
        else:
            _print(trial)
        return 0

    running.finish(work, after="What is left of the trial ends by itself within seconds.")


async def _trial(
    sandbox: AsyncDockerSandbox, image: str, pull: Literal["never", "missing"], sessions: int
) -> Trial:
    # What the first session of an engine needs, the supervisor say, is no cost of a pool.
    async with sandbox.create_session():
        pass
    start = time.perf_counter()
    await sandbox.warm_up()
    filled = time.perf_counter() - start
    warm: list[float] = []
    cold: list[float] = []
    without = AsyncDockerSandbox(
        image=image,
        pull=pull,
        lifecycle=Lifecycle(ttl=60),
        docker_host=(await sandbox.engine_info()).address,
    )
    async with without:
        async with without.create_session():
            pass
        for _ in range(sessions):
            await sandbox.warm_up()
            warm.append(await _timed(sandbox))
            await sandbox.warm_up()
            cold.append(await _timed(without))
    stats = sandbox.pool_stats()
    assert stats is not None
    return Trial(
        image=image,
        filled_ms=filled * 1e3,
        warm_ms=tuple(warm),
        cold_ms=tuple(cold),
        stats=stats,
    )


async def _timed(sandbox: AsyncDockerSandbox) -> float:
    """Return the milliseconds in which a session is there and answers; it is removed before."""
    start = time.perf_counter()
    session = await sandbox.create_session()
    try:
        await session.ping()
        return (time.perf_counter() - start) * 1e3
    finally:
        await session.destroy(wait=True)


def _print(trial: Trial) -> None:
    output.line(f"sessions in {trial.image}, until each has answered")
    for name, times in (("from the pool", trial.warm_ms), ("made for the call", trial.cold_ms)):
        ordered = sorted(times)
        middle, last = ordered[len(ordered) // 2], ordered[-1]
        output.line(
            f"  {name:<20} {middle:9.2f} ms in the middle {last:9.2f} ms at most "
            f"({len(ordered)} sessions)"
        )
    output.line(f"the pool was full after {trial.filled_ms:.0f} ms")
    for key, value in _plain(trial.stats).items():
        output.line(f"  {key:<20} {value}")


def _plain(stats: PoolStats) -> dict[str, Any]:
    return {key: value for key, value in dataclasses.asdict(stats).items() if value != ""}
