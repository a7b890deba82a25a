"""What is written to managed processes: by whom, in which order, and to its end."""

from __future__ import annotations

import hashlib

from fumehood._wire import requests
from fumehood._wire.messages import Done
from fumehood._wire.table import ErrorCode, Frame, Operation
from supervisor.container import Container
from supervisor.managed import (
    ask,
    attach,
    error,
    read,
    send,
    start,
    take,
)

# --- input -------------------------------------------------------------------------------------------


def test_input_arrives_in_the_order_and_the_pieces_in_which_it_was_sent(
    container: Container,
) -> None:
    peer = container.peer
    process = start(peer, "sha256sum", stdin=True)
    parts = [bytes([number]) * 300_000 for number in range(5)]
    for part in parts:
        answer = send(peer, process, part)
        assert isinstance(answer, Done)
        assert answer.size == len(part)
    assert isinstance(send(peer, process, b"", close=True), Done)
    digest = hashlib.sha256(b"".join(parts)).hexdigest()
    assert read(peer, process).text().decode().split()[0] == digest


def test_two_writers_do_not_mix(container: Container) -> None:
    peer = container.peer
    # It reads nothing until it is told to, so that both wait for the same pipe.
    script = (
        "import os, signal\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])\n"
        "os.write(1, b'up\\n')\n"
        "signal.sigwait([signal.SIGUSR1])\n"
        "os.execvp('cat', ['cat'])"
    )
    process = start(peer, "python3", "-S", "-c", script, stdin=True)
    take(peer, attach(peer, process), until=b"up\n")
    writers = [
        peer.open(requests.process_request(Operation.SEND, process, close=0)) for _ in range(2)
    ]
    # Both in turn, more than a pipe takes.
    for _ in range(4):
        for channel, letter in zip(writers, (b"a", b"b"), strict=True):
            peer.send(Frame.STDIN, channel, letter * 60_000)
    for channel in writers:
        peer.send(Frame.EOF, channel)
    assert isinstance(ask(peer, Operation.SIGNAL, process, signal=10, group=0), Done)
    for channel in writers:
        assert peer.finish(channel).done.size == 240_000
    assert isinstance(send(peer, process, b"", close=True), Done)
    written = read(peer, process, at_end=True).exit
    assert written.stdout_total == 480_003
    kept = read(peer, process, at_end=True).text()
    assert b"a" not in kept[kept.index(b"b") :]


def test_a_closed_input_is_told_to_all_who_wait(container: Container) -> None:
    peer = container.peer
    process = start(peer, "sh", "-c", "exec <&-; echo up; sleep 1000", stdin=True)
    take(peer, attach(peer, process), until=b"up\n")
    assert error(send(peer, process, b"x")) is ErrorCode.INPUT_CLOSED
    assert error(send(peer, process, b"x")) is ErrorCode.INPUT_CLOSED
    without = start(peer, "sleep", "1000")
    assert error(send(peer, without, b"x")) is ErrorCode.INPUT_CLOSED


def test_a_writer_that_waits_ends_with_its_process(container: Container) -> None:
    peer = container.peer
    process = start(peer, "sleep", "1000", stdin=True)
    channels = [
        peer.open(requests.process_request(Operation.SEND, process, close=0)) for _ in range(3)
    ]
    for channel in channels:
        peer.send(Frame.STDIN, channel, bytes(65536))
        peer.send(Frame.STDIN, channel, bytes(65536))
    # One that gives up leaves its place to the next.
    peer.send(Frame.CANCEL, channels[0])
    assert peer.finish(channels[0]).fail.error is ErrorCode.CANCELLED
    ask(peer, Operation.STOP, process, grace_ms=0)
    for channel in channels[1:]:
        assert peer.finish(channel).fail.error in (
            ErrorCode.PROCESS_ENDED,
            ErrorCode.INPUT_CLOSED,
        )
