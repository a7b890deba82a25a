"""Trees of processes that do not want to be found, ended or counted."""

from __future__ import annotations

import asyncio
import time

import pytest

from cases.mark import case
from contract.observer import Observer
from fumehood import ExecReason, Limits, ResourceLimitError
from hostile.arena import KINDS, Arena, Kind
from hostile.conftest import LIMITS, OpenArena
from hostile.trees import (
    PATIENCE,
    SOON,
    STARVED,
    begun,
    end_of,
    eventually_no_zombies,
    killed_by_cancel,
    killed_by_timeout,
    workload,
)

KILL = "A command that runs out of time, or whose caller is cancelled, is dead with everything"
LIMITED = "Memory without swap, CPU and pids as asked for"
SUPERVISOR = "The workload cannot stop, trace or speak as the supervisor"
OTHER = 4242
"""A user that no image knows, beside the one of the attack."""

each_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
# As root and as a user; what the kernel does with processes does not depend on the image.
root_and_user = pytest.mark.parametrize("kind", [KINDS[1], KINDS[3]], ids=lambda kind: kind.name)


async def dies(
    arena: Arena, observer: Observer, *shapes: str, bound: float = SOON, timeout: float = 1.0
) -> None:
    """See that trees of these shapes die at their timeouts and when they are cancelled."""
    tree = await arena.bring("tree")
    async with asyncio.TaskGroup() as group:
        for shape in shapes:
            argv = [tree, shape]
            group.create_task(killed_by_timeout(arena, argv, bound=bound, timeout=timeout))
            group.create_task(killed_by_cancel(arena, [tree, shape], bound=bound))
    assert await workload(observer, arena.session) == []
    assert await arena.alive()


@case("H11", KILL)
async def test_daemons_die_with_the_command_that_has_started_them(
    arena: Arena, observer: Observer
) -> None:
    await dies(arena, observer, "daemons")


@case("H11", KILL)
async def test_daemons_of_a_command_that_exits_live_on_and_are_told_of(
    arena: Arena, observer: Observer
) -> None:
    tree = await arena.bring("tree")
    result = await arena.session.exec([tree, "daemons", "leave"], timeout=PATIENCE, check=True)
    assert (result.left_running, result.killed) == (3, 0)
    # Another command's end is not theirs.
    await killed_by_timeout(arena, [tree, "sleeping"], timeout=0.2)
    assert len(await workload(observer, arena.session)) == 3
    # Their session's is: the invariants look for them on the machine.
    await arena.session.destroy()


@case("H12", KILL)
@each_kind
async def test_a_tree_that_changes_its_pids_all_the_time_dies(
    kind: Kind, open_arena: OpenArena, observer: Observer
) -> None:
    async with open_arena(kind, limits=Limits(pids=512, memory_mb=256)) as arena:
        # Two of them take all the CPU that there is, so it takes them a while to be there.
        await dies(arena, observer, "restless", bound=STARVED, timeout=3.0)


@case("H15", KILL)
async def test_own_reapers_adopted_siblings_and_parents_that_wait_do_not_help(
    arena: Arena, observer: Observer
) -> None:
    await dies(arena, observer, "siblings", "subreapers", "vforks")


@case("H15", KILL)
async def test_deaths_that_fork_do_not_help(user: Arena, observer: Observer) -> None:
    # It takes all processes that the limit allows while it dies.
    await killed_by_timeout(user, [await user.bring("tree"), "hydra"], bound=STARVED)
    assert await workload(observer, user.session) == []
    assert await user.alive()


@case("H16", KILL)
async def test_what_ignores_and_blocks_all_signals_dies(arena: Arena, observer: Observer) -> None:
    await dies(arena, observer, "deaf")


async def orphans(arena: Arena, observer: Observer, count: int) -> None:
    """Make orphans; see that the session answers meanwhile and that nobody stays a zombie."""
    work = asyncio.create_task(arena.attack("orphans", str(count), timeout=60, check=True))
    while not work.done():
        assert await arena.session.ping() < STARVED
        await asyncio.sleep(0.05)
    result = await work
    assert result.stdout == "made\n"
    await eventually_no_zombies(observer, arena.session)
    begin = time.monotonic()
    assert await arena.alive()
    assert time.monotonic() - begin < SOON


@case("H18", KILL)
async def test_orphans_are_reaped(arena: Arena, observer: Observer) -> None:
    await orphans(arena, observer, 1000)


@case("H18", KILL)
@pytest.mark.slow
async def test_ten_thousand_orphans_are_reaped(user: Arena, observer: Observer) -> None:
    await orphans(user, observer, 10_000)


@case("H19", KILL)
async def test_a_fork_bomb_stops_nobody_else_and_dies_at_its_timeout(
    arena: Arena, observer: Observer
) -> None:
    bomb, hello = await arena.bring("bomb"), await arena.bring("hello")
    for _ in range(5):
        work = asyncio.create_task(killed_by_timeout(arena, [bomb], bound=STARVED, timeout=1.5))
        refused = 0
        while not work.done():
            try:
                # It may be lucky: between two of the bomb's forks there may be room.
                await arena.session.exec([hello], timeout=5)
            except ResourceLimitError:
                refused += 1
            assert await arena.session.ping() < STARVED
        assert (await work).killed > 30
        if refused:
            break
    else:
        pytest.fail("nobody was ever in the bomb's way")
    assert await workload(observer, arena.session) == []
    assert await arena.alive()


@case("H19b", LIMITED)
async def test_sessions_of_one_user_have_limits_of_their_own(open_arena: OpenArena) -> None:
    # The kernel's own limit of a user's processes counts them over the whole machine.
    async with open_arena(KINDS[1]) as first, open_arena(KINDS[1]) as second:
        for arena in (first, second):
            program = await arena.bring("bomb")
            stream = arena.session.exec_stream([program, "fill"], timeout=None)
            event = await anext(stream)
            # All but the supervisor's: itself, a reaper, a pair in readiness.
            assert LIMITS.pids - 8 <= int(getattr(event, "text", 0)) < LIMITS.pids
            await stream.aclose()
        full = await begun(first, [await first.bring("tree"), "sleeping"])
        assert await second.alive()
        await full.aclose()


CODES = (0, 1, 9, 15, 24, 124, 125, 126, 127, 128, 130, 137, 143, 152, 255)
SIGNALS = (1, 2, 3, 4, 6, 7, 8, 9, 11, 13, 14, 15, 24, 25, 31, 34, 64)


@case("H20", KILL)
async def test_an_exit_code_is_never_taken_for_a_timeout_or_for_lack_of_memory(
    arena: Arena,
) -> None:
    ends = await arena.bring("ends")
    for code in CODES:
        result = await arena.session.exec([ends, "exit", str(code)], timeout=PATIENCE)
        assert (result.reason, result.exit_code, result.signal) == (ExecReason.EXITED, code, None)
    for number in SIGNALS:
        result = await arena.session.exec([ends, "signal", str(number)], timeout=PATIENCE)
        assert (result.reason, result.exit_code, result.signal) == (
            ExecReason.SIGNALED,
            128 + number,
            number,
        )


@case("X01", KILL)
async def test_who_is_stopped_when_the_timeout_comes_dies(user: Arena, observer: Observer) -> None:
    await dies(user, observer, "stopped")


@case("X02", KILL)
async def test_names_that_imitate_the_process_table_are_only_names(
    user: Arena, observer: Observer
) -> None:
    tree = await user.bring("tree")
    result = await killed_by_timeout(user, [tree, "names"])
    assert result.killed == 9
    await dies(user, observer, "names")


@case("X03", KILL)
async def test_threads_that_outlive_the_first_or_take_its_place_die(
    user: Arena, observer: Observer
) -> None:
    await dies(user, observer, "threads")


@case("X04", KILL)
async def test_orphans_whose_end_is_a_deadly_signal_do_not_harm_their_reaper(
    user: Arena, observer: Observer
) -> None:
    # Their new parent would get it: the reaper, of another user than who chose the signal.
    await dies(user, observer, "deadly ends")
    result = await user.attack("tree", "deadly ends", "leave", check=True)
    assert (result.stdout, result.killed) == ("up\n", 0)
    await eventually_no_zombies(observer, user.session)


@case("X05", KILL)
@root_and_user
async def test_a_tree_that_traces_itself_dies(
    kind: Kind, open_arena: OpenArena, observer: Observer
) -> None:
    async with open_arena(kind) as arena:
        tracer = await arena.bring("tracer")
        await killed_by_timeout(arena, [tracer], says="seized\n")
        await killed_by_cancel(arena, [tracer], says="seized\n")
        assert await workload(observer, arena.session) == []


@case("X05", KILL)
@pytest.mark.parametrize("shape", ["sleeping", "threads"])
async def test_nobody_keeps_the_dead_of_another_command_by_tracing_them(
    user: Arena, observer: Observer, shape: str
) -> None:
    # A tracer is told first of the end of whom it traces, and until it takes note the reaper, the
    # parent, cannot. Its own command is not being killed.
    tree, tracer = await user.bring("tree"), await user.bring("tracer")
    victim = await begun(user, [tree, shape])
    pids = await traceable(user)
    holder = await begun(user, [tracer, *pids], says="seized\n")
    begin = time.monotonic()
    await victim.aclose()
    assert time.monotonic() - begin < SOON
    await holder.aclose()
    assert await workload(observer, user.session) == []
    assert await user.alive()


async def traceable(arena: Arena) -> list[str]:
    """Return the ids of all threads of all of the workload's processes, seen from inside."""
    source = (
        "import os, pathlib\n"
        "for path in pathlib.Path('/proc').glob('[0-9]*/task/[0-9]*'):\n"
        "    if path.stat().st_uid == os.getuid() and str(os.getpid()) not in path.parts:\n"
        "        print(path.name)\n"
    )
    result = await arena.session.exec(["python3", "-c", source], check=True)
    return result.stdout.split()


@case("X06", SUPERVISOR)
@root_and_user
async def test_who_kills_everybody_kills_only_its_own_kind(
    kind: Kind, open_arena: OpenArena, observer: Observer
) -> None:
    async with open_arena(kind) as arena:
        tree = await arena.bring("tree")
        same = await begun(arena, [tree, "daemons"])
        other = await begun(arena, [tree, "daemons"], user=OTHER)
        assert (await arena.attack("slaughter", check=True)).stdout == "done\n"
        result = await end_of(same)
        assert (result.reason, result.signal) == (ExecReason.SIGNALED, 9)
        # The other user's: its first process and three daemons.
        assert len(await workload(observer, arena.session)) == 4
        await other.aclose()
        assert await arena.alive()


@case("X07", LIMITED)
async def test_nobody_leaves_or_changes_its_control_groups(
    arena: Arena, observer: Observer
) -> None:
    groups = await arena.bring("groups")
    # It prints what worked, before that.
    await killed_by_timeout(arena, [groups])
    assert await workload(observer, arena.session) == []


@case("X10", KILL)
async def test_who_writes_for_ever_after_its_command_has_ended_holds_nobody_up(
    user: Arena, observer: Observer
) -> None:
    result = await user.attack("tree", "writer", "leave", timeout=PATIENCE)
    assert (result.reason, result.exit_code) == (ExecReason.EXITED, 0)
    assert result.left_running == 1
    assert await user.session.ping() < SOON
    assert await user.alive()
    assert len(await workload(observer, user.session)) == 1


@case("X11", KILL)
async def test_many_hostile_trees_die_beside_each_other_and_nothing_else_does(
    open_arena: OpenArena, observer: Observer
) -> None:
    async with open_arena(KINDS[1], limits=Limits(pids=512, memory_mb=256)) as arena:
        tree = await arena.bring("tree")
        bystander = await begun(arena, [tree, "daemons"])
        shapes = ("restless", "deaf", "siblings", "subreapers", "stopped", "names", "threads")
        async with asyncio.TaskGroup() as group:
            for shape in shapes:
                argv = [tree, shape]
                group.create_task(killed_by_timeout(arena, argv, bound=STARVED, timeout=3.0))
        assert len(await workload(observer, arena.session)) == 4
        await bystander.aclose()
        assert await workload(observer, arena.session) == []
