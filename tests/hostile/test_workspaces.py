"""Attacks on the workspace itself: closed, moved, shared, left behind for the next one."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from cases.mark import case
from fumehood import (
    AsyncDockerSandbox,
    FileError,
    FilePermissionError,
    NotRegularFileError,
    PathEscapesError,
    SandboxError,
    WorkingDirectoryError,
    Workspace,
    WorkspaceBusyError,
)
from hostile.arena import KINDS, Arena, Kind, compiled
from hostile.conftest import LIFECYCLE, LIMITS, OpenArena
from hostile.scenes import OUTSIDE, beside, build, hide_a_secret, outcome, secret_is_as_it_was

FILES = "The file API never leaves the workspace"
HOLD = "One session at a time holds a persistent workspace"

# --- closed, moved, covered -------------------------------------------------------------------


@case("H59", FILES)
async def test_the_workspace_is_neither_moved_nor_covered_nor_removed(arena: Arena) -> None:
    done = await arena.attack("uproot", arena.session.workdir, check=True)
    assert done.stdout == "13 of 13 refused\n"
    assert await arena.alive()


async def open_again(arena: Arena, user: str | None = None) -> None:
    """Let the workspace's owner open it, from elsewhere."""
    await arena.session.write_file("/tmp/scene", compiled("scene"), mode=0o755, root="/")
    argv = ["/tmp/scene", f"chmod:{arena.session.workdir}:0755"]
    await arena.session.exec(argv, cwd="/", user=user or arena.kind.user, check=True)


@case("H59", FILES)
async def test_a_workspace_that_is_closed_is_typed_errors_until_it_is_opened_again(
    arena: Arena,
) -> None:
    session = arena.session
    await build(arena, "file:f:kept", "chmod:.:0000")
    for call in (
        session.read_file("f"),
        session.write_file("f", "x"),
        session.write_file("new/f", "x"),
        session.list_files(),
        session.make_directory("d"),
        session.remove("f"),
    ):
        assert type(await outcome(call)) is FilePermissionError
    with pytest.raises(WorkingDirectoryError):
        await session.exec(["./scene"])
    await open_again(arena)
    assert await session.read_file("f") == b"kept"
    assert await arena.alive()


@case("H59", FILES)
async def test_what_cannot_be_removed_goes_with_the_session_all_the_same(user: Arena) -> None:
    session = user.session
    await build(user, "dir:d", "chmod:d:0777")
    await build(
        user,
        *("dir:d/closed", "file:d/closed/f:x", "dir:d/closed/deeper", "deep:d/closed/deep:1"),
        *("chmod:d/closed:0000", "file:d/theirs:x", "chmod:d/theirs:0000"),
        user="0",
    )
    with pytest.raises(FilePermissionError):
        await session.remove("d", recursive=True)
    await build(user, "chmod:.:0000")
    # That nothing is left of it is what every case ends with.


@case("X24", FILES)
async def test_a_directory_above_the_workspace_may_be_replaced_and_leads_nobody_astray(
    open_arena: OpenArena,
) -> None:
    # The user owns what the engine has made the workspace's parents in.
    async with open_arena(KINDS[1], workdir="/home/user/above/work") as arena:
        session = arena.session
        await hide_a_secret(arena)
        await build(
            arena,
            "file:f:inside",
            "move:/home/user/above:/home/user/moved",
            "link:/home/user/above:/tmp",
            f"link:/tmp/work:{OUTSIDE}",
        )
        # The place where the workspace was leads to the secret now.
        assert await session.read_file("/home/user/above/work/f", root="/") == b"secret"
        assert await session.read_file("f") == b"inside"
        await session.write_file("f", "after")
        await session.write_file("new/f", "x")
        assert await session.read_file("/home/user/moved/work/f", root="/") == b"after"
        assert (await session.exec(["cat", "f"], check=True)).stdout == "after"
        assert await secret_is_as_it_was(session)


# --- mounts -----------------------------------------------------------------------------------


@case("X20", FILES)
async def test_mounts_and_what_is_below_them_are_not_taken_apart(arena: Arena) -> None:
    session = arena.session
    calls = (
        session.remove("/dev/shm", recursive=True, root="/"),
        session.remove("/proc", recursive=True, root="/"),
        session.remove("/proc/1", recursive=True, root="/"),
        session.remove("/sys/fs/cgroup", recursive=True, root="/"),
        session.remove("/.fumehood", recursive=True, root="/"),
        session.remove("/.fumehood/supervisor", root="/"),
        session.rename("/.fumehood", "/tmp/f", root="/"),
        session.rename("/tmp", "/workspace/t", root="/"),
        session.rename("/workspace", "/w", root="/"),
        session.rename("/proc/version", "/workspace/v", root="/"),
        session.write_file("/proc/1/oom_score_adj", "1000", root="/"),
        session.write_file("/proc/sys/kernel/core_pattern", "|/tmp/x", root="/"),
        session.write_file("/sys/fs/cgroup/memory/memory.limit_in_bytes", "-1", root="/"),
        session.write_file("/.fumehood/supervisor", "x", root="/"),
    )
    found = [await outcome(call) for call in calls]
    assert all(isinstance(each, SandboxError) for each in found), found
    # All there is, /proc included, or why not.
    listed = await outcome(session.list_files("/", recursive=True, root="/"))
    assert isinstance(listed, FileError) or (
        not isinstance(listed, SandboxError) and len(listed) <= 100_000
    )
    # Not the workspace either, where it is one: it is refused before anything in it is touched.
    await session.write_file("d/f", "x")
    with pytest.raises(FileError):
        await session.remove(session.workdir, recursive=True, root="/")
    assert await session.read_file("d/f") == b"x"
    assert await arena.alive()


# --- shared and left behind -------------------------------------------------------------------


@pytest_asyncio.fixture(loop_scope="session")
async def shared(prefix: str) -> AsyncIterator[Workspace]:
    """Give a persistent workspace that is gone after the case."""
    name = f"{prefix}-{secrets.token_hex(4)}"
    yield Workspace.persistent(name)
    async with AsyncDockerSandbox(image=KINDS[0].image, pull="never") as sandbox:
        await sandbox.remove_workspace(name)


@contextlib.asynccontextmanager
async def arena_on(kind: Kind, workspace: Workspace, prefix: str) -> AsyncIterator[Arena]:
    async with (
        AsyncDockerSandbox(
            image=kind.image, pull="never", limits=LIMITS, lifecycle=LIFECYCLE, workspace=workspace
        ) as sandbox,
        sandbox.create_session(id=f"{prefix}-{secrets.token_hex(4)}") as session,
    ):
        yield Arena(kind=kind, session=session)


@case("X22", HOLD)
async def test_a_held_workspace_is_refused_to_others_whatever_its_holder_does(
    shared: Workspace, prefix: str
) -> None:
    async with arena_on(KINDS[1], shared, prefix) as holder:
        await build(holder, "dir:a", "dir:b")
        async with beside(holder, "swap", "exchange", "a", "b"):
            await build(holder, "chmod:.:0000")
            for kind in (KINDS[0], KINDS[1]):
                with pytest.raises(WorkspaceBusyError, match=holder.session.id):
                    async with arena_on(kind, shared, prefix):
                        pass
        await open_again(holder)
        assert [entry.path for entry in await holder.session.list_files()]


LEFT = ["dir:d", "file:d/f:kept", "fifo:fifo", "link:out:/etc/passwd", "link:self:/proc/self"]
LEFT += ["file:tool:x", "chmod:tool:4755", "dir:.fumehood", "link:.fumehood-00000000:/etc/passwd"]


async def meet_what_was_left(arena: Arena) -> None:
    session = arena.session
    assert await session.read_file("d/f") == b"kept"
    assert type(await outcome(session.read_file("fifo"))) is NotRegularFileError
    assert type(await outcome(session.read_file("out"))) is PathEscapesError
    assert type(await outcome(session.write_file("self/x", "x"))) is PathEscapesError


@case("X22", HOLD)
@pytest.mark.parametrize("before", KINDS[:2], ids=lambda kind: kind.name)
async def test_what_one_session_leaves_behind_does_not_harm_the_next(
    shared: Workspace, prefix: str, before: Kind
) -> None:
    async with arena_on(before, shared, prefix) as arena:
        await build(arena, *LEFT, "chmod:.:0000")
    # The same user finds it closed, as its owner wanted it, and may open it.
    async with arena_on(before, shared, prefix) as arena:
        assert type(await outcome(arena.session.read_file("d/f"))) is FilePermissionError
        await open_again(arena)
        await meet_what_was_left(arena)
        # A link that has the name of a draft is in nobody's way.
        await arena.session.write_file("new", "mine")
        assert await arena.alive()


@case("X22", HOLD)
async def test_a_workspace_that_root_has_closed_is_handed_over_open(
    shared: Workspace, prefix: str
) -> None:
    async with arena_on(KINDS[0], shared, prefix) as arena:
        await build(arena, *LEFT, "chmod:.:0000")
    async with arena_on(KINDS[1], shared, prefix) as arena:
        await meet_what_was_left(arena)
        assert await arena.alive()


@case("X22", HOLD)
async def test_a_workspace_of_a_user_is_to_root_what_its_modes_say(
    shared: Workspace, prefix: str
) -> None:
    async with arena_on(KINDS[1], shared, prefix) as arena:
        await build(arena, *LEFT, "chmod:.:0000")
    async with arena_on(KINDS[0], shared, prefix) as arena:
        assert type(await outcome(arena.session.read_file("d/f"))) is FilePermissionError
        await open_again(arena, user="1000")
        await meet_what_was_left(arena)
        assert type(await outcome(arena.session.write_file("new", "x"))) is FilePermissionError
