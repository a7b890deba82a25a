"""Ctrl-C: the command dies, the session goes, and the exit code says so."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pexpect
import pytest

from cli.program import (
    PATIENCE,
    Fumehood,
    containers,
    environment,
    volumes,
    wait_until_gone,
)

pytestmark = pytest.mark.engine

WAITING = ["sh", "-c", "echo ready; setsid sleep 1000 & sleep 1000"]


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_ends_the_command_and_removes_the_session(
    fumehood: Fumehood, new_id: str, number: signal.Signals, code: int
) -> None:
    process = fumehood.start("run", "--id", new_id, "--timeout", "0", "--", *WAITING)
    assert process.stdout
    assert process.stderr
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(number)
    assert process.wait(PATIENCE) == code
    assert containers(new_id) == []
    assert volumes(new_id) == []
    errors = process.stderr.read().decode()
    assert f"{number.name}: cleaning up" in errors
    assert "Traceback" not in errors


def test_control_c_at_a_terminal_does_the_same(fumehood: Fumehood, new_id: str) -> None:
    words = fumehood.words("run", "--id", new_id, "--timeout", "0", "--", *WAITING)
    terminal = pexpect.spawn(words[0], words[1:], env=environment(), timeout=PATIENCE)
    terminal.expect_exact("ready")
    terminal.sendintr()
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 130
    assert containers(new_id) == []


def test_while_the_session_is_made_it_leaves_nothing(fumehood: Fumehood, new_id: str) -> None:
    # The image is looked up, then the container made: stop at the first sign of life.
    process = fumehood.start("--log-level", "debug", "run", "--id", new_id, "--", *WAITING)
    assert process.stderr
    for line in process.stderr:
        if b"fumehood.engine" in line:
            break
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE) == 130
    wait_until_gone(new_id)


def test_in_a_session_that_is_there_only_the_command_dies(fumehood: Fumehood, session: str) -> None:
    process = fumehood.start("exec", "--timeout", "0", session, "--", *WAITING)
    assert process.stdout
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE) == 130
    left = fumehood("exec", session, "--", "pgrep", "-a", "sleep")
    assert (left.code, left.out) == (1, b"")


class Relay:
    """A way to the engine that holds back deletions, for as long as the test wants."""

    def __init__(self, path: Path) -> None:
        self.address = f"unix://{path}"
        self.deleting = threading.Event()
        self.released = threading.Event()
        self._listening = socket.create_server(str(path), family=socket.AF_UNIX)
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def _start(self, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            client, _ = self._listening.accept()
            if self.released.is_set():
                client.close()
                return
            self._start(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as engine:
            engine.connect("/var/run/docker.sock")
            back = threading.Thread(target=self._copy, args=(engine, client))
            back.start()
            self._copy(client, engine, hold=True)
            back.join()

    def _copy(self, source: socket.socket, target: socket.socket, *, hold: bool = False) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if hold and data.startswith(b"DELETE "):
                    self.deleting.set()
                    self.released.wait(PATIENCE)
                target.sendall(data)
        for end in (source, target):
            # Wakes the copy in the other direction: a connection ends as a whole.
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.released.set()
        with socket.socket(socket.AF_UNIX) as last:
            last.connect(self.address.removeprefix("unix://"))
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()
        self._listening.close()


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Relay]:
    made = Relay(tmp_path / "docker.sock")
    yield made
    made.close()


@pytest.mark.slow
def test_a_second_signal_leaves_at_once_and_the_lease_does_the_rest(
    fumehood: Fumehood, new_id: str, relay: Relay
) -> None:
    process = fumehood.start(
        "-H", relay.address, "run", "--id", new_id, "--timeout", "0", "--", *WAITING
    )
    assert process.stdout
    assert process.stderr
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGINT)
    # Its removal is asked for and not answered; the engine may be faster, and remove it by itself.
    assert relay.deleting.wait(PATIENCE)
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE) == 130
    assert "lease ends it within seconds" in process.stderr.read().decode()
    wait_until_gone(new_id)
