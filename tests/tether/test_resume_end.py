"""Streams that break for good, and supervisors that lie when they come back."""

from __future__ import annotations

import asyncio

import pytest

from fakes.resuming import ResumingSupervisor
from fakes.supervisor import PATIENCE
from fumehood import (
    EndReason,
    EngineUnavailableError,
    ProtocolError,
    SessionEndedError,
    SessionLostError,
)
from fumehood._wire import codec
from fumehood._wire.table import EndCode, Frame
from tether.conftest import Connect, Link

# --- no way back --------------------------------------------------------------------------------


async def lost(link: Link, peer: ResumingSupervisor) -> SessionEndedError:
    """Cut the stream under a call, and return how the call ends."""
    ends: list[EndReason] = []
    link.tether.watch(ends.append)
    task = asyncio.create_task(link.session.exec(["x"]))
    await peer.opened(1)
    peer.stdout(1, b"half")
    peer.stream.cut()
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(SessionEndedError) as caught:
            await task
        with pytest.raises(type(caught.value)):
            await link.session.exec(["y"])
    assert ends == [EndReason.LOST]
    assert not link.tether.reconnecting
    return caught.value


async def test_a_container_that_is_gone_ends_it_at_once(connect: Connect) -> None:
    peer = ResumingSupervisor(grace_ms=3_600_000)
    peer.gone = True
    async with connect(peer=peer) as link:
        error = await lost(link, peer)
        assert isinstance(error, SessionLostError)
        assert "its container is gone" in str(error)
        assert peer.asked == 1


async def test_a_supervisor_that_has_not_waited_ends_it_at_once(connect: Connect) -> None:
    peer = ResumingSupervisor(grace_ms=3_600_000)
    peer.refuses = True
    async with connect(peer=peer) as link:
        error = await lost(link, peer)
        assert isinstance(error, SessionLostError)
        assert "has not waited" in str(error)


async def test_past_the_grace_every_call_ends_and_says_what_was_tried(connect: Connect) -> None:
    peer = ResumingSupervisor(grace_ms=200, greetings=[1] * 100)
    async with connect(peer=peer) as link:
        error = await lost(link, peer)
        assert isinstance(error, SessionLostError)
        assert "no new stream within 0.2 s (the new stream ended" in str(error)
        assert peer.asked > 1


async def test_a_search_that_hangs_ends_with_the_grace(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer = ResumingSupervisor(grace_ms=50)
    never = asyncio.Event()

    async def hang() -> None:
        await never.wait()

    monkeypatch.setattr(peer, "reopen", hang)
    async with connect(peer=peer) as link:
        error = await lost(link, peer)
        assert isinstance(error, SessionLostError)


@pytest.mark.parametrize("mistake", [EngineUnavailableError("away"), RuntimeError("a bug")])
async def test_no_error_of_the_search_leaves_anybody_waiting(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, mistake: Exception
) -> None:
    peer = ResumingSupervisor(grace_ms=50)

    async def fail() -> None:
        raise mistake

    monkeypatch.setattr(peer, "reopen", fail)
    async with connect(peer=peer) as link:
        error = await lost(link, peer)
        assert isinstance(error, SessionLostError)
        assert str(mistake) in str(error)


async def test_without_a_grace_the_end_of_the_stream_is_the_end(connect: Connect) -> None:
    peer = ResumingSupervisor(grace_ms=0)
    async with connect(peer=peer) as link:
        await lost(link, peer)
        assert peer.asked == 0


async def test_a_session_that_says_its_end_is_not_looked_for(connect: Connect) -> None:
    peer = ResumingSupervisor()
    async with connect(peer=peer) as link:
        ends: list[EndReason] = []
        link.tether.watch(ends.append)
        peer.end(EndCode.TTL)
        await link.tether.wait_closed()
        assert ends == [EndReason.TTL]
        assert peer.asked == 0


# --- a supervisor that lies ---------------------------------------------------------------------


async def broken(link: Link) -> None:
    """Wait until the other end is taken for hostile."""
    ends: list[EndReason] = []
    link.tether.watch(ends.append)
    async with asyncio.timeout(PATIENCE):
        await link.tether.wait_closed()
    assert ends == [EndReason.PROTOCOL]
    with pytest.raises(ProtocolError):
        await link.session.exec(["x"])


@pytest.mark.parametrize("claim", [1 << 40, 0, -1], ids=["more", "forgotten", "acknowledged"])
async def test_a_count_that_cannot_be_is_a_violation(connect: Connect, claim: int) -> None:
    peer = ResumingSupervisor()
    async with connect(peer=peer) as link:
        peer.acknowledge()
        peer.claims = claim if claim >= 0 else peer.received - 1
        while link.tether.statistics()["unacknowledged"]:
            await asyncio.sleep(0)
        peer.stream.cut()
        await broken(link)
        assert peer.asked == 1


async def test_an_acknowledgement_of_what_was_never_sent_is_a_violation(connect: Connect) -> None:
    peer = ResumingSupervisor()
    async with connect(peer=peer) as link:
        peer.acknowledge(1 << 40)
        await broken(link)


async def test_an_acknowledgement_that_nobody_agreed_to_is_a_violation(connect: Connect) -> None:
    async with connect() as link:
        link.peer.send(codec.encode_frame(Frame.ACK, 0, bytes(8)))
        await broken(link)


async def test_another_answer_to_the_greeting_is_a_violation(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer = ResumingSupervisor()
    async with connect(peer=peer) as link:
        monkeypatch.setattr(
            peer,
            "_resume",
            lambda stream, fields: stream.deliver(codec.encode_frame(Frame.PING, 0, bytes(8))),
        )
        peer.stream.cut()
        await broken(link)
