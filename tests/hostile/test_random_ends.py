"""Sessions that end at a random point of a random attack, very many, some beside each other."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import secrets
import signal
from collections.abc import Awaitable, Callable

import pytest

from cases.mark import case
from contract.observer import Observer
from fumehood import SandboxError
from hostile.arena import KINDS, Arena
from hostile.conftest import OpenArena

ATTACKS: tuple[tuple[str, ...], ...] = (
    ("binary",),
    ("eat", "background", "400"),
    ("eat", "family", "400"),
    ("eat", "messages", "400"),
    ("eat", "shared", "200"),
    ("eat", "touch", "400"),
    ("fill", "bytes", "full", str(1 << 30)),
    ("fill", "crash", "100"),
    ("fill", "files", "f", "20000"),
    ("fill", "links", "l", "20000"),
    ("kernelfiles", "/proc/kcore", "/proc/sysrq-trigger"),
    ("matrix", "child"),
    ("matrix", "supervisor"),
    ("memory",),
    ("orphans", "5000"),
    ("owner",),
    ("signals", "15625"),
    ("slaughter",),
    ("syscalls",),
    ("talk", "flood", str(1 << 40)),
    ("talk", "single", str(1 << 30)),
    ("tree", "daemons"),
    ("tree", "hydra"),
    ("tree", "writer"),
    ("uproot", "/workspace"),
)
BESIDE = 6
"""Sessions under attack at once."""


async def _destroyed(arena: Arena, observer: Observer, attack: asyncio.Task[object]) -> None:
    await arena.session.destroy()


async def _cancelled(arena: Arena, observer: Observer, attack: asyncio.Task[object]) -> None:
    attack.cancel()


async def _removed(arena: Arena, observer: Observer, attack: asyncio.Task[object]) -> None:
    path = f"containers/fumehood-{arena.session.id}"
    await observer.call("DELETE", path, force="1", v="1", absent=True)
    await arena.session.wait_ended()


async def _killed(arena: Arena, observer: Observer, attack: asyncio.Task[object]) -> None:
    container = await observer.container(arena.session.id)
    if container is not None and container["State"]["Running"]:
        os.kill(container["State"]["Pid"], signal.SIGKILL)
        await arena.session.wait_ended()


ENDS: tuple[Callable[[Arena, Observer, asyncio.Task[object]], Awaitable[None]], ...] = (
    _destroyed,
    _cancelled,
    _removed,
    _killed,
)


@case("H60", "A command that runs out of time")
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("count", [200])
async def test_sessions_that_end_at_any_point_of_any_attack_leave_nothing(
    open_arena: OpenArena, observer: Observer, count: int
) -> None:
    seed = secrets.randbits(32)
    print(f"seed {seed}")  # shown when the case fails
    chance = random.Random(seed)
    room = asyncio.Semaphore(BESIDE)

    async def one(chance: random.Random) -> None:
        async with room, open_arena(chance.choice(KINDS)) as arena:
            attack: asyncio.Task[object] = asyncio.ensure_future(
                arena.attack(*chance.choice(ATTACKS))
            )
            await asyncio.wait([attack], timeout=chance.random() * 2)
            await chance.choice(ENDS)(arena, observer, attack)
            # It has an outcome, or a typed reason why it has none.
            with contextlib.suppress(SandboxError, asyncio.CancelledError):
                await asyncio.wait_for(asyncio.shield(attack), 30)
            assert attack.done()

    async with asyncio.TaskGroup() as lives:
        for _ in range(count):
            lives.create_task(one(random.Random(chance.random())))
