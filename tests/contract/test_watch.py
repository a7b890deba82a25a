"""Watching: everything is told, once, in order; what cannot be told is told as an overflow."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from contract import scripted_watch as scripts
from contract.adapter import Api
from contract.programs import python
from fumehood import (
    AsyncSession,
    EndReason,
    FileMissingError,
    FileNotDirectoryError,
    InvalidRequestError,
    Lifecycle,
    ResourceLimitError,
    SessionEndedError,
    WatchEvent,
    WatchKind,
)
from fumehood.watch import Watch

PATIENCE = 30.0
CREATED, MODIFIED, DELETED = WatchKind.CREATED, WatchKind.MODIFIED, WatchKind.DELETED
MOVED, OVERFLOW = WatchKind.MOVED, WatchKind.OVERFLOW


async def until(events: Watch, last: Callable[[WatchEvent], bool]) -> list[WatchEvent]:
    """Take events up to one."""
    seen: list[WatchEvent] = []
    async with asyncio.timeout(PATIENCE):
        while not seen or not last(seen[-1]):
            seen.append(await anext(events))
    return seen


async def up_to(session: AsyncSession, events: Watch, base: str) -> list[tuple[WatchKind, str]]:
    """Return what has happened until now in a watched directory, paths without its own."""
    await session.make_directory(f"{base}/.last")
    seen = await until(events, lambda event: event.path == f"{base}/.last")
    return [(event.kind, event.path.removeprefix(f"{base}/")) for event in seen[:-1]]


def is_of(path: str) -> Callable[[WatchEvent], bool]:
    return lambda event: event.path == path


async def sh(session: AsyncSession, script: str) -> None:
    (await session.exec(["sh", "-ec", script])).check()


@pytest.mark.engines("docker", "memory")
async def test_what_happens_is_told_in_order(session: AsyncSession) -> None:
    await session.make_directory("w1/sub")
    async with session.watch("w1") as events:
        await sh(session, scripts.IN_ORDER)
        seen = await until(events, lambda event: event.kind is DELETED and event.is_directory)
    assert seen == [
        WatchEvent(kind=CREATED, path="w1/a"),
        WatchEvent(kind=CREATED, path="w1/d", is_directory=True),
        WatchEvent(kind=CREATED, path="w1/sub/b"),
        WatchEvent(kind=MOVED, path="w1/a", target="w1/c"),
        WatchEvent(kind=DELETED, path="w1/c"),
        WatchEvent(kind=DELETED, path="w1/d", is_directory=True),
    ]


@pytest.mark.engines("docker", "memory")
async def test_many_writes_to_one_file_are_one_event(session: AsyncSession) -> None:
    await session.write_file("w2/f", "")
    async with session.watch("w2") as events:
        await sh(session, scripts.MANY_WRITES)
        seen = await up_to(session, events, "w2")
    assert 1 <= seen.count((MODIFIED, "f")) <= 5
    assert set(seen) == {(MODIFIED, "f")}


@pytest.mark.engines("docker", "memory")
async def test_files_made_in_a_directory_before_it_is_watched_are_told(
    session: AsyncSession,
) -> None:
    await session.make_directory("w3")
    async with session.watch("w3") as events:
        await sh(session, scripts.DEEP)
        seen = await up_to(session, events, "w3")
    wanted = [f"{i}{rest}" for i in range(1, 6) for rest in ("", "/x", "/x/y", "/x/y/f")]
    assert sorted(path for kind, path in seen if kind is CREATED) == sorted(wanted)


@pytest.mark.engines("docker", "memory")
async def test_a_directory_that_is_renamed_is_watched_on_under_its_new_name(
    session: AsyncSession,
) -> None:
    await sh(session, scripts.PREPARE_MOVES)
    async with session.watch("w4") as events:
        await sh(session, scripts.MOVES_INSIDE)
        assert await up_to(session, events, "w4") == [(MOVED, "in/a"), (CREATED, "z/b/f")]
    await session.remove("w4/.last")
    async with session.watch("w4") as events:
        await sh(session, scripts.MOVES_OUT_AND_IN)
        assert await up_to(session, events, "w4") == [
            (DELETED, "z"),
            (CREATED, "came"),
            (CREATED, "came/c"),
            (CREATED, "came/c/h"),
        ]
    await session.remove("w4gone", recursive=True)


async def test_links_are_told_and_not_followed(session: AsyncSession) -> None:
    await sh(session, "mkdir -p w5 w5other; ln -s ../w5other w5/link; ln -s . w5/loop")
    async with session.watch("w5") as events:
        await sh(session, "echo >w5other/f; ln -s /etc w5/etc")
        assert await up_to(session, events, "w5") == [(CREATED, "etc")]


@pytest.mark.engines("docker", "memory")
async def test_what_is_ignored_is_neither_watched_nor_told(session: AsyncSession) -> None:
    await sh(session, scripts.PREPARE_IGNORED)
    async with session.watch("w6", ignore=["node_modules", "*.tmp"]) as events:
        await sh(session, scripts.IGNORED)
        assert await up_to(session, events, "w6") == [(CREATED, "src/a")]
        await sh(session, scripts.UNIGNORED)
        await session.remove("w6/.last")
        seen = await up_to(session, events, "w6")
        assert [item for item in seen if item[1] != ".last"] == [(CREATED, "x"), (DELETED, "x")]


@pytest.mark.engines("docker", "memory")
async def test_one_directory_alone_can_be_watched(session: AsyncSession) -> None:
    await session.make_directory("w7/sub")
    async with session.watch("w7", recursive=False) as events:
        await sh(session, scripts.ONE_ALONE)
        assert await up_to(session, events, "w7") == [(CREATED, "d"), (CREATED, "g")]


@pytest.mark.engines("docker", "memory")
async def test_the_end_of_what_is_watched_ends_it(session: AsyncSession) -> None:
    for script in (scripts.REMOVES_ROOT, scripts.MOVES_ROOT):
        await session.write_file("w8/f", "")
        events = await session.watch("w8")
        await sh(session, script)
        async with asyncio.timeout(PATIENCE):
            seen = [event async for event in events]
        assert seen[-1] == WatchEvent(kind=DELETED, path="w8", is_directory=True)
    await session.remove("w8gone", recursive=True)


@pytest.mark.engines("docker", "memory")
async def test_the_whole_workspace_and_the_whole_file_system_can_be_watched(
    session: AsyncSession,
) -> None:
    async with session.watch() as events, session.watch("/tmp", root="/") as others:
        await session.write_file("w9", "")
        await sh(session, scripts.MAKES_OUTSIDE)
        assert (await until(events, lambda event: event.path == "w9"))[-1].kind is CREATED
        assert (await until(others, lambda event: event.path == "/tmp/w9"))[-1].kind is CREATED
        await sh(session, scripts.REMOVES_OUTSIDE)


@pytest.mark.engines("docker", "memory")
async def test_a_reader_that_stalls_is_told_that_it_has_missed_something(
    session: AsyncSession,
) -> None:
    await session.make_directory("w10")
    async with session.watch("w10") as events:
        # More than the windows, the pipe and the kernel's queue of 16,384 hold together.
        (await session.exec(["python3", "-c", scripts.MANY_FILES], cwd="w10", timeout=100)).check()
        await until(events, lambda event: event.kind is OVERFLOW)
        # And what comes behind it is told again.
        await sh(session, scripts.LATER)
        await until(events, lambda event: event.path == "w10/later/on/f")


@pytest.mark.engines("docker", "memory")
async def test_more_directories_than_may_be_are_an_error_or_an_overflow(
    session: AsyncSession,
) -> None:
    await sh(session, scripts.PREPARE_LIMIT)
    with pytest.raises(ResourceLimitError, match="max_directories"):
        await session.watch("w11", max_directories=2)
    async with session.watch("w11", max_directories=3) as events:
        await sh(session, scripts.OVER_LIMIT)
        assert (await anext(events)).path == "w11/c"
        assert (await anext(events)) == WatchEvent(kind=OVERFLOW, path="w11")


@pytest.mark.engines("docker", "memory")
async def test_what_cannot_be_watched_is_an_error(session: AsyncSession) -> None:
    await session.write_file("w12/f", "")
    with pytest.raises(FileMissingError):
        await session.watch("w12/none")
    with pytest.raises(FileNotDirectoryError):
        await session.watch("w12/f")
    with pytest.raises(InvalidRequestError, match="max_directories"):
        await session.watch("w12", max_directories=0)
    with pytest.raises(InvalidRequestError, match="ignore"):
        await session.watch("w12", ignore=["[a"])


@pytest.mark.engines("docker", "memory")
async def test_what_the_file_api_writes_is_told_under_its_own_name_alone(
    session: AsyncSession, tmp_path: Path
) -> None:
    for name in ("f", "edited"):
        await session.write_file(f"w17/{name}", "1\n")
    for name in ("f", "sent", "sub/deep"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("3\n")
    async with session.watch("w17") as events:
        for wanted in ("f", "f", "new", "made/here"):
            await session.write_file(f"w17/{wanted}", "2")
            [*others, last] = await until(events, is_of(f"w17/{wanted}"))
            assert (last.kind, last.is_directory) == (CREATED, False)
            # Put in its place whole: nothing is told of how it came to be.
            assert {event.path for event in others} <= {"w17/made"}
        await session.replace("w17/edited", "1", "2")
        await session.upload(f"{tmp_path}/.", "w17")
        seen = await up_to(session, events, "w17")
        assert seen[0] == (CREATED, "edited")
        assert sorted(seen[1:]) == [(CREATED, name) for name in ("f", "sent", "sub", "sub/deep")]


@pytest.mark.engines("docker", "memory")
async def test_a_file_that_is_replaced_and_moved_is_told_so(session: AsyncSession) -> None:
    await session.write_file("w13/f", "1")
    async with session.watch("w13") as events:
        await sh(session, scripts.REPLACES)
        assert await up_to(session, events, "w13") == [(MODIFIED, "f"), (MOVED, "f")]
        assert await session.read_text_file("w13/g") == "2\n"


NAMELESS = """
import os
here = os.open(".", os.O_RDONLY)
for number in range(20):
    fd = os.open(".", os.O_TMPFILE | os.O_WRONLY, 0o600)
    os.write(fd, b"x")
    os.fchmod(fd, 0o644)
    os.utime(fd)
    if number % 2:
        os.link(f"/proc/self/fd/{fd}", f"f{number}", dst_dir_fd=here, follow_symlinks=True)
    os.fchmod(fd, 0o640)
    os.close(fd)
"""


async def test_nothing_is_told_of_a_file_that_has_no_name(session: AsyncSession) -> None:
    await session.make_directory("w14")
    async with session.watch("w14") as events:
        await session.exec(python(NAMELESS), cwd="w14", check=True)
        seen = await up_to(session, events, "w14")
    assert seen == [(CREATED, f"f{number}") for number in range(1, 20, 2)]


async def test_a_file_that_is_called_like_a_nameless_one_is_a_file(session: AsyncSession) -> None:
    await sh(session, "mkdir w15; echo >'w15/#7'; echo >'w15/#8'; echo >'w15/#9'; echo >'w15/#a'")
    async with session.watch("w15") as events:
        await sh(session, "cd w15; echo 1 >>'#7'; echo 1 >>'#8'; mv '#8' m; rm '#9'; echo 1 >>'#a'")
        seen = await up_to(session, events, "w15")
    # The second one may be told of twice: it is not there any more when it is looked for.
    assert {path for kind, path in seen if kind is MODIFIED} == {"#7", "#8", "#a"}
    assert [item for item in seen if item[0] is not MODIFIED] == [(MOVED, "#8"), (DELETED, "#9")]
    assert seen.index((MODIFIED, "#8")) < seen.index((MOVED, "#8"))


async def test_only_drafts_are_called_like_drafts(session: AsyncSession) -> None:
    names = [".fumehood-0123456", ".fumehood-012345678", ".fumehood-0123456G", ".fumehood-"]
    await session.make_directory("w16")
    async with session.watch("w16") as events:
        for name in names:
            await session.write_file(f"w16/{name}", "")
        # A directory is none, whatever it is called.
        await session.write_file("w16/.fumehood-01234567/f", "")
        seen = await up_to(session, events, "w16")
    assert [path for _, path in seen] == [
        *names,
        ".fumehood-01234567",
        ".fumehood-01234567/f",
    ]


@pytest.mark.engines("docker", "memory")
async def test_closing_it_ends_an_iteration_under_way(session: AsyncSession) -> None:
    events = await session.watch()
    waiting = asyncio.ensure_future(anext(events, None))
    await asyncio.sleep(0)
    await events.aclose()
    await events.aclose()
    async with asyncio.timeout(PATIENCE):
        assert await waiting is None


@pytest.mark.engines("docker", "memory")
async def test_a_watch_is_no_activity_and_learns_why_its_session_ended(api: Api) -> None:
    async with api.session(lifecycle=Lifecycle(idle_timeout=1)) as session:
        events = await session.watch()
        with pytest.raises(SessionEndedError) as caught:
            async with asyncio.timeout(PATIENCE):
                await anext(events)
        assert caught.value.reason == EndReason.IDLE
        await events.aclose()
