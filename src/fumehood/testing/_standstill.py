"""Scripts that stand still and go on: what a pause and SIGSTOP are in memory.

A script is a coroutine, so it can be held between two of its steps: at the ``await`` where it is. A
cancellation that comes meanwhile waits, as a signal does for a process that stands still; only what
kills goes through.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from contextlib import asynccontextmanager
from typing import Any, Generic, TypeVar

from fumehood.testing._changes import Changes

T = TypeVar("T")


class Pause:
    """A session's pause, and its scripts, which stand still in it.

    It lasts until it is taken back, or it is tied to connections and holds for as long as one of
    them does.
    """

    def __init__(self) -> None:
        self._lasting = False
        self._tied: set[int] = set()
        self._over = False
        self._changed = Changes()
        self._running = 0
        self._limits: dict[asyncio.Timeout, float | None] = {}
        """The seconds that are left of each; None: it runs, or has no end."""
        self._begun = 0.0
        self._total = 0.0
        self.stopped: int = 0
        """How many commands the last pause has stopped."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} active={self.active} running={self._running}>"

    @property
    def active(self) -> bool:
        """Whether the session's commands are to stand still."""
        return not self._over and (self._lasting or bool(self._tied))

    @property
    def total(self) -> float:
        """Seconds of all pauses until now."""
        return self._total + (time.monotonic() - self._begun if self.active else 0.0)

    # --- who pauses -------------------------------------------------------------------------------

    def hold(self, connection: int | None) -> None:
        """Let all stand still; again, it changes nothing.

        Args:
            connection: to which this is tied; None: it lasts.
        """
        before = self.active
        if connection is None:
            self._lasting = True
        else:
            self._tied.add(connection)
        if self.active and not before:
            self.stopped = self._running
            self._begun = time.monotonic()
            for limit in self._limits:
                self._stop_clock(limit)

    def release(self, connection: int | None) -> None:
        """Take back what a connection holds; None: whatever anybody does."""
        before = self.active
        if connection is None:
            self._lasting = False
            self._tied.clear()
        else:
            self._tied.discard(connection)
        if before and not self.active:
            self._go_on()

    def end(self) -> None:
        """Let everything through from now on: what is to come is the session's end."""
        before, self._over = self.active, True
        if before:
            self._go_on()

    def _go_on(self) -> None:
        self._total += time.monotonic() - self._begun
        now = asyncio.get_running_loop().time()
        for limit, left in self._limits.items():
            if left is not None:
                limit.reschedule(now + left)
                self._limits[limit] = None
        self.tell()

    def _stop_clock(self, limit: asyncio.Timeout) -> None:
        when = limit.when()
        if when is not None and not limit.expired():
            self._limits[limit] = when - asyncio.get_running_loop().time()
            limit.reschedule(None)

    # --- who stands still -------------------------------------------------------------------------

    def tell(self) -> None:
        """Say that somebody may go on who was held for another reason than a pause."""
        self._changed.tell()

    @asynccontextmanager
    async def limited(self, seconds: float | None) -> AsyncGenerator[asyncio.Timeout, None]:
        """Give a piece of work so long; the clock stands still in a pause.

        Raises:
            TimeoutError: it was over.
        """
        async with asyncio.timeout(seconds) as limit:
            self._limits[limit] = None
            try:
                yield limit
            finally:
                del self._limits[limit]

    async def run(
        self,
        command: Coroutine[Any, Any, T],
        *,
        killed: Callable[[], bool],
        stands: Callable[[], bool] = lambda: False,
    ) -> T:
        """Run a command to its end, and count it as one that a pause stops.

        Args:
            command: what it does.
            killed: whether it is to go on, to its end, whoever holds it.
            stands: whether it is held even where nobody pauses.
        """
        self._running += 1
        try:
            return await self.steps(command, killed=killed, stands=stands)
        finally:
            self._running -= 1

    async def steps(
        self,
        work: Coroutine[Any, Any, T],
        *,
        killed: Callable[[], bool] = lambda: False,
        stands: Callable[[], bool] = lambda: False,
    ) -> T:
        """Run a part of a command that is counted elsewhere: see :meth:`run`."""

        def held() -> bool:
            return not self._over and not killed() and (self.active or stands())

        return await _Steps(work, held, self._changed)


class _Steps(Generic[T]):
    """A coroutine, each of whose steps waits for as long as it is held.

    Args:
        work: the coroutine.
        held: whether it is.
        changed: told when that may be otherwise.
    """

    def __init__(
        self, work: Coroutine[Any, Any, T], held: Callable[[], bool], changed: Changes
    ) -> None:
        self._work = work
        self._held = held
        self._changed = changed

    def __await__(self) -> Generator[Any, None, T]:
        work = self._work.__await__()
        error: BaseException | None = None
        try:
            while True:
                while self._held():
                    try:
                        yield from self._changed.wait().__await__()
                    except asyncio.CancelledError as exc:
                        error = exc
                try:
                    awaited = work.send(None) if error is None else work.throw(error)
                except StopIteration as end:
                    result: T = end.value
                    return result
                error = None
                try:
                    yield awaited
                except GeneratorExit:
                    raise
                except BaseException as exc:  # noqa: BLE001 - whatever it is, it is the work's
                    error = exc
        finally:
            work.close()
