"""What hostile commands try against the supervisor itself."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from fumehood._wire.requests import Hello
from fumehood._wire.table import ExecCode, Frame, Operation
from supervisor.conftest import Containers
from supervisor.container import RESERVED, Container, eventually

FLOOD = """
import ctypes, os, signal
libc = ctypes.CDLL(None)
for i in range(200000):
    libc.sigqueue(1, [signal.SIGTERM, signal.SIGCHLD, signal.SIGRTMIN, signal.SIGUSR1][i % 4], 0)
"""

CONNECT = """
import socket
for _ in range(300):
    s = socket.socket(socket.AF_UNIX)
    s.connect("\\0fumehood")
    try:
        s.sendall(b"x" * 8)
        assert s.recv(1) == b""
    except (BrokenPipeError, ConnectionResetError):
        pass
print("refused")
"""


@pytest.fixture(scope="session")
def probe(passable: Path) -> Path:
    """The program that tries everything that one process can do to another."""
    program = passable / "probe"
    source = Path(__file__).with_name("probe.c")
    subprocess.run(["cc", "-O1", "-static", "-o", str(program), str(source)], check=True)
    return program


@pytest.mark.parametrize("user", ["root", "12345"])
def test_nothing_can_be_done_to_the_supervisors_processes(
    containers: Containers, probe: Path, user: str
) -> None:
    # Even a command that may change its uid and anybody's files. (With DAC_OVERRIDE, which passes by file modes, it
    # could make the supervisor one of the first to be killed when memory runs out.)
    container = containers(
        capabilities="+setuid,+setgid,+kill,+chown,+fowner,+fsetid,+net_bind_service"
    ).begin(user=user, workload_caps=1 << 7 | 1 << 6 | 1 << 0 | 1 << 3 | 1 << 4 | 1 << 10)
    other = container.peer.start("sleep", "1000")
    eventually(container.processes, "a command, so that there is a reaper")
    for pid in (1, *container.supervisors()):
        done = container.peer.run(str(probe), str(pid))
        assert done.stdout == b"probed\n", (pid, done)
    container.peer.send(Frame.CANCEL, other)
    assert container.peer.finish(other).exit.killed == 1


@pytest.mark.parametrize("user", ["root", "12345"])
def test_no_signal_from_inside_moves_it(containers: Containers, user: str) -> None:
    container = containers().begin(user=user)
    script = "for n in $(seq 1 64); do kill -$n 1; done; kill -9 1; kill -TERM 1; echo sent"
    assert b"sent" in container.peer.shell(script).stdout
    container.peer.ping()
    assert container.peer.run("true").exit.exit_code == 0


def test_a_flood_of_signals_changes_nothing(container: Container) -> None:
    def queued() -> int:
        status = Path(f"/proc/{container.pid}/status").read_text()
        return int(status.split("\nSigQ:\t")[1].split("/")[0])

    before = queued()
    channel = container.peer.start("python3", "-S", "-c", FLOOD)
    for _ in range(10):
        container.peer.ping()
    assert container.peer.finish(channel).exit.exit_code == 0
    assert queued() <= before + 8


@pytest.mark.parametrize("user", ["root", "12345"])
def test_only_the_reserved_uid_comes_in(containers: Containers, user: str) -> None:
    container = containers().begin(user=user)
    assert container.peer.run("python3", "-S", "-c", CONNECT).stdout == b"refused\n"
    assert container.peer.status().connections == 1
    second, _ = container.relay()
    assert second.hello().connection == 2


def test_a_relay_of_another_uid_gives_up(container: Container) -> None:
    _, relay = container.relay(uid=RESERVED - 1)
    assert relay.wait(timeout=30) == 20


def test_a_relay_with_a_wrong_nonce_is_told_nothing(container: Container) -> None:
    second, relay = container.relay()
    second.send_bytes(Hello(nonce=b"x" * 32, client="test").encode())
    assert second.wait_closed() == []
    relay.wait(timeout=30)
    container.peer.ping()


def test_a_relay_trusts_nobody_but_process_1(container: Container, binary: Path) -> None:
    # Another network namespace has another socket of that name, whose owner is not process 1.
    script = (
        "import socket, subprocess, sys\n"
        "s = socket.socket(socket.AF_UNIX); s.bind('\\0fumehood'); s.listen()\n"
        f"sys.exit(subprocess.run(['setpriv', '--reuid={RESERVED}', '--regid={RESERVED}', "
        f"'--clear-groups', {str(binary)!r}, 'relay']).returncode)"
    )
    done = subprocess.run(
        ["unshare", "--net", "python3", "-S", "-c", script],
        check=False,
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == 22, done.stderr
    nobody = subprocess.run(
        [
            "unshare",
            "--net",
            "setpriv",
            f"--reuid={RESERVED}",
            f"--regid={RESERVED}",
            "--clear-groups",
            str(binary),
            "relay",
        ],
        check=False,
        capture_output=True,
        timeout=60,
    )
    assert nobody.returncode == 21, nobody.stderr


def test_sixteen_connections_are_held_and_one_more_is_closed(container: Container) -> None:
    others = [container.relay()[0] for _ in range(15)]
    for other in others:
        other.hello()
    one_more, relay = container.relay()
    assert one_more.wait_closed() == []
    relay.wait(timeout=30)
    for other in others:
        assert other.run("echo", "hi").stdout == b"hi\n"
    others[0].close()
    eventually(lambda: container.peer.status().connections == 15, "a place")
    assert container.relay()[0].hello().configured


def test_when_a_reaper_is_killed_its_tree_dies_and_the_session_lives(container: Container) -> None:
    peer = container.peer
    peer.run("true")
    bystander = peer.start("cat", stdin=True)
    eventually(lambda: len(container.processes()) == 1, "a bystander")
    before = container.supervisors()
    channel = peer.start("sh", "-c", "setsid sleep 1000 & (setsid sleep 1000 &); sleep 1000")
    eventually(lambda: len(container.processes()) == 5, "a tree")
    # What the kernel's memory killer could do, and nobody inside.
    leader = min(pid for pid, line in container.processes().items() if line.startswith("sh -c"))
    status = container.peer.shell(f"grep PPid /proc/{leader}/status").stdout
    reaper = int(status.split()[1])
    os.kill(container.supervisors()[reaper], signal.SIGKILL)
    result = peer.finish(channel).exit
    assert result.reason in (ExecCode.SIGNALED, ExecCode.OUT_OF_MEMORY)
    assert len(container.processes()) == 1, before
    peer.send(Frame.STDIN, bystander, b"alive")
    assert peer.expect(Frame.STDOUT).payload == b"alive"


def test_the_pair_kept_in_readiness_may_be_killed(container: Container) -> None:
    for _ in range(3):
        assert container.peer.run("true").exit.exit_code == 0
        spares = eventually(container.supervisors, "a pair in readiness")
        for pid in spares.values():
            # The end of the one may take the other along before it is its turn.
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        eventually(lambda: not spares.keys() & container.supervisors().keys(), "its end")  # noqa: B023
        assert container.peer.shell("echo on").stdout == b"on\n"


def test_a_command_that_eats_all_memory_is_out_of_memory_and_the_session_lives(
    containers: Containers,
) -> None:
    container = containers(memory=64 << 20).begin()
    peer = container.peer
    eat = "x = []\nwhile True: x.append(bytes(1 << 20))"
    for _ in range(3):
        result = peer.run("python3", "-S", "-c", eat).exit
        assert (result.reason, result.exit_code) == (ExecCode.OUT_OF_MEMORY, 137)
        # In the shell's words, with the same meaning.
        told = peer.shell(f"python3 -S -c '{eat}'; exit $?").exit
        assert (told.reason, told.exit_code, told.signal) == (ExecCode.OUT_OF_MEMORY, 137, 0)
        # Killed by itself, with no such kill meanwhile: only a signal.
        assert peer.shell("kill -9 $$").exit.reason is ExecCode.SIGNALED
    assert peer.file(Operation.STAT, b".", follow=0).done


def test_names_that_imitate_the_process_table_are_only_names(container: Container) -> None:
    rename = (
        "import ctypes, os, time\n"
        "ctypes.CDLL(None).prctl(15, b'x) R 1 1 1 (', 0, 0, 0)\n"
        "if os.fork() == 0: time.sleep(1000)\n"
        "time.sleep(1000)"
    )
    result = container.peer.run("python3", "-S", "-c", rename, timeout_ms=500).exit
    assert (result.reason, result.killed) == (ExecCode.TIMED_OUT, 2)
    assert container.processes() == {}


def test_the_workspace_may_vanish(container: Container) -> None:
    shutil.rmtree(container.workspace)
    assert container.peer.run("true", cwd=b".").exit.exit_code == 0
    assert container.peer.file(Operation.STAT, b"x", follow=0).fail
    container.workspace.mkdir()
