"""Forked children let the descriptors of sessions go."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable

from fumehood.engines import forks

PATIENCE = 30.0


def with_a_child(check: Callable[[], None]) -> None:
    """Fork a child that does nothing but live, check something, and let it end."""
    ends, keeps = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(keeps)
        os.read(ends, 1)
        os._exit(0)
    try:
        check()
    finally:
        os.close(keeps)
        os.close(ends)
        os.waitpid(child, 0)


def test_a_kept_sockets_end_is_seen_while_a_child_lives() -> None:
    ours, theirs = socket.socketpair()
    forks.keep(ours)
    theirs.settimeout(PATIENCE)

    def check() -> None:
        ours.close()
        assert theirs.recv(1) == b""

    with theirs:
        with_a_child(check)


def test_another_sockets_end_is_not() -> None:
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)

    def check() -> None:
        ours.close()
        try:
            assert theirs.recv(1) != b""
        except BlockingIOError:
            return

    with theirs:
        with_a_child(check)


def test_a_fork_waits_until_every_descriptor_is_known() -> None:
    opened: list[socket.socket] = []
    begun, go_on = threading.Event(), threading.Event()

    def dial() -> None:
        with forks.none_meanwhile():
            opened.extend(socket.socketpair())
            begun.set()
            go_on.wait(PATIENCE)
            forks.keep(opened[0])

    thread = threading.Thread(target=dial)
    thread.start()
    assert begun.wait(PATIENCE)
    # The fork below begins before this, as a rule; what holds does not depend on it.
    timer = threading.Timer(0.05, go_on.set)
    timer.start()

    def check() -> None:
        assert go_on.is_set()
        opened[0].close()
        opened[1].settimeout(PATIENCE)
        assert opened[1].recv(1) == b""

    with_a_child(check)
    opened[1].close()
    thread.join()
    timer.join()
