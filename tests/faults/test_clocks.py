"""Clocks that jump and time that stands still: a client's, an engine's, a container's."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import time
from datetime import UTC, datetime, timedelta

import pytest

from cases.mark import case
from faults.conftest import MakeSandbox, OpenProxy
from faults.engine import OwnEngine
from faults.pending import SLACK
from faults.proxy import Fault, rewritten
from fumehood import EndReason, Lifecycle, SessionEndedError
from fumehood.engines.docker import ENGINE_ONLY

LEASE = "TTL and idle time end a session"
TIME = "A command that runs out of time"
DAY = 86_400.0


@case("F13", TIME)
@pytest.mark.parametrize(
    "jump", [DAY, pytest.param(-DAY, marks=pytest.mark.slow)], ids=["ahead", "back"]
)
async def test_no_deadline_moves_with_the_clients_wall_clock(
    sandbox: MakeSandbox, monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    wall = time.time
    async with sandbox() as box, box.create_session() as session:
        running = asyncio.ensure_future(session.exec(["sleep", "600"], timeout=4))
        await session.ping()
        monkeypatch.setattr(time, "time", lambda: wall() + jump)
        assert not running.done()
        await session.extend(ttl=600)
        await session.ping()
        result = await running
        assert result.timed_out
        assert 4 <= result.duration < 4 + SLACK
        assert (await session.exec(["echo", "on"], check=True)).stdout == "on\n"


def skewed(by: timedelta) -> Fault:
    """Let the engine tell another time."""

    def change(body: bytes) -> bytes:
        answer = json.loads(body)
        answer["SystemTime"] = (datetime.now(UTC) + by).isoformat()
        return json.dumps(answer).encode()

    return rewritten(change)


@case("F13", LEASE)
@pytest.mark.parametrize("days", [1, -1])
async def test_an_engine_whose_clock_is_wrong_costs_no_session_its_life(
    sandbox: MakeSandbox, open_proxy: OpenProxy, days: int
) -> None:
    async with (
        open_proxy() as (proxy, address),
        sandbox(docker_host=address) as sweeper,
        sandbox(lifecycle=Lifecycle(ttl=600, disconnect_grace=1)) as box,
        box.create_session() as session,
    ):
        proxy.on("GET", "info", skewed(timedelta(days=days)))
        # A day ahead it is long past its time to live: its supervisor is asked, and knows better.
        report = await sweeper.gc()
        assert report.containers == ()
        assert report.failed == {}
        assert (await session.exec(["echo", "on"], check=True)).stdout == "on\n"


@case("F13", LEASE)
async def test_the_cause_of_an_end_is_known_though_the_engines_clock_is_wrong(
    sandbox: MakeSandbox, open_proxy: OpenProxy
) -> None:
    lifecycle = Lifecycle(ttl=1, disconnect_grace=1)
    async with (
        open_proxy() as (proxy, address),
        sandbox(docker_host=address, lifecycle=lifecycle) as box,
    ):
        proxy.on("GET", "info", skewed(timedelta(days=1)))
        session = await box.create_session()
        with pytest.raises(SessionEndedError) as caught:
            await session.exec(["sleep", "600"])
        assert caught.value.reason is EndReason.TTL
        assert await session.wait_ended() is EndReason.TTL


@case("F14", LEASE)
@pytest.mark.slow
async def test_a_container_that_stood_still_for_a_while_lives_on(
    engine: OwnEngine, sandbox: MakeSandbox
) -> None:
    # Within the patience of both sides, with room for a machine on which that takes longer.
    lifecycle = Lifecycle(heartbeat_timeout=12, disconnect_grace=60)
    async with sandbox(lifecycle=lifecycle) as box, box.create_session() as session:
        running = asyncio.ensure_future(session.exec(["sh", "-c", "sleep 1; echo on"], check=True))
        await session.ping()
        pids = engine.pids(await engine.container_id(session.id))
        stop(pids)
        await asyncio.sleep(6)
        go_on(pids)
        assert (await running).stdout == "on\n"
        assert (await session.exec(["echo", "on"], check=True)).stdout == "on\n"


@case("F14", LEASE)
@pytest.mark.slow
async def test_time_that_a_session_stood_still_counts_for_its_ttl(
    engine: OwnEngine, sandbox: MakeSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Past the engine, a stop in the middle of the change of streams would take the last word along.
    monkeypatch.setenv(ENGINE_ONLY, "engine")
    lifecycle = Lifecycle(ttl=4, disconnect_grace=60)
    async with sandbox(lifecycle=lifecycle) as box:
        session = await box.create_session()
        began = time.monotonic()
        running = asyncio.ensure_future(session.exec(["sleep", "600"], timeout=None))
        await session.ping()
        pids = engine.pids(await engine.container_id(session.id))
        stop(pids)
        await asyncio.sleep(max(0, 5 - (time.monotonic() - began)))
        go_on(pids)
        async with asyncio.timeout(1 + SLACK):
            with pytest.raises(SessionEndedError) as caught:
                await running
        assert caught.value.reason is EndReason.TTL
        await session.destroy()


def stop(pids: list[int]) -> None:
    """Let processes stand still, as a host that sleeps does."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)


def go_on(pids: list[int]) -> None:
    for pid in pids:
        # The first one to go on may kill the others at once.
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
