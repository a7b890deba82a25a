"""Managed processes: what outlives its client, and what is remembered of it."""

from __future__ import annotations

import signal

import pytest

from fumehood._wire import requests
from fumehood._wire.messages import Done, Exit
from fumehood._wire.table import ErrorCode, ExecCode, Frame, Operation
from supervisor.conftest import Containers
from supervisor.container import Container, eventually
from supervisor.managed import (
    ask,
    attach,
    error,
    listed,
    logs,
    read,
    send,
    shell,
    start,
    take,
    try_start,
    wait,
)

# Writes numbered lines to both streams in turn, each one after the supervisor has had time to take the one before:
# it goes on when a byte comes from the client.
TURNS = """
import os, sys
for number in range(int(sys.argv[1])):
    os.write(1 + number % 2, b"%06d\\n" % number)
    os.read(0, 1)
"""


def test_its_end_is_told_with_all_that_it_has_written(container: Container) -> None:
    process = shell(container.peer, "echo out; echo err >&2; exit 3")
    reading = read(container.peer, process)
    assert (reading.text("stdout"), reading.text("stderr")) == (b"out\n", b"err\n")
    assert reading.gaps == []
    end = reading.exit
    assert (end.reason, end.exit_code, end.signal) == (ExecCode.EXITED, 3, 0)
    assert (end.stdout_total, end.stderr_total, end.offset) == (4, 4, 8)


@pytest.mark.parametrize(
    ("argv", "user", "expected"),
    [
        (("no-such-program",), None, ErrorCode.PROGRAM_NOT_FOUND),
        (("/etc/passwd",), None, ErrorCode.PROGRAM_NOT_EXECUTABLE),
        (("true",), "nobody-of-this-name", ErrorCode.USER_NOT_FOUND),
        (("true",), "64999", ErrorCode.USER_REFUSED),
    ],
)
def test_what_cannot_begin_fails_at_its_start_and_leaves_nothing(
    container: Container, argv: tuple[str, ...], user: str | None, expected: ErrorCode
) -> None:
    assert error(try_start(container.peer, *argv, user=user)) is expected
    assert listed(container.peer) == []
    # The slot, the name and the number of processes are free again.
    for _ in range(20):
        try_start(container.peer, *argv, user=user, name="again")
    start(container.peer, "true", name="again")


def test_another_user_runs_it(container: Container) -> None:
    process = start(container.peer, "id", "-u", user="12345:54321")
    assert read(container.peer, process).text() == b"12345\n"


def test_it_finds_nothing_of_the_supervisor(container: Container) -> None:
    process = start(container.peer, "sh", "-c", "ls /proc/self/fd | tr '\\n' ' '")
    assert read(container.peer, process).text() == b"0 1 2 3 "


def test_both_streams_are_one_sequence_in_the_order_in_which_they_came(
    container: Container,
) -> None:
    count = 200
    peer = container.peer
    process = start(peer, "python3", "-S", "-c", TURNS, str(count), stdin=True)
    live = attach(peer, process)
    for number in range(count):
        # Each line has arrived in the log before the next one is written.
        take(peer, live, until=b"%06d\n" % number) if number == 0 else None
        eventually(lambda n=number: listed(peer, process)[0].log_end >= 7 * (n + 1), "a line")  # type: ignore[misc]
        assert isinstance(send(peer, process, b"x"), Done)
    replayed = read(peer, process)
    expected = [
        (7 * number, "stderr" if number % 2 else "stdout", b"%06d\n" % number)
        for number in range(count)
    ]
    assert replayed.pieces == expected
    assert replayed.gaps == []


def test_a_log_can_be_read_from_any_byte_on(container: Container) -> None:
    peer = container.peer
    process = shell(peer, "printf 0123456789")
    assert wait(peer, process).offset == 10
    for offset in range(11):
        reading = read(peer, process, offset)
        assert (reading.text(), reading.gaps) == (b"0123456789"[offset:], [])
        assert logs(peer, process, offset).text() == b"0123456789"[offset:]
    for operation in (Operation.ATTACH, Operation.LOGS):
        more = {"at_end": 0} if operation is Operation.ATTACH else {}
        assert error(ask(peer, operation, process, offset=11, **more)) is ErrorCode.INVALID


def test_what_a_full_log_has_dropped_is_a_gap_that_is_known_to_the_byte(
    container: Container,
) -> None:
    peer = container.peer
    process = shell(peer, "head -c 100000 /dev/zero; printf end", log_bytes=4096)
    reading = read(peer, process, at_end=True)
    assert reading.gaps == [(0, 100_003 - 4096)]
    assert reading.text() == bytes(4093) + b"end"
    assert reading.exit.stdout_total == 100_003
    (found,) = listed(peer)
    assert (found.log_first, found.log_end, found.log_bytes) == (100_003 - 4096, 100_003, 4096)
    # From within the gap, from its end, from behind it.
    for offset in (1, 95_000, 95_907, 95_908, 100_003):
        reading = read(peer, process, offset)
        missing = max(0, 95_907 - offset)
        assert reading.gaps == ([(offset, missing)] if missing else [])
        assert len(reading.text()) == 100_003 - offset - missing


def test_streams_that_change_all_the_time_drop_their_oldest_bytes_and_say_so(
    container: Container,
) -> None:
    script = "import os\nfor i in range(20000): os.write(1 + i % 2, b'oe'[i % 2:i % 2 + 1])"
    peer = container.peer
    process = start(peer, "python3", "-S", "-c", script, log_bytes=4096)
    reading = read(peer, process, at_end=True)
    assert reading.exit.stdout_total == reading.exit.stderr_total == 10_000
    dropped = sum(size for _, size in reading.gaps)
    assert dropped + len(reading.text()) == 20_000
    assert set(reading.text("stdout")) <= set(b"o")
    assert set(reading.text("stderr")) <= set(b"e")


def test_a_process_never_waits_for_its_readers(container: Container) -> None:
    guest, _ = container.relay()
    guest.hello()
    process = start(container.peer, "sh", "-c", "read x; head -c 20000000 /dev/zero", stdin=True)
    # These take nothing, beyond what their windows hold.
    stalled = [attach(guest, process) for _ in range(3)]
    guest.ping()
    assert isinstance(send(container.peer, process, b"\n"), Done)
    assert wait(container.peer, process).stdout_total == 20_000_000
    for channel in stalled:
        kept = take(guest, channel)
        assert kept.exit.offset == 20_000_000
        assert len(kept.text()) + sum(size for _, size in kept.gaps) == 20_000_000


def test_many_read_one_log_each_from_where_it_likes(container: Container) -> None:
    peer = container.peer
    script = "import os\nfor i in range(3000): os.write(1, b'%09d\\n' % i)\nos.read(0, 1)"
    process = start(peer, "python3", "-S", "-c", script, stdin=True, log_bytes=1 << 20)
    expected = b"".join(b"%09d\n" % number for number in range(3000))
    offsets = [0, 1, 29_999, 15_000, 30_000]
    channels = [attach(peer, process, min(offset, 0)) for offset in offsets]
    assert isinstance(send(peer, process, b"x"), Done)
    for channel in channels:
        assert take(peer, channel).text() == expected
    for offset in offsets:
        assert read(peer, process, offset).text() == expected[offset:]


def test_another_client_goes_on_where_the_first_one_was(containers: Containers) -> None:
    container = containers().begin(detached=True, ttl_ms=600_000)
    first = container.peer
    script = (
        "import os\n"
        "for i in range(20000):\n"
        "    os.write(1 + i % 2, b'%09d\\n' % i)\n"
        "    if i == 500: os.read(0, 1)"
    )
    process = start(
        first, "python3", "-S", "-c", script, stdin=True, name="counter", log_bytes=1 << 20
    )
    seen = take(first, attach(first, process), until=b"000000100\n")
    before = seen.pieces
    first.close()

    second, _ = container.relay()
    second.hello()
    (found,) = listed(second)
    assert (found.process, found.name, found.end, found.stdin) == (process, "counter", None, True)
    offset = seen.expected
    assert offset is not None
    channel = attach(second, process, offset)
    assert isinstance(send(second, process, b"x"), Done)
    rest = take(second, channel, offset)
    assert rest.gaps == []
    pieces = [*before, *rest.pieces]
    lines = {"stdout": b"", "stderr": b""}
    for _, stream, data in pieces:
        lines[stream] += data
    for parity, stream in enumerate(("stdout", "stderr")):
        expected = b"".join(b"%09d\n" % i for i in range(parity, 20_000, 2))
        assert lines[stream] == expected
    assert rest.exit.exit_code == 0


def test_a_process_outlives_the_channel_and_the_connection_that_started_it(
    containers: Containers,
) -> None:
    container = containers().begin(detached=True, ttl_ms=600_000)
    process = start(container.peer, "sleep", "1000")
    pid = listed(container.peer)[0].pid
    container.peer.close()
    guest, _ = container.relay()
    guest.hello()
    assert container.processes() == {pid: "sleep 1000"}
    answer = ask(guest, Operation.STOP, process, grace_ms=10_000)
    assert isinstance(answer, Exit)
    assert (answer.reason, answer.signal) == (ExecCode.SIGNALED, signal.SIGTERM)
    assert container.processes() == {}


def test_stop_kills_what_does_not_end_by_itself_with_its_whole_tree(container: Container) -> None:
    script = (
        "trap '' TERM; (trap '' TERM; exec setsid sleep 1000) & (sleep 1000 &) ; echo up; "
        "while :; do sleep 1000; done"
    )
    peer = container.peer
    process = shell(peer, script)
    take(peer, attach(peer, process), until=b"up\n")
    answer = ask(peer, Operation.STOP, process, grace_ms=200)
    assert isinstance(answer, Exit)
    assert (answer.reason, answer.signal) == (ExecCode.CANCELLED, signal.SIGKILL)
    assert answer.killed >= 2
    assert answer.left_running == 0
    assert container.processes() == {}
    assert peer.status().trees == 0


def test_stop_gives_every_process_of_the_tree_its_time(container: Container) -> None:
    # The leader ends at once; a child of a session of its own needs a moment, and gets it.
    child = "trap 'sleep 0.3; echo saved; exit 0' TERM; echo up; while :; do sleep 0.01; done"
    script = f'setsid sh -c "{child}" & wait'
    peer = container.peer
    process = shell(peer, script)
    take(peer, attach(peer, process), until=b"up\n")
    answer = ask(peer, Operation.STOP, process, grace_ms=60_000)
    assert isinstance(answer, Exit)
    assert (answer.reason, answer.killed) == (ExecCode.SIGNALED, 0)
    assert b"saved" in logs(peer, process).text()
    assert container.processes() == {}


def test_stop_without_grace_kills_at_once(container: Container) -> None:
    process = start(container.peer, "sleep", "1000")
    answer = ask(container.peer, Operation.STOP, process, grace_ms=0)
    assert isinstance(answer, Exit)
    assert (answer.reason, answer.killed) == (ExecCode.CANCELLED, 1)


def test_a_stop_that_is_given_up_goes_on(container: Container) -> None:
    peer = container.peer
    process = shell(peer, "trap '' TERM; echo up; while :; do sleep 1000; done")
    take(peer, attach(peer, process), until=b"up\n")
    channel = peer.open(requests.process_request(Operation.STOP, process, grace_ms=300))
    peer.send(Frame.CANCEL, channel)
    assert peer.finish(channel).fail.error is ErrorCode.CANCELLED
    assert wait(peer, process).reason is ExecCode.CANCELLED


def test_a_shorter_grace_takes_the_place_of_a_longer_one(container: Container) -> None:
    peer = container.peer
    process = shell(peer, "trap '' TERM; echo up; while :; do sleep 1000; done")
    take(peer, attach(peer, process), until=b"up\n")
    patient = peer.open(requests.process_request(Operation.STOP, process, grace_ms=3_600_000))
    hasty = ask(peer, Operation.STOP, process, grace_ms=0)
    assert isinstance(hasty, Exit)
    assert peer.finish(patient).exit == hasty


def test_what_lives_on_behind_its_end_can_still_be_stopped(container: Container) -> None:
    peer = container.peer
    process = shell(peer, "sleep 1000 & setsid sleep 1000 & echo done")
    end = wait(peer, process)
    assert (end.exit_code, end.left_running) == (0, 2)
    answer = ask(peer, Operation.STOP, process, grace_ms=60_000)
    assert isinstance(answer, Exit)
    assert (answer.reason, answer.exit_code, answer.left_running) == (ExecCode.EXITED, 0, 0)
    assert container.processes() == {}
    # And once more, when there is nothing left.
    assert ask(peer, Operation.STOP, process, grace_ms=0) == answer


def test_an_end_by_a_signal_takes_the_tree_along(container: Container) -> None:
    peer = container.peer
    process = shell(peer, "sleep 1000 & echo up; exec sleep 1000")
    take(peer, attach(peer, process), until=b"up\n")
    assert isinstance(ask(peer, Operation.SIGNAL, process, signal=9, group=0), Done)
    end = wait(peer, process)
    assert (end.reason, end.signal, end.killed) == (ExecCode.SIGNALED, 9, 1)
    assert container.processes() == {}


def test_a_signal_goes_to_the_process_or_to_its_group(container: Container) -> None:
    script = (
        "trap 'echo leader' USR1; sh -c \"trap 'echo child' USR1; echo up; "
        'while :; do sleep 0.01; done" & while :; do sleep 0.01; done'
    )
    peer = container.peer
    process = shell(peer, script)
    live = attach(peer, process)
    take(peer, live, until=b"up\n")
    assert isinstance(ask(peer, Operation.SIGNAL, process, signal=10, group=0), Done)
    eventually(lambda: b"leader" in logs(peer, process).text(), "the leader")
    assert b"child" not in logs(peer, process).text()
    assert isinstance(ask(peer, Operation.SIGNAL, process, signal=10, group=1), Done)
    eventually(lambda: b"child" in logs(peer, process).text(), "the child")
    for number in (0, 65, 1 << 32):
        answer = ask(peer, Operation.SIGNAL, process, signal=number, group=0)
        assert error(answer) is ErrorCode.INVALID


def test_nothing_can_be_done_to_one_that_has_ended(container: Container) -> None:
    peer = container.peer
    process = start(peer, "true", stdin=True)
    wait(peer, process)
    assert error(ask(peer, Operation.SIGNAL, process, signal=9, group=0)) is (
        ErrorCode.PROCESS_ENDED
    )
    assert error(send(peer, process, b"x")) is ErrorCode.PROCESS_ENDED


def test_a_number_that_is_nobodys_is_refused_by_every_operation(container: Container) -> None:
    peer = container.peer
    start(peer, "true")
    for process in (0, 2, (1 << 64) - 1):
        for operation, more in (
            (Operation.ATTACH, {"offset": 0, "at_end": 0}),
            (Operation.LOGS, {"offset": 0}),
            (Operation.SIGNAL, {"signal": 9, "group": 0}),
            (Operation.STOP, {"grace_ms": 0}),
            (Operation.SEND, {"close": 0}),
            (Operation.PROCESSES, {}),
        ):
            assert error(ask(peer, operation, process, **more)) is ErrorCode.NO_PROCESS
