"""How much memory a piece of a test has cost at its worst."""

from __future__ import annotations

import contextlib
import gc
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

_PAGE = 4096
_PERIOD = 0.005


def resident() -> int:
    """Return this process's resident memory in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE


@contextlib.contextmanager
def growth() -> Iterator[Callable[[], int]]:
    """Watch the resident memory; what is given returns by how much it rose at most."""
    gc.collect()
    before = resident()
    peak = before
    over = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not over.wait(_PERIOD):
            peak = max(peak, resident())

    watcher = threading.Thread(target=watch, name="memory-watch")
    watcher.start()
    try:
        yield lambda: peak - before
    finally:
        peak = max(peak, resident())
        over.set()
        watcher.join()
