"""Attacks through files: links out, what is no file, files that lie, names, rights."""

from __future__ import annotations

import re

import pytest

from cases.mark import case
from fumehood import (
    FileError,
    FilePermissionError,
    FilePresentError,
    FileTooLargeError,
    InvalidPathError,
    Limits,
    NotRegularFileError,
    PathEscapesError,
)
from hostile.arena import KINDS, Arena
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

# --- ways out ---------------------------------------------------------------------------------

LINKS = {
    "absolute": f"{OUTSIDE}/f",
    "slashes": "//tmp//outside//f",
    "up": "../tmp/outside/f",
    "zigzag": "sub/../.././tmp/outside/f",
    "chain": "up",
    "inside-by-its-full-name": "/workspace/inside",
    "first-environ": "/proc/1/environ",
    "own-environ": "/proc/self/environ",
    "own-root": "/proc/self/root/tmp/outside/f",
    "own-directory": "/proc/self/cwd/inside",
    "own-descriptor": "/proc/self/fd/0",
    "supervisor": "/.fumehood/supervisor",
    "nowhere": "/no/such/thing",
}


@case("H26", FILES)
async def test_no_operation_follows_a_link_out_of_the_workspace(arena: Arena) -> None:
    session = arena.session
    await hide_a_secret(arena)
    links = [f"link:{name}:{target}" for name, target in LINKS.items()]
    await build(arena, "file:inside:inside", "dir:sub", *links)
    for name in LINKS:
        calls = [
            session.read_file(name),
            session.read_text_file_page(name),
            anext(session.read_file_stream(name)),
            session.write_file(name, "x"),
            session.stat(name),
            session.list_files(name),
            session.list_files(name, recursive=True),
            session.make_directory(f"{name}/x"),
            session.write_file(f"{name}/x/y", "x"),
            session.remove(f"{name}/f", recursive=True),
            session.rename(f"{name}/f", "stolen"),
            session.rename("inside", f"{name}/f"),
        ]
        found = [await outcome(call) for call in calls]
        assert {type(each) for each in found} == {PathEscapesError}, (name, found)
        with pytest.raises(PathEscapesError):
            async with session.write_file_stream(name) as file:
                await file.write(b"x")
    # The links themselves are the workspace's.
    for name in LINKS:
        await session.remove(name, recursive=True)
    assert await session.read_file("inside") == b"inside"
    assert await secret_is_as_it_was(session)


SPELLINGS = ["", ".", "..", "/", "//x", "/etc/passwd", "../x", "a/../../x", "a/..", "x/"]
SPELLINGS += ["a\0b", "a\\b", "\ud800", "n" * 256, "d/" * 2048 + "f"]


@case("H26", FILES)
async def test_no_spelling_of_a_path_leads_out_and_legal_ones_mean_one_file(user: Arena) -> None:
    session = user.session
    for path in SPELLINGS:
        for call in (
            session.read_file(path),
            session.write_file(path, "x"),
            session.remove(path, recursive=True),
            session.rename(path, "x"),
            session.rename("x", path),
        ):
            assert type(await outcome(call)) is InvalidPathError, path
    await build(user, "dir:sub", "file:sub/file:exact", "link:within:sub/../sub/./file")
    for path in ("sub/file", "./sub//file", "sub/./file", "within"):
        assert await session.read_file(path) == b"exact"


@case("H26", FILES)
async def test_links_without_an_end_are_an_error(user: Arena) -> None:
    session = user.session
    steps = ["link:a:b", "link:b:a", "link:self:self", "link:deeper:deeper/deeper"]
    steps += [f"link:l{number}:l{number + 1}" for number in range(60)]
    await build(user, *steps, "file:l60:far")
    for name in ("a", "self", "deeper", "l0"):
        for call in (session.read_file(name), session.write_file(name, "x"), session.stat(name)):
            assert isinstance(await outcome(call), PathEscapesError)
    assert await session.read_file("l30") == b"far"


# --- what is no file --------------------------------------------------------------------------

# Each opens, blocks, never ends or bites in some image, for some user.
DEVICES = ["/dev/zero", "/dev/null", "/dev/full", "/dev/random", "/dev/tty", "/dev/ptmx"]
DEVICES += ["/dev/stdin", "/dev/fd/1", "/dev/shm", "/dev/mqueue", "/dev/pts/0", "/proc/self/fd/0"]
DEVICES += ["/proc/kmsg", "/proc/kcore", "/proc/self/mem", "/proc/1/mem", "/proc/sysrq-trigger"]


@case("H29", FILES)
async def test_what_is_no_regular_file_is_neither_read_nor_written(arena: Arena) -> None:
    session = arena.session
    await build(arena, "fifo:fifo", "socket:socket", "link:to-fifo:fifo", "dir:directory")
    for name in ("fifo", "socket", "to-fifo"):
        for call in (
            session.read_file(name),
            session.read_text_file_page(name),
            anext(session.read_file_stream(name)),
            session.write_file(name, "x"),
        ):
            assert type(await outcome(call)) is NotRegularFileError, name
    assert isinstance(await outcome(session.read_file("directory")), FileError)
    assert isinstance(await outcome(session.write_file("directory", "x")), FileError)
    for path in DEVICES:
        # Not a deadline's error: nothing of it has waited.
        assert isinstance(await outcome(session.read_file(path, root="/")), FileError), path
        assert isinstance(await outcome(session.write_file(path, "x", root="/")), FileError), path
    assert (await session.stat("fifo")).type == "fifo"
    assert (await session.stat("/dev/null", root="/")).type == "character"
    assert await arena.alive()


# --- files that lie ---------------------------------------------------------------------------


@case("H31", FILES)
async def test_a_file_that_grows_for_ever_ends_at_the_limit(open_arena: OpenArena) -> None:
    async with open_arena(KINDS[2], limits=Limits(max_file_bytes=MIB, memory_mb=256)) as arena:
        session = arena.session
        async with beside(arena, "churn", "grow", "growing", str(64 * MIB)):
            refused = 0
            while refused < 5:
                found = await outcome(session.read_file("growing"))
                if isinstance(found, FileTooLargeError):
                    refused += 1
                else:
                    assert isinstance(found, bytes)
                    assert len(found) <= MIB
                    assert found.count(b"x") == len(found)
            # A stream has no limit but the reader's own patience.
            size = 0
            async with session.read_file_stream("growing") as reader:
                async for piece in reader:
                    size += len(piece)
                    if size > 2 * MIB:
                        break
            assert session.statistics()["live"] == 1


@case("H31", FILES)
async def test_a_file_that_is_cut_while_it_is_read_is_shorter_and_nothing_else(
    user: Arena,
) -> None:
    session = user.session
    async with beside(user, "churn", "shrink", "shrinking", str(4 * MIB)):
        for _ in range(20):
            data = await session.read_file("shrinking")
            assert len(data) <= 4 * MIB
            assert data.count(0) == len(data)
            pieces = [piece async for piece in session.read_file_stream("shrinking")]
            assert sum(map(len, pieces)) <= 4 * MIB


@case("H31", FILES)
async def test_files_of_proc_that_claim_no_size_are_read_to_their_end_or_their_limit(
    open_arena: OpenArena,
) -> None:
    for kind in KINDS:
        async with open_arena(kind, limits=Limits(max_file_bytes=MIB // 4)) as arena:
            session = arena.session
            # The whole of each, through pipes that the kernel cannot always splice into.
            assert b"nodev" in await session.read_file("/proc/filesystems", root="/")
            maps = await session.read_file("/proc/self/maps", root="/")
            assert maps.endswith(b"\n")
            assert b"[stack]" in maps
            # What has no end has the limit: the map of all pages is some terabytes long.
            found = await outcome(session.read_file("/proc/self/pagemap", root="/"))
            assert isinstance(found, FileError), found


@case("X21", FILES)
async def test_impossible_sizes_and_times_are_told_as_the_nearest_that_can_be(
    user: Arena,
) -> None:
    session = user.session
    await build(
        user,
        f"dir:{OUTSIDE}",
        f"file:{OUTSIDE}/huge:x",
        f"size:{OUTSIDE}/huge:{(1 << 63) - 1}",
        f"file:{OUTSIDE}/far:x",
        f"time:{OUTSIDE}/far:{1 << 50}",
        f"file:{OUTSIDE}/old:x",
        f"time:{OUTSIDE}/old:-{1 << 50}",
    )
    entries = {entry.name: entry for entry in await session.list_files(OUTSIDE, root="/")}
    assert entries["huge"].size == (1 << 63) - 1
    assert (entries["old"].modified.year, entries["far"].modified.year) == (1970, 2554)
    with pytest.raises(FileTooLargeError, match=str((1 << 63) - 1)):
        await session.read_file(f"{OUTSIDE}/huge", root="/")
    for offset in (0, 1 << 62):
        async with session.read_file_stream(f"{OUTSIDE}/huge", offset=offset, root="/") as reader:
            assert set(await anext(reader)) <= {0, ord("x")}


# --- rights -----------------------------------------------------------------------------------


@case("H32", FILES)
async def test_files_of_root_are_closed_to_the_api_of_a_session_of_another_user(
    user: Arena,
) -> None:
    session = user.session
    await build(user, "dir:shared", "chmod:shared:0777")
    await build(
        user,
        "file:shared/theirs:secret",
        "chmod:shared/theirs:0000",
        "file:shared/readable:before",
        "chmod:shared/readable:0644",
        "dir:shared/closed",
        "file:shared/closed/f:secret",
        "chmod:shared/closed:0700",
        user="0",
    )
    for call in (
        session.read_file("shared/theirs"),
        session.read_text_file_page("shared/theirs"),
        session.write_file("shared/theirs", "x"),
        session.write_file("shared/readable", "x"),
        session.read_file("shared/closed/f"),
        session.list_files("shared/closed"),
        session.remove("shared/closed", recursive=True),
        session.read_file("/etc/shadow", root="/"),
        session.list_files("/root", root="/"),
        session.write_file("/etc/passwd", "x", root="/"),
        session.read_file("/proc/1/environ", root="/"),
    ):
        assert type(await outcome(call)) is FilePermissionError
    below = await session.list_files("shared", recursive=True)
    assert "shared/closed/f" not in {entry.path for entry in below}
    assert below.skipped_unreadable == 1
    assert await session.read_file("shared/readable") == b"before"


@case("H32", FILES)
async def test_root_without_capabilities_is_bound_by_modes(python: Arena) -> None:
    session = python.session
    await build(python, "file:closed:secret", "chmod:closed:0000", "dir:d", "chmod:d:0000")
    for call in (
        session.read_file("closed"),
        session.write_file("closed", "x"),
        session.list_files("d"),
        session.write_file("d/f", "x"),
    ):
        assert type(await outcome(call)) is FilePermissionError


@case("X16", FILES)
async def test_a_write_goes_to_one_name_and_never_through_a_hard_link(user: Arena) -> None:
    session = user.session
    # Both in /tmp: a hard link never leaves its file system.
    await build(
        user,
        f"dir:{OUTSIDE}",
        f"chmod:{OUTSIDE}:0777",
        "file:mine:before",
        "hard:other:mine",
    )
    await build(
        user,
        f"file:{OUTSIDE}/theirs:secret",
        f"chmod:{OUTSIDE}/theirs:0666",
        f"hard:{OUTSIDE}/name:{OUTSIDE}/theirs",
        f"file:{OUTSIDE}/closed:secret",
        f"chmod:{OUTSIDE}/closed:0600",
        f"hard:{OUTSIDE}/key:{OUTSIDE}/closed",
        user="0",
    )
    await session.write_file("mine", "after")
    await session.write_file(f"{OUTSIDE}/name", "after", root="/")
    assert await session.read_file("other") == b"before"
    assert await session.read_file(f"{OUTSIDE}/theirs", root="/") == b"secret"
    for call in (
        session.read_file(f"{OUTSIDE}/key", root="/"),
        session.write_file(f"{OUTSIDE}/key", "x", root="/"),
    ):
        assert type(await outcome(call)) is FilePermissionError


# --- names and numbers ------------------------------------------------------------------------

ODD = ["n" * 255, "\udcff" * 255, "new\nline", "\x1b[31mred\x07", "-rf", " ", "...", "~", "*", "é"]
ODD += ["\u202egpj.exe", "%s%n", "$(reboot)", "NUL", ".fumehood-00000000"]


@case("X17", FILES)
async def test_every_name_that_a_workload_can_make_is_listed_read_and_removed(
    user: Arena,
) -> None:
    session = user.session
    await build(user, "dir:odd", *(f"file:odd/{name}:x" for name in [*ODD, "back\\slash"]))
    entries = await session.list_files("odd")
    assert sorted(entry.name for entry in entries) == sorted([*ODD, "back\\slash"])
    for name in ODD:
        assert await session.read_file(f"odd/{name}") == b"x"
        await session.write_file(f"odd/{name}", "y")
    # It can be listed, but no path of ours says it; its directory can go all the same.
    with pytest.raises(InvalidPathError):
        await session.read_file("odd/back\\slash")
    await session.remove("odd", recursive=True)
    assert not await session.exists("odd")


@case("X17", FILES)
async def test_the_longest_path_works_and_a_longer_one_is_an_error_that_harms_nothing(
    python: Arena,
) -> None:
    session = python.session
    longest = "/".join(["d" * 255] * 16)
    assert len(longest) == 4095
    await session.write_file(longest, "far")
    assert await session.read_file(longest) == b"far"
    assert longest in await names(session)
    await build(python, "deep:below:1200")
    with pytest.raises(FileError, match="too long"):
        await session.list_files(recursive=True)
    assert {entry.name for entry in await session.list_files()} >= {"d" * 255, "below"}
    for name in ("d" * 255, "below"):
        await session.remove(name, recursive=True)
    assert await python.alive()


@case("H36", FILES)
@pytest.mark.timeout(90)
async def test_a_huge_directory_is_listed_and_removed_while_its_names_change(
    open_arena: OpenArena,
) -> None:
    count = 10_000
    async with open_arena(KINDS[1]) as arena:
        session = arena.session
        await build(arena, "dir:huge", f"many:huge:{count}", "dir:still", "many:still:500")
        async with beside(arena, "churn", "rename", "huge", str(count)):
            for _ in range(3):
                # A name that changes meanwhile may be seen twice or not at all, never wrong.
                entries = await session.list_files("huge")
                assert len(entries) <= 100_000
                assert all(re.fullmatch(r"(moved-)?[0-9]+", entry.name) for entry in entries)
                assert len(await session.list_files("still")) == 500
            removed = await outcome(session.remove("huge", recursive=True))
            assert removed is None or isinstance(removed, FilePresentError)
        await session.remove("still", recursive=True)
