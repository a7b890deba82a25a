"""What a forked child lets go of: the streams to its parent's sessions."""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections.abc import Generator
from typing import Protocol


class HasDescriptor(Protocol):
    """A socket, or what has one; less than 0: it has none any more."""

    def fileno(self) -> int:
        """Return the descriptor's number."""
        ...


_kept: weakref.WeakSet[HasDescriptor] = weakref.WeakSet()
_no_fork = threading.RLock()


def keep(stream: HasDescriptor) -> None:
    """Let no forked child have this descriptor, for as long as the object lives."""
    with _no_fork:
        _kept.add(stream)


@contextlib.contextmanager
def none_meanwhile() -> Generator[None, None, None]:
    """Make forks wait: for descriptors, of some milliseconds, that are nobody's yet."""
    with _no_fork:
        yield


def _let_go_in_child() -> None:
    """Give a forked child's copies of the sockets up, so that the parent's death ends the streams.

    The kernel ends a connection with its last descriptor: a child that outlives its parent would
    keep every session alive until its heartbeat is missed. The number is pointed elsewhere instead
    of closed, because the child's copy of the socket object will close it once more.
    """
    try:
        numbers = [number for stream in _kept if (number := stream.fileno()) >= 0]
        if numbers:
            null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
            for number in numbers:
                os.dup2(null, number, inheritable=False)
            os.close(null)
    finally:
        _no_fork.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_no_fork.acquire, after_in_parent=_no_fork.release, after_in_child=_let_go_in_child
    )
