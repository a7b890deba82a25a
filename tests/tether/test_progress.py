"""A supervisor that answers pings alone keeps nobody for ever; a slow one has its time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from fakes.supervisor import PATIENCE, FakeSupervisor, Opened
from fumehood import OperationTimeoutError, _paused
from fumehood import _progress as progress
from fumehood._wire import table
from fumehood._wire.table import Operation
from tether.conftest import Connect, Link

WAIT = 0.2
MORE_THAN_ENOUGH = 3 * WAIT


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "PATIENCE", WAIT)
    monkeypatch.setattr(_paused, "ANSWER", 0.05)


async def _read_stream(link: Link) -> None:
    async for _ in link.session.read_file_stream("f"):
        pass


async def _write_stream(link: Link) -> None:
    async with link.session.write_file_stream("f") as file:
        await file.write(bytes(4 << 20))


OPERATIONS: dict[str, Callable[[Link], Awaitable[object]]] = {
    "read_file": lambda link: link.session.read_file("f"),
    "read_file_stream": _read_stream,
    # More than its window, and less: it waits for credit, or for the answer.
    "write_file": lambda link: link.session.write_file("f", bytes(4 << 20)),
    "write_file_small": lambda link: link.session.write_file("f", b"x"),
    "write_file_stream": _write_stream,
    "list_files": lambda link: link.session.list_files(),
    "stat": lambda link: link.session.stat("f"),
    "make_directory": lambda link: link.session.make_directory("f"),
    "remove": lambda link: link.session.remove("f"),
    "rename": lambda link: link.session.rename("f", "g"),
}


@pytest.mark.parametrize("name", OPERATIONS)
async def test_an_operation_without_any_progress_is_a_typed_error(
    connect: Connect, name: str
) -> None:
    async with connect() as link, asyncio.timeout(PATIENCE):
        with pytest.raises(OperationTimeoutError, match="no progress for") as caught:
            await OPERATIONS[name](link)
        assert caught.value.op == name.removesuffix("_small")
        assert caught.value.session_id == "s1"
        # The supervisor is told, in case that it hears after all.
        await link.peer.until(lambda: link.peer.channels[1].cancelled)


async def test_what_comes_after_the_end_of_patience_is_nobodys(connect: Connect) -> None:
    async with connect() as link, asyncio.timeout(PATIENCE):
        with pytest.raises(OperationTimeoutError):
            await link.session.read_file("f")
        link.peer.stdout(1, bytes(table.MAX_PAYLOAD))
        link.peer.done(1, size=table.MAX_PAYLOAD)
        # It breaks no rule, and the next operation works.
        link.peer.script = lambda peer, channel: peer.done(channel.number)
        await link.session.make_directory("d")


async def test_a_transfer_that_moves_may_take_any_time(connect: Connect) -> None:
    async with connect() as link, asyncio.timeout(PATIENCE):
        reading = asyncio.ensure_future(link.session.read_file("f"))
        loop = asyncio.get_running_loop()
        end = loop.time() + MORE_THAN_ENOUGH
        count = 0
        await link.peer.opened(1)
        while loop.time() < end:
            link.peer.stdout(1, b"x")
            count += 1
            await asyncio.sleep(WAIT / 10)
        link.peer.done(1, size=count)
        assert await reading == b"x" * count


async def test_a_write_that_is_taken_slowly_may_take_any_time(connect: Connect) -> None:
    async with connect() as link, asyncio.timeout(PATIENCE):
        size = 8 * table.CHANNEL_WINDOW
        writing = asyncio.ensure_future(link.session.write_file("f", bytes(size)))
        await link.peer.opened(1)
        # More than five times the patience, in all.
        for _ in range(7 * 8):
            link.peer.give(1, table.CHANNEL_WINDOW // 8)
            await asyncio.sleep(WAIT / 10)
        await link.peer.until(lambda: link.peer.channels[1].eof)
        link.peer.done(1, size=size)
        await writing


async def test_a_caller_that_takes_its_time_is_not_held_against_the_supervisor(
    connect: Connect,
) -> None:
    def script(peer: FakeSupervisor, channel: Opened) -> None:
        if channel.operation is Operation.READ:
            peer.stdout(channel.number, b"first")

    async with connect(script=script) as link, asyncio.timeout(PATIENCE):
        async with link.session.read_file_stream("f") as reader:
            assert await anext(reader) == b"first"
            await asyncio.sleep(MORE_THAN_ENOUGH)
            link.peer.stdout(1, b"second")
            link.peer.done(1, size=11)
            assert [piece async for piece in reader] == [b"second"]
        async with link.session.write_file_stream("g") as writer:
            await writer.write(b"x")
            await asyncio.sleep(MORE_THAN_ENOUGH)
            link.peer.done(2, size=1)


async def test_a_paused_session_is_waited_for_as_long_as_it_is_paused(connect: Connect) -> None:
    paused_ms = 0

    def script(peer: FakeSupervisor, channel: Opened) -> None:
        nonlocal paused_ms
        if channel.operation is Operation.STATUS:
            paused_ms += 100 if paused_ms < 300 else 0
            peer.done(channel.number, paused_ms=paused_ms)

    async with connect(script=script) as link, asyncio.timeout(PATIENCE):
        with pytest.raises(OperationTimeoutError):
            await link.session.stat("f")
        asked = [c for c in link.peer.channels.values() if c.operation is Operation.STATUS]
        # Three times it was said to be paused, and the fourth time no longer than before.
        assert len(asked) == 4
