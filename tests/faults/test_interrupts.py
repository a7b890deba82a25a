"""Interrupts at bad moments, and event loops that go away under a session."""

from __future__ import annotations

import asyncio
import re
import signal

import pytest

from cases.mark import case
from faults import proxy as faults
from faults.clients import Client, client
from faults.conftest import OpenProxy, sweep
from faults.engine import OwnEngine
from faults.pending import SLACK

CREATION = "A failed or cancelled creation leaves nothing"
LOST = "After the client dies in any way"
GRACE = 1.0
PROMISE = 3.0
OPEN = 5
"""Connections that a session may have open at a time."""
TRACEBACK = "Traceback (most recent call last)"


@case("F16", CREATION)
@pytest.mark.parametrize("times", [pytest.param(1, marks=pytest.mark.slow), 2])
@pytest.mark.parametrize("step", ["containers/create", "containers/[^/]+/start"])
@pytest.mark.parametrize("scene", ["create", "blocked_create"])
async def test_an_interrupted_creation_leaves_nothing(
    engine: OwnEngine, open_proxy: OpenProxy, scene: str, step: str, times: int
) -> None:
    async with open_proxy() as (proxy, address):
        going_on = asyncio.Event()
        rule = proxy.on("POST", step, faults.reply_held(going_on))
        async with client(scene, address, id="interrupted", grace=GRACE) as victim:
            async with asyncio.timeout(30):
                await rule.seen.wait()
            victim.send(*[signal.SIGINT] * times)
            going_on.set()
            code, error, presses = await made_to_end(victim, scene, times)
        assert code != 0
        if not presses:
            # One, with its chain of causes; not one for each task and thread.
            assert error.count(TRACEBACK) <= 3, error
            assert "never retrieved" not in error
        await lease(engine)


@case("F16", LOST)
@pytest.mark.parametrize("times", [pytest.param(1, marks=pytest.mark.slow), 2])
async def test_an_interrupted_close_leaves_nothing(
    engine: OwnEngine, open_proxy: OpenProxy, times: int
) -> None:
    async with open_proxy() as (proxy, address):
        going_on = asyncio.Event()
        # The removal's first look: by the time of its second step the engine may have done it.
        rule = proxy.on("GET", "containers/fumehood-interrupted/json", faults.held(going_on))
        async with client("interrupted_close", address, id="interrupted", grace=GRACE) as victim:
            victim.go_on()
            async with asyncio.timeout(30):
                await rule.seen.wait()
            victim.send(*[signal.SIGINT] * times)
            going_on.set()
            _, error, presses = await made_to_end(victim, "interrupted_close", times)
        if not presses:
            assert error.count(TRACEBACK) <= 3, error
            assert "never retrieved" not in error
        await lease(engine)


@case("F16", LOST)
@pytest.mark.parametrize("scene", ["closed_loop", "at_exit"])
async def test_an_interpreter_that_ends_around_a_session_is_quiet_and_leaves_nothing(
    engine: OwnEngine, scene: str
) -> None:
    async with client(scene, engine.address, id="around", grace=GRACE) as victim:
        _, error = await victim.ends()
        complaints = re.findall(r"^\w+(?:Error|Exception|Exit|Interrupt)\b.*", error, re.MULTILINE)
        # Of a loop that is closed under open connections, each of them says that it cannot close:
        # aiohttp's and asyncio's own words, which no user of theirs can prevent. The session has
        # its stream by the engine, the one past it and the engine's events; a sweep and a call for
        # the way past the engine may be under way. Nothing else is said, and nothing twice.
        assert set(complaints) <= {"RuntimeError: Event loop is closed"}, error
        assert len(complaints) <= (OPEN if scene == "closed_loop" else 0), error
        await lease(engine)


async def made_to_end(victim: Client, scene: str, times: int) -> tuple[int, str, int]:
    """Wait for the end of an interrupted client: with one more Ctrl-C where asyncio may need it.

    The first only cancels, and the blocking API's loop runs in a thread that no interrupt reaches.
    """
    if scene == "blocked_create" or times == 1:
        return *await victim.ends(), 0
    return await victim.is_made_to_end()


async def lease(engine: OwnEngine) -> None:
    """Wait for what the lease and a sweep take away."""
    async with asyncio.timeout(GRACE + PROMISE + SLACK):
        await sweep(engine)
        while await engine.observer.left(""):
            await asyncio.sleep(0.05)
