"""A better stream than the first one: the conversation moves, and its caller sees nothing of it."""

from __future__ import annotations

import asyncio

import pytest

from fakes.resuming import BreakingStream, ResumingSupervisor
from fakes.supervisor import PATIENCE, FakeSupervisor, MemoryStream
from fumehood import (
    EngineUnavailableError,
)
from fumehood.engines.base import ByteStream
from tether.conftest import Connect
from tether.conversation import (
    EXPECTED,
    answering,
    check,
    converse,
    echo,
)


@pytest.mark.parametrize("turns", range(0, 24, 3))
async def test_moving_to_another_stream_under_a_conversation_changes_nothing(
    connect: Connect, turns: int
) -> None:
    # Without a grace a stream that breaks is the end: a move must not look like that.
    peer = answering(ResumingSupervisor(script=echo, grace_ms=0))
    async with connect(peer=peer) as link:
        first = peer.stream

        async def move() -> None:
            for _ in range(turns):
                await asyncio.sleep(0)
            link.tether.prefer(peer.reopen)

        seen, _ = await asyncio.gather(converse(link), move())
        async with asyncio.timeout(PATIENCE):
            while not first.closed:
                await asyncio.sleep(0)
        check(peer, link, seen)
        assert (await converse(link)).results == EXPECTED
        assert link.tether.statistics()["resumed"] == peer.asked == 1


async def test_what_the_first_stream_still_brings_after_a_move_is_not_taken(
    connect: Connect,
) -> None:
    peer = answering(ResumingSupervisor(script=echo))
    first = peer.stream
    late: list[bytes] = []

    async def reopen() -> ByteStream:
        stream = await ResumingSupervisor.reopen(peer)
        first.cut = lambda: None  # type: ignore[method-assign]
        deliver = stream.deliver  # type: ignore[attr-defined]

        def deliver_both(data: bytes) -> None:
            deliver(data)
            # What was on its way when the supervisor went over to the new one.
            late.append(b"x" * 64)
            first.deliver(late[-1])

        stream.deliver = deliver_both  # type: ignore[attr-defined]
        return stream

    async with connect(peer=peer) as link:
        link.tether.prefer(reopen)
        assert (await converse(link)).results == EXPECTED
        assert late


async def test_who_finds_no_better_stream_stays_on_the_first(connect: Connect) -> None:
    async def nowhere() -> ByteStream:
        raise EngineUnavailableError("no way")

    peer = answering(ResumingSupervisor(script=echo))
    async with connect(peer=peer) as link:
        link.tether.prefer(nowhere)
        check(peer, link, await converse(link))
        assert link.tether.statistics()["resumed"] == peer.asked == 0
        assert not peer.stream.closed


async def test_a_better_stream_that_breaks_is_replaced_as_any_other(connect: Connect) -> None:
    peer = answering(ResumingSupervisor(script=echo, greetings=[1]))
    async with connect(peer=peer) as link:
        link.tether.prefer(peer.reopen)
        check(peer, link, await converse(link))
        assert link.tether.statistics()["resumed"] == 1
        assert peer.asked == 2


async def test_leaving_while_a_better_stream_is_looked_for_ends_the_search(
    connect: Connect,
) -> None:
    peer = answering(ResumingSupervisor(script=echo))
    asked = asyncio.Event()
    cancelled = asyncio.Event()

    async def hang() -> ByteStream:
        asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        raise AssertionError

    async with connect(peer=peer) as link:
        link.tether.prefer(hang)
        await asked.wait()
    assert cancelled.is_set()


async def test_a_stream_is_not_broken_while_a_better_one_is_tried(
    connect: Connect,
) -> None:
    peer = answering(ResumingSupervisor(script=echo))
    silent = MemoryStream(FakeSupervisor())
    silent.write = lambda data: None  # type: ignore[method-assign]

    async def reopen() -> ByteStream:
        return silent

    async with connect(peer=peer) as link:
        link.tether.prefer(reopen)
        async with asyncio.timeout(PATIENCE):
            while not link.tether.reconnecting:
                await asyncio.sleep(0)
        assert not link.tether.cut_off


@pytest.mark.parametrize("turns", range(6))
async def test_leaving_as_a_better_stream_arrives_closes_that_one_too(
    connect: Connect, turns: int
) -> None:
    peer = answering(ResumingSupervisor(script=echo))
    opened: list[BreakingStream] = []
    arrived = asyncio.Event()

    async def reopen() -> ByteStream:
        stream = await ResumingSupervisor.reopen(peer)
        assert isinstance(stream, BreakingStream)
        opened.append(stream)
        arrived.set()
        return stream

    async with connect(peer=peer) as link:
        link.tether.prefer(reopen)
        await arrived.wait()
        # At first it is only on its way to the task that goes over to it.
        for _ in range(turns):
            await asyncio.sleep(0)
    assert [stream.closed for stream in opened] == [True]


async def test_an_engines_words_instead_of_a_stream_are_no_violation(connect: Connect) -> None:
    peer = answering(ResumingSupervisor(script=echo))
    reopen = peer.reopen
    said: list[bytes] = []

    async def reopen_late() -> ByteStream:
        if said:
            return await reopen()
        said.append(b"cannot exec in a stopped container\r\n")
        talker = FakeSupervisor()
        talker.stream.deliver(said[0])
        return talker.stream

    peer.reopen = reopen_late  # type: ignore[method-assign]
    async with connect(peer=peer) as link:
        peer.stream.cut()
        check(peer, link, await converse(link))
        assert peer.asked == 1
