"""A connection outlives its stream: nothing is lost, nothing comes twice, and nobody else gets it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from fumehood._wire import codec, table
from fumehood._wire.requests import Hello, Resume
from fumehood._wire.table import EndCode, ErrorCode, ExecCode, Frame
from supervisor.conftest import Containers
from supervisor.container import Container, eventually
from supervisor.peer import NONCE
from supervisor.returning import HELLO, ReturningPeer

MANY = 1 << 40


def returning(containers: Containers, **changes: object) -> tuple[Container, ReturningPeer]:
    """A session whose owner may come back."""
    container = containers(make_peer=ReturningPeer)
    container.begin(**{"grace_ms": 60_000, **changes})
    peer = container.peer
    assert isinstance(peer, ReturningPeer)
    return container, peer


def digest(count: int) -> str:
    return hashlib.sha256(b"".join(b"%d\n" % n for n in range(1, count + 1))).hexdigest()


# --- what goes on -------------------------------------------------------------------------------


def test_output_goes_on_at_the_byte_where_the_stream_broke(containers: Containers) -> None:
    container, peer = returning(containers)
    channel = peer.start("seq", "1", "400000", limit=MANY)
    output = bytearray()
    cuts = 0
    for raw in peer.channel_frames(channel):
        if raw.frame is Frame.EXIT:
            break
        output += raw.payload
        peer.credit(0, len(raw.payload))
        peer.credit(channel, len(raw.payload))
        if cuts < 5 and len(output) > cuts * 400_000:
            cuts += 1
            # What is on its way is lost with the stream, in both directions.
            peer.lose()
            peer.come_back(container.stream())
    assert cuts == 5
    assert hashlib.sha256(output).hexdigest() == digest(400_000)
    assert peer.run("true").exit.exit_code == 0


def test_input_goes_on_at_the_byte_where_the_stream_broke(containers: Containers) -> None:
    container, peer = returning(containers)
    data = b"".join(b"%d\n" % n for n in range(1, 60_001))
    channel = peer.start("sha256sum", stdin=True)
    for at in range(0, len(data), 50_000):
        peer.send(Frame.STDIN, channel, data[at : at + 50_000])
        if at % 100_000 == 0:
            peer.lose()
            peer.come_back(container.stream())
    peer.send(Frame.EOF, channel)
    assert peer.finish(channel).stdout.split()[0].decode() == digest(60_000)


def test_a_file_is_written_whole_over_two_streams(containers: Containers) -> None:
    container, peer = returning(containers)
    channel = peer.start_write(b"f")
    peer.send(Frame.STDIN, channel, b"a" * 1000)
    peer.lose()
    # Sent while there is no stream.
    peer.send(Frame.STDIN, channel, b"b" * 1000)
    peer.send(Frame.EOF, channel)
    peer.come_back(container.stream())
    assert peer.finish(channel).done.size == 2000
    assert (container.workspace / "f").read_bytes() == b"a" * 1000 + b"b" * 1000


def test_what_ends_meanwhile_is_told_afterwards(containers: Containers) -> None:
    container, peer = returning(containers)
    soon = peer.start("sh", "-c", "until [ -e go ]; do sleep 0.01; done; echo done; exit 7")
    late = peer.start("sleep", "1000", timeout_ms=1500)
    peer.lose()
    eventually(lambda: container.descriptors()[:2] == ["/dev/null"] * 2, "the loss is noticed")
    (container.workspace / "go").touch()
    eventually(lambda: not container.processes(), "both have ended")
    peer.come_back(container.stream())
    outcome = peer.finish(soon)
    assert (outcome.exit.exit_code, outcome.stdout) == (7, b"done\n")
    assert peer.finish(late).exit.reason is ExecCode.TIMED_OUT


def test_a_command_that_writes_waits_while_its_client_is_away(containers: Containers) -> None:
    container, peer = returning(containers)
    channel = peer.start("cat", "/dev/zero", limit=8 << 20)
    peer.lose()
    eventually(lambda: container.descriptors()[:2] == ["/dev/null"] * 2, "the loss is noticed")
    other, _ = container.relay()
    other.hello()
    before = memory(container)
    other.run("sleep", "0.2")
    assert memory(container) - before < 4 << 20
    peer.come_back(container.stream())
    size = 0
    for raw in peer.channel_frames(channel):
        size += len(raw.payload)
        peer.credit(0, len(raw.payload))
        peer.credit(channel, len(raw.payload))
        if size >= 8 << 20:
            break
    assert size == 8 << 20
    peer.send(Frame.CANCEL, channel)


def memory(container: Container) -> int:
    status = Path(f"/proc/{container.pid}/status").read_text(encoding="ascii")
    return int(status.split("VmRSS:")[1].split()[0]) * 1024


def test_a_newcomer_takes_over_from_a_stream_that_still_looks_well(containers: Containers) -> None:
    container, peer = returning(containers)
    channel = peer.start("cat", stdin=True)
    old = peer.stream
    peer.come_back(container.stream())
    # What is said on the old one is heard by nobody.
    old.sendall(b"\xff" * 8)
    assert container.descriptors()[:2] == ["/dev/null"] * 2
    peer.send(Frame.STDIN, channel, b"here")
    peer.send(Frame.EOF, channel)
    assert peer.finish(channel).stdout == b"here"
    assert peer.status().connections == 1


def test_a_guest_comes_back_as_the_owner_does(containers: Containers) -> None:
    container = containers().begin(grace_ms=60_000)
    guest = ReturningPeer(container.stream())
    assert guest.hello().connection == 2
    channel = guest.start("cat", stdin=True)
    guest.send(Frame.STDIN, channel, b"a")
    guest.lose()
    eventually(lambda: container.peer.status().connections == 1, "the loss is noticed")
    guest.come_back(container.stream())
    assert container.peer.status().connections == 2
    guest.send(Frame.STDIN, channel, b"b")
    guest.send(Frame.EOF, channel)
    assert guest.finish(channel).stdout == b"ab"


def test_both_sides_say_what_they_have_and_keep_no_more(containers: Containers) -> None:
    _, peer = returning(containers)
    peer.ping()
    peer.is_silent(0.05)
    assert peer.acknowledged == len(peer.sent)
    channel = peer.start("cat", stdin=True)
    peer.feed(channel, b"x" * 300_000)
    peer.send(Frame.EOF, channel)
    peer.finish(channel)
    assert len(peer.sent) - peer.acknowledged < table.CREDIT_STEP + table.MAX_PAYLOAD
    # Twice, and late: harmless.
    peer.acknowledge()
    peer.acknowledge(1)
    peer.ping()


# --- what ends ----------------------------------------------------------------------------------


def test_without_its_client_a_session_ends_when_the_grace_does(containers: Containers) -> None:
    container, peer = returning(containers, grace_ms=300)
    peer.start("sleep", "1000")
    peer.lose()
    assert container.wait_exit() is EndCode.CLIENT_LOST


def test_who_comes_too_late_is_told_so_and_the_session_lives_for_others(
    containers: Containers,
) -> None:
    container, peer = returning(containers, grace_ms=300)
    other, _ = container.relay()
    other.hello()
    peer.start("sleep", "1000")
    peer.ping()
    peer.lose()
    eventually(lambda: not other.status().channels, "its grace is over")
    eventually(lambda: not container.processes(), "its command is killed")
    end = peer.refused(container.stream())
    assert (end.reason, end.error) == (EndCode.CLIENT_LOST, ErrorCode.NOT_FOUND)
    status = other.status()
    assert (status.connections, status.channels) == (1, 0)
    assert other.run("true").exit.exit_code == 0


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"key": bytes(32)}, id="another key"),
        pytest.param({"connection": 9}, id="a connection that never was"),
        pytest.param({"received": 1 << 40}, id="more than was sent"),
    ],
)
def test_nobody_gets_a_connection_without_its_key_and_its_bytes(
    containers: Containers, changes: dict[str, int | bytes]
) -> None:
    container, peer = returning(containers)
    channel = peer.start("cat", stdin=True)
    peer.lose()
    end = peer.refused(container.stream(), **changes)
    assert (end.reason, end.error) == (EndCode.CLIENT_LOST, ErrorCode.NOT_FOUND)
    peer.come_back(container.stream())
    peer.send(Frame.EOF, channel)
    assert peer.finish(channel).exit.exit_code == 0


def test_bytes_that_were_acknowledged_are_not_sent_again(containers: Containers) -> None:
    container, peer = returning(containers)
    peer.run("echo", "hi")
    peer.acknowledge()
    peer.ping()
    kept = peer.received
    peer.lose()
    peer.refused(container.stream(), received=1)
    peer.received = kept
    peer.come_back(container.stream())
    assert peer.run("true").exit.exit_code == 0


def half(*names: str) -> bytes:
    """A HELLO that asks for a connection with less than it takes."""
    whole = HELLO.encode(Resume(connection=1, key=bytes(32), received=0))
    fields = {"connection": b"\x0a", "resume_key": b"\x0b", "received": b"\x0c"}
    out = whole[8:]
    for name in names:
        at = out.index(fields[name] + b"\0\0")
        length = int.from_bytes(out[at + 1 : at + 4], "big")
        out = out[:at] + out[at + 4 + length :]
    return whole[:1] + len(out).to_bytes(3, "big") + whole[4:8] + out


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(half("received"), id="without a count"),
        pytest.param(half("resume_key"), id="without a key"),
        pytest.param(half("connection", "received"), id="with nothing but a key"),
        pytest.param(
            HELLO.encode(Resume(connection=1, key=bytes(31), received=0)), id="a short key"
        ),
        pytest.param(
            HELLO.encode(Resume(connection=1, key=bytes(32), received=0)) + bytes([5, 0, 0, 8]),
            id="with more behind it",
        ),
    ],
)
def test_a_greeting_that_asks_wrongly_is_cut_off(containers: Containers, data: bytes) -> None:
    container, peer = returning(containers)
    stranger, _ = container.relay()
    stranger.send_bytes(data)
    assert stranger.wait_closed() == []
    assert peer.run("true").exit.exit_code == 0


def test_the_first_stream_cannot_ask_for_another_connection(containers: Containers) -> None:
    container = containers()
    container.peer.send_bytes(HELLO.encode(Resume(connection=1, key=bytes(32), received=0)))
    assert container.peer.wait_closed() == []
    assert container.wait_exit() is EndCode.NOT_CONFIGURED


@pytest.mark.parametrize("what", ["ack", "leave"])
def test_who_did_not_agree_to_it_may_not_use_it(containers: Containers, what: str) -> None:
    container = containers().begin(grace_ms=60_000)
    second, relay = container.relay()
    welcome = second.hello()
    assert (welcome.resume_key, welcome.capabilities) == (None, ())
    second.send(*((Frame.ACK, 0, bytes(8)) if what == "ack" else (Frame.LEAVE, 0, b"")))
    second.wait_closed()
    relay.wait()
    container.peer.ping()


def test_a_capability_that_nobody_knows_is_not_granted(containers: Containers) -> None:
    container = containers()
    hello = Hello(nonce=NONCE, client="test", capabilities=("resumes", "resum", "x"))
    container.peer.send_bytes(hello.encode())
    raw = container.peer.expect(Frame.WELCOME)
    assert b"resum" not in raw.payload


def test_an_acknowledgement_of_what_was_never_sent_ends_the_connection(
    containers: Containers,
) -> None:
    container, peer = returning(containers)
    other, _ = container.relay()
    other.hello()
    peer.start("sleep", "1000")
    peer.ping()
    peer.acknowledge(1 << 40)
    # It is not a stream that broke: nothing waits.
    eventually(lambda: not container.processes(), "its command is killed")
    peer.refused(container.stream())
    assert other.status().connections == 1


def test_who_leaves_is_not_waited_for(containers: Containers) -> None:
    container, peer = returning(containers)
    other, _ = container.relay()
    other.hello()
    peer.start("sleep", "1000")
    peer.ping()
    peer.send(Frame.LEAVE)
    eventually(lambda: not container.processes(), "its command is killed")
    peer.refused(container.stream())
    assert other.status().channels == 0


def test_a_session_without_a_grace_waits_for_nobody(containers: Containers) -> None:
    container, peer = returning(containers, grace_ms=0)
    peer.lose()
    assert container.wait_exit() is EndCode.CLIENT_LOST


def test_a_session_ends_by_its_own_time_while_its_client_is_away(containers: Containers) -> None:
    container, peer = returning(containers, ttl_ms=500)
    peer.start("cat", "/dev/zero", limit=MANY)
    peer.lose()
    assert container.wait_exit() is EndCode.TTL


def test_a_client_that_is_silent_for_too_long_may_come_back(containers: Containers) -> None:
    container, peer = returning(containers, heartbeat_ms=300)
    channel = peer.start("cat", stdin=True)
    eventually(lambda: container.descriptors()[:2] == ["/dev/null"] * 2, "it counts as lost")
    peer.come_back(container.stream())
    peer.send(Frame.EOF, channel)
    assert peer.finish(channel).exit.exit_code == 0


def test_a_client_that_lets_too_much_be_under_way_cannot_come_back(containers: Containers) -> None:
    container, peer = returning(containers)
    peer.tells = False
    begun = peer.received
    # Answers are never held back, so they push the oldest ones out.
    while peer.received - begun < 5 << 18:
        peer.send_bytes(codec.encode_frame(Frame.PING, 0, bytes(8)) * 1000)
        for _ in range(1000):
            peer.expect(Frame.PONG)
    now = peer.received
    peer.lose()
    peer.refused(container.stream(), received=begun)
    peer.received = now
    peer.come_back(container.stream())
    assert peer.run("true").exit.exit_code == 0
