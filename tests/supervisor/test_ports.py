"""Sockets inside, reached through PID 1: both directions, both ends, and what a server can do to it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fumehood._wire import table
from fumehood._wire.messages import Fail
from fumehood._wire.requests import Request
from fumehood._wire.table import EndCode, ErrorCode, Field, Frame, Operation
from supervisor.conftest import Containers
from supervisor.container import Container, eventually
from supervisor.peer import Peer

PORT = 8000

# A server of one line: what it does with each connection `c`, once its port is printed.
SERVER = """
import socket, sys, threading, time
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
s = socket.socket(family)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind((sys.argv[1], int(sys.argv[2])))
s.listen(512)
print("listening", flush=True)
def serve(c):
    {body}
while True:
    c, _ = s.accept()
    threading.Thread(target=serve, args=(c,), daemon=True).start()
"""
ECHO = "\n    ".join(
    ["while data := c.recv(65536):", "    c.sendall(data)", "c.sendall(b'!')", "c.close()"]
)


def serve(peer: Peer, body: str, *, host: str = "127.0.0.1", port: int = PORT) -> int:
    """Start a server inside; return its command's channel once it listens."""
    program = SERVER.replace("{body}", body)
    channel = peer.start("python3", "-S", "-c", program, host, str(port))
    raw = peer.expect(Frame.STDOUT)
    assert (raw.channel, raw.payload) == (channel, b"listening\n")
    return channel


def connect(peer: Peer, port: int = PORT) -> int:
    """Open a channel to a port."""
    return peer.open(Request(Operation.CONNECT, {Field.PORT: port}))


def wait_port(peer: Peer, timeout_ms: int, port: int = PORT) -> int:
    """Ask to be told when somebody listens."""
    fields = {Field.PORT: port, Field.TIMEOUT_MS: timeout_ms}
    return peer.open(Request(Operation.WAIT_PORT, {**fields}))


def expect(peer: Peer, channel: int, frame: Frame) -> bytes:
    """Return the payload of a channel's next frame but for credit, which must be of this type."""
    while (raw := peer.receive()).frame is Frame.CREDIT:
        pass
    assert (raw.channel, raw.frame) == (channel, frame), raw
    return raw.payload


def read(peer: Peer, channel: int, size: int) -> bytes:
    """Take output of a channel, which is alone, returning credit."""
    data = b""
    while len(data) < size:
        data += expect(peer, channel, Frame.STDOUT)
        peer.credit(0, len(data))
        peer.credit(channel, len(data))
    return data


def sockets(container: Container) -> list[str]:
    """The TCP sockets that PID 1 has open."""
    inodes = {
        f"socket:[{row.split()[9]}]"
        for table_ in ("tcp", "tcp6")
        for row in Path(f"/proc/{container.pid}/net/{table_}").read_text().splitlines()[1:]
    }
    return sorted(link for link in container.descriptors() if link in inodes)


def test_bytes_go_both_ways_and_each_end_by_itself(container: Container) -> None:
    peer = container.peer
    serve(peer, ECHO)
    channel = connect(peer)
    expect(peer, channel, Frame.OPENED)
    peer.send(Frame.STDIN, channel, b"there and back")
    assert expect(peer, channel, Frame.STDOUT) == b"there and back"
    peer.send(Frame.EOF, channel)
    # The server has seen the end, and its last word still comes.
    assert expect(peer, channel, Frame.STDOUT) == b"!"
    expect(peer, channel, Frame.STDOUT_END)
    assert peer.finish(channel).done


def test_no_descriptor_of_an_open_connection_outlives_an_exec(container: Container) -> None:
    serve(container.peer, ECHO)
    expect(container.peer, connect(container.peer), Frame.OPENED)
    assert len(sockets(container)) == 2  # one for each direction
    assert container.inheritable() == []


def test_what_is_sent_before_the_connection_is_made_is_not_lost(container: Container) -> None:
    peer = container.peer
    serve(peer, ECHO)
    data = os.urandom(200_000)
    request = Request(Operation.CONNECT, {Field.PORT: PORT}).encode(peer.channel + 1)
    peer.channel += 1
    channel = peer.channel
    peer.send_bytes(request)
    peer.feed(channel, data)
    peer.send(Frame.EOF, channel)
    assert peer.finish(channel).stdout == data + b"!"


def test_the_output_may_end_first(container: Container) -> None:
    peer = container.peer
    serve(peer, "c.shutdown(socket.SHUT_WR); print(len(c.makefile('rb').read()), flush=True)")
    channel = connect(peer)
    expect(peer, channel, Frame.OPENED)
    expect(peer, channel, Frame.STDOUT_END)
    # The other direction is as open as before.
    peer.feed(channel, b"x" * 1_000_000)
    peer.send(Frame.EOF, channel)
    assert peer.finish(channel).done
    assert eventually(lambda: peer.receive().payload, "the server's count") == b"1000000\n"


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::1", "::"])
def test_a_server_is_found_at_whatever_address_it_listens(container: Container, host: str) -> None:
    peer = container.peer
    serve(peer, ECHO, host=host)
    channel = connect(peer)
    expect(peer, channel, Frame.OPENED)
    peer.send(Frame.EOF, channel)
    assert peer.finish(channel).stdout == b"!"


def test_a_port_without_a_server_is_refused(container: Container) -> None:
    peer = container.peer
    fail = peer.finish(connect(peer)).fail
    assert (fail.error, fail.errno, fail.step) == (ErrorCode.CONNECTION_REFUSED, 111, "connect")
    before = sockets(container)
    for _ in range(300):
        assert peer.finish(connect(peer)).fail.error is ErrorCode.CONNECTION_REFUSED
    assert sockets(container) == before


@pytest.mark.parametrize("port", [0, 65_536, 1 << 32, (1 << 64) - 1])
def test_a_number_that_is_no_port_is_refused(container: Container, port: int) -> None:
    peer = container.peer
    assert peer.finish(connect(peer, port)).fail.error is ErrorCode.INVALID
    assert peer.finish(wait_port(peer, 1000, port)).fail.error is ErrorCode.INVALID


def test_a_port_of_the_range_for_clients_is_not_found_by_meeting_oneself(
    container: Container,
) -> None:
    peer = container.peer
    # So few numbers to choose from that a connection soon gets the one that it wants to reach.
    peer.shell("true")
    narrow = container.enter(
        "sh", "-c", "echo 40000 40009 > /proc/sys/net/ipv4/ip_local_port_range", uid=0
    )
    assert narrow.wait() == 0
    for _ in range(100):
        outcome = peer.finish(connect(peer, 40_001))
        assert outcome.fail.error is ErrorCode.CONNECTION_REFUSED


def test_a_reset_is_told_after_what_came_before_it(container: Container) -> None:
    peer = container.peer
    serve(
        peer,
        "c.sendall(b'last words'); c.recv(1); "
        "c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b'\\1\\0\\0\\0\\0\\0\\0\\0'); c.close()",
    )
    channel = connect(peer)
    expect(peer, channel, Frame.OPENED)
    assert expect(peer, channel, Frame.STDOUT) == b"last words"
    peer.send(Frame.STDIN, channel, b"x")
    assert peer.finish(channel).fail.error is ErrorCode.CONNECTION_RESET


def test_input_that_nobody_takes_any_more_ends_in_a_reset(container: Container) -> None:
    peer = container.peer
    serve(peer, "c.close()")
    channel = connect(peer)
    expect(peer, channel, Frame.OPENED)
    expect(peer, channel, Frame.STDOUT_END)
    # The first bytes are answered by a reset, the next ones meet it.
    answer: Fail | None = None
    while answer is None:
        peer.send(Frame.STDIN, channel, b"x")
        peer.ping()
        while peer.frames:
            raw = peer.frames.popleft()
            answer = Fail.decode(raw) if raw.frame is Frame.FAIL else answer
    assert answer.error is ErrorCode.CONNECTION_RESET


def test_a_cancelled_connection_is_reset_and_gone(container: Container) -> None:
    peer = container.peer
    serve(
        peer,
        "\n    ".join(
            [
                "try:",
                "    c.recv(1)",
                "except ConnectionResetError:",
                "    print('reset', flush=True)",
            ]
        ),
    )
    before = sockets(container)
    channel = connect(peer)
    expect(peer, channel, Frame.OPENED)
    peer.send(Frame.CANCEL, channel)
    assert peer.finish(channel).fail.error is ErrorCode.CANCELLED
    assert peer.expect(Frame.STDOUT).payload == b"reset\n"
    assert sockets(container) == before


def test_a_server_that_dies_ends_its_connections(container: Container) -> None:
    peer = container.peer
    server = serve(peer, "c.sendall(b'hello'); time.sleep(1000)")
    channel = connect(peer)
    expect(peer, channel, Frame.OPENED)
    assert expect(peer, channel, Frame.STDOUT) == b"hello"
    peer.send(Frame.CANCEL, server)
    peer.finish(server)
    expect(peer, channel, Frame.STDOUT_END)
    peer.send(Frame.EOF, channel)
    assert peer.finish(channel).done


def test_a_slow_reader_stalls_its_own_connection_alone(container: Container) -> None:
    peer = container.peer
    serve(peer, "c.recv(1)\n    while True: c.sendall(b'x' * 65536)")
    channel = connect(peer)
    expect(peer, channel, Frame.OPENED)
    peer.send(Frame.STDIN, channel, b"x")
    received = 0
    while received < table.CHANNEL_WINDOW:
        size = len(expect(peer, channel, Frame.STDOUT))
        received += size
        peer.credit(0, size)
    assert received == table.CHANNEL_WINDOW
    for _ in range(3):
        assert peer.shell("echo quick").stdout == b"quick\n"
    peer.credit(channel, received)
    read(peer, channel, 100_000)


def test_a_server_that_reads_nothing_holds_up_its_own_input_alone(container: Container) -> None:
    peer = container.peer
    serve(peer, "time.sleep(1000)")
    channel = connect(peer)
    expect(peer, channel, Frame.OPENED)
    # The kernel takes some, PID 1 keeps one window at most, and then there is no credit.
    window = table.CHANNEL_WINDOW
    while window:
        peer.send(Frame.STDIN, channel, b"x" * min(window, table.MAX_PAYLOAD))
        window -= min(window, table.MAX_PAYLOAD)
        peer.ping()
        while peer.frames:
            raw = peer.frames.popleft()
            assert raw.frame is Frame.CREDIT
            window += int.from_bytes(raw.payload, "big")
    assert peer.shell("echo quick").stdout == b"quick\n"
    peer.send(Frame.STDIN, channel, b"x")
    peer.wait_closed()  # beyond the window: a violation


def test_as_many_connections_as_channels_and_none_is_left_behind(container: Container) -> None:
    peer = container.peer
    serve(peer, ECHO)
    before = sockets(container)
    channels = [connect(peer) for _ in range(table.MAX_CHANNELS - 1)]
    for channel in channels:
        peer.send(Frame.STDIN, channel, b"%d" % channel)
    assert peer.finish(connect(peer)).fail.error is ErrorCode.TOO_MANY_CHANNELS
    for channel in channels:
        peer.send(Frame.EOF, channel)
    for channel in channels:
        assert peer.finish(channel).stdout == b"%d!" % channel
    assert sockets(container) == before


def test_a_lost_client_leaves_no_connection(containers: Containers) -> None:
    container = containers().begin(grace_ms=60_000)
    serve(container.peer, ECHO)
    before = sockets(container)
    second, _ = container.relay()
    second.hello()
    for _ in range(20):
        expect(second, connect(second), Frame.OPENED)
    second.close()
    eventually(lambda: sockets(container) == before, "the descriptors of before")


# --- waiting ----------------------------------------------------------------------------------------


def test_a_wait_ends_when_somebody_listens(container: Container) -> None:
    peer = container.peer
    waits = [wait_port(peer, 60_000), wait_port(peer, 60_000)]
    peer.ping()
    assert not peer.frames
    server = peer.start("python3", "-S", "-c", SERVER.replace("{body}", ECHO), "127.0.0.1", "8000")
    for channel in waits:
        assert peer.finish(channel).done
    # One who comes later need not wait.
    assert peer.finish(wait_port(peer, 0)).done
    peer.send(Frame.CANCEL, server)
    peer.finish(server)


def test_a_wait_is_over_at_its_time(container: Container) -> None:
    peer = container.peer
    for patience in (0, 1, 300):
        assert peer.finish(wait_port(peer, patience)).fail.error is ErrorCode.TIMED_OUT


def test_a_wait_can_be_cancelled(container: Container) -> None:
    peer = container.peer
    before = sockets(container)
    channel = wait_port(peer, 60_000)
    peer.ping()
    peer.send(Frame.CANCEL, channel)
    assert peer.finish(channel).fail.error is ErrorCode.CANCELLED
    assert sockets(container) == before


def test_a_full_backlog_does_not_hold_a_connection_for_ever(container: Container) -> None:
    peer = container.peer
    program = (
        "import socket, time; s = socket.socket(); s.bind(('127.0.0.1', 8000)); s.listen(0);"
        "print('listening', flush=True); time.sleep(1000)"
    )
    peer.start("python3", "-S", "-c", program)
    peer.expect(Frame.STDOUT)
    # One or two fit: after them the kernel leaves everybody without an answer.
    channels = [connect(peer) for _ in range(4)]
    assert peer.expect(Frame.OPENED).channel == channels[0]
    assert peer.finish(wait_port(peer, 200)).fail.error is ErrorCode.TIMED_OUT
    for channel in channels:
        peer.send(Frame.CANCEL, channel)
        assert peer.finish(channel).fail.error is ErrorCode.CANCELLED


def test_an_open_connection_is_not_idle(containers: Containers) -> None:
    container = containers().begin(idle_ms=400)
    peer = container.peer
    # However long this side takes to get so far.
    busy = peer.start("cat", stdin=True)
    program = SERVER.replace("{body}", "c.recv(1); time.sleep(1); c.close()").encode()
    peer.shell('python3 -S -c "$P" 127.0.0.1 8000 >/dev/null 2>&1 &', env=(b"P=" + program,))
    peer.finish(wait_port(peer, 60_000))
    channel = connect(peer)
    expect(peer, channel, Frame.OPENED)
    peer.send(Frame.EOF, busy)
    assert peer.finish(busy).exit.exit_code == 0
    # Longer than the idle time, with nothing else under way.
    peer.send(Frame.STDIN, channel, b"x")
    expect(peer, channel, Frame.STDOUT_END)
    peer.send(Frame.EOF, channel)
    assert peer.finish(channel).done
    assert peer.wait_end().reason is EndCode.IDLE
