"""The link itself: many conversations on it, credit, signs of life, and its end in the middle."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable

import pytest

from fakes.supervisor import CONFIGURE, PATIENCE, FakeSupervisor, Opened, frame_of
from fumehood import (
    EndReason,
    OperationTimeoutError,
    ProtocolError,
    SandboxError,
    SessionEndedError,
    SessionLostError,
    SupervisorError,
)
from fumehood._tether.channel import Channel
from fumehood._tether.ends import END_REASONS
from fumehood._wire import codec, table
from fumehood._wire.messages import Exit
from fumehood._wire.requests import Request, exec_request
from fumehood._wire.table import EndCode, ErrorCode, Field, Frame, Operation
from tether.conftest import Connect, Link, make_tether

WINDOW = table.CHANNEL_WINDOW
PIECE = bytes(table.MAX_PAYLOAD)
MANY = (1 << 64) - 1
COMMAND = exec_request(
    (b"x",),
    cwd=b".",
    env=(),
    user=None,
    timeout_ms=0,
    stdout_limit=MANY,
    stderr_limit=MANY,
    stdin=True,
)


async def fill(link: Link, channel: Channel) -> None:
    """Send as much as the channel's window takes, and wait until it is there."""
    for _ in range(WINDOW // len(PIECE)):
        link.peer.stdout(channel.number, PIECE)
    await settled(link)


async def settled(link: Link) -> None:
    """Wait until all that was sent has been handled: a ping is answered behind it."""
    before = link.peer.count(Frame.PONG)
    link.peer.send(codec.encode_frame(Frame.PING, 0, bytes(8)))
    await link.peer.seen(Frame.PONG, before + 1)


# --- conversations beside each other ----------------------------------------------------------


async def test_answers_reach_those_who_asked_in_any_order(link: Link) -> None:
    tasks = [asyncio.create_task(link.session.exec([str(n)])) for n in range(20)]
    await link.peer.until(lambda: len(link.peer.channels) == 20)
    for number, channel in sorted(link.peer.channels.items(), reverse=True):
        link.peer.stdout(number, channel.argv[0])
        link.peer.exit(number, number, stdout_total=len(channel.argv[0]))
    results = await asyncio.gather(*tasks)
    assert [result.stdout for result in results] == [str(n) for n in range(20)]
    assert link.tether.statistics() == {
        "live": 0,
        "channels": 0,
        "opened": 20,
        "pending": 0,
        "unacknowledged": 0,
        "resumed": 0,
    }


async def test_credit_goes_back_when_output_is_taken_and_not_before(link: Link) -> None:
    channel = link.tether.open(COMMAND)
    opened = await link.peer.opened(1)
    await fill(link, channel)
    assert opened.credit == 0
    # The connection's own credit goes back on arrival.
    assert link.peer.credit == WINDOW
    for taken in itertools.count(1):
        item = await channel.receive()
        assert item is not None
        await settled(link)
        size = taken * len(item.data)
        assert opened.credit == size - size % table.CREDIT_STEP
        if opened.credit == WINDOW:
            break


async def test_a_stalled_consumer_stalls_only_itself(link: Link) -> None:
    stalled = link.tether.open(COMMAND)
    await link.peer.opened(1)
    await fill(link, stalled)
    for _ in range(5):
        task = asyncio.create_task(link.session.exec(["x"], max_output_bytes=1 << 30))
        number = max(await sent(link.peer))
        for _ in range(WINDOW // len(PIECE)):
            link.peer.stdout(number, PIECE)
        link.peer.exit(number, stdout_total=WINDOW)
        assert len((await task).stdout_bytes) == WINDOW
    await settled(link)
    assert link.peer.channels[1].credit == 0
    assert link.peer.credit == 6 * WINDOW


async def sent(peer: FakeSupervisor) -> dict[int, Opened]:
    """The channels, once one more than before is there."""
    before = len(peer.channels)
    await peer.until(lambda: len(peer.channels) > before)
    return peer.channels


async def test_single_bytes_that_wait_are_put_together(link: Link) -> None:
    channel = link.tether.open(COMMAND)
    await link.peer.opened(1)
    for _ in range(40):
        link.peer.stdout(1, *[b"x"] * 250)
    await settled(link)
    first = await channel.receive()
    assert first is not None
    assert len(first.data) >= 4096
    link.peer.stderr(1, b"e")
    link.peer.stdout(1, b"y")
    await settled(link)
    rest = []
    for _ in range(4):
        item = await channel.receive()
        assert item is not None
        rest.append(item)
    # What came from another stream in between stays in between.
    assert [(item.stream, item.data[-1:]) for item in rest][-2:] == [(2, b"e"), (1, b"y")]
    assert len(first.data) + sum(len(item.data) for item in rest) == 10_002


async def test_a_write_waits_while_the_stream_is_full(link: Link) -> None:
    channel = link.tether.open(COMMAND)
    await link.peer.opened(1)
    link.peer.stream.fill()
    task = asyncio.create_task(channel.send(b"x" * 10))
    opened = link.peer.channels[1]
    await link.peer.until(lambda: len(opened.input) == 10)
    assert not task.done()
    link.peer.stream.empty()
    assert await task


async def test_cancelling_a_wait_for_output_loses_nothing(link: Link) -> None:
    channel = link.tether.open(COMMAND)
    await link.peer.opened(1)
    task = asyncio.create_task(channel.receive())
    await asyncio.sleep(0)
    link.peer.stdout(1, b"kept")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    item = await channel.receive()
    assert item is not None
    assert item.data == b"kept"


async def test_an_abandoned_channel_gives_credit_back_and_keeps_nothing(link: Link) -> None:
    channel = link.tether.open(COMMAND)
    opened = await link.peer.opened(1)
    await fill(link, channel)
    channel.abandon()
    await link.peer.until(lambda: opened.cancelled)
    await fill(link, channel)
    await settled(link)
    assert opened.credit == 2 * WINDOW
    link.peer.exit(1)
    assert isinstance(await channel.answer(), Exit)


async def test_the_end_of_a_channel_is_awaited_no_longer_than_patience_says(link: Link) -> None:
    channel = link.tether.open(COMMAND)
    await link.peer.opened(1)
    await channel.aclose(0.001)
    assert not channel.finished
    link.peer.exit(1)
    await asyncio.gather(channel.aclose(PATIENCE), channel.aclose(PATIENCE))
    assert channel.finished
    assert link.peer.count(Frame.CANCEL) == 1


# --- the start --------------------------------------------------------------------------------


async def test_operations_may_be_asked_for_before_the_session_is_ready() -> None:
    peer = FakeSupervisor(greet=False)
    tether = make_tether(peer)
    tether.begin(CONFIGURE)
    channel = tether.open(Request(Operation.STATUS, {}))
    await peer.opened(1)
    peer.welcome()
    peer.ready()
    peer.done(1, uptime_ms=5)
    await tether.settle(PATIENCE)
    await channel.answer()
    await tether.close()


async def test_a_supervisor_that_does_not_answer_is_named_with_what_it_wrote() -> None:
    peer = FakeSupervisor(greet=False)
    peer.stream.said = "exec format error\n"
    tether = make_tether(peer)
    tether.begin(CONFIGURE)
    with pytest.raises(OperationTimeoutError, match=r"exec format error\)$"):
        await tether.settle(0.001)
    await tether.close()


def refuses(peer: FakeSupervisor) -> None:
    peer.end(EndCode.NOT_CONFIGURED, error=int(ErrorCode.CWD), message="no \u202e such directory")


def shares_no_version(peer: FakeSupervisor) -> None:
    peer.end(EndCode.PROTOCOL)


def breaks_rules(peer: FakeSupervisor) -> None:
    peer.send(b"#!/bin/sh\n")


def ends(peer: FakeSupervisor) -> None:
    peer.stream.end()


@pytest.mark.parametrize(
    "act, kind, words",
    [
        (refuses, SupervisorError, r"could not be set up: no \\u202e such directory"),
        (shares_no_version, SupervisorError, "none of this client's versions"),
        (breaks_rules, ProtocolError, "not known"),
        (ends, SupervisorError, "ended before it was ready"),
    ],
)
async def test_a_supervisor_that_does_not_come_up_is_a_typed_error(
    act: Callable[[FakeSupervisor], None], kind: type[SandboxError], words: str
) -> None:
    peer = FakeSupervisor(greet=False)
    tether = make_tether(peer)
    tether.begin(CONFIGURE)
    waiting = asyncio.create_task(tether.open(COMMAND).answer())
    act(peer)
    with pytest.raises(kind, match=words) as caught:
        await tether.settle(PATIENCE)
    assert type(caught.value).__mro__.index(kind) <= 1
    with pytest.raises(kind):
        await waiting
    with pytest.raises(kind):
        tether.open(COMMAND)
    await tether.close()


# --- the end in the middle --------------------------------------------------------------------


def says_end(code: EndCode) -> Callable[[Link], None]:
    return lambda link: link.peer.end(code)


ENDS: list[tuple[str, Callable[[Link], object], type[SandboxError], str | None]] = [
    *(
        (f"END {code.name}", says_end(code), SessionEndedError, END_REASONS[code].value)
        for code in EndCode
    ),
    ("end of stream", lambda link: link.peer.stream.end(), SessionLostError, "lost"),
    ("broken stream", lambda link: link.peer.stream.end(OSError("gone")), SessionLostError, "lost"),
    ("noise", lambda link: link.peer.send(b"\xff" * 8), ProtocolError, "protocol"),
    ("giving up", lambda link: link.tether.give_up("test"), SupervisorError, "resources"),
    ("closing", lambda link: link.tether.leave(), SessionEndedError, None),
]


@pytest.mark.parametrize("act, kind, reason", [e[1:] for e in ENDS], ids=[e[0] for e in ENDS])
async def test_the_end_fails_every_waiter_with_an_exception_of_its_own(
    link: Link, act: Callable[[Link], object], kind: type[SandboxError], reason: str | None
) -> None:
    told: list[EndReason] = []
    link.tether.watch(told.append)
    waiters = [
        asyncio.create_task(link.session.exec(["x"])),
        asyncio.create_task(link.session.exec(["x"], input=bytes(WINDOW + 1))),
        asyncio.create_task(anext(link.session.exec_stream(["x"]))),
        asyncio.create_task(link.session.read_file("f")),
        asyncio.create_task(link.session.write_file("f", bytes(WINDOW + 1))),
        asyncio.create_task(link.session.list_files()),
    ]
    await link.peer.until(lambda: len(link.peer.channels) == len(waiters))
    act(link)
    results = await asyncio.wait_for(asyncio.gather(*waiters, return_exceptions=True), PATIENCE)
    assert all(isinstance(result, kind) for result in results), results
    assert len({id(result) for result in results}) == len(waiters)
    assert {type(result) for result in results} == {type(results[0])}
    for result in results:
        assert isinstance(result, SandboxError)
        assert result.session_id == "s1"
        if isinstance(result, SessionEndedError):
            assert result.reason == (reason or "detached")
    await link.tether.wait_closed()
    assert told == ([EndReason(reason)] if reason else [])
    assert link.tether.statistics()["live"] == 0
    with pytest.raises(kind):
        await link.session.exec(["x"])
    with pytest.raises(kind):
        link.tether.open_with_input(COMMAND, b"")
    # Nothing of it may raise any more.
    link.tether._channels.cancel(1)
    link.tether.destroy()
    link.tether._channels.consumed(1, 5)
    await link.tether.close()


async def test_what_came_before_the_end_counts(link: Link) -> None:
    task = asyncio.create_task(link.session.exec(["x"]))
    await link.peer.opened(1)
    end = frame_of(Frame.END, 0, {Field.REASON: int(EndCode.TTL)})
    link.peer.exit(1, 4)
    link.peer.send(end, b"and noise behind the end")
    link.peer.stream.end()
    assert (await task).exit_code == 4
    with pytest.raises(SessionEndedError, match="ttl"):
        await link.session.exec(["x"])


async def test_an_answer_in_front_of_noise_counts_in_the_same_delivery(link: Link) -> None:
    task = asyncio.create_task(link.session.read_file("f"))
    await link.peer.opened(1)
    done = frame_of(Frame.DONE, 1, {Field.SIZE: 2})
    link.peer.send(codec.encode_frame(Frame.STDOUT, 1, b"ok"), done, b"\xff" * 8)
    assert await task == b"ok"
    assert not link.tether.alive


async def test_who_watches_late_is_told_all_the_same(link: Link) -> None:
    link.peer.end(EndCode.IDLE)
    await link.tether.wait_closed()
    told: list[EndReason] = []
    link.tether.watch(told.append)
    assert told == [EndReason.IDLE]


async def test_destroying_asks_the_supervisor_and_its_end_follows(link: Link) -> None:
    link.tether.destroy()
    await link.peer.seen(Frame.DESTROY)
    link.peer.end(EndCode.DESTROYED)
    await link.tether.wait_closed()
    assert link.tether.end is not None


# --- signs of life ----------------------------------------------------------------------------


async def test_a_silent_supervisor_is_pinged_and_then_lost(connect: Connect) -> None:
    told: list[EndReason] = []
    async with connect(heartbeat=0.03) as link:
        link.tether.watch(told.append)
        task = asyncio.create_task(link.session.exec(["x"]))
        with pytest.raises(SessionLostError, match="no sign of life"):
            await asyncio.wait_for(task, PATIENCE)
        assert link.peer.count(Frame.PING) == 3
        tokens = {raw.payload for raw in link.peer.frames if raw.frame is Frame.PING}
        assert len(tokens) == 3
    assert told == [EndReason.LOST]


async def test_any_frame_is_a_sign_of_life(link: Link) -> None:
    for _ in range(20):
        link.tether._heartbeat._beat()
        await link.peer.until(lambda: True)
        link.peer.send(codec.encode_frame(Frame.PONG, 0, bytes(8)))
        await settled(link)
    assert link.tether.alive


async def test_a_loop_that_stood_still_is_one_beat_and_no_loss(link: Link) -> None:
    """After a suspended host the clock has jumped, and the supervisor had no time to answer."""
    link.tether._heartbeat._beat()
    assert link.tether.alive
    await settled(link)
    for _ in range(3):
        link.tether._heartbeat._beat()
    assert link.tether.alive
    link.tether._heartbeat._beat()
    assert not link.tether.alive


async def test_a_flood_of_pings_is_answered_no_faster_than_it_is_read(link: Link) -> None:
    pings = [codec.encode_frame(Frame.PING, 0, n.to_bytes(8, "big")) for n in range(10_000)]
    link.peer.stream.fill()
    before = link.peer.stream.written
    link.peer.send(*pings[:5000])
    link.peer.send(*pings[5000:])
    await link.peer.seen(Frame.PONG)
    await asyncio.sleep(0)
    assert link.peer.stream.written - before <= 2 * len(pings[0])
    link.peer.stream.empty()
    last = (9999).to_bytes(8, "big")
    await link.peer.until(lambda: link.peer.frames[-1].payload == last)
    assert link.peer.count(Frame.PONG) <= 3
    assert link.tether.alive


async def test_a_closed_loop_swallows_what_a_collector_still_wants_to_send() -> None:
    loop = asyncio.new_event_loop()
    peer = FakeSupervisor()
    tether = make_tether(peer)
    tether._loop = loop
    loop.close()
    tether.call_soon(lambda: None)
