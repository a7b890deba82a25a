"""Streams of commands over a scripted supervisor, and every way to leave one."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable

import pytest

from fakes.supervisor import PATIENCE, FakeSupervisor, Opened
from fumehood import (
    ExecEnded,
    ExecReason,
    Exit,
    Hooks,
    InvalidRequestError,
    Limits,
    Stdout,
)
from fumehood._wire import table
from fumehood._wire.table import Field, Frame
from tether.commands import answer_cancels, cancelled, says
from tether.conftest import Connect, Link


async def test_a_stream_starts_nothing_before_its_first_step(link: Link) -> None:
    stream = link.session.exec_stream(["x"])
    await stream.aclose()
    with pytest.raises(StopAsyncIteration):
        await anext(stream)
    assert link.peer.channels == {}


async def test_a_stream_ends_with_the_exit_and_then_for_good(connect: Connect) -> None:
    async with connect(script=says(exit_code=4)) as link:
        stream = link.session.exec_stream(["x"])
        events = [event async for event in stream]
        assert [type(event) for event in events] == [Exit]
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
        await stream.aclose()
        assert link.peer.count(Frame.CANCEL) == 0


async def test_the_exit_keeps_the_first_bytes_of_what_was_streamed(connect: Connect) -> None:
    def script(peer: FakeSupervisor, channel: Opened) -> None:
        assert channel.number_of(Field.STDOUT_LIMIT) == (1 << 64) - 1
        peer.stdout(channel.number, b"12345", b"67890")
        peer.exit(channel.number, stdout_total=10)

    async with connect(script=script, limits=Limits(max_output_bytes=7)) as link:
        events = [event async for event in link.session.exec_stream(["x"])]
    assert b"".join(e.data for e in events if isinstance(e, Stdout)) == b"1234567890"
    last = events[-1]
    assert isinstance(last, Exit)
    assert (last.result.stdout_bytes, last.result.stdout_dropped) == (b"1234567", 3)


async def break_out(link: Link) -> None:
    async for _ in link.session.exec_stream(["x"]):
        break
    gc.collect()


async def leave_the_block(link: Link) -> None:
    async with link.session.exec_stream(["x"]) as stream:
        await anext(stream)


async def close(link: Link) -> None:
    stream = link.session.exec_stream(["x"])
    await anext(stream)
    await stream.aclose()
    await stream.aclose()


async def drop(link: Link) -> None:
    stream = link.session.exec_stream(["x"])
    await anext(stream)
    del stream
    gc.collect()


@pytest.mark.parametrize("leave", [break_out, leave_the_block, close, drop])
async def test_leaving_a_stream_early_kills_the_command_once(
    connect: Connect, leave: Callable[[Link], object]
) -> None:
    told: asyncio.Queue[ExecEnded] = asyncio.Queue()

    def script(peer: FakeSupervisor, channel: Opened) -> None:
        peer.stdout(channel.number, b"first")

    async with connect(script=script, hooks=Hooks(on_exec_end=told.put_nowait)) as link:
        answer_cancels(link.peer)
        await leave(link)  # type: ignore[misc]
        await link.peer.seen(Frame.CANCEL)
        event = await asyncio.wait_for(told.get(), PATIENCE)
        assert event.result is not None
        assert event.result.reason is ExecReason.CANCELLED
        assert event.result.stdout_bytes == b"first"
        assert event.error is None
        await link.session.exec_stream(["y"]).aclose()
        assert link.peer.count(Frame.CANCEL) == 1
        assert told.empty()


async def test_an_exception_in_the_loop_kills_the_command(connect: Connect) -> None:
    def script(peer: FakeSupervisor, channel: Opened) -> None:
        peer.stdout(channel.number, b"first")

    async with connect(script=script) as link:
        answer_cancels(link.peer)
        with pytest.raises(ZeroDivisionError):
            async with link.session.exec_stream(["x"]) as stream:
                async for _ in stream:
                    raise ZeroDivisionError
        assert link.peer.channels[1].cancelled


async def test_a_stream_is_closed_from_another_task_while_it_waits(connect: Connect) -> None:
    async with connect() as link:
        answer_cancels(link.peer)
        stream = link.session.exec_stream(["x"])
        waiting = asyncio.create_task(anext(stream, None))
        await link.peer.opened(1)
        await stream.aclose()
        assert await asyncio.wait_for(waiting, PATIENCE) is None
        assert link.peer.count(Frame.CANCEL) == 1


async def test_two_tasks_do_not_share_an_iteration(connect: Connect) -> None:
    async with connect() as link:
        stream = link.session.exec_stream(["x"])
        waiting = asyncio.create_task(anext(stream, None))
        await link.peer.opened(1)
        with pytest.raises(InvalidRequestError, match="another task"):
            await anext(stream)
        link.peer.stdout(1, b"unharmed")
        link.peer.exit(1, stdout_total=8)
        assert await waiting == Stdout(b"unharmed", "unharmed")
        assert isinstance(await anext(stream), Exit)


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_cancelled_caller_waits_until_the_command_is_dead(
    connect: Connect, streamed: bool
) -> None:
    ended: list[ExecEnded] = []
    async with connect(hooks=Hooks(on_exec_end=ended.append)) as link:

        async def caller() -> None:
            if streamed:
                await anext(link.session.exec_stream(["x"]))
            else:
                await link.session.exec(["x"], input=bytes(table.CHANNEL_WINDOW + 1))

        task = asyncio.create_task(caller())
        channel = await link.peer.opened(1)
        task.cancel()
        await link.peer.seen(Frame.CANCEL)
        # A second and a third cancellation do not leave the end unobserved.
        for _ in range(3):
            task.cancel()
            await asyncio.sleep(0)
            assert not task.done()
        assert ended == []
        cancelled(link.peer, channel)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()
        assert [type(event.error) for event in ended] == [asyncio.CancelledError]


async def test_closing_a_stream_does_not_swallow_a_cancellation(connect: Connect) -> None:
    async with connect() as link:
        stream = link.session.exec_stream(["x"])
        waiting = asyncio.create_task(anext(stream, None))
        await link.peer.opened(1)
        closing = asyncio.create_task(stream.aclose())
        await link.peer.seen(Frame.CANCEL)
        closing.cancel()
        await asyncio.sleep(0)
        assert not closing.done()
        cancelled(link.peer, link.peer.channels[1])
        with pytest.raises(asyncio.CancelledError):
            await closing
        await waiting
