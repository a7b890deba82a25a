"""Files over a scripted supervisor: what is asked, what is made of the answers, how it is left."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.supervisor import PATIENCE, FakeSupervisor, Opened, Script, record
from fumehood import (
    DiskFullError,
    FileError,
    FileIsDirectoryError,
    FileMissingError,
    FileNotDirectoryError,
    FilePermissionError,
    FilePresentError,
    FileTooLargeError,
    InvalidPathError,
    InvalidRequestError,
    Limits,
    NotRegularFileError,
    OperationTimeoutError,
    PathEscapesError,
    ProtocolError,
    ResourceLimitError,
    SandboxError,
    TextPage,
    _transfer,
)
from fumehood import files as files_module
from fumehood._wire import table
from fumehood._wire.table import ErrorCode, Field, FileCode, Frame, Operation, Root
from tether.commands import accepts
from tether.conftest import Connect, Link, Parts, connected


def serves(
    data: bytes, *, chunk: int = table.MAX_PAYLOAD
) -> Callable[[FakeSupervisor, Opened], None]:
    """Answer every read with this content."""

    def script(peer: FakeSupervisor, channel: Opened) -> None:
        for at in range(0, len(data), chunk):
            peer.stdout(channel.number, data[at : at + chunk])
        peer.done(channel.number, size=len(data))

    return script


def lists(*records: bytes) -> Script:
    def script(peer: FakeSupervisor, channel: Opened) -> None:
        if records:
            peer.stdout(channel.number, *records)
        peer.done(channel.number, entries=len(records))

    return script


# --- reading ----------------------------------------------------------------------------------


async def test_a_file_is_read_whole(connect: Connect) -> None:
    data = bytes(range(256)) * 500
    async with connect(script=serves(data), limits=Limits(max_file_bytes=200_000)) as link:
        assert await link.session.read_file("a/./b//c") == data
        channel = link.peer.channels[1]
        assert channel.operation is Operation.READ
        assert channel.path == "a/b/c"
        assert channel.number_of(Field.ROOT) == Root.WORKSPACE
        assert channel.number_of(Field.LIMIT) == 200_000


async def test_another_root_is_said_and_shown(connect: Connect) -> None:
    async with connect(script=lists(record(b"passwd"))) as link:
        (entry,) = await link.session.list_files("/etc", root="/")
        assert entry.path == "/etc/passwd"
        channel = link.peer.channels[1]
        assert (channel.path, channel.number_of(Field.ROOT)) == ("etc", Root.FILESYSTEM)
        with pytest.raises(InvalidPathError):
            await link.session.read_file("x", root="/etc")  # type: ignore[arg-type]


async def test_text_is_decoded_as_the_caller_says(connect: Connect) -> None:
    async with connect(script=serves(b"caf\xe9\r\n")) as link:
        assert await link.session.read_text_file("f", encoding="latin-1") == "café\r\n"
        with pytest.raises(UnicodeDecodeError):
            await link.session.read_text_file("f")
        assert await link.session.read_text_file("f", errors="replace") == "caf\ufffd\r\n"


FILE_ERRORS = {
    ErrorCode.NOT_FOUND: (FileMissingError, FileNotFoundError),
    ErrorCode.PERMISSION: (FilePermissionError, PermissionError),
    ErrorCode.READ_ONLY: (FilePermissionError, PermissionError),
    ErrorCode.IS_DIRECTORY: (FileIsDirectoryError, IsADirectoryError),
    ErrorCode.NOT_DIRECTORY: (FileNotDirectoryError, NotADirectoryError),
    ErrorCode.EXISTS: (FilePresentError, FileExistsError),
    ErrorCode.NOT_EMPTY: (FilePresentError, FileExistsError),
    ErrorCode.ESCAPES: (PathEscapesError, PermissionError),
    ErrorCode.TOO_MANY_LINKS: (PathEscapesError, PermissionError),
    ErrorCode.NOT_REGULAR: (NotRegularFileError, FileError),
    ErrorCode.TOO_LARGE: (FileTooLargeError, FileError),
    ErrorCode.NO_SPACE: (DiskFullError, FileError),
    ErrorCode.NAME_TOO_LONG: (FileError, FileError),
    ErrorCode.TOO_MANY_ENTRIES: (FileError, FileError),
    ErrorCode.BUSY: (FileError, FileError),
    ErrorCode.IO: (FileError, FileError),
    ErrorCode.HELPER_DIED: (FileError, FileError),
    ErrorCode.CANCELLED: (FileError, FileError),
    ErrorCode.HELPER_TIMEOUT: (OperationTimeoutError, TimeoutError),
    ErrorCode.PROCESS_LIMIT: (ResourceLimitError, SandboxError),
    ErrorCode.INVALID: (InvalidRequestError, ValueError),
}


@pytest.mark.parametrize("error", list(ErrorCode))
async def test_every_failure_of_a_file_is_a_typed_error(connect: Connect, error: ErrorCode) -> None:
    def script(peer: FakeSupervisor, channel: Opened) -> None:
        peer.fail(channel.number, error, errno=4095, step="open", size=77)

    async with connect(script=script) as link:
        calls: list[Awaitable[object]] = [
            link.session.read_file("dir/f"),
            link.session.write_file("dir/f", b"x"),
            link.session.list_files("dir/f"),
            link.session.rename("dir/f", "g"),
        ]
        for call in calls:
            with pytest.raises(SandboxError) as caught:
                await call
            for kind in FILE_ERRORS.get(error, ()):
                assert isinstance(caught.value, kind)
            assert caught.value.session_id == "s1"
            assert "dir/f" in str(caught.value)
            if isinstance(caught.value, FileError):
                assert caught.value.path == "dir/f"


async def test_a_name_exists_or_not(connect: Connect) -> None:
    answers = iter([ErrorCode.NOT_FOUND, ErrorCode.NOT_DIRECTORY, ErrorCode.PERMISSION, None])

    def script(peer: FakeSupervisor, channel: Opened) -> None:
        error = next(answers)
        if error is None:
            lists(record(b"f", FileCode.SYMLINK, link=b"nowhere"))(peer, channel)
        else:
            peer.fail(channel.number, error)

    async with connect(script=script) as link:
        assert not await link.session.exists("f")
        assert not await link.session.exists("f")
        with pytest.raises(FilePermissionError):
            await link.session.exists("f")
        assert await link.session.exists("f")
        assert link.peer.channels[4].number_of(Field.FOLLOW) == 0


# --- records ----------------------------------------------------------------------------------


async def test_a_listing_is_sorted_and_relative_to_the_root(connect: Connect) -> None:
    records = [
        record(b"b"),
        record(b"a", FileCode.SYMLINK, link=b"../x\xff"),
        record(b"\xff", FileCode.DIRECTORY, mode=0o41755),
    ]
    async with connect(script=lists(*records)) as link:
        entries = await link.session.list_files("sub")
    assert [entry.path for entry in entries] == ["sub/a", "sub/b", "sub/\udcff"]
    assert entries[0].target == "../x\udcff"
    assert (entries[2].type, entries[2].mode) == ("directory", 0o1755)
    assert entries[1].modified == datetime(2023, 11, 14, 22, 13, 20, 123456, tzinfo=UTC)


@pytest.mark.parametrize("nanoseconds", [0, 1, 2**63, 2**64 - 1])
async def test_any_time_that_a_file_claims_can_be_shown(connect: Connect, nanoseconds: int) -> None:
    async with connect(script=lists(record(b"f", modified_ns=nanoseconds))) as link:
        assert (await link.session.stat("f")).modified.year in (1970, 2262, 2554)


async def hostile_listing(link: Link, *, recursive: bool = False) -> None:
    with pytest.raises(ProtocolError) as caught:
        await link.session.list_files(recursive=recursive)
    assert caught.value.session_id == "s1"
    assert len(str(caught.value)) < 500
    # What sends such records is not our supervisor: nothing goes on with it.
    assert not link.tether.alive
    with pytest.raises(ProtocolError):
        await link.session.read_file("f")


@pytest.mark.parametrize("name", [b"..", b".", b"", b"/etc", b"a/b", b"a/../b", b"x" * 4000 + b"/"])
async def test_a_name_that_leads_out_of_the_listing_ends_the_session(
    connect: Connect, name: bytes
) -> None:
    async with connect(script=lists(record(name))) as link:
        await hostile_listing(link)


@pytest.mark.parametrize("name", [b"a/../b", b"/a", b"a//b", b"a/"])
async def test_a_recursive_listing_stays_inside_too(connect: Connect, name: bytes) -> None:
    async with connect(script=lists(record(name))) as link:
        await hostile_listing(link, recursive=True)


async def test_records_that_are_none_end_the_session(connect: Connect) -> None:
    for noise in (b"\xff\xff\xff\xff", b"\0\0\0\4abcd", b"\0\0\0\x09abc"):
        async with connect(script=lists(noise)) as link:
            await hostile_listing(link)


async def test_more_records_than_were_asked_for_end_the_session(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files_module, "MAX_ENTRIES", 2)
    async with connect(script=lists(*[record(b"f")] * 3)) as link:
        await hostile_listing(link)
    for records in ([], [record(b"f")] * 2):
        async with connect(script=lists(*records)) as link:
            with pytest.raises(ProtocolError):
                await link.session.stat("f")
            assert not link.tether.alive


async def test_a_listing_too_large_for_the_client_is_an_error_of_its_own(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_transfer, "MAX_LISTING_BYTES", 300)
    async with connect(script=lists(*[record(b"f")] * 30)) as link:
        with pytest.raises(FileError, match="more than 300 bytes"):
            await link.session.list_files()
        assert link.tether.alive


# --- simple operations ------------------------------------------------------------------------


async def test_operations_go_out_as_they_were_said(connect: Connect) -> None:
    async with connect(script=accepts) as link:
        await link.session.make_directory("d", parents=False, mode=0o700)
        await link.session.remove("d", recursive=True)
        await link.session.rename("a", "b/c")
        made, removed, renamed = (link.peer.channels[n] for n in (1, 2, 3))
        assert made.operation is Operation.MAKE_DIRECTORY
        assert (made.number_of(Field.MODE), made.number_of(Field.PARENTS)) == (0o700, 0)
        assert (removed.operation, removed.number_of(Field.RECURSIVE)) == (Operation.REMOVE, 1)
        assert (renamed.path, renamed.fields[Field.TARGET]) == ("a", b"b/c")


BAD_CALLS: list[Callable[[Parts], Awaitable[object]]] = [
    lambda s: s.write_file("f", 5),  # type: ignore[arg-type]
    lambda s: s.write_file("f", "\ud800"),
    lambda s: s.write_file("f", b"", mode=0o1000),
    lambda s: s.write_file("f", b"", mode=-1),
    lambda s: s.write_text_file("f", b""),  # type: ignore[arg-type]
    lambda s: s.read_text_file_page("f", start_line=0),
    lambda s: s.read_text_file_page("f", max_lines=0),
    lambda s: s.read_text_file_page("f", max_bytes=1 << 63),
    lambda s: s.read_text_file_page("f", max_lines=True),
    lambda s: s.list_files(".", recursive="yes"),  # type: ignore[arg-type]
    lambda s: s.stat("f", follow_symlinks=2),  # type: ignore[arg-type]
    lambda s: s.make_directory("d", parents="no"),  # type: ignore[arg-type]
    lambda s: s.remove("d", recursive=1),  # type: ignore[arg-type]
    lambda s: s.remove("."),
    lambda s: s.rename("a", "../b"),
    lambda s: s.read_file("/etc/passwd"),
]


@pytest.mark.parametrize("number", range(len(BAD_CALLS)))
async def test_a_bad_call_is_refused_before_anything_is_sent(link: Link, number: int) -> None:
    with pytest.raises(InvalidRequestError):
        await BAD_CALLS[number](link.session)
    with pytest.raises(InvalidRequestError):
        link.session.read_file_stream("f", offset=-1)
    assert link.peer.channels == {}


# --- reading piece by piece -------------------------------------------------------------------


async def test_a_reader_yields_pieces_and_ends_for_good(connect: Connect) -> None:
    async with connect(script=serves(b"0123456789", chunk=4)) as link:
        reader = link.session.read_file_stream("f", offset=5)
        # Small pieces that wait together are given together.
        assert b"".join([piece async for piece in reader]) == b"0123456789"
        with pytest.raises(StopAsyncIteration):
            await anext(reader)
        await reader.aclose()
        channel = link.peer.channels[1]
        assert channel.number_of(Field.OFFSET) == 5
        assert channel.number_of(Field.LIMIT) == (1 << 64) - 1
        assert not channel.cancelled


async def test_a_reader_that_is_left_early_cancels(connect: Connect) -> None:
    def script(peer: FakeSupervisor, channel: Opened) -> None:
        peer.stdout(channel.number, bytes(9000))

    async with connect(script=script) as link:
        link.peer.on_frame = lambda raw: (
            link.peer.fail(raw.channel, ErrorCode.CANCELLED) if raw.frame is Frame.CANCEL else None
        )
        async with link.session.read_file_stream("f") as reader:
            await anext(reader)
        assert link.peer.channels[1].cancelled
        async for _ in link.session.read_file_stream("f"):
            break
        gc.collect()
        await link.peer.seen(Frame.CANCEL, 2)


async def test_a_reader_closed_from_another_task_just_ends(link: Link) -> None:
    link.peer.on_frame = lambda raw: (
        link.peer.fail(raw.channel, ErrorCode.CANCELLED) if raw.frame is Frame.CANCEL else None
    )
    reader = link.session.read_file_stream("f")
    waiting = asyncio.create_task(anext(reader, None))
    await link.peer.opened(1)
    await reader.aclose()
    assert await asyncio.wait_for(waiting, PATIENCE) is None


# --- pages ------------------------------------------------------------------------------------


def model(data: bytes, start: int, max_lines: int, max_bytes: int) -> TextPage:
    """The page as the whole file, split, says it."""
    lines = data.split(b"\n")
    ends = [line + b"\n" for line in lines[:-1]] + ([lines[-1]] if lines[-1] else [])
    wanted = ends[start - 1 :]
    if wanted and len(wanted[0]) > max_bytes:
        text = up_to_the_cut(wanted[0][:max_bytes])
        return TextPage(
            text=text, start_line=start, end_line=start, next_start_line=start + 1, cut=True
        )
    page: list[bytes] = []
    for line in wanted[:max_lines]:
        if sum(map(len, page)) + len(line) > max_bytes:
            break
        page.append(line)
    last = start + len(page) - 1
    return TextPage(
        text=b"".join(page).decode("utf-8", "replace"),
        start_line=start,
        end_line=last,
        next_start_line=last + 1 if len(page) < len(wanted) else None,
    )


def up_to_the_cut(data: bytes) -> str:
    """Text in front of a cut that is ours: of a character that it split, nothing is shown."""
    for size in range(1, 4):
        lead = data[-size : -size + 1] or data[-size:]
        if lead and lead[0] >= 0xC2:
            needed = 2 if lead[0] < 0xE0 else 3 if lead[0] < 0xF0 else 4
            if lead[0] < 0xF5 and size < needed:
                return data[:-size].decode("utf-8", "replace")
            break
        if lead and lead[0] < 0x80:
            break
    return data.decode("utf-8", "replace")


LINES = st.lists(
    st.sampled_from([b"a", b"\n", b"\n\n", b"bc\r\n", "é€😀".encode(), b"\xff", b"x" * 30, b"\r"]),
    max_size=20,
).map(b"".join)


@given(
    data=LINES,
    start=st.integers(1, 12),
    max_lines=st.integers(1, 6),
    max_bytes=st.one_of(st.integers(1, 12), st.just(1000)),
    chunk=st.integers(1, 40),
)
def test_a_page_is_what_the_whole_file_says(
    data: bytes, start: int, max_lines: int, max_bytes: int, chunk: int
) -> None:
    async def page() -> TextPage:
        async with connected(script=serves(data, chunk=chunk)) as link:
            link.peer.on_frame = lambda raw: (
                link.peer.fail(raw.channel, ErrorCode.CANCELLED)
                if raw.frame is Frame.CANCEL
                else None
            )
            return await link.session.read_text_file_page(
                "f", start_line=start, max_lines=max_lines, max_bytes=max_bytes
            )

    assert asyncio.run(page()) == model(data, start, max_lines, max_bytes)


async def test_pages_follow_each_other_to_the_end_of_the_file(connect: Connect) -> None:
    data = "".join(f"line {n} é\n" for n in range(1000)).encode() + b"the last"
    async with connect(script=serves(data)) as link:
        text, start = "", 1
        while True:
            page = await link.session.read_text_file_page("f", start_line=start, max_lines=37)
            text += page.text
            if page.next_start_line is None:
                break
            start = page.next_start_line
        assert text.encode() == data
        empty = await link.session.read_text_file_page("f", start_line=5000)
        assert (empty.text, empty.end_line, empty.next_start_line) == ("", 4999, None)


async def test_a_page_reads_no_further_than_it_must(connect: Connect) -> None:
    def script(peer: FakeSupervisor, channel: Opened) -> None:
        peer.stdout(channel.number, b"1\n2\n3\n" + b"x" * 5000)

    async with connect(script=script) as link:
        link.peer.on_frame = lambda raw: (
            link.peer.fail(raw.channel, ErrorCode.CANCELLED) if raw.frame is Frame.CANCEL else None
        )
        page = await link.session.read_text_file_page("f", max_lines=2)
        assert (page.text, page.next_start_line) == ("1\n2\n", 3)
        assert link.peer.channels[1].cancelled
