"""Races against the file API: what a name means changes between any two looks at it."""

from __future__ import annotations

import pytest

from cases.mark import case
from fumehood import (
    AsyncSession,
    FileError,
    FileIsDirectoryError,
    FileMissingError,
    Limits,
    NotRegularFileError,
    OperationTimeoutError,
    PathEscapesError,
    SandboxError,
)
from hostile.arena import KINDS, Arena, Kind
from hostile.conftest import OpenArena
from hostile.scenes import (
    OUTSIDE,
    beside,
    build,
    hide_a_secret,
    names,
    outcome,
    secret_is_as_it_was,
)

FILES = "The file API never leaves the workspace"
MIB = 1 << 20
# The attacker has a processor of its own: the more often it turns, the better.
FAST = Limits(timeout=20, memory_mb=256, pids=64, cpus=2)


# --- names that somebody swaps ----------------------------------------------------------------


async def play_with_a_file(session: AsyncSession, rounds: int) -> set[type]:
    """Do everything that goes with a file to ``f``; return what came out of it."""
    seen: set[type] = set()
    for _ in range(rounds):
        for call in (
            session.read_file("f"),
            session.write_file("f", "mine"),
            session.stat("f"),
            anext(session.read_file_stream("f")),
        ):
            found = await outcome(call)
            if isinstance(found, bytes):
                assert found in {b"inside", b"mine"}
            seen.add(type(found))
    return seen


@case("H27", FILES)
@pytest.mark.parametrize("rounds", [50, pytest.param(500, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
async def test_a_file_that_turns_into_a_link_and_back_is_never_anothers(
    open_arena: OpenArena, kind: Kind, rounds: int
) -> None:
    async with open_arena(kind, limits=FAST) as arena:
        await hide_a_secret(arena)
        async with beside(arena, "swap", "link", "f", f"{OUTSIDE}/f"):
            seen = await play_with_a_file(arena.session, rounds)
        errors = {kind for kind in seen if issubclass(kind, SandboxError)}
        assert errors <= {PathEscapesError}
        assert await secret_is_as_it_was(arena.session)


@case("H27", FILES)
@pytest.mark.parametrize("kind", KINDS[1:3], ids=lambda kind: kind.name)
async def test_a_file_that_turns_into_a_fifo_and_back_blocks_nothing(
    open_arena: OpenArena, kind: Kind
) -> None:
    async with open_arena(kind, limits=FAST) as arena:
        async with beside(arena, "swap", "fifo", "f"):
            seen = await play_with_a_file(arena.session, 50)
        errors = {kind for kind in seen if issubclass(kind, SandboxError)}
        assert errors <= {NotRegularFileError}
        assert await arena.alive()


@case("H27", FILES)
@pytest.mark.parametrize("rounds", [30, pytest.param(300, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
async def test_a_directory_that_turns_into_a_link_and_back_never_leads_out(
    open_arena: OpenArena, kind: Kind, rounds: int
) -> None:
    async with open_arena(kind, limits=FAST) as arena:
        session = arena.session
        await hide_a_secret(arena)
        await build(arena, "dir:real", "file:real/f:inside", f"link:away:{OUTSIDE}", "file:mine:x")
        seen: set[type] = set()
        async with beside(arena, "swap", "exchange", "real", "away"):
            for number in range(rounds):
                for call in (
                    session.read_file("real/f"),
                    session.write_file(f"real/{number}", "x"),
                    session.write_file(f"real/deep/er/{number}", "x"),
                    session.make_directory(f"real/d{number}/d/d"),
                    session.list_files("real", recursive=True),
                    session.rename(f"real/{number}", f"real/new/{number}"),
                    session.rename("mine", "real/mine"),
                    session.rename("real/mine", "mine"),
                    session.remove(f"real/d{number}", recursive=True),
                    session.remove(f"real/deep/er/{number}"),
                ):
                    found = await outcome(call)
                    assert not isinstance(found, bytes) or found == b"inside"
                    seen.add(type(found))
        errors = {kind for kind in seen if issubclass(kind, SandboxError)}
        # Missing is what an operation before has not been able to make, or to move.
        assert errors <= {PathEscapesError, FileMissingError}
        assert PathEscapesError in errors
        assert await secret_is_as_it_was(session)


# --- a write that is under way ----------------------------------------------------------------


async def write_while(arena: Arena, path: str, *steps: str) -> SandboxError | None:
    """Write a file; take steps when the half of it has arrived, with its place long chosen."""
    # More than all buffers on the way hold: some of it can only be in the file.
    half = bytes(8 * MIB)
    try:
        async with arena.session.write_file_stream(path) as file:
            await file.write(half)
            await build(arena, *steps)
            await file.write(half)
    except SandboxError as error:
        return error
    return None


@case("X15", FILES)
@pytest.mark.parametrize(
    ("step", "error"),
    [
        (f"link:f:{OUTSIDE}/f", None),
        ("link:f:self", None),
        ("fifo:f", None),
        ("socket:f", None),
        ("dir:f", FileIsDirectoryError),
        ("file:f:theirs", None),
    ],
    ids=lambda value: str(value).partition(":")[0],
)
async def test_what_takes_a_files_place_during_a_write_is_replaced_and_never_written_through(
    user: Arena, step: str, error: type[SandboxError] | None
) -> None:
    session = user.session
    await hide_a_secret(user)
    for before in ([], ["file:f:before"]):
        await build(user, *before)
        took = [] if not before else ["remove:f"]
        found = await write_while(user, "f", *took, step)
        assert (None if found is None else type(found)) is error
        entry = await session.stat("f", follow_symlinks=False)
        assert (entry.type, entry.size) == (
            ("file", 16 * MIB) if error is None else ("directory", entry.size)
        )
        await session.remove("f")
    # No draft has stayed behind.
    assert await names(session) == ["scene"]
    assert await secret_is_as_it_was(session)


@case("X14", FILES)
async def test_a_directory_that_is_moved_during_a_write_keeps_the_file_and_no_other_gets_it(
    user: Arena,
) -> None:
    session = user.session
    await hide_a_secret(user)
    for before in ([], ["file:d/f:before"]):
        await build(user, "dir:d", *before)
        found = await write_while(user, "d/f", "move:d:moved", f"link:d:{OUTSIDE}")
        assert found is None
        assert (await session.stat("moved/f")).size == 16 * MIB
        assert await names(session) == ["d", "moved", "moved/f", "scene"]
        await session.remove("d")
        await session.remove("moved", recursive=True)
    assert await secret_is_as_it_was(session)


@case("X14", FILES)
async def test_a_directory_that_is_removed_during_a_write_is_an_error_and_leaves_nothing(
    user: Arena,
) -> None:
    await hide_a_secret(user)
    await build(user, "dir:d")
    found = await write_while(user, "d/f", "remove:d", f"link:d:{OUTSIDE}")
    assert type(found) is FileMissingError
    assert await names(user.session) == ["d", "scene"]
    assert await secret_is_as_it_was(user.session)


@case("X19", FILES)
async def test_who_watches_for_drafts_and_swaps_them_gains_nothing(open_arena: OpenArena) -> None:
    async with open_arena(KINDS[1], limits=FAST) as arena:
        session = arena.session
        await hide_a_secret(arena)
        await build(arena, "dir:d")
        async with beside(arena, "snatch", "d", f"{OUTSIDE}/f"):
            for number in range(100):
                found = await outcome(session.write_file("d/f", str(number)))
                assert found is None or isinstance(found, (PathEscapesError, FileMissingError))
                if not isinstance(found, PathEscapesError):
                    continue
                # A link has got the name: the workload's own doing, and nothing is written to it.
                assert (await session.stat("d/f", follow_symlinks=False)).target is not None
                await session.remove("d/f")
        assert await secret_is_as_it_was(session)


# --- against those who do the work ------------------------------------------------------------


@case("X18", FILES)
async def test_a_lease_on_a_file_holds_nobody_up(user: Arena) -> None:
    session = user.session
    await build(user, "dir:d", "file:d/other:other")
    async with beside(user, "lease", "d/f"):
        # Not a deadline's error, and none of the session's limits is to blame.
        with pytest.raises(FileError, match="in use"):
            await session.read_file("d/f")
        assert (await session.stat("d/f")).size == 0
        assert await session.read_file("d/other") == b"other"
        # Another file gets the name: nobody's lease is on that.
        await session.write_file("d/f", "mine")
        assert await session.read_file("d/f") == b"mine"
        await session.remove("d", recursive=True)


@case("X13", FILES)
@pytest.mark.parametrize("how", ["kill", "limit"])
@pytest.mark.parametrize("kind", KINDS[:2], ids=lambda kind: kind.name)
async def test_who_hunts_the_helpers_gets_typed_errors_and_whole_files(
    open_arena: OpenArena, kind: Kind, how: str
) -> None:
    async with open_arena(kind, limits=FAST) as arena:
        session = arena.session
        await build(arena, "dir:d", "file:d/f:old")
        written = {b"old"}
        struck = 0
        async with beside(arena, "hunt", how):
            rounds = 0
            while rounds < 30 or not struck:
                rounds += 1
                content = str(rounds).encode() * 1000
                written.add(content)
                for call in (
                    session.write_file("d/f", content),
                    session.read_file("d/f"),
                    session.list_files(),
                    session.make_directory(f"d/{rounds}"),
                ):
                    found = await outcome(call)
                    struck += isinstance(found, SandboxError)
                    if isinstance(found, bytes):
                        assert found in written
            await session.ping()
        assert await session.read_file("d/f") in written
        assert await arena.alive()


@case("X13", FILES)
@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_a_helper_that_is_stopped_is_given_up_and_nothing_else_waits_for_it(
    open_arena: OpenArena,
) -> None:
    async with open_arena(KINDS[1], limits=FAST) as arena:
        session = arena.session
        await build(arena, "file:f:before")
        async with beside(arena, "hunt", "stop"):
            found: object = None
            while not isinstance(found, OperationTimeoutError):
                found = await outcome(session.write_file("f", "after"))
                assert found is None or isinstance(found, OperationTimeoutError)
            await session.ping()
        assert await session.read_file("f") in {b"before", b"after"}
        assert await arena.alive()
