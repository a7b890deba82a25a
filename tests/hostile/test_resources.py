"""Attacks on memory and disk.

A workspace without a quota may take the engine's disk down to its floor, which the fault suite
shows on small disks. What must hold above that is that it can still be looked at, in bounds, and
that all of it goes with the session.
"""

from __future__ import annotations

import asyncio

import pytest

from cases.mark import case
from contract.memory import growth
from fumehood import (
    DiskFullError,
    ExecReason,
    FileError,
    FileTooLargeError,
    Lifecycle,
    Limits,
    SandboxError,
    SessionEndedError,
)
from fumehood.sandbox import SandboxOptions
from hostile.arena import KINDS, Arena, Kind
from hostile.conftest import OpenArena
from hostile.scenes import build, outcome

MEMORY = "A command that uses up the memory is a typed result"
QUOTA = "A quota on the workspace"
DISK = "A session without a quota does not take the last of the engine's disk"
MIB = 1 << 20
ENOSPC = 28
SMALL = Limits(timeout=60, memory_mb=64, pids=64)
# With the budgets of /tmp, /dev and /dev/shm on top, which are memory too.
ALL_MIB = 64 + 128 + 64 + 64

LONG: SandboxOptions = {
    "limits": Limits(memory_mb=256, cpus=2),
    "lifecycle": Lifecycle(ttl=900, disconnect_grace=6),
}

every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
two_kinds = pytest.mark.parametrize("kind", KINDS[::2], ids=lambda kind: kind.name)

# --- memory -----------------------------------------------------------------------------------


@case("H22", MEMORY)
@every_kind
@pytest.mark.parametrize("times", [2, pytest.param(20, marks=pytest.mark.slow)])
async def test_four_times_the_memory_ends_the_command_and_not_the_session(
    open_arena: OpenArena, kind: Kind, times: int
) -> None:
    async with open_arena(kind, limits=SMALL) as arena:
        for _ in range(times):
            done = await arena.attack("eat", "touch", str(4 * ALL_MIB), timeout=60)
            assert done.reason is ExecReason.OUT_OF_MEMORY
            assert await arena.alive()


@case("H22", MEMORY)
@pytest.mark.parametrize("times", [1, pytest.param(20, marks=pytest.mark.slow)])
async def test_thirty_processes_that_take_it_together_are_a_typed_result_too(
    open_arena: OpenArena, times: int
) -> None:
    async with open_arena(KINDS[0], limits=SMALL) as arena:
        program = await arena.bring("eat")
        for _ in range(times):
            # The kernel picks the children; their parent may be let live, and waits for ever.
            done = await arena.session.exec([program, "family", str(4 * ALL_MIB)], timeout=2)
            assert done.reason in {ExecReason.OUT_OF_MEMORY, ExecReason.TIMED_OUT}
            assert await arena.alive()


@case("H22", MEMORY)
async def test_a_background_child_that_takes_it_harms_nobody_who_comes_later(
    open_arena: OpenArena,
) -> None:
    async with open_arena(KINDS[1], limits=SMALL) as arena:
        program = await arena.bring("eat")
        for _ in range(3):
            done = await arena.session.exec([program, "background", str(4 * ALL_MIB)])
            # It may be killed while the command still ends.
            assert done.reason in {ExecReason.EXITED, ExecReason.OUT_OF_MEMORY}
            async with asyncio.timeout(30):
                while not isinstance(found := await outcome(arena.alive()), bool) or not found:
                    assert not isinstance(found, SessionEndedError)


@case("H22", MEMORY)
async def test_a_file_larger_than_the_memory_is_written_and_read_within_it(
    open_arena: OpenArena,
) -> None:
    async with open_arena(KINDS[2], limits=SMALL) as arena:
        done = await arena.attack("eat", "cache", "400", "big", timeout=60, check=True)
        # Cached pages are given back: this is no reason to end anything.
        assert done.stdout == "400\n"
        assert await arena.alive()


@case("X23", MEMORY)
async def test_shared_memory_that_a_command_leaves_behind_is_gone_with_it(
    open_arena: OpenArena,
) -> None:
    async with open_arena(KINDS[0], limits=SMALL) as arena:
        # Together many times what there is.
        for _ in range(8):
            done = await arena.attack("eat", "shared", "200", check=True)
            assert done.stdout == "200\n"
        assert await arena.alive()


@case("X23", MEMORY)
@pytest.mark.parametrize(("what", "most"), [("messages", "16"), ("semaphores", "128")])
async def test_what_no_process_holds_is_little(open_arena: OpenArena, what: str, most: str) -> None:
    async with open_arena(KINDS[0], limits=SMALL) as arena:
        # Nobody's end gives these back, so there must not be enough of them to matter.
        assert (await arena.attack("eat", what, "20000", check=True)).stdout == f"{most}\n"
        assert (await arena.attack("eat", what, "20000", check=True)).stdout == "0\n"
        # As much memory as ever is left for whoever comes next.
        done = await arena.attack("eat", "touch", "64", check=True)
        assert done.stdout == "64\n"


@case("X24", MEMORY)
@two_kinds
async def test_all_that_is_memory_may_be_full_and_commands_still_run(
    open_arena: OpenArena, kind: Kind
) -> None:
    async with open_arena(kind, limits=Limits(memory_mb=64, workspace_mb=16)) as arena:
        session = arena.session
        programs = [await arena.bring(name) for name in ("fill", "hello")]
        for place in ("/tmp", "/dev/shm", "/dev", session.workdir):
            done = await session.exec([programs[0], "bytes", f"{place}/full", str(1 << 30)])
            size, error = map(int, done.stdout.split())
            # /dev is root's.
            assert error == ENOSPC or (place == "/dev" and size == 0)
        with pytest.raises(DiskFullError):
            await session.write_file("more", bytes(MIB))
        with pytest.raises(DiskFullError):
            await session.write_file("/tmp/more", bytes(MIB), root="/")
        for _ in range(3):
            assert (await session.exec([programs[1]], check=True)).stdout == "hello\n"
        await session.remove("full")
        assert await arena.alive()


# --- a disk with a quota ----------------------------------------------------------------------


@case("H24", QUOTA)
@two_kinds
async def test_a_workspace_with_a_quota_is_full_at_it_and_can_be_emptied(
    open_arena: OpenArena, kind: Kind
) -> None:
    async with open_arena(kind, limits=Limits(memory_mb=64, workspace_mb=24)) as arena:
        session = arena.session
        program = await arena.bring("fill")
        done = await session.exec([program, "bytes", "full", str(1 << 30)], check=True)
        size, error = map(int, done.stdout.split())
        assert error == ENOSPC
        assert 16 * MIB < size < 24 * MIB
        with pytest.raises(DiskFullError):
            await session.write_file("more", bytes(2 * MIB))
        # Nothing of the write has stayed behind to fill it further.
        assert sorted(entry.name for entry in await session.list_files()) == ["fill", "full"]
        await session.remove("full")
        done = await session.exec([program, "claim", "claimed", str(32 * MIB)], check=True)
        assert done.stdout.split() == ["0", str(ENOSPC)]
        await session.remove("claimed")
        assert await arena.alive()


@case("H25", QUOTA)
async def test_a_workspace_with_a_quota_has_an_end_of_names_too(open_arena: OpenArena) -> None:
    async with open_arena(KINDS[1], limits=Limits(memory_mb=64, workspace_mb=16)) as arena:
        session = arena.session
        await build(arena, "dir:d", "dir:l")
        program = await arena.bring("fill")
        done = await session.exec([program, "links", "l", "8000"], check=True)
        assert done.stdout == "8000 0\n"
        done = await session.exec([program, "files", "d", "99999"], check=True)
        count, error = map(int, done.stdout.split())
        assert error == ENOSPC
        # 1,024 inodes for each MiB, and every name needs one.
        assert 8000 < count < 16 * 1024 - 8000
        with pytest.raises(DiskFullError):
            await session.write_file("more", "x")
        for directory in ("d", "l"):
            await session.remove(directory, recursive=True)
        assert await arena.alive()


# --- a disk without one -----------------------------------------------------------------------


@case("H24", DISK)
async def test_a_filled_and_a_sparse_workspace_without_a_quota_stay_manageable(
    python: Arena,
) -> None:
    session = python.session
    done = await python.attack("fill", "claim", "claimed", str(512 * MIB), check=True)
    assert done.stdout.split() == [str(1 << 40), "0"]
    done = await python.attack("fill", "bytes", "full", str(128 * MIB), check=True)
    assert done.stdout.split() == [str(128 * MIB), "0"]
    sizes = {entry.path: entry.size for entry in await session.list_files()}
    assert (sizes["claimed"], sizes["full"]) == (1 << 40, 128 * MIB)
    with growth() as grown:
        for name in ("claimed", "full"):
            with pytest.raises(FileTooLargeError, match=str(sizes[name])):
                await session.read_file(name)
    assert grown() < 16 * MIB
    assert await python.alive()
    # That all of it goes with the session is what every case ends with.


@case("H25", DISK)
@pytest.mark.parametrize(
    ("files", "links"), [(10_000, 2_500), pytest.param(1_000_000, 100_000, marks=pytest.mark.slow)]
)
@pytest.mark.timeout(600)
async def test_very_many_names_are_listed_in_bounds_and_removed(
    open_arena: OpenArena, files: int, links: int
) -> None:
    async with open_arena(KINDS[1], **LONG) as arena:
        session = arena.session
        await build(arena, "dir:f", "dir:l", "deep:deep:1000")
        await arena.attack("fill", "files", "f", str(files), timeout=400, check=True)
        await arena.attack("fill", "links", "l", str(links), timeout=400, check=True)
        for directory, count in (("f", files), ("l", links)):
            found = await outcome(session.list_files(directory))
            # At most 100,000 are given; more than that is an error and not a part of them.
            if count > 100_000:
                assert type(found) is FileError
            else:
                assert not isinstance(found, SandboxError)
                assert len(found) == count
        assert isinstance(await outcome(session.list_files(recursive=True)), FileError)
        assert len(await session.list_files()) == 5
        await session.remove("deep", recursive=True)
        await session.remove("l", recursive=True)
        assert await arena.alive()


@case("H25b", DISK)
async def test_a_crash_leaves_no_core_dump(user: Arena) -> None:
    for _ in range(3):
        done = await user.attack("fill", "crash", "100")
        # Asking for one was refused.
        assert (done.stdout, done.signal) == ("-1\n", 11)
    assert [entry.path for entry in await user.session.list_files()] == ["fill"]
