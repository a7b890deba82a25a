"""Containers that wait, when their client, their engine or their claim comes to an end."""

from __future__ import annotations

import asyncio
import signal

import pytest

from cases.invariants import eventually_none
from cases.mark import case
from faults.clients import client
from faults.conftest import MakeSandbox, sweep
from faults.engine import OwnEngine
from faults.pending import SLACK
from faults.steps import cancelled_at
from fumehood import AsyncSession, EngineUnavailableError, Manifest, Pool, _pool
from fumehood._wire import table

WAITING = "A container that waits in a pool"
CREATION = "A failed or cancelled creation leaves nothing"
GRACE = 1.0
PROMISE = 3.0
ONE = Pool(min_idle=1, max_idle=1)


async def warm(engine: OwnEngine) -> list[str]:
    """Return the names of the containers that wait."""
    return [name for name in await engine.observer.left("") if name.startswith("fumehood-_warm-")]


async def began(engine: OwnEngine) -> list[str]:
    """Return the names of the containers that have been started."""
    found = await engine.observer.call("GET", "containers/json", all="1")
    return [item["Names"][0] for item in found if item["State"] != "created"]


async def all_gone(engine: OwnEngine, *, within: float) -> None:
    """Wait until whatever has begun is gone by itself.

    A client that dies between its creating a container and starting it leaves that to a sweep.
    """
    async with asyncio.timeout(within):
        while await began(engine):
            await asyncio.sleep(0.05)
    await sweep(engine)
    assert await eventually_none(lambda: engine.observer.left("")) == []
    assert await eventually_none(engine.strays) == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
@case("X60", WAITING)
async def test_a_pool_dies_with_its_client(engine: OwnEngine, number: signal.Signals) -> None:
    async with client("pool", engine.address, id="claimed", grace=GRACE) as victim:
        # One more may be on its way by now, in the place of the claimed one.
        assert len(await warm(engine)) >= 2
        victim.send(number)
        await all_gone(engine, within=GRACE + PROMISE + SLACK)


@pytest.mark.slow
@case("X60", WAITING)
async def test_a_pool_does_not_outlive_a_client_that_stands_still(engine: OwnEngine) -> None:
    async with client("pool", engine.address, id="claimed", grace=GRACE, heartbeat=3600) as victim:
        victim.send(signal.SIGSTOP)
        async with asyncio.timeout(table.WAIT_SILENCE_MS / 1000 + PROMISE + SLACK):
            while await warm(engine):
                await asyncio.sleep(0.5)
        victim.send(signal.SIGKILL)
        victim.send(signal.SIGCONT)
        await all_gone(engine, within=GRACE + PROMISE + SLACK)


@pytest.mark.parametrize("how", ["stop", "kill"])
@case("X61", WAITING)
async def test_after_the_engines_end_the_pool_is_filled_anew(
    engine: OwnEngine, sandbox: MakeSandbox, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    # Tried again soon also where a busy machine's engine was long away.
    monkeypatch.setattr(_pool, "_LAST_PAUSE", 1.0)
    async with sandbox(pool=ONE) as box:
        await box.warm_up()
        before = await warm(engine)
        await (engine.stop() if how == "stop" else engine.kill())
        # What waited is gone, and nothing can be made in its place.
        with pytest.raises(EngineUnavailableError):
            async with box.create_session():
                pass
        await engine.start()
        async with asyncio.timeout(SLACK):
            while (stats := box.pool_stats()) is None or not stats.idle:
                await asyncio.sleep(0.1)
        async with box.create_session() as session:
            assert session.start is not None
            assert session.start.kind == "warm"
            assert (await session.exec(["echo", "on"], check=True)).stdout == "on\n"
            assert f"fumehood-_warm-{session.id}" not in before
    # What an engine leaves that ended under it is the sweep's, as for sessions.
    await sweep(engine)
    assert await engine.observer.left("") == []


@pytest.mark.parametrize("name", [None, "chosen"])
@case("X62", CREATION)
async def test_a_claim_cancelled_at_any_step_leaves_nothing(
    engine: OwnEngine, sandbox: MakeSandbox, name: str | None
) -> None:
    manifest = Manifest(files={"one": "1"}, directories=("two", "three", "four"))
    made: list[AsyncSession] = []
    async with sandbox(pool=ONE) as box:

        async def create() -> None:
            made.append(await box.create_session(id=name, manifest=manifest))

        async def stray() -> list[str]:
            """Return what is neither in the pool nor its volume."""
            left = await engine.observer.left("")
            known = {item.removeprefix("fumehood-_warm-") for item in left if "_warm-" in item}
            return [item for item in left if not any(id in item for id in known)]

        step = 1
        await box.warm_up()
        while await cancelled_at(step, create):
            if made:
                break  # it was made in the moment of its cancellation
            assert await eventually_none(stray) == [], f"step {step}"
            await box.warm_up()
            step += 1
        await made[0].destroy()
    assert step > 5, "it had hardly any steps: nothing was shown"
    assert await engine.observer.left("") == []


@case("X63", WAITING)
async def test_a_fill_that_is_cut_short_leaves_nothing(
    engine: OwnEngine, sandbox: MakeSandbox
) -> None:
    for pause in (0.0, 0.02, 0.05, 0.1, 0.2):
        box = sandbox(pool=Pool(min_idle=3))
        filling = asyncio.create_task(box.warm_up())
        await asyncio.sleep(pause)
        await box.close()
        await asyncio.wait({filling})
        assert await engine.observer.left("") == [], f"after {pause} s"
