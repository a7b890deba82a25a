"""What ends a session by itself. No test measures time: it waits for the end and reads the reason."""

from __future__ import annotations

import os
import signal

from fumehood._wire.table import EndCode, ErrorCode, Frame
from supervisor.conftest import Containers
from supervisor.container import Container, configuration, eventually


def test_destroy_ends_everything(container: Container) -> None:
    container.peer.shell("setsid sleep 1000 & (setsid sleep 1000 &)")
    container.destroy()


def test_the_ttl_ends_a_busy_session(containers: Containers) -> None:
    container = containers().begin(ttl_ms=500)
    container.peer.start("sleep", "1000")
    assert container.peer.wait_end().reason is EndCode.TTL
    assert container.wait_exit() is EndCode.TTL


def test_the_ttl_can_be_extended_and_lifted(containers: Containers) -> None:
    container = containers().begin(ttl_ms=60_000)
    left = container.peer.extend(3_600_000).done.ttl_left_ms
    assert left is not None
    assert 3_500_000 < left <= 3_600_000
    assert container.peer.extend(0).done.ttl_left_ms is None
    container.peer.extend(200)
    assert container.peer.wait_end().reason is EndCode.TTL


def test_a_detached_session_keeps_some_end(containers: Containers) -> None:
    container = containers().begin(ttl_ms=60_000, detached=True)
    assert container.peer.extend(0).fail.error is ErrorCode.INVALID
    container.peer.ping()


def test_idle_time_ends_a_session_that_does_nothing(containers: Containers) -> None:
    container = containers().begin(idle_ms=300)
    assert container.peer.wait_end().reason is EndCode.IDLE
    assert container.wait_exit() is EndCode.IDLE


def test_a_running_command_is_not_idle_and_a_background_one_is(containers: Containers) -> None:
    container = containers().begin(idle_ms=400)
    peer = container.peer
    # Longer than the idle time, and yet it ends by itself; pings and questions are no work.
    assert peer.run("sleep", "1").exit.exit_code == 0
    left = peer.status().idle_left_ms
    assert left is not None
    assert left <= 400
    peer.shell("sleep 1000 &")
    assert peer.wait_end().reason is EndCode.IDLE


def test_without_its_client_a_session_ends_after_the_grace(containers: Containers) -> None:
    container = containers().begin(grace_ms=200)
    container.peer.start("sleep", "1000")
    container.peer.close()
    assert container.wait_exit() is EndCode.CLIENT_LOST


def test_without_grace_it_ends_at_once(containers: Containers) -> None:
    container = containers().begin(grace_ms=0)
    container.peer.close()
    assert container.wait_exit() is EndCode.CLIENT_LOST


def test_a_client_that_comes_back_within_the_grace_finds_the_session(
    containers: Containers,
) -> None:
    container = containers().begin(grace_ms=60_000)
    container.peer.shell("echo kept > file; sleep 1000 &")
    container.peer.close()
    second, _ = container.relay()
    welcome = second.hello()
    assert (welcome.configured, welcome.connection) == (True, 2)
    assert second.shell("cat file").stdout == b"kept\n"
    assert second.status().trees == 1
    second.send(Frame.DESTROY)
    assert second.wait_end().reason is EndCode.DESTROYED
    assert container.wait_exit() is EndCode.DESTROYED


def test_a_detached_session_outlives_its_client(containers: Containers) -> None:
    container = containers().begin(grace_ms=0, ttl_ms=60_000, detached=True)
    container.peer.close()
    second, _ = container.relay()
    second.hello()
    assert second.run("true").exit.exit_code == 0
    second.extend(100)
    assert second.wait_end().reason is EndCode.TTL
    assert container.wait_exit() is EndCode.TTL


def test_a_silent_client_is_lost(containers: Containers) -> None:
    container = containers().begin(heartbeat_ms=300, grace_ms=100)
    container.peer.start("sleep", "1000")
    container.peer.wait_closed()
    assert container.wait_exit() is EndCode.CLIENT_LOST


def test_any_sign_of_life_counts(containers: Containers) -> None:
    container = containers().begin(heartbeat_ms=500, grace_ms=0)
    peer = container.peer
    # Three times the patience in all, in a command that waits for its input.
    channel = peer.start("sh", "-c", "cat; echo heard", stdin=True)
    for _ in range(15):
        peer.send(Frame.STDIN, channel, b".")
        assert peer.expect(Frame.STDOUT).payload == b"."
        peer.is_silent(0.1)
    peer.send(Frame.EOF, channel)
    assert peer.finish(channel).stdout == b"heard\n"


def test_after_a_pause_nobody_is_taken_for_lost(containers: Containers) -> None:
    container = containers().begin(heartbeat_ms=3000, grace_ms=0)
    # PID 1 cannot stop itself, and nobody inside can; from outside it can be stopped like a paused container.
    os.kill(container.pid, signal.SIGSTOP)
    assert container.peer.is_silent(7)
    os.kill(container.pid, signal.SIGCONT)
    container.peer.ping()


def test_an_unconfigured_session_ends_with_its_client(containers: Containers) -> None:
    container = containers()
    container.peer.close()
    assert container.wait_exit() is EndCode.NOT_CONFIGURED


def test_a_stop_from_outside_is_obeyed(container: Container) -> None:
    container.signal(signal.SIGTERM)
    assert container.peer.wait_end().reason is EndCode.STOPPED
    assert container.wait_exit() is EndCode.STOPPED


def test_every_client_is_told_the_end(containers: Containers) -> None:
    container = containers().begin()
    second, relay = container.relay()
    second.hello()
    container.peer.send(Frame.DESTROY)
    assert container.peer.wait_end().reason is EndCode.DESTROYED
    assert second.wait_end().reason is EndCode.DESTROYED
    relay.wait()
    assert container.wait_exit() is EndCode.DESTROYED


def test_a_client_that_does_not_read_does_not_delay_the_end(containers: Containers) -> None:
    container = containers().begin(ttl_ms=60_000)
    # Both sockets full: nothing more can be told.
    for _ in range(8):
        container.peer.start("cat", "/dev/zero", limit=1 << 40)
    second, _ = container.relay()
    second.hello()
    second.send(Frame.DESTROY)
    assert container.wait_exit() is EndCode.DESTROYED


def test_a_configuration_is_answered_only_once_it_holds(containers: Containers) -> None:
    container = containers()
    os.chown(container.workspace, 1, 1)
    container.peer.hello()
    container.peer.configure(configuration(container.workspace, user="12345:54321"))
    status = eventually(container.workspace.stat, "the workspace")
    assert (status.st_uid, status.st_gid) == (12345, 54321)
