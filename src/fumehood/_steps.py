"""Where the time of a start goes: a stopwatch for each step, some of them side by side."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Generator


class Steps:
    """Seconds by the name of a step, in the order in which the steps began.

    A step that is taken twice counts both times. Steps that overlap count in full each, so their
    sum may be more than the whole took.
    """

    __slots__ = ("_began", "_seconds")

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def step(self, name: str) -> Generator[None, None, None]:
        """Measure the block, also one that fails."""
        began = time.monotonic()
        self._seconds.setdefault(name, 0.0)
        try:
            yield
        finally:
            self._seconds[name] += time.monotonic() - began

    @property
    def total(self) -> float:
        """Seconds since this was made."""
        return time.monotonic() - self._began

    def seconds(self) -> dict[str, float]:
        """Return what was measured so far."""
        return dict(self._seconds)
