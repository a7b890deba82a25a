"""Many sessions, each under some attack, each ended at some moment and in some way."""

from __future__ import annotations

import asyncio
import random

import pytest

from cases.mark import case
from contract.observer import Observer
from fumehood import SandboxError
from hostile.arena import KINDS, Arena
from hostile.conftest import OpenArena

CREATION = "A failed or cancelled creation leaves nothing"
SESSIONS, AT_ONCE = 60, 6
LATEST = 0.4
"""Seconds after which a session that is under attack is ended."""

ATTACKS: tuple[tuple[str, ...], ...] = (
    ("bomb",),
    ("tree", "restless"),
    ("tree", "hydra"),
    ("tree", "daemons"),
    ("eat", "touch", "1024"),
    ("eat", "shared", "64"),
    ("talk", "flood", str(1 << 40)),
    ("talk", "deaf", "600"),
    ("signals", "10000"),
    ("matrix", "supervisor"),
    ("kernelfiles",),
    ("orphans", "2000"),
)
WAYS = ("leave", "destroy", "cancel", "engine", "supervisor")


async def life(open_arena: OpenArena, observer: Observer, chance: random.Random) -> None:
    """Live one session: only typed errors come of it, and none from the way it is left."""
    attack, kind, way = chance.choice(ATTACKS), chance.choice(KINDS), chance.choice(WAYS)
    moment = chance.uniform(0.0, LATEST)
    try:
        async with open_arena(kind) as arena:
            if way == "cancel":
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(moment):
                        await fight(arena, attack)
                return
            fighting = asyncio.create_task(fight(arena, attack))
            await asyncio.sleep(moment)
            if way == "destroy":
                await arena.session.destroy()
            elif way == "engine":
                await observer.call("POST", f"containers/fumehood-{arena.session.id}/kill")
            elif way == "supervisor":
                await observer.call(
                    "POST", f"containers/fumehood-{arena.session.id}/kill", signal="SIGTERM"
                )
            else:
                fighting.cancel()
            await asyncio.gather(fighting, return_exceptions=True)
            if not fighting.cancelled():
                error = fighting.exception()
                assert error is None or isinstance(error, SandboxError), (attack, way, error)
    except SandboxError:
        # The block may say that its session has ended otherwise.
        assert way in ("engine", "supervisor"), (attack, way)


async def fight(arena: Arena, attack: tuple[str, ...]) -> None:
    """Attack, and again, until the end comes from outside."""
    while True:
        await arena.attack(*attack, timeout=1.0)


@case("H60", CREATION)
@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_sessions_that_end_at_any_moment_of_any_attack_leave_nothing(
    open_arena: OpenArena, observer: Observer
) -> None:
    # The seeds are the test's own: what fails can be tried again.
    chances = [random.Random(seed) for seed in range(SESSIONS)]
    turn = asyncio.Semaphore(AT_ONCE)

    async def one(chance: random.Random) -> None:
        async with turn:
            await life(open_arena, observer, chance)

    async with asyncio.TaskGroup() as group:
        for chance in chances:
            group.create_task(one(chance))
