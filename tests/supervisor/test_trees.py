"""A kill takes the whole tree, whatever it does; nothing else is touched, and nothing is claimed."""

from __future__ import annotations

import pytest

from fumehood._wire.table import ErrorCode, ExecCode, Frame, Operation
from supervisor import programs
from supervisor.conftest import Containers
from supervisor.container import Container, eventually

IGNORES = (
    "trap '' TERM INT HUP; (trap '' TERM; sleep 1000) & "
    "setsid sh -c 'trap \"\" TERM; sleep 1000' & (setsid sleep 1000 &); sleep 1000; sleep 1000"
)

TREES = {
    "ignores signals": ("sh", "-c", IGNORES),
    "daemon": ("python3", "-S", "-c", programs.DAEMON + "\ntime.sleep(1000)"),
    "changes its pids": ("python3", "-S", "-c", programs.CHANGES_PIDS),
    "headless": ("python3", "-S", "-c", programs.HEADLESS),
    "clone parent": ("python3", "-S", "-c", programs.CLONE_PARENT),
    "subreaper": ("python3", "-S", "-c", programs.SUBREAPER),
    "stopped": ("sh", "-c", "sleep 1000 & kill -STOP $!; kill -STOP $$"),
}


@pytest.mark.parametrize("tree", TREES)
def test_a_timeout_kills_the_whole_tree(container: Container, tree: str) -> None:
    result = container.peer.run(*TREES[tree], timeout_ms=600).exit
    assert (result.reason, result.exit_code, result.signal) == (ExecCode.TIMED_OUT, 137, 9)
    # At once, not sooner or later: EXIT comes after the last one is dead.
    assert container.processes() == {}
    assert result.killed >= 1
    assert result.left_running == 0
    assert container.peer.run("true").exit.exit_code == 0


@pytest.mark.parametrize("tree", TREES)
def test_cancel_kills_the_whole_tree(container: Container, tree: str) -> None:
    channel = container.peer.start(*TREES[tree])
    eventually(lambda: len(container.processes()) >= 1, "the command")
    container.peer.send(Frame.CANCEL, channel)
    result = container.peer.finish(channel).exit
    assert result.reason is ExecCode.CANCELLED
    assert container.processes() == {}


def test_a_fork_bomb_at_the_limit_is_killed_and_the_session_lives(containers: Containers) -> None:
    container = containers(pids=200).begin()
    peer = container.peer
    for _ in range(3):
        channel = peer.start("python3", "-S", "-c", programs.FORK_BOMB)
        eventually(lambda: container.pids() >= 198, "the bomb at its limit")
        peer.ping()
        peer.send(Frame.CANCEL, channel)
        result = peer.finish(channel).exit
        assert result.reason is ExecCode.CANCELLED
        assert result.killed > 150
        assert container.processes() == {}
        assert peer.run("true").exit.exit_code == 0


def test_a_fork_bomb_is_killed_at_its_timeout(containers: Containers) -> None:
    container = containers(pids=200).begin()
    for _ in range(3):
        result = container.peer.run("python3", "-S", "-c", programs.FORK_BOMB, timeout_ms=1000)
        assert result.exit.reason is ExecCode.TIMED_OUT
        assert container.processes() == {}


def test_at_the_process_limit_a_command_fails_with_its_own_error(containers: Containers) -> None:
    container = containers(pids=40).begin()
    peer = container.peer
    bomb = peer.start("python3", "-S", "-c", programs.FORK_BOMB, timeout_ms=60_000)
    eventually(lambda: container.pids() >= 40, "the bomb at its limit")
    # The pair kept in readiness may still serve, and between two of the bomb's forks there may be room; where there
    # is none, commands and file operations say so.
    eventually(
        lambda: getattr(peer.run("true").answer, "error", None) is ErrorCode.PROCESS_LIMIT,
        "a refusal",
    )
    eventually(
        lambda: (
            getattr(peer.file(Operation.STAT, b".", follow=0).answer, "error", None)
            is ErrorCode.PROCESS_LIMIT
        ),
        "a refusal of a file operation",
    )
    peer.send(Frame.CANCEL, bomb)
    assert peer.finish(bomb).exit.reason is ExecCode.CANCELLED
    assert peer.run("true").exit.exit_code == 0


def test_those_who_continue_the_stopped_are_killed_too(containers: Containers) -> None:
    container = containers(pids=300).begin()
    channel = container.peer.start(
        "python3", "-S", "-c", programs.CONTINUES, timeout_ms=500, user="nobody"
    )
    result = container.peer.finish(channel).exit
    assert result.reason is ExecCode.TIMED_OUT
    assert container.processes() == {}


def test_a_kill_leaves_other_commands_alone(container: Container) -> None:
    peer = container.peer
    other = peer.start("sh", "-c", "sleep 1000 & setsid sleep 1000 & cat", stdin=True)
    stopped = peer.start("sh", "-c", "kill -STOP $$; echo continued")
    eventually(lambda: len(container.processes()) == 5, "two other commands")
    before = container.processes()
    for _ in range(5):
        killed = peer.run("python3", "-S", "-c", programs.CHANGES_PIDS, timeout_ms=300).exit
        assert killed.reason is ExecCode.TIMED_OUT
    assert container.processes().keys() == before.keys()
    # It runs: it echoes. The one that stopped itself is still stopped.
    peer.send(Frame.STDIN, other, b"alive")
    assert peer.receive().payload == b"alive"
    states = peer.shell(
        f"grep State /proc/{min(before, key=lambda pid: 'STOP' not in before[pid])}/status"
    )
    assert b"T (stopped)" in states.stdout
    peer.send(Frame.CANCEL, other)
    assert peer.finish(other).exit.killed == 4
    peer.send(Frame.CANCEL, stopped)
    assert peer.finish(stopped).stdout == b""


def test_a_child_that_another_command_makes_during_a_kill_goes_on(container: Container) -> None:
    peer = container.peer
    others = [peer.start("python3", "-S", "-c", programs.FORKS_UNTIL_ENOUGH) for _ in range(2)]
    for _ in others:
        assert peer.expect(Frame.STDOUT).payload == b"ready\n"
    for _ in range(4):
        # Nothing less than a stop of everybody kills such a tree.
        killed = peer.run("python3", "-S", "-c", programs.CHANGES_PIDS, timeout_ms=500).exit
        assert killed.reason is ExecCode.TIMED_OUT
    assert peer.write_file(b"enough", b"").done.size == 0
    for other in others:
        assert peer.finish(other).exit.exit_code == 0


def test_who_stops_itself_soon_after_a_kill_stays_stopped(container: Container) -> None:
    peer = container.peer
    for _ in range(3):
        other = peer.start("python3", "-S", "-c", programs.CHILD_STOPS_ITSELF, stdin=True)
        assert peer.expect(Frame.STDOUT).payload == b"ready\n"
        # Behind a stop of everybody, those who were born stopped by it are looked for a while.
        killed = peer.run("python3", "-S", "-c", programs.CHANGES_PIDS, timeout_ms=500).exit
        assert killed.reason is ExecCode.TIMED_OUT
        peer.send(Frame.STDIN, other, b"x")
        assert peer.finish(other).stdout == b"still stopped\n"


def test_a_command_that_a_signal_ends_takes_its_tree_along(container: Container) -> None:
    result = container.peer.shell("sleep 1000 & setsid sleep 1000 & kill -9 $$").exit
    assert (result.reason, result.signal, result.killed) == (ExecCode.SIGNALED, 9, 2)
    assert container.processes() == {}


def test_background_children_of_a_command_that_exits_live_on(container: Container) -> None:
    peer = container.peer
    result = peer.run("python3", "-S", "-c", programs.DAEMON).exit
    assert (result.exit_code, result.killed, result.left_running) == (0, 0, 1)
    assert len(container.processes()) == 1
    assert peer.status().trees == 1
    peer.run("sleep", "1000", timeout_ms=100)
    assert len(container.processes()) == 1
    container.destroy()


def test_a_tree_is_over_when_its_last_process_is(container: Container) -> None:
    peer = container.peer
    assert peer.shell("(exec sleep 0.3) &").exit.left_running == 1
    assert peer.status().trees == 1
    eventually(lambda: peer.status().trees == 0, "the end of the tree")


def test_orphans_are_reaped(container: Container) -> None:
    script = "for i in $(seq 300); do (sh -c 'sleep 0.05 &' &); done; sleep 0.5; echo done"
    assert container.peer.shell(script).stdout == b"done\n"
    eventually(lambda: not container.zombies(), "no zombies")


def test_when_the_connection_ends_its_commands_do(containers: Containers) -> None:
    container = containers().begin(grace_ms=60_000)
    second, relay = container.relay()
    second.hello()
    for _ in range(10):
        second.start("sh", "-c", "sleep 1000 & setsid sleep 1000 & sleep 1000")
    eventually(lambda: len(container.processes()) == 40, "ten commands")
    second.close()
    eventually(lambda: not container.processes(), "their end")
    relay.wait()

    def over() -> bool:
        # The last process is gone before its reaper has said so.
        status = container.peer.status()
        return (status.channels, status.connections, status.trees) == (0, 1, 0)

    eventually(over, "the end of their trees")


def test_timeouts_run_beside_each_other(container: Container) -> None:
    peer = container.peer
    channels = [
        peer.start("sh", "-c", "sleep 1000 & sleep 1000", timeout_ms=100 + 20 * i)
        for i in range(20)
    ]
    for channel in channels:
        assert peer.finish(channel).exit.reason is ExecCode.TIMED_OUT
    assert container.processes() == {}


def test_partial_output_of_a_killed_command_is_kept(container: Container) -> None:
    result = container.peer.shell("echo partial; echo gone >&2; sleep 1000", timeout_ms=300)
    assert (result.stdout, result.stderr) == (b"partial\n", b"gone\n")
    assert result.exit.reason is ExecCode.TIMED_OUT


def test_an_own_end_before_the_kill_is_told_as_it_was(container: Container) -> None:
    peer = container.peer
    # EXIT waits for credit that does not come, so the command is over when CANCEL does.
    channel = peer.start("sh", "-c", "head -c 300000 /dev/zero; exit 7", limit=1 << 30)
    received = 0
    while received < 262_144:
        received += len(peer.expect(Frame.STDOUT).payload)
    eventually(lambda: not container.processes(), "the command's end")
    peer.send(Frame.CANCEL, channel)
    result = peer.finish(channel).exit
    assert (result.reason, result.exit_code, result.stdout_total) == (ExecCode.EXITED, 7, 300_000)
