"""Managed processes in hostile hands: started without end, shouting, letting go."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from cases.mark import case
from contract.observer import Observer
from fumehood import (
    AsyncSession,
    InvalidRequestError,
    Limits,
    OperationTimeoutError,
    ProcessNotFoundError,
    ProcessStatus,
    ResourceLimitError,
)
from hostile.arena import KINDS, Arena
from hostile.conftest import OpenArena

BOUNDED = "No more managed processes than `Limits.max_processes`"
LOG = "A managed process never waits for a reader"
MIB = 1 << 20
MOST = 8
KEPT = 64
"""Of those that have ended."""
OWN_MIB = 4
"""What PID 1 may take for itself, whatever it has had to do; the logs come on top."""

LIMITS = Limits(timeout=60, memory_mb=256, pids=128, max_processes=MOST)


async def first_pid(observer: Observer, session: AsyncSession) -> Path:
    """Return what the machine tells of a session's PID 1."""
    container = await observer.container(session.id)
    assert container is not None
    return Path(f"/proc/{container['State']['Pid']}")


def pss_mib(process: Path) -> float:
    """Return the memory that a process has to itself, and its share of what others have too."""
    lines = (process / "smaps_rollup").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith("Pss:")).split()[1]) / 1024


def descriptors(process: Path) -> int:
    return len(list((process / "fd").iterdir()))


@case("X85", BOUNDED)
@pytest.mark.parametrize("starts", [400, pytest.param(10_000, marks=pytest.mark.slow)])
async def test_starts_without_end_stay_within_their_number_and_leave_nothing(
    open_arena: OpenArena, observer: Observer, starts: int
) -> None:
    async with open_arena(KINDS[2], limits=LIMITS) as arena:
        session = arena.session
        first = await first_pid(observer, session)
        idle = descriptors(first)
        left = starts
        ended = 0

        async def start_on() -> None:
            nonlocal left, ended
            while left > 0:
                left -= 1
                try:
                    process = await session.start_process(["echo", "x"], name=f"n{left}")
                    assert (await process.wait()).stdout == "x\n"
                    ended += 1
                except ResourceLimitError:
                    continue  # more than may run at once have asked
                except ProcessNotFoundError:
                    ended += 1  # so many have ended since that the session has forgotten it

        await asyncio.gather(*(start_on() for _ in range(2 * MOST)))
        # There were refusals, perhaps, and never of those that were within the number.
        assert ended >= MOST
        known = await session.list_processes()
        assert len(known) <= KEPT
        assert {process.status for process in known} == {ProcessStatus.EXITED}
        assert pss_mib(first) < OWN_MIB
        # One for each log that is kept, and the pair that waits for the next command.
        assert descriptors(first) <= idle + KEPT + 4
        assert await arena.alive()


@case("X86", LOG)
async def test_floods_from_every_process_stay_within_their_logs(
    open_arena: OpenArena, observer: Observer
) -> None:
    async with open_arena(KINDS[2], limits=LIMITS) as arena:
        session = arena.session
        first = await first_pid(observer, session)
        flood = ["sh", "-c", "yes out & yes err >&2 & wait"]
        floods = [await session.start_process(flood, log_bytes=MIB) for _ in range(MOST)]
        with pytest.raises(ResourceLimitError, match="max_processes"):
            await session.start_process(["true"])
        async with asyncio.timeout(100):
            for process in floods:
                # It has gone around several times.
                while (logs := await process.logs(tail=1)).end < 4 * MIB:
                    await session.ping()
                whole = await process.logs()
                assert whole.end - whole.start <= MIB
                assert logs.end <= whole.end
        assert pss_mib(first) < MOST + OWN_MIB
        # Nobody else is held up by it, and it ends like any other.
        assert (await session.exec(["echo", "on"], check=True)).stdout == "on\n"
        await asyncio.gather(*(process.stop(grace=0) for process in floods))
        assert await arena.alive()


@case("X87", BOUNDED)
async def test_names_and_arguments_that_a_terminal_would_obey_are_refused_or_stay_bytes(
    python: Arena,
) -> None:
    session = python.session
    for name in ("\x1b[2J", "a\nb", "a\0b", "a b", "../a", "-a", "p1", "\u202etxt", "a" * 65, ""):
        with pytest.raises(InvalidRequestError):
            await session.start_process(["true"], name=name)
    assert await session.list_processes() == []
    evil = ["sh", "-c", "exit 3", "\x1b]0;title\x07", "a\nb", "\u202e", "x" * 4000]
    process = await session.start_process(evil, name="evil")
    assert (await process.wait()).exit_code == 3
    found = await session.get_process("evil")
    assert repr(found) == "<AsyncProcess p1 evil exited>"
    # What others are told of it has a bound of its own.
    assert found.argv[: len(evil) - 1] == tuple(evil[:-1])
    assert sum(map(len, found.argv)) <= 1024


@case("X88", BOUNDED)
async def test_whoever_lets_go_of_its_pipes_or_hands_them_on_is_still_known_and_stopped(
    python: Arena,
) -> None:
    session = python.session
    # Closed by one that lives on: it runs, and nobody takes it for ended.
    silent = await session.start_process(["sh", "-c", "exec <&- >&- 2>&-; exec sleep 1000"])
    with pytest.raises(OperationTimeoutError):
        await silent.wait(timeout=0.5)
    assert await silent.refresh() is ProcessStatus.RUNNING
    # Handed on fifty times by one that ends: its end waits for none of them.
    script = "for n in $(seq 25); do setsid sleep 1000 & sleep 1000 2>&1 & done; echo up; exit 7"
    parent = await session.start_process(["sh", "-c", script])
    async with asyncio.timeout(30):
        result = await parent.wait()
    assert (result.exit_code, result.stdout) == (7, "up\n")
    assert result.left_running
    # Its own output and its standard input are one pipe's two ends, as far as it can have that.
    knot = ["sh", "-c", "exec 3>&1 4>&2; cat <&0 >&3 2>&4 & exec cat"]
    tied = await session.start_process(knot, stdin=True)
    await tied.write("x\n")
    for process in (silent, parent, tied):
        await process.stop(grace=0)
    done = await session.exec(["sh", "-c", "ls -d /proc/[0-9]*/exe | wc -l"], check=True)
    # PID 1, the pair that it keeps, and this command's own three with their reaper.
    assert int(done.stdout) <= 8, done.stdout
