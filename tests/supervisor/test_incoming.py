"""Connections that somebody inside makes to PID 1, and a client takes over."""

from __future__ import annotations

import pytest

from fumehood._wire import codec, table
from fumehood._wire.requests import Request, accept_request, listen_request
from fumehood._wire.table import EndCode, ErrorCode, Field, Frame, Operation
from supervisor.conftest import Containers
from supervisor.container import Container, eventually
from supervisor.peer import Peer
from supervisor.test_ports import expect, sockets

PORT = 3128

# Connects, says what it is told to, prints what it gets to the end.
CLIENT = """
import socket, sys
s = socket.create_connection(("127.0.0.1", 3128))
try:
    s.sendall(sys.argv[1].encode())
    s.shutdown(socket.SHUT_WR)
    while data := s.recv(65536):
        print(data.decode(), end="", flush=True)
    print("|end", flush=True)
except OSError:
    # Whichever call meets it: by then it may be a reset, or no connection any more.
    print("|reset", flush=True)
"""
# Connects N times and waits for ever; then prints how often it could.
MANY = """
import socket, sys, time
made = []
for number in range(int(sys.argv[1])):
    s = socket.socket()
    s.settimeout(0.2)
    try:
        s.connect(("127.0.0.1", 3128))
    except TimeoutError:
        break
    made.append(s)
print(len(made), flush=True)
time.sleep(1000)
"""


def listen(peer: Peer, port: int = PORT) -> int:
    """Listen; return the channel once that is so."""
    channel = peer.open(listen_request(port))
    assert expect(peer, channel, Frame.OPENED) == b""
    return channel


def ticket(peer: Peer, channel: int) -> int:
    """Return the ticket of the next frame, which must tell of somebody who has connected."""
    return number_of(expect(peer, channel, Frame.INCOMING))


def number_of(payload: bytes) -> int:
    """Return the ticket in an INCOMING."""
    fields = codec.decode_fields(payload, frozenset({Field.TICKET}), frozenset(), "INCOMING")
    number = fields[Field.TICKET]
    assert isinstance(number, int)
    return number


def python(peer: Peer, program: str, *arguments: str, limit: int = 1 << 20) -> int:
    """Start a program inside."""
    return peer.start("python3", "-S", "-c", program, *arguments, limit=limit)


def crowd(peer: Peer, count: int) -> None:
    """Let so many connect, and wait; what the program says is not shown."""
    python(peer, MANY, str(count), limit=0)


def test_a_connection_from_inside_is_taken_over_and_is_a_stream(container: Container) -> None:
    peer = container.peer
    before = sockets(container)
    door = listen(peer)
    client = python(peer, CLIENT, "hello")
    channel = peer.open(accept_request(ticket(peer, door)))
    expect(peer, channel, Frame.OPENED)
    assert expect(peer, channel, Frame.STDOUT) == b"hello"
    expect(peer, channel, Frame.STDOUT_END)
    peer.send(Frame.STDIN, channel, b"and back")
    peer.send(Frame.EOF, channel)
    assert peer.finish(channel).done
    assert peer.finish(client).stdout == b"and back|end\n"
    peer.send(Frame.CANCEL, door)
    assert peer.finish(door).fail.error is ErrorCode.CANCELLED
    assert sockets(container) == before


def test_tickets_rise_and_may_be_used_in_any_order(container: Container) -> None:
    peer = container.peer
    door = listen(peer)
    crowd(peer, 3)
    tickets = [ticket(peer, door) for _ in range(3)]
    assert tickets == [1, 2, 3]
    for number in (2, 1, 3):
        expect(peer, peer.open(accept_request(number)), Frame.OPENED)


def test_a_ticket_is_good_once_and_only_if_it_was_given_out(container: Container) -> None:
    peer = container.peer
    assert peer.finish(peer.open(accept_request(1))).fail.error is ErrorCode.NOT_FOUND
    door = listen(peer)
    crowd(peer, 1)
    number = ticket(peer, door)
    expect(peer, peer.open(accept_request(number)), Frame.OPENED)
    for wrong in (number, 0, number + 1, (1 << 64) - 1):
        outcome = peer.finish(peer.open(accept_request(wrong)))
        assert (outcome.fail.error, outcome.fail.step) == (ErrorCode.NOT_FOUND, "ticket")


def test_another_client_cannot_take_a_connection_that_it_was_not_told_of(
    container: Container,
) -> None:
    peer = container.peer
    door = listen(peer)
    crowd(peer, 1)
    number = ticket(peer, door)
    second, _ = container.relay()
    second.hello()
    assert second.finish(second.open(accept_request(number))).fail.error is ErrorCode.NOT_FOUND
    expect(peer, peer.open(accept_request(number)), Frame.OPENED)


def test_few_wait_and_the_others_wait_in_the_kernel(container: Container) -> None:
    peer = container.peer
    door = listen(peer)
    program = python(peer, MANY, "60")
    # All have connected, and not all are told of; which of the two shows first is not settled.
    frames = [peer.receive() for _ in range(table.MAX_INCOMING + 1)]
    assert [raw.payload for raw in frames if raw.channel == program] == [b"60\n"]
    told = [raw for raw in frames if raw.channel == door]
    assert {raw.frame for raw in told} == {Frame.INCOMING}
    first = [number_of(raw.payload) for raw in told]
    assert first == list(range(1, table.MAX_INCOMING + 1))
    peer.ping()
    assert not peer.frames
    # One place is free: one more is told of.
    expect(peer, peer.open(accept_request(first[5])), Frame.OPENED)
    assert ticket(peer, door) == table.MAX_INCOMING + 1
    peer.ping()
    assert not peer.frames


def test_who_waits_is_reset_when_nobody_listens_any_more(container: Container) -> None:
    peer = container.peer
    before = sockets(container)
    door = listen(peer)
    client = python(peer, CLIENT, "")
    ticket(peer, door)
    peer.send(Frame.CANCEL, door)
    assert peer.finish(door).fail.error is ErrorCode.CANCELLED
    assert peer.finish(client).stdout == b"|reset\n"
    assert sockets(container) == before
    # And the port is free at once, whatever the kernel still does with those connections.
    door = listen(peer)
    client = python(peer, CLIENT, "again")
    channel = peer.open(accept_request(ticket(peer, door)))
    expect(peer, channel, Frame.OPENED)
    peer.send(Frame.EOF, channel)
    assert peer.finish(channel).stdout == b"again"
    assert peer.finish(client).stdout == b"|end\n"


def test_what_was_taken_over_outlives_the_listening(container: Container) -> None:
    peer = container.peer
    door = listen(peer)
    client = python(peer, CLIENT, "x")
    channel = peer.open(accept_request(ticket(peer, door)))
    expect(peer, channel, Frame.OPENED)
    peer.send(Frame.CANCEL, door)
    assert peer.finish(door).fail.error is ErrorCode.CANCELLED
    peer.send(Frame.STDIN, channel, b"still here")
    peer.send(Frame.EOF, channel)
    assert peer.finish(channel).stdout == b"x"
    assert peer.finish(client).stdout == b"still here|end\n"


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_a_port_that_a_command_has_taken_is_told_apart(container: Container, host: str) -> None:
    peer = container.peer
    program = f"import socket; s = socket.create_server(('{host}', 3128)); print(1, flush=True); s.accept()"
    server = python(peer, program)
    assert peer.expect(Frame.STDOUT).payload == b"1\n"
    outcome = peer.finish(peer.open(listen_request(PORT)))
    assert (outcome.fail.error, outcome.fail.step) == (ErrorCode.ADDRESS_IN_USE, "listen")
    peer.send(Frame.CANCEL, server)
    peer.finish(server)
    listen(peer)


def test_a_command_cannot_take_the_port_that_is_listened_on(container: Container) -> None:
    peer = container.peer
    listen(peer)
    program = (
        "import socket\n"
        "for host in ('127.0.0.1', '0.0.0.0'):\n"
        "    for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):\n"
        "        s = socket.socket()\n"
        "        s.setsockopt(socket.SOL_SOCKET, option, 1)\n"
        "        try:\n"
        "            s.bind((host, 3128)); s.listen()\n"
        "            print('taken', host, option)\n"
        "        except OSError as e:\n"
        "            print(e.errno)\n"
    )
    assert peer.finish(python(peer, program)).stdout == b"98\n" * 4


def test_one_port_at_a_time_is_listened_on(container: Container) -> None:
    peer = container.peer
    door = listen(peer)
    for port in (PORT, PORT + 1):
        outcome = peer.finish(peer.open(listen_request(port)))
        assert outcome.fail.error is ErrorCode.ADDRESS_IN_USE
    peer.send(Frame.CANCEL, door)
    peer.finish(door)
    listen(peer, PORT + 1)


@pytest.mark.parametrize("port", [0, 65_536, (1 << 64) - 1])
def test_a_number_that_is_no_port_is_refused(container: Container, port: int) -> None:
    peer = container.peer
    assert peer.finish(peer.open(listen_request(port))).fail.error is ErrorCode.INVALID


def test_listening_is_no_activity_and_a_connection_is(containers: Containers) -> None:
    container = containers().begin(idle_ms=700)
    peer = container.peer
    door = listen(peer)
    client = python(peer, CLIENT, "")
    channel = peer.open(accept_request(ticket(peer, door)))
    expect(peer, channel, Frame.OPENED)
    # For longer than the idle time: the connection holds the session, and its command does.
    assert eventually(lambda: status(peer)[Field.UPTIME_MS] > 1500, "more than the idle time")
    peer.send(Frame.EOF, channel)
    peer.finish(channel)
    peer.finish(client)
    assert status(peer)[Field.CHANNELS] == 0
    assert peer.wait_end().reason is EndCode.IDLE


def status(peer: Peer) -> dict[Field, int]:
    """What the supervisor says of itself."""
    done = peer.finish(peer.open(Request(Operation.STATUS, {}))).done
    return {Field.UPTIME_MS: done.uptime_ms or 0, Field.CHANNELS: done.channels or 0}


def test_a_lost_client_leaves_neither_a_port_nor_who_waited(containers: Containers) -> None:
    container = containers().begin(grace_ms=60_000)
    before = sockets(container)
    second, _ = container.relay()
    second.hello()
    door = listen(second)
    client = python(container.peer, CLIENT, "")
    ticket(second, door)
    second.close()
    assert container.peer.finish(client).stdout == b"|reset\n"
    eventually(lambda: sockets(container) == before, "the descriptors of before")
    listen(container.peer)
