"""The beginning of a connection, and what a peer that breaks the rules gets."""

from __future__ import annotations

import array
import contextlib
import fcntl
import os
import select
import socket
import subprocess
import termios
from pathlib import Path

import pytest

from fumehood._wire import codec, requests, table
from fumehood._wire.messages import Ready, Welcome
from fumehood._wire.requests import Hello
from fumehood._wire.table import EndCode, ErrorCode, Field, Frame, Operation, Root
from supervisor.conftest import Containers
from supervisor.container import Container, configuration, eventually
from supervisor.peer import NONCE, PATIENCE, Peer


def test_the_welcome_says_who_answers(containers: Containers) -> None:
    welcome = containers().peer.hello()
    assert (welcome.version, welcome.configured, welcome.connection) == (1, False, 1)
    assert welcome.architecture in ("amd64", "arm64")
    assert welcome.build


def test_everything_may_be_in_the_pipe_before_the_answer(containers: Containers) -> None:
    container = containers()
    peer = container.peer
    first = requests.exec_request(
        (b"echo", b"first"),
        cwd=b".",
        env=(),
        user=None,
        timeout_ms=0,
        stdout_limit=100,
        stderr_limit=100,
        stdin=False,
    )
    data = Hello(nonce=NONCE, client="test").encode()
    data += configuration(container.workspace).encode() + first.encode(1)
    peer.send_bytes(data)
    Welcome.decode(peer.expect(Frame.WELCOME))
    Ready.decode(peer.expect(Frame.READY))
    assert peer.finish(1).stdout == b"first\n"


def test_one_byte_at_a_time_is_as_good_as_all_at_once(containers: Containers) -> None:
    container = containers()
    peer = container.peer
    data = Hello(nonce=NONCE, client="test").encode()
    data += configuration(container.workspace).encode()
    data += requests.file_request(Operation.STAT, b".", Root.WORKSPACE, follow=0).encode(1)
    for i in range(len(data)):
        peer.send_bytes(data[i : i + 1])
    peer.expect(Frame.WELCOME)
    peer.expect(Frame.READY)
    assert peer.finish(1).done


def test_ready_tells_what_the_kernel_enforces(containers: Containers) -> None:
    container = containers(pids=123, capabilities="+setuid,+setgid,+kill,+chown").begin()
    ready = container.peer.ready
    assert ready is not None
    assert (ready.uid, ready.gid) == (0, 0)
    assert ready.no_new_privs == 1
    assert ready.cap_bounding == 1 << 6 | 1 << 7 | 1 << 5 | 1 << 0
    assert ready.kernel == os.uname().release
    limit = container.peer.shell("ulimit -Hn").stdout.strip()
    assert ready.open_files == int(limit) <= 65536
    assert ready.rootfs_readonly == 0


def test_a_later_connection_learns_the_same(containers: Containers) -> None:
    container = containers().begin(max_file_bytes=4711, max_processes=7, heartbeat_ms=60_000)
    second, _ = container.relay()
    second.hello()
    assert second.ready == container.peer.ready
    assert second.ready is not None
    assert (second.ready.max_file_bytes, second.ready.max_processes) == (4711, 7)


def test_no_version_in_common_ends_the_connection(containers: Containers) -> None:
    container = containers()
    body = codec.encode_fields({Field.VERSION_MIN: 7, Field.VERSION_MAX: 9, Field.NONCE: NONCE})
    container.peer.send(Frame.HELLO, 0, body)
    assert container.peer.wait_end().reason is EndCode.PROTOCOL
    assert container.wait_exit() is EndCode.PROTOCOL


@pytest.mark.parametrize(
    "frame,payload",
    [
        (Frame.CONFIGURE, b""),
        (Frame.PING, b"12345678"),
        (Frame.DESTROY, b""),
        (Frame.CREDIT, b"\0\0\0\1"),
    ],
    ids=lambda value: value.name if isinstance(value, Frame) else "",
)
def test_nothing_comes_before_hello(containers: Containers, frame: Frame, payload: bytes) -> None:
    container = containers()
    container.peer.send(frame, 0, payload)
    assert container.peer.wait_closed() == []
    assert container.wait_exit() is EndCode.NOT_CONFIGURED


def test_nothing_is_opened_before_the_configuration(containers: Containers) -> None:
    container = containers()
    container.peer.hello()
    container.peer.start("true")
    assert container.peer.wait_closed() == []
    assert container.wait_exit() is EndCode.NOT_CONFIGURED


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_nonce_has_one_length(containers: Containers, length: int) -> None:
    container = containers()
    container.peer.send_bytes(Hello(nonce=b"n" * length, client="test").encode())
    assert container.peer.wait_closed() == []
    assert container.wait_exit() is EndCode.NOT_CONFIGURED


FAILURES: dict[str, tuple[dict[str, object], ErrorCode, str]] = {
    "user": ({"user": "no-such-user"}, ErrorCode.USER_NOT_FOUND, "user"),
    "reserved user": ({"user": "64999"}, ErrorCode.USER_REFUSED, "user"),
    "workdir": ({"workdir": b"/no/such/place"}, ErrorCode.CWD, "workspace"),
    "workdir is a file": ({"workdir": b"/etc/passwd"}, ErrorCode.CWD, "workspace"),
    "relative workdir": ({"workdir": b"workspace"}, ErrorCode.INVALID, "absolute"),
    "endless": ({"detached": True}, ErrorCode.INVALID, "ttl"),
    "environment": ({"env": (b"NOVALUE",)}, ErrorCode.INVALID, "NAME=value"),
    "capability": ({"workload_caps": 1 << 21}, ErrorCode.PERMISSION, "capability"),
    "absent capability": ({"workload_caps": 1 << 1}, ErrorCode.PERMISSION, "capability"),
}


@pytest.mark.parametrize("case", FAILURES)
def test_a_configuration_that_cannot_be_carried_out_ends_the_session(
    containers: Containers, case: str
) -> None:
    changes, error, word = FAILURES[case]
    container = containers()
    container.peer.hello()
    container.peer.send_bytes(configuration(container.workspace, **changes).encode())
    end = container.peer.wait_end()
    assert (end.reason, end.error) == (EndCode.NOT_CONFIGURED, error)
    assert word in end.message
    assert container.wait_exit() is EndCode.NOT_CONFIGURED


def violations() -> dict[str, bytes]:
    """Bytes that break a rule in a session that is ready and has opened channel 1 (cat)."""
    frame = codec.encode_frame
    opened = requests.file_request(Operation.STAT, b".", Root.WORKSPACE, follow=0)
    return {
        "unknown frame": b"\x7f\0\0\0\0\0\0\0",
        "frame of the supervisor's": b"\x13\0\0\1\0\0\0\1x",
        "second hello": Hello(nonce=NONCE, client="test").encode(),
        "second configuration": configuration("/").encode(),
        "data for a channel never opened": frame(Frame.STDIN, 2, b"x"),
        "channel number used again": opened.encode(1),
        "payload too long": b"\x11\x01\0\1\0\0\0\1",
        "empty data": b"\x11\0\0\0\0\0\0\1",
        "no credit": b"\x15\0\0\4\0\0\0\0\0\0\0\0",
        "credit above the connection's window": frame(Frame.CREDIT, 0, b"\0\0\0\1"),
        "credit above the channel's window": frame(Frame.CREDIT, 1, b"\0\0\0\1"),
        "credit that wraps": frame(Frame.CREDIT, 1, b"\xff\xff\xff\xff"),
        "more input than the window": frame(Frame.STDIN, 1, b"x" * 65536)
        * (2 * table.CHANNEL_WINDOW // 65536),
        "second EOF": frame(Frame.EOF, 1) * 2,
        "input after EOF": frame(Frame.EOF, 1) + frame(Frame.STDIN, 1, b"x"),
        "second cancel": frame(Frame.CANCEL, 1) * 2,
        "open without an operation": frame(Frame.OPEN, 2, b""),
        "part on another channel": frame(Frame.PART, 2, b"x") + frame(Frame.PART, 3, b"x"),
        "body too long": frame(Frame.PART, 2, b"x" * 65536) * (table.MAX_BODY // 65536 + 1),
        "ping of seven bytes": b"\x05\0\0\7\0\0\0\x001234567",
    }


@pytest.mark.parametrize("case", violations())
def test_who_breaks_a_rule_is_cut_off_and_the_session_lives(
    containers: Containers, case: str
) -> None:
    container = containers().begin(grace_ms=60_000)
    second, relay = container.relay()
    second.hello()
    # It takes no input, so its window is a bound.
    channel = second.start("sleep", "1000", stdin=True)
    assert channel == 1
    # It may be cut off before it has said it all.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        second.send_bytes(violations()[case])
    second.wait_closed()
    relay.wait()
    # The first connection does not notice, and what the second one ran is gone.
    container.peer.ping()
    status = container.peer.status()
    assert (status.connections, status.channels) == (1, 0)
    assert container.peer.run("true").exit.exit_code == 0


def test_who_is_cut_off_while_it_writes_still_gets_what_was_on_its_way(
    containers: Containers,
) -> None:
    container = containers().begin(grace_ms=60_000)
    second = Peer(container.stream(narrow=True))
    second.hello()
    second.start("head", "-c", "80000", "/dev/zero")
    # Most of it lies in the relay and behind it: this client does not read.
    assert select.select([second.stream], [], [], PATIENCE)[0]
    eventually(lambda: container.peer.status().channels == 0, "the command's end")
    second.send_bytes(b"\xff" * table.HEADER_BYTES)
    eventually(lambda: container.peer.status().connections == 1, "the connection's end")
    second.send_bytes(b"x")
    eventually(lambda: not unread(second.stream), "the relay, which finds nobody to take it")
    *data, last = second.wait_closed()
    assert sum(len(raw.payload) for raw in data if raw.frame is Frame.STDOUT) == 80_000
    assert last.frame is Frame.EXIT


def unread(stream: socket.socket) -> int:
    """How many bytes that were sent the other end has not taken yet."""
    count = array.array("i", [0])
    fcntl.ioctl(stream, termios.TIOCOUTQ, count)
    return count[0]


def test_late_frames_for_an_ended_channel_are_dropped(container: Container) -> None:
    peer = container.peer
    channel = peer.start("true", stdin=True)
    peer.finish(channel)
    peer.send(Frame.STDIN, channel, b"late")
    peer.send(Frame.CREDIT, channel, b"\0\0\0\1")
    peer.send(Frame.EOF, channel)
    peer.send(Frame.CANCEL, channel)
    peer.ping()
    assert peer.run("true").exit.exit_code == 0


def test_input_for_a_command_without_input_breaks_a_rule(containers: Containers) -> None:
    container = containers().begin()
    channel = container.peer.start("sleep", "1000")
    container.peer.send(Frame.STDIN, channel, b"x")
    container.peer.wait_closed()
    assert container.wait_exit() is EndCode.CLIENT_LOST


def test_a_client_that_asks_and_never_reads_is_not_read_either(containers: Containers) -> None:
    container = containers().begin(grace_ms=60_000)
    second, relay = container.relay()
    second.hello()
    second.stream.setblocking(False)
    sent = 0
    try:
        while sent < 1 << 28:
            sent += second.stream.send(codec.encode_frame(Frame.PING, 0, b"12345678") * 4096)
    except BlockingIOError:
        pass
    # Its questions wait in the sockets; the supervisor's memory does not grow with them.
    assert sent < 1 << 28
    container.peer.ping()
    second.close()
    relay.wait()


def test_it_refuses_a_place_that_is_not_safe(containers: Containers, binary: Path) -> None:
    without = containers(no_new_privileges=False)
    assert without.process.wait(timeout=30) == 1
    assert "no-new-privileges" in without.diagnostics()
    poor = containers(capabilities="+setuid,+setgid")
    assert poor.process.wait(timeout=30) == 1
    assert "KILL" in poor.diagnostics()
    outside = subprocess.run([str(binary)], check=False, capture_output=True, text=True, timeout=30)
    assert outside.returncode == 1
    assert "process 1" in outside.stderr
