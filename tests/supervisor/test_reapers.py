"""Reapers: one serves command after command, as long as no command leaves it anybody."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

import pytest

from fumehood._wire.table import ExecCode, Frame
from supervisor.container import Container, eventually


def reaper(container: Container) -> int:
    """Run a command and return the process that it was a child of."""
    return int(container.peer.shell("echo $PPID").stdout)


def holds_nothing(container: Container) -> bool:
    """Whether what the supervisor has in readiness or at work holds its link, and no end of a command's."""
    for outside in container.supervisors().values():
        try:
            entries = list(Path(f"/proc/{outside}/fd").iterdir())
            links = [os.readlink(entry).split(":")[0] for entry in entries]
        except OSError:
            return False  # it has gone meanwhile: look again
        if set(links) != {"/dev/null", "/proc", "socket", str(container.workspace), "/dev/pts"}:
            return False
        if links.count("socket") != 1:
            return False
    return True


@pytest.mark.parametrize("between", ["true", "kill -9 $$", "no-such-program", "echo; exit 3"])
def test_one_serves_command_after_command(container: Container, between: str) -> None:
    def twice() -> bool:
        # On a busy machine a second pair may be ready before the first one has come back, and serve instead.
        first = reaper(container)
        container.peer.shell(between, user="12345")
        return reaper(container) == first

    eventually(twice, "a reaper that serves again")
    assert container.peer.status().trees == 0


def test_two_serve_by_turns_while_commands_follow_each_other(container: Container) -> None:
    def by_turns() -> bool:
        # On a busy machine some follow too slowly, and find the same one again.
        served = [reaper(container) for _ in range(20)]
        turns = sum(one != next_one for one, next_one in pairwise(served))
        return turns >= 15 and len(set(served[-6:])) == 2

    eventually(by_turns, "two that take turns")
    eventually(lambda: len(container.supervisors()) == 2, "a pair in readiness, and no other")


def test_one_that_has_somebody_left_serves_no_other(container: Container) -> None:
    first, sleeper = (
        int(line)
        for line in container.peer.shell(
            "sleep 1000 >/dev/null 2>&1 & echo $PPID; echo $!"
        ).stdout.split()
    )
    assert reaper(container) != first
    assert container.peer.status().trees == 1
    assert first in container.supervisors()
    # Its tree is over, and so is it.
    container.peer.run("kill", "-9", str(sleeper))
    eventually(lambda: first not in container.supervisors(), "its end")
    assert container.peer.status().trees == 0


@pytest.mark.parametrize("how", ["timeout", "cancel"])
def test_one_whose_command_was_killed_serves_no_other(container: Container, how: str) -> None:
    channel = container.peer.start(
        "sh", "-c", "echo $PPID; sleep 1000", timeout_ms=300 if how == "timeout" else 0
    )
    first = int(container.peer.receive().payload)
    if how == "cancel":
        container.peer.send(Frame.CANCEL, channel)
    result = container.peer.finish(channel).exit
    assert result.reason in (ExecCode.TIMED_OUT, ExecCode.CANCELLED)
    # Its own end was the proof that nothing is left.
    assert first not in container.supervisors()
    assert reaper(container) != first


def test_none_keeps_any_of_a_commands_ends(container: Container) -> None:
    for _ in range(3):
        channel = container.peer.start("cat", stdin=True)
        container.peer.send(Frame.STDIN, channel, b"x")
        # Also not while the command runs.
        assert container.peer.expect(Frame.STDOUT).payload == b"x"
        eventually(lambda: holds_nothing(container), "no end of the command's")
        container.peer.send(Frame.EOF, channel)
        container.peer.finish(channel)


def test_after_a_crowd_one_pair_is_kept_in_readiness(container: Container) -> None:
    channels = [container.peer.start("cat", stdin=True) for _ in range(16)]
    eventually(lambda: len(container.processes()) == 16, "a crowd")
    for channel in channels:
        container.peer.send(Frame.EOF, channel)
    for channel in channels:
        container.peer.finish(channel)
    eventually(lambda: len(container.supervisors()) == 2, "a pair in readiness")
    assert container.peer.run("true").exit.exit_code == 0
