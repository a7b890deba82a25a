"""A supervisor that cannot be trusted with its deadlines: the client has one of its own."""

from __future__ import annotations

import asyncio

import pytest

from fakes.supervisor import FakeSupervisor, Opened
from fumehood import (
    Exit,
    Stdout,
    SupervisorError,
    _paused,
)
from fumehood._run import Backstop
from fumehood._wire.table import ExecCode, Operation
from tether.conftest import Connect


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_supervisor_that_misses_its_deadline_is_given_up(
    connect: Connect, streamed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Backstop, "SLACK", 0.01)
    monkeypatch.setattr(_paused, "ANSWER", 0.01)
    async with connect() as link:
        other = asyncio.create_task(link.session.exec(["y"], timeout=None))
        await link.peer.opened(1)
        with pytest.raises(SupervisorError, match="given up"):
            if streamed:
                await anext(link.session.exec_stream(["x"], timeout=0.01))
            else:
                await link.session.exec(["x"], timeout=0.01)
        with pytest.raises(SupervisorError, match="given up"):
            await other
        assert not link.tether.alive
        with pytest.raises(SupervisorError):
            await link.session.exec(["z"])


async def test_a_deadline_moves_by_as_long_as_the_session_was_paused(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Backstop, "SLACK", 0.01)

    def script(peer: FakeSupervisor, channel: Opened) -> None:
        # Asked when the time is over; the command ends long after it, and yet in time.
        if channel.operation is Operation.STATUS:
            peer.done(channel.number, paused_ms=60_000)
            peer.exit(1, 0)

    async with connect(script=script) as link:
        assert (await link.session.exec(["x"], timeout=0.01)).ok


async def test_a_pause_is_believed_within_bounds(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Backstop, "SLACK", 0.01)
    monkeypatch.setattr(Backstop, "BELIEF", 0.05)

    def script(peer: FakeSupervisor, channel: Opened) -> None:
        if channel.operation is Operation.STATUS:
            peer.done(channel.number, paused_ms=2**40)

    async with connect(script=script) as link:
        with pytest.raises(SupervisorError, match="given up"):
            await link.session.exec(["x"], timeout=0.01)


async def test_a_supervisor_that_does_not_answer_the_question_is_given_up(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Backstop, "SLACK", 0.01)
    monkeypatch.setattr(_paused, "ANSWER", 0.01)
    async with connect() as link:
        with pytest.raises(SupervisorError, match="given up"):
            await link.session.exec(["x"], timeout=0.01)


async def test_a_caller_that_stalls_does_not_make_the_supervisor_late(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Backstop, "SLACK", 3600.0)
    async with connect() as link:
        stream = link.session.exec_stream(["x"], timeout=0.001)
        link.peer.script = lambda peer, channel: peer.stdout(channel.number, b"1")
        assert isinstance(await anext(stream), Stdout)
        # The deadline is over by now, and the caller comes back: the end may take its moment.
        running = stream._running
        running._deadline = asyncio.get_running_loop().time() - 1
        waiting = asyncio.create_task(anext(stream, None))
        await asyncio.sleep(0)
        link.peer.exit(1, 137, signal=9, reason=ExecCode.TIMED_OUT, stdout_total=1)
        event = await waiting
        assert isinstance(event, Exit)
        assert event.result.timed_out
