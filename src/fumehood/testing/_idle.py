"""How long nothing has gone on in a session, and its end when that was long enough."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from fumehood._wire.table import Operation

_WAITING = frozenset({Operation.LISTEN, Operation.WATCH})
"""For somebody who may never come, and for what may never happen: no activity."""


def counts(operation: Operation) -> bool:
    """Return whether an operation that is under way keeps a session from being idle."""
    return operation not in _WAITING


class IdleClock:
    """The idle time of a session: it runs for as long as nothing goes on.

    Args:
        over: called once it has run out.
    """

    def __init__(self, over: Callable[[], None]) -> None:
        self._over = over
        self._seconds = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._seconds:g} s>"

    @property
    def limited(self) -> bool:
        """Whether there is a limit at all."""
        return self._seconds > 0

    @property
    def left(self) -> float:
        """Seconds that are left: all of them while something goes on."""
        if self._timer is None:
            return self._seconds
        return max(0.0, self._timer.when() - asyncio.get_running_loop().time())

    def begin(self, seconds: float) -> None:
        """Start it; 0: no limit."""
        self._seconds = seconds
        self.note(busy=False)

    def note(self, *, busy: bool) -> None:
        """Say whether something goes on: the end of that is where it starts anew."""
        if busy:
            self.stop()
        elif self._timer is None and self.limited:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._seconds, self._over)

    def stop(self) -> None:
        """Stop it, and forget how long it has run."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
