"""Commands that must die with everything they have started, and how soon, and who is left."""

from __future__ import annotations

import asyncio
import time

from contract.observer import Observer
from fumehood import AsyncSession, ExecReason, ExecResult, Exit, Stdout
from fumehood.exec import ExecStream
from hostile.arena import Arena

RESERVED_UID = 64_999
"""The supervisor's. What a process calls itself says nothing."""

SOON = 5.0
"""Seconds within which everything is dead after a timeout, or after the caller has left.

It is one second where a processor is to be had, and mostly milliseconds: ``fumehood self-check``
and the benchmarks tell. Here others may take the machine; what is looked for is who never dies.
"""
STARVED = 20.0
"""The same where the workload leaves the supervisor hardly any CPU."""
PATIENCE = 10.0
"""Seconds until what must come to be is given up."""


async def workload(
    observer: Observer, session: AsyncSession, *, zombies: bool = False
) -> list[str]:
    """Return the state and name of every process in a session that is not the supervisor's.

    Args:
        observer: asks the engine, which looks from outside.
        session: where.
        zombies: whether to list those that have ended and were not reaped, instead of the others.
    """
    found = await observer.call(
        "GET", f"containers/fumehood-{session.id}/top", ps_args="-eo pid,uid,stat,comm"
    )
    rows = [row for row in found["Processes"] if int(row[1]) != RESERVED_UID]
    return [f"{row[2]} {row[3]}" for row in rows if row[2].startswith("Z") is zombies]


async def eventually_no_zombies(observer: Observer, session: AsyncSession) -> None:
    """Wait until everybody who has ended is reaped."""
    async with asyncio.timeout(PATIENCE):
        while await workload(observer, session, zombies=True):
            await asyncio.sleep(0.05)


async def killed_by_timeout(
    arena: Arena, argv: list[str], *, says: str = "up\n", bound: float = SOON, timeout: float = 1.0
) -> ExecResult:
    """Run a command that never ends, and see that its timeout ends all of it, and in time."""
    # On a busy machine a tree may need longer than that until all of it is there.
    for seconds in (timeout, 4 * timeout, 8 * timeout):
        begin = time.monotonic()
        result = await arena.session.exec(argv, user=arena.kind.user, timeout=seconds)
        # The result comes when the last one of the tree is dead.
        assert time.monotonic() - begin < seconds + bound
        assert result.reason is ExecReason.TIMED_OUT
        assert result.killed >= 1
        assert result.left_running == 0
        if result.stdout == says:
            return result
    raise AssertionError("not all of it was ever there")


async def killed_by_cancel(
    arena: Arena, argv: list[str], *, says: str = "up\n", bound: float = SOON
) -> None:
    """Run a command that never ends, leave it once it says so, and see that it is dead in time."""
    stream = await begun(arena, argv, says=says)
    begin = time.monotonic()
    await stream.aclose()
    assert time.monotonic() - begin < bound


async def begun(
    arena: Arena,
    argv: list[str],
    *,
    says: str = "up\n",
    user: int | None = None,
    env: dict[str, str] | None = None,
    input: str | None = None,
    timeout: float | None = None,
) -> ExecStream:
    """Start a command and wait for its first words; the caller closes it."""
    stream = arena.session.exec_stream(
        argv, user=user or arena.kind.user, env=env, input=input, timeout=timeout
    )
    said = ""
    async with asyncio.timeout(PATIENCE):
        while len(said) < len(says):
            event = await anext(stream)
            assert isinstance(event, Stdout), event
            said += event.text
    assert said == says
    return stream


async def end_of(stream: ExecStream) -> ExecResult:
    """Take what a command still writes, and return its result."""
    async for event in stream:
        if isinstance(event, Exit):
            return event.result
    raise AssertionError("the command has no end")
