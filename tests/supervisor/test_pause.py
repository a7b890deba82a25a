"""A pause stops commands and nothing else: not PID 1, not the lease, not files, not a kill."""

from __future__ import annotations

import os
from pathlib import Path

from fumehood._wire.requests import Request, exec_request
from fumehood._wire.table import EndCode, ErrorCode, ExecCode, Field, Frame, Operation
from supervisor.conftest import Containers
from supervisor.container import Container, eventually
from supervisor.peer import Peer

WITHIN_S = 1.0
"""For so long nothing may come from a paused session: several times what the timers here are set to."""


def pause(peer: Peer) -> int:
    stopped = peer.finish(peer.open(Request(Operation.PAUSE, {}))).done.entries
    assert stopped is not None
    return stopped


def unpause(peer: Peer) -> None:
    peer.finish(peer.open(Request(Operation.UNPAUSE, {})))


def states(container: Container) -> list[str]:
    """The state of every process of a command: T stands still."""
    namespace = os.readlink(f"/proc/{container.pid}/ns/pid")
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(entry / "ns/pid") != namespace:
                continue
            line = (entry / "cmdline").read_bytes()
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue  # gone meanwhile
        if b"sleep" in line:
            found.append(state)
    return sorted(found)


def all_are(container: Container, state: str, count: int) -> None:
    eventually(lambda: states(container) == [state] * count, f"{count} processes in state {state}")


TREE = "sleep 1000 & setsid sleep 1001 & (setsid sleep 1002 &); exec sleep 1003"


def test_every_process_of_every_command_stands_still_and_goes_on(container: Container) -> None:
    peer = container.peer
    channel = peer.start("sh", "-c", TREE)
    all_are(container, "S", 4)
    assert pause(peer) == 4
    all_are(container, "T", 4)
    unpause(peer)
    all_are(container, "S", 4)
    peer.send(Frame.CANCEL, channel)
    assert peer.finish(channel).exit.killed == 4


def test_a_background_process_of_a_command_that_has_ended_stands_still_too(
    container: Container,
) -> None:
    container.peer.shell("sleep 1000 &")
    assert pause(container.peer) == 1
    all_are(container, "T", 1)


def test_the_pair_that_waits_for_the_next_command_goes_on_though_it_is_being_made(
    container: Container,
) -> None:
    # A pause at once after a command meets it: the next one's processes are forked in that moment.
    for _ in range(150):
        assert container.peer.shell("echo on").stdout == b"on\n"
        pause(container.peer)
        unpause(container.peer)


def test_both_may_come_again_and_change_nothing_then(container: Container) -> None:
    peer = container.peer
    peer.shell("sleep 1000 &")
    unpause(peer)
    assert (pause(peer), pause(peer)) == (1, 1)
    unpause(peer)
    unpause(peer)
    all_are(container, "S", 1)
    assert peer.shell("echo on").stdout == b"on\n"


def test_what_stood_still_before_stays_so(container: Container) -> None:
    peer = container.peer
    peer.shell("sleep 1000 & sleep 1001 & kill -STOP $!")
    eventually(lambda: states(container) == ["S", "T"], "one that is stopped")
    pause(peer)
    all_are(container, "T", 2)
    unpause(peer)
    eventually(lambda: states(container) == ["S", "T"], "the other goes on")


def test_no_command_starts_and_files_can_be_used(container: Container) -> None:
    peer = container.peer
    pause(peer)
    assert peer.run("true").fail.error is ErrorCode.PAUSED
    assert peer.write_file(b"f", b"1").done.size == 1
    assert peer.file(Operation.READ, b"f", offset=0, limit=10).stdout == b"1"
    unpause(peer)
    assert peer.shell("cat f").stdout == b"1"


def test_a_command_whose_user_is_still_being_looked_up_does_not_start_in_it(
    container: Container,
) -> None:
    peer = container.peer
    run = exec_request(
        (b"sh", b"-c", b"echo started >f"),
        cwd=b"/tmp",
        env=(),
        user="nobody",
        timeout_ms=0,
        stdout_limit=0,
        stderr_limit=0,
        stdin=False,
    )
    # In one piece: the look-up is a process, which cannot have answered in between.
    peer.send_bytes(run.encode(1) + Request(Operation.PAUSE, {}).encode(2))
    peer.channel = 2
    peer.finish(2)
    assert peer.finish(1).fail.error is ErrorCode.PAUSED
    unpause(peer)
    assert peer.run("test", "-e", "/tmp/f").exit.exit_code == 1


def test_a_commands_time_does_not_run(container: Container) -> None:
    peer = container.peer
    channel = peer.start("sleep", "1000", timeout_ms=400)
    pause(peer)
    assert peer.is_silent(WITHIN_S)
    unpause(peer)
    assert peer.finish(channel).exit.reason is ExecCode.TIMED_OUT


def test_a_paused_command_can_be_cancelled(container: Container) -> None:
    peer = container.peer
    channel = peer.start("sh", "-c", TREE)
    all_are(container, "S", 4)
    pause(peer)
    peer.send(Frame.CANCEL, channel)
    assert peer.finish(channel).exit.reason is ExecCode.CANCELLED
    assert container.processes() == {}
    unpause(peer)
    assert peer.run("true").exit.exit_code == 0


def test_output_written_before_is_there_and_the_rest_comes_afterwards(container: Container) -> None:
    peer = container.peer
    channel = peer.start("sh", "-c", "echo before; read line; echo $line", stdin=True)
    assert peer.expect(Frame.STDOUT).payload == b"before\n"
    pause(peer)
    peer.send(Frame.STDIN, channel, b"after\n")
    assert peer.is_silent(WITHIN_S / 4)
    unpause(peer)
    assert peer.finish(channel).stdout == b"after\n"


def test_a_paused_session_is_not_idle(containers: Containers) -> None:
    container = containers().begin(idle_ms=300)
    pause(container.peer)
    assert container.peer.is_silent(WITHIN_S)
    unpause(container.peer)
    assert container.peer.wait_end().reason is EndCode.IDLE


def test_the_ttl_ends_a_paused_session(containers: Containers) -> None:
    container = containers().begin(ttl_ms=500)
    container.peer.shell("sleep 1000 &")
    pause(container.peer)
    assert container.peer.wait_end().reason is EndCode.TTL
    assert container.wait_exit() is EndCode.TTL


def test_a_paused_session_ends_with_its_client(containers: Containers) -> None:
    container = containers().begin(grace_ms=200)
    container.peer.start("sleep", "1000")
    pause(container.peer)
    container.peer.close()
    assert container.wait_exit() is EndCode.CLIENT_LOST


def test_a_paused_session_that_everybody_has_left_is_idle(containers: Containers) -> None:
    container = containers().begin(idle_ms=300, detached=True)
    container.peer.shell("sleep 1000 &")
    pause(container.peer)
    container.peer.close()
    assert container.wait_exit() is EndCode.IDLE


def test_another_client_ends_the_pause(containers: Containers) -> None:
    container = containers().begin(idle_ms=60_000, detached=True)
    container.peer.shell("sleep 1000 &")
    pause(container.peer)
    container.peer.close()
    second, _ = container.relay()
    second.hello()
    assert second.run("true").fail.error is ErrorCode.PAUSED
    unpause(second)
    all_are(container, "S", 1)
    second.send(Frame.DESTROY)
    assert container.wait_exit() is EndCode.DESTROYED


def tied(peer: Peer, operation: Operation) -> None:
    peer.finish(peer.open(Request(operation, {Field.TIED: 1})))


def test_a_tied_pause_ends_with_the_connection_that_holds_it(containers: Containers) -> None:
    container = containers().begin(idle_ms=60_000, detached=True)
    container.peer.shell("sleep 1000 &")
    second, _ = container.relay()
    second.hello()
    tied(second, Operation.PAUSE)
    all_are(container, "T", 1)
    second.close()
    all_are(container, "S", 1)
    assert container.peer.run("true").exit.exit_code == 0


def test_commands_go_on_when_the_last_of_several_lets_them(container: Container) -> None:
    container.peer.shell("sleep 1000 &")
    second, _ = container.relay()
    second.hello()
    tied(container.peer, Operation.PAUSE)
    tied(second, Operation.PAUSE)
    tied(container.peer, Operation.UNPAUSE)
    all_are(container, "T", 1)
    tied(second, Operation.UNPAUSE)
    all_are(container, "S", 1)


def test_a_tied_pause_within_a_lasting_one_leaves_it_as_it_was(container: Container) -> None:
    container.peer.shell("sleep 1000 &")
    pause(container.peer)
    tied(container.peer, Operation.PAUSE)
    tied(container.peer, Operation.UNPAUSE)
    assert container.peer.run("true").fail.error is ErrorCode.PAUSED
    unpause(container.peer)
    all_are(container, "S", 1)


def test_the_environment_is_told_in_pieces_as_it_was_given(containers: Containers) -> None:
    value = "x" * 100_000
    container = containers().begin(env=(f"A={value}".encode(), b"B=\xff"))
    told = b""
    while True:
        fields: dict[Field, int | bytes | str | tuple[bytes, ...]] = {Field.OFFSET: len(told)}
        done = container.peer.finish(
            container.peer.open(Request(Operation.ENVIRONMENT, fields))
        ).done
        assert done.environment is not None
        assert len(done.environment) <= 32_768
        told += done.environment
        if len(told) == done.size:
            break
    assert told == f"A={value}".encode() + b"\0B=\xff\0"
    beyond = Request(Operation.ENVIRONMENT, {Field.OFFSET: len(told) + 1})
    answer = container.peer.finish(container.peer.open(beyond))
    assert answer.fail.error is ErrorCode.INVALID


def test_the_relays_of_other_clients_go_on(container: Container) -> None:
    second, _ = container.relay()
    second.hello()
    pause(container.peer)
    assert second.run("true").fail.error is ErrorCode.PAUSED
    unpause(second)
    assert second.run("true").exit.exit_code == 0


def test_how_long_commands_stood_still_is_counted(container: Container) -> None:
    peer = container.peer
    assert peer.status().paused_ms == 0
    pause(peer)
    eventually(lambda: (peer.status().paused_ms or 0) > 50, "some time of a pause")
    unpause(peer)
    counted = peer.status().paused_ms or 0
    assert counted > 50
    peer.run("sleep", "0.2")
    assert peer.status().paused_ms == counted


def test_it_is_destroyed_while_paused(container: Container) -> None:
    container.peer.shell("sleep 1000 & (setsid sleep 1000 &)")
    pause(container.peer)
    container.destroy()
