"""Streams that break under a conversation: its caller sees the same bytes and results, once."""

from __future__ import annotations

import asyncio
import logging

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fakes.resuming import ResumingSupervisor
from fakes.supervisor import PATIENCE
from fumehood import (
    ExecResult,
    SessionEndedError,
)
from fumehood._run import Backstop
from fumehood._wire import table
from fumehood._wire.messages import Answer, Exit
from fumehood._wire.table import ExecCode, Frame
from fumehood.engines.base import ByteStream
from tether.conftest import Connect, Link, connected
from tether.conversation import (
    COMMAND,
    PIECE,
    answering,
    check,
    converse,
    echo,
    lengths,
)


async def test_a_cut_at_any_byte_of_either_direction_changes_nothing() -> None:
    down, down_end, up, up_end = await lengths()
    for name, first, last in (("down", down, down_end), ("up", up, up_end)):
        for at in range(first, last):
            where: dict[str, list[int]] = {name: [at]}
            peer = answering(ResumingSupervisor(script=echo, **where))  # type: ignore[arg-type]
            async with connected(peer=peer) as link:
                check(peer, link, await converse(link))
                # Behind the very last byte nobody need notice it.
                assert peer.asked >= 1 or at >= last - 1, (name, at)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    down=st.lists(st.floats(0, 1), max_size=6),
    up=st.lists(st.floats(0, 1), max_size=6),
    greetings=st.lists(st.integers(1, 150), max_size=3),
)
def test_cuts_at_any_bytes_change_nothing(
    down: list[float], up: list[float], greetings: list[int]
) -> None:
    async def run() -> None:
        first, last, up_first, up_last = await lengths()
        peer = answering(
            ResumingSupervisor(
                script=echo,
                down=[first + int(at * (last - first)) for at in down],
                up=[up_first + int(at * (up_last - up_first)) for at in up],
                greetings=greetings,
            )
        )
        async with connected(peer=peer) as link:
            check(peer, link, await converse(link))

    asyncio.run(run())


# --- large streams ------------------------------------------------------------------------------


async def test_windows_and_what_is_kept_stay_bounded_over_many_streams(connect: Connect) -> None:
    peer = ResumingSupervisor()
    async with connect(peer=peer) as link:
        task = asyncio.create_task(
            link.session.exec(["x"], max_output_bytes=1 << 30, input=bytes(4 << 20))
        )
        opened = await peer.opened(1)
        total = 0
        for step in range(40):
            piece = bytes([step]) * table.MAX_PAYLOAD
            peer.stdout(1, piece)
            total += len(piece)
            if step % 5 == 0:
                peer.stream.cut()
            least = total - table.CREDIT_STEP
            await peer.until(lambda least=least: peer.credit > least)  # type: ignore[misc]
            taken = len(opened.input)
            if taken:
                peer.give(1, taken)
                opened.input.clear()
                peer.acknowledge()
            assert link.tether.statistics()["unacknowledged"] <= 2 * table.CHANNEL_WINDOW
        peer.exit(1, stdout_total=total)
        result = await task
        assert result.stdout_bytes == b"".join(
            bytes([step]) * table.MAX_PAYLOAD for step in range(40)
        )
        assert link.tether.statistics()["resumed"] == 8


async def test_the_client_says_what_it_has_each_step_and_with_each_beat(connect: Connect) -> None:
    peer = ResumingSupervisor()
    async with connect(peer=peer, heartbeat=0.06) as link:
        await peer.seen(Frame.ACK)
        task = asyncio.create_task(link.session.exec(["x"], max_output_bytes=1 << 30))
        await peer.opened(1)
        before = peer.count(Frame.ACK)
        peer.stdout(1, *[PIECE] * (table.CREDIT_STEP // len(PIECE)))
        raw = await peer.seen(Frame.ACK, before + 1)
        assert int.from_bytes(raw.payload, "big") <= len(peer.kept)
        peer.exit(1, stdout_total=table.CREDIT_STEP)
        await task


# --- while it is away ---------------------------------------------------------------------------


async def test_calls_that_begin_while_the_stream_is_away_wait_for_it(connect: Connect) -> None:
    peer = answering(ResumingSupervisor(script=echo, greetings=[1, 1, 1]))
    async with connect(peer=peer) as link:
        peer.stream.cut()
        while not link.tether.reconnecting:
            await asyncio.sleep(0)
        results = await asyncio.gather(
            *(link.session.exec(["cat"], input=b"%d" % n) for n in range(20))
        )
        assert [result.stdout for result in results] == [str(n) for n in range(20)]
        assert peer.asked == 4
        assert not link.tether.reconnecting


async def test_one_that_is_cancelled_meanwhile_is_cancelled_afterwards(connect: Connect) -> None:
    peer = ResumingSupervisor()
    async with connect(peer=peer) as link:
        task = asyncio.create_task(link.session.exec(["sleep"]))
        await peer.opened(1)
        peer.stream.cut()
        while not link.tether.reconnecting:
            await asyncio.sleep(0)
        task.cancel()
        await peer.seen(Frame.CANCEL)
        peer.exit(1, -1 & 0xFF)
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_a_silent_stream_is_given_up_for_another(
    connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "fumehood.tether")
    peer = answering(ResumingSupervisor(script=echo))
    async with connect(peer=peer, heartbeat=0.03) as link:
        first = peer.stream
        # Nobody answers its pings: only the new streams make the connection live.
        while not peer.asked:
            await asyncio.sleep(0.005)
        async with asyncio.timeout(PATIENCE):
            while link.tether.statistics()["resumed"] == 0:
                await asyncio.sleep(0.005)
        assert first.closed
        result = await link.session.exec(["cat"], input=b"on")
        assert result.stdout == "on"
    assert "no sign of life" in caplog.text
    assert "resumed" in caplog.text


async def test_who_leaves_says_so_first(connect: Connect) -> None:
    peer = ResumingSupervisor()
    async with connect(peer=peer) as link:
        await link.tether.close()
        await peer.seen(Frame.LEAVE)
        assert peer.asked == 0


async def test_leaving_while_the_stream_is_away_ends_the_search(connect: Connect) -> None:
    peer = ResumingSupervisor(greetings=[1] * 100)
    async with connect(peer=peer) as link:
        task = asyncio.create_task(link.session.exec(["x"]))
        await peer.opened(1)
        peer.stream.cut()
        while not link.tether.reconnecting:
            await asyncio.sleep(0)
        await link.tether.close()
        asked = peer.asked
        with pytest.raises(SessionEndedError) as caught:
            await task
        assert caught.value.reason == "detached"
        assert not link.tether.reconnecting
        await asyncio.sleep(0)
        assert peer.asked == asked


async def test_a_deadline_does_not_run_while_there_is_no_stream(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Backstop, "SLACK", 0.0)
    back = asyncio.Event()
    peer = ResumingSupervisor()

    async def reopen() -> ByteStream:
        await back.wait()
        return await ResumingSupervisor.reopen(peer)

    monkeypatch.setattr(peer, "reopen", reopen)
    async with connect(peer=peer) as link:
        tasks = [
            asyncio.create_task(link.session.exec(["x"], timeout=0.2)),
            asyncio.create_task(answer_within(link, 0.2)),
        ]
        await peer.opened(2)
        peer.stream.cut()
        done, _ = await asyncio.wait(tasks, timeout=0.6)
        assert not done, "somebody has given the supervisor up, which could not answer"
        # It ended them in time, and says so once it is asked.
        for number in (1, 2):
            peer.exit(number, 137, reason=int(ExecCode.TIMED_OUT), signal=9)
        back.set()
        result, answer = await asyncio.gather(*tasks)
        assert isinstance(result, ExecResult)
        assert result.timed_out
        assert isinstance(answer, Exit)


async def answer_within(link: Link, seconds: float) -> Answer:
    """Wait for a channel as `wait_for_port` does."""
    channel = link.tether.open(COMMAND)
    async with link.tether.patience(seconds):
        return await channel.answer()


async def test_a_deadline_runs_while_there_is_a_stream(connect: Connect) -> None:
    async with connect(peer=ResumingSupervisor()) as link:
        with pytest.raises(TimeoutError):
            await answer_within(link, 0.05)
