"""Streams that break under a conversation: its caller sees the same bytes and results, once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fakes.resuming import BreakingStream, ResumingSupervisor
from fakes.supervisor import PATIENCE, FakeSupervisor, MemoryStream, Opened, record
from fumehood import (
    EndReason,
    EngineUnavailableError,
    ExecResult,
    ProtocolError,
    SessionEndedError,
    SessionLostError,
)
from fumehood._run import Backstop
from fumehood._wire import codec, table
from fumehood._wire.codec import RawFrame
from fumehood._wire.messages import Answer, Exit
from fumehood._wire.requests import exec_request
from fumehood._wire.table import EndCode, ExecCode, Frame, Operation
from fumehood.engines.base import ByteStream
from tether.conftest import Connect, Link, connected

COMMAND = exec_request(
    (b"x",),
    cwd=b".",
    env=(),
    user=None,
    timeout_ms=0,
    stdout_limit=0,
    stderr_limit=0,
    stdin=False,
)
PIECE = bytes(table.MAX_PAYLOAD)
WORDS = [b"some ", b"input, ", b"in pieces"]


@dataclass
class Seen:
    """What a caller has seen of the conversation."""

    echoed: list[bytes] = field(default_factory=list)
    results: list[object] = field(default_factory=list)


def echo(peer: FakeSupervisor, channel: Opened) -> None:
    """Answer a listing at once; everything else when its input has ended (see `answering`)."""
    if channel.operation is Operation.LIST:
        peer.entries(channel.number, "a", "b")
        peer.done(channel.number, entries=2)
    elif channel.operation is Operation.STAT:
        peer.stdout(channel.number, record(b"f"))
        peer.done(channel.number)


def answering(peer: ResumingSupervisor) -> ResumingSupervisor:
    """Let commands say what they are told, and writes take it."""

    def note(raw: RawFrame) -> None:
        channel = peer.channels.get(raw.channel)
        if channel is None or channel.ended:
            return
        if raw.frame is Frame.STDIN and channel.operation is Operation.EXEC:
            peer.stdout(channel.number, raw.payload)
            peer.give(channel.number, len(raw.payload))
        elif raw.frame is Frame.EOF and channel.operation is Operation.WRITE:
            peer.done(channel.number, size=len(channel.input))
        elif raw.frame is Frame.EOF:
            peer.stderr(channel.number, b"done")
            peer.exit(channel.number, 3, stdout_total=len(channel.input), stderr_total=4)
            peer.acknowledge()
        elif raw.frame is Frame.CANCEL:
            peer.done(channel.number)

    peer.on_frame = note
    return peer


async def converse(link: Link) -> Seen:
    """Have one conversation of each kind; what is seen does not depend on how the stream is."""
    seen = Seen()

    async def pieces() -> AsyncIterator[bytes]:
        for word in WORDS:
            yield word
            await asyncio.sleep(0)

    result = await link.session.exec(["cat"], input=pieces())
    seen.results.append((result.stdout_bytes, result.stderr_bytes, result.exit_code))
    names = [entry.path for entry in await link.session.list_files()]
    seen.results.append(names)
    both = await asyncio.gather(
        link.session.write_file("f", b"content"), link.session.exec(["cat"], input=b"again")
    )
    seen.results.append((both[1].stdout_bytes, both[1].exit_code))
    return seen


EXPECTED = [(b"".join(WORDS), b"done", 3), ["a", "b"], (b"again", 3)]


async def lengths() -> tuple[int, int, int, int]:
    """From where to where both directions can be cut: behind READY, to the end."""
    peer = answering(ResumingSupervisor(script=echo))
    async with connected(peer=peer) as link:
        down, up = len(peer.kept), peer.received
        assert (await converse(link)).results == EXPECTED
        return down + 1, len(peer.kept), up + 1, peer.received


def check(peer: ResumingSupervisor, link: Link, seen: Seen) -> None:
    assert seen.results == EXPECTED
    opened = sorted(peer.channels)
    assert opened == [1, 2, 3, 4]
    inputs = {bytes(peer.channels[number].input) for number in (1, 3, 4)}
    assert inputs == {b"".join(WORDS), b"content", b"again"}
    assert link.tether.statistics()["live"] == 0


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


# --- a better stream ----------------------------------------------------------------------------


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
