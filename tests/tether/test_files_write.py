"""Writing files over a scripted supervisor: whole, piece by piece, and left half-way."""

from __future__ import annotations

import array
import asyncio

import pytest

from fakes.supervisor import FakeSupervisor
from fumehood import (
    DiskFullError,
    FileTooLargeError,
    FileWritten,
    Hooks,
    InvalidRequestError,
    Limits,
)
from fumehood._wire import table
from fumehood._wire.table import ErrorCode, Field, Frame, Operation
from tether.commands import accepts
from tether.conftest import Connect, Link


def finish_writes(peer: FakeSupervisor) -> None:
    def note(raw: object) -> None:
        for channel in peer.channels.values():
            if channel.operation is Operation.WRITE and channel.eof and channel.credit == 0:
                channel.credit = -1  # answered
                peer.done(channel.number, size=len(channel.input))

    peer.on_frame = note


async def test_a_file_is_written_whole_and_told(connect: Connect) -> None:
    told: list[FileWritten] = []
    data = bytes(range(256)) * (table.CHANNEL_WINDOW // 256 + 1000)
    async with connect(script=accepts, hooks=Hooks(on_file_write=told.append)) as link:
        finish_writes(link.peer)
        await link.session.write_file("d/f", "é", mode=0o600)
        channel = link.peer.channels[1]
        assert bytes(channel.input) == "é".encode()
        assert (channel.number_of(Field.MODE), channel.number_of(Field.PARENTS)) == (0o600, 1)
        task = asyncio.create_task(link.session.write_file("g", memoryview(data)))
        large = await link.peer.opened(2)
        await link.peer.until(lambda: len(large.input) == table.CHANNEL_WINDOW)
        link.peer.give(2, table.CHANNEL_WINDOW)
        await task
        assert bytes(large.input) == data
    assert told == [
        FileWritten(session_id="s1", path="d/f", size=2),
        FileWritten(session_id="s1", path="g", size=len(data)),
    ]


async def test_a_file_over_the_limit_is_refused_before_it_is_sent(connect: Connect) -> None:
    async with connect(limits=Limits(max_file_bytes=3)) as link:
        with pytest.raises(FileTooLargeError, match="max_file_bytes"):
            await link.session.write_file("f", b"1234")
        assert link.peer.channels == {}


async def test_a_write_that_fails_half_way_says_why(connect: Connect) -> None:
    told: list[FileWritten] = []
    async with connect(hooks=Hooks(on_file_write=told.append)) as link:
        task = asyncio.create_task(link.session.write_file("f", bytes(2 * table.CHANNEL_WINDOW)))
        await link.peer.opened(1)
        link.peer.fail(1, ErrorCode.NO_SPACE, errno=28, step="write")
        with pytest.raises(DiskFullError):
            await task
    assert told == []


async def test_a_cancelled_write_asks_for_its_end_and_waits_for_it(link: Link) -> None:
    task = asyncio.create_task(link.session.write_file("f", bytes(2 * table.CHANNEL_WINDOW)))
    await link.peer.opened(1)
    task.cancel()
    await link.peer.seen(Frame.CANCEL)
    assert not task.done()
    link.peer.fail(1, ErrorCode.CANCELLED)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not link.peer.channels[1].eof


async def test_a_writer_puts_the_file_in_place_at_the_end_of_its_block(connect: Connect) -> None:
    told: list[FileWritten] = []
    async with connect(script=accepts, hooks=Hooks(on_file_write=told.append)) as link:
        finish_writes(link.peer)
        async with link.session.write_file_stream("f") as file:
            await file.write(b"one ")
            await file.write(bytearray(b"two"))
            await file.write(memoryview(array.array("I", [1, 2])))
            assert file.size == 15
            channel = await link.peer.opened(1)
            await link.peer.until(lambda: len(channel.input) == 15)
            assert not channel.eof
        assert bytes(channel.input) == b"one two" + array.array("I", [1, 2]).tobytes()
        with pytest.raises(InvalidRequestError):
            await file.write(b"late")
        with pytest.raises(InvalidRequestError):
            await file.__aenter__()
    assert [event.size for event in told] == [15]


async def test_wide_items_never_pass_the_window(link: Link) -> None:
    data = array.array("Q", range(table.CHANNEL_WINDOW // 4))
    async with asyncio.TaskGroup() as group:

        async def write() -> None:
            async with link.session.write_file_stream("f") as file:
                await file.write(memoryview(data))

        group.create_task(write())
        channel = await link.peer.opened(1)
        await link.peer.until(lambda: len(channel.input) == table.CHANNEL_WINDOW)
        link.peer.give(1, table.CHANNEL_WINDOW)
        await link.peer.until(lambda: channel.eof)
        link.peer.done(1, size=len(channel.input))
    assert bytes(channel.input) == data.tobytes()


async def test_a_writer_whose_block_fails_leaves_the_old_file(connect: Connect) -> None:
    told: list[FileWritten] = []
    async with connect(hooks=Hooks(on_file_write=told.append)) as link:
        link.peer.on_frame = lambda raw: (
            link.peer.fail(raw.channel, ErrorCode.CANCELLED) if raw.frame is Frame.CANCEL else None
        )
        with pytest.raises(ZeroDivisionError):
            async with link.session.write_file_stream("f") as file:
                await file.write(b"half")
                raise ZeroDivisionError
        assert link.peer.channels[1].cancelled
        assert not link.peer.channels[1].eof
    assert told == []


async def test_a_write_that_was_interrupted_is_never_put_in_place(connect: Connect) -> None:
    """Who catches a timeout inside the block does not know how much of the piece was sent."""
    async with connect() as link:
        link.peer.on_frame = lambda raw: (
            link.peer.fail(raw.channel, ErrorCode.CANCELLED) if raw.frame is Frame.CANCEL else None
        )
        with pytest.raises(InvalidRequestError, match="interrupted"):
            async with link.session.write_file_stream("f") as file:
                blocked = asyncio.create_task(file.write(bytes(table.CHANNEL_WINDOW + 1)))
                channel = await link.peer.opened(1)
                await link.peer.until(lambda: len(channel.input) == table.CHANNEL_WINDOW)
                blocked.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await blocked
        assert channel.cancelled
        assert not channel.eof


async def test_a_writer_whose_file_cannot_be_finished_says_so_in_write_and_at_the_end(
    connect: Connect,
) -> None:
    async with connect() as link:
        with pytest.raises(DiskFullError):
            async with link.session.write_file_stream("f") as file:
                await link.peer.opened(1)
                link.peer.fail(1, ErrorCode.NO_SPACE)
                await link.peer.stream.drain()
                with pytest.raises(DiskFullError):
                    while True:
                        await file.write(b"x" * 100_000)
                # Swallowed by the caller: the end of the block says it again.
