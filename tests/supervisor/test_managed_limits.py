"""What managed processes may take, what is forgotten of them, and who of their clients comes and goes."""

from __future__ import annotations

import pytest

from fumehood._wire import requests
from fumehood._wire.messages import Done
from fumehood._wire.table import EndCode, ErrorCode, Frame, Operation
from supervisor.conftest import Containers
from supervisor.container import Container, eventually
from supervisor.managed import (
    ask,
    attach,
    error,
    listed,
    read,
    send,
    shell,
    start,
    take,
    try_start,
    wait,
)

# --- limits ------------------------------------------------------------------------------------------


def test_no_more_run_than_the_limit_says(containers: Containers) -> None:
    container = containers().begin(max_processes=3)
    peer = container.peer
    running = [start(peer, "sleep", "1000") for _ in range(3)]
    assert error(try_start(peer, "true")) is ErrorCode.TOO_MANY_PROCESSES
    ask(peer, Operation.STOP, running[0], grace_ms=0)
    start(peer, "sleep", "1000")
    assert error(try_start(peer, "true")) is ErrorCode.TOO_MANY_PROCESSES
    # Commands are no managed processes.
    assert peer.run("true").exit.exit_code == 0


def test_a_name_is_for_one_that_runs_at_a_time(container: Container) -> None:
    peer = container.peer
    first = start(peer, "sleep", "1000", name="server")
    assert error(try_start(peer, "true", name="server")) is ErrorCode.NAME_TAKEN
    ask(peer, Operation.STOP, first, grace_ms=0)
    second = start(peer, "true", name="server")
    assert [(found.process, found.name) for found in listed(peer)] == [
        (first, "server"),
        (second, "server"),
    ]


@pytest.mark.parametrize("name", ["", "x" * 65, "ü" * 33])
def test_names_that_are_too_long_or_empty_are_refused(container: Container, name: str) -> None:
    assert error(try_start(container.peer, "true", name=name)) is ErrorCode.INVALID


@pytest.mark.parametrize("log_bytes", [0, 4095, (16 << 20) + 1, (1 << 64) - 1])
def test_a_log_of_another_size_is_refused(container: Container, log_bytes: int) -> None:
    assert error(try_start(container.peer, "true", log_bytes=log_bytes)) is ErrorCode.INVALID


def test_the_oldest_of_those_that_have_ended_are_forgotten(container: Container) -> None:
    peer = container.peer
    before = container.descriptors()
    processes = []
    for number in range(100):
        # One after the other: the oldest are those that ended first, not those that began first.
        processes.append(start(peer, "echo", str(number)))
        wait(peer, processes[-1])
    found = listed(peer)
    assert [item.process for item in found] == processes[-64:]
    assert read(peer, processes[-1]).text() == b"99\n"
    assert error(ask(peer, Operation.LOGS, processes[0], offset=0)) is ErrorCode.NO_PROCESS
    # One file for each log that is kept, and nothing besides.
    after = container.descriptors()
    assert sum("memfd:log" in name for name in after) == 64
    assert len([name for name in after if "memfd:log" not in name]) <= len(before) + 3


def test_the_logs_of_those_that_have_ended_take_only_so_much_memory(
    containers: Containers,
) -> None:
    container = containers(memory=128 << 20).begin()
    peer = container.peer
    processes = []
    for _ in range(8):
        processes.append(shell(peer, "head -c 1000000 /dev/zero", log_bytes=1 << 20))
        wait(peer, processes[-1])
    held = [found.log_end - found.log_first for found in listed(peer)]
    # A 32nd of the container's memory: four of them.
    assert held == [0] * 4 + [1_000_000] * 4
    assert read(peer, processes[0]).gaps == [(0, 1_000_000)]
    assert read(peer, processes[-1]).gaps == []


def test_a_long_argv_is_remembered_as_far_as_it_is_worth_showing(container: Container) -> None:
    peer = container.peer
    start(peer, "true", *("argument" for _ in range(1000)))
    start(peer, "true", "x" * 5000)
    start(peer, "true", "", "a b")
    many, long, short = listed(peer)
    assert (len(many.argv), many.argv_cut) == (64, True)
    assert (long.argv, long.argv_cut) == ((b"true", b"x" * 1020), True)
    assert (short.argv, short.argv_cut) == ((b"true", b"", b"a b"), False)


# --- coming and going --------------------------------------------------------------------------------


def test_a_reader_that_leaves_leaves_the_process_alone(container: Container) -> None:
    peer = container.peer
    process = start(peer, "sleep", "1000")
    channel = attach(peer, process)
    peer.send(Frame.CANCEL, channel)
    assert peer.finish(channel).fail.error is ErrorCode.CANCELLED
    assert listed(peer)[0].end is None


def test_a_start_that_is_given_up_leaves_nothing(container: Container) -> None:
    peer = container.peer
    for _ in range(50):
        channel = peer.open(
            requests.start_request(
                (b"sleep", b"1000"),
                cwd=b".",
                env=(),
                user=None,
                stdin=False,
                name=None,
                log_bytes=4096,
            )
        )
        peer.send(Frame.CANCEL, channel)
        answer = peer.finish(channel).answer
        if isinstance(answer, Done):  # it had begun already, and whoever gave it up knows
            assert answer.process is not None
            ask(peer, Operation.STOP, answer.process, grace_ms=0)
        else:
            assert error(answer) is ErrorCode.CANCELLED
    assert all(found.end is not None for found in listed(peer))
    eventually(lambda: not container.processes(), "nothing that runs")


def test_background_processes_are_no_activity(containers: Containers) -> None:
    container = containers().begin(idle_ms=300)
    start(container.peer, "sleep", "1000")
    assert container.peer.wait_end().reason is EndCode.IDLE
    assert container.wait_exit() is EndCode.IDLE


def test_whoever_waits_for_a_process_is_activity(containers: Containers) -> None:
    container = containers().begin(idle_ms=300)
    peer = container.peer
    # However long this side takes to get so far.
    busy = peer.start("cat", stdin=True)
    process = start(peer, "sh", "-c", "read x; sleep 1", stdin=True)
    waiting = attach(peer, process)
    peer.send(Frame.EOF, busy)
    assert peer.finish(busy).exit.exit_code == 0
    # Longer than the idle time, with nothing else under way.
    assert isinstance(send(peer, process, b"\n"), Done)
    assert take(peer, waiting).exit.exit_code == 0
    assert peer.wait_end().reason is EndCode.IDLE


def test_the_end_of_the_session_ends_them(container: Container) -> None:
    for _ in range(5):
        shell(container.peer, "trap '' TERM; while :; do sleep 1000; done")
    container.destroy()


def test_its_log_costs_commands_nothing_of_their_memory(container: Container) -> None:
    # A log on PID 1's heap would be copied, page by page, for each command that lives while it is written.
    peer = container.peer

    def anonymous() -> int:
        with open(f"/proc/{container.pid}/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("RssAnon"))

    before = anonymous()
    process = shell(peer, "head -c 50000000 /dev/zero", log_bytes=16 << 20)
    assert wait(peer, process).stdout_total == 50_000_000
    assert listed(peer)[0].log_end - listed(peer)[0].log_first == 16 << 20
    # A sanitizer keeps what was freed.
    sanitized = b"__asan" in container.binary.read_bytes()
    assert anonymous() - before < (64_000 if sanitized else 1024)  # KiB
