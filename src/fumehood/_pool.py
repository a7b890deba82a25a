"""The machinery of a pool: how many containers wait, which one is next, and what replaces it.

Nothing here polls. Whatever changes the stock (a claim, a fill, a loss, an age) calls
:meth:`WarmPool._tend`, which starts what is missing; the engine lets it run when nothing else wants
to be created. One timer stands for the age of all.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable

from fumehood import hooks
from fumehood._checks import seconds
from fumehood._claim import Warm
from fumehood._tether.cleanup import unattended
from fumehood.errors import InvalidRequestError, SandboxError
from fumehood.pool import Pool, PoolChange, PoolStats
from fumehood.results import EndReason

logger: logging.Logger = logging.getLogger("fumehood.pool")

REFILL_SECONDS = 0.1
"""Seconds between a claim and its replacement, unless nothing is left."""
_FIRST_PAUSE = 1.0
_LAST_PAUSE = 60.0
"""Seconds until a pool that could not be filled is tried again: doubled with each failure."""


class WarmPool:
    """The stock of one sandbox. One event loop.

    Args:
        pool: what it is to hold.
        fill: makes one container that waits; on an error or a cancellation nothing of it is left.
        discard: ends and removes one.
        hook: told of each change.
    """

    def __init__(
        self,
        pool: Pool,
        *,
        fill: Callable[[], Awaitable[Warm]],
        discard: Callable[[Warm], Awaitable[None]],
        hook: hooks.Hook[hooks.PoolChanged] | None,
    ) -> None:
        self._pool = pool
        self._fill = fill
        self._discard = discard
        self._hook = hook
        self._max_age = seconds(pool.max_age, "max_age")
        self._target = pool.min_idle
        self._idle: deque[Warm] = deque()
        self._fills: set[asyncio.Task[None]] = set()
        self._discards: set[asyncio.Task[None]] = set()
        self._tellings: set[asyncio.Task[None]] = set()
        self._waiters: set[asyncio.Future[None]] = set()
        self._counts = dict.fromkeys(PoolChange, 0)
        self._last_error = ""
        self._pause = _FIRST_PAUSE
        self._not_before: asyncio.TimerHandle | None = None
        self._ageing: asyncio.TimerHandle | None = None
        self._refill: asyncio.TimerHandle | None = None
        self._begun = False
        self._closed = False

    def __repr__(self) -> str:
        return f"<WarmPool idle={len(self._idle)} filling={len(self._fills)} of {self._target}>"

    def stats(self) -> PoolStats:
        """Return live numbers."""
        return PoolStats(
            idle=len(self._idle),
            filling=len(self._fills),
            target=self._target,
            last_error=self._last_error,
            **{change.value: count for change, count in self._counts.items()},
        )

    # --- what a sandbox asks of it ------------------------------------------------------------

    def start(self) -> None:
        """Begin to fill it, or to replace what was found missing."""
        if not self._begun or not self._idle:
            self._tend()

    async def warm_up(self) -> None:
        """Wait until as many containers wait as are to wait when nothing goes on.

        Raises:
            SandboxError: one could not be made; the pool goes on trying by itself.
        """
        self._tend(now=True)
        while len(self._idle) < self._pool.min_idle:
            if self._closed:
                raise InvalidRequestError("this sandbox has been closed")
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.add(waiter)
            try:
                await waiter
            finally:
                self._waiters.discard(waiter)

    def take(self) -> Warm | None:
        """Return the container that has waited longest, for good; ``None`` if there is none."""
        while self._idle:
            warm = self._idle.popleft()
            if time.monotonic() - warm.made < self._max_age:
                return warm
            # Its timer is about to say so.
            self._let_go(warm, PoolChange.RECYCLED)
        self._count(PoolChange.MISSED)
        if self._begun:
            # Who finds it empty is one of many that come at once: for the next ones, hold more.
            self._target = min(self._pool.max_idle, 2 * self._target)
        # What is missing is made once the caller has its session: see :meth:`start`.
        return None

    def give_back(self, warm: Warm) -> None:
        """Take a container back that was not touched."""
        if self._closed:
            self._let_go(warm, None)
        else:
            self._idle.appendleft(warm)
            self._watch(warm)

    def claimed(self) -> None:
        """Note that the last one taken has become a session."""
        self._count(PoolChange.CLAIMED)
        if not self._idle:
            self._tend()
        elif self._refill is None:
            # In a moment: the new session's first command is to have the machine for itself.
            loop = asyncio.get_running_loop()
            self._refill = loop.call_later(REFILL_SECONDS, self._tend)

    def lost(self, warm: Warm, why: str) -> None:
        """Note that one taken was of no use, and is being removed by whoever took it."""
        logger.warning("warm container %s was of no use: %s", warm.id, why)
        self._count(PoolChange.LOST)
        self._tend()

    def spent(self) -> None:
        """Note that the last one taken went with a create that failed, by no fault of its own."""
        self._count(PoolChange.LOST)
        self._tend()

    def stop(self) -> None:
        """Begin nothing any more."""
        self._closed = True

    async def close(self) -> None:
        """Remove all that wait; nothing is left when this returns."""
        self.stop()
        for timer in (self._not_before, self._ageing, self._refill):
            if timer is not None:
                timer.cancel()
        for fill in self._fills:
            fill.cancel()
        while self._idle:
            self._let_go(self._idle.popleft(), None)
        self._wake(None)
        while pending := self._fills | self._discards | self._tellings:
            await asyncio.wait(pending)

    # --- the stock ----------------------------------------------------------------------------

    def _tend(self, *, now: bool = False) -> None:
        """Begin to make what is missing.

        Args:
            now: also during the pause after a failure.
        """
        if self._refill is not None:
            self._refill.cancel()
            self._refill = None
        if self._closed:
            return
        self._begun = True
        if self._not_before is not None:
            if not now:
                return
            self._not_before.cancel()
            self._not_before = None
        while len(self._idle) + len(self._fills) < self._target:
            task = asyncio.create_task(self._add())
            self._fills.add(task)
            task.add_done_callback(self._fills.discard)
            task.add_done_callback(unattended)

    async def _add(self) -> None:
        try:
            warm = await self._fill()
        except SandboxError as exc:
            self._fill_failed(exc)
            return
        except Exception as exc:
            # Nothing that is foreseen; still nobody is to wait for ever, and the event loop tells.
            self._fill_failed(SandboxError(f"a warm container could not be made: {exc!r}"))
            raise
        if self._closed:
            self._let_go(warm, None)
            return
        if (task := asyncio.current_task()) is not None:
            self._fills.discard(task)  # it counts as one that waits from here on
        self._last_error, self._pause = "", _FIRST_PAUSE
        self._idle.append(warm)
        self._watch(warm)
        self._count(PoolChange.FILLED)
        self._set_age_timer()
        self._wake(None)

    def _fill_failed(self, exc: SandboxError) -> None:
        if self._not_before is None and not self._closed:
            logger.warning("the pool could not be filled, again in %g s: %s", self._pause, exc)
            loop = asyncio.get_running_loop()
            self._not_before = loop.call_later(self._pause, self._try_again)
            self._pause = min(2 * self._pause, _LAST_PAUSE)
        self._last_error = str(exc)
        self._count(PoolChange.FAILED)
        self._wake(exc)

    def _try_again(self) -> None:
        self._not_before = None
        self._tend()

    def _watch(self, warm: Warm) -> None:
        warm.tether.watch(lambda reason: self._ended(warm, reason))

    def _ended(self, warm: Warm, reason: EndReason) -> None:
        if warm in self._idle:
            self._idle.remove(warm)
            logger.warning("warm container %s ended while it waited: %s", warm.id, reason)
            self._let_go(warm, PoolChange.LOST)
            self._pause_after_loss()

    def _pause_after_loss(self) -> None:
        """Not at once: what ended this one may end the next one as well."""
        if self._not_before is None and not self._closed:
            loop = asyncio.get_running_loop()
            self._not_before = loop.call_later(_FIRST_PAUSE, self._try_again)

    def _set_age_timer(self) -> None:
        if self._ageing is None and self._idle and not self._closed:
            due = self._idle[0].made + self._max_age - time.monotonic()
            self._ageing = asyncio.get_running_loop().call_later(max(due, 0.0), self._aged)

    def _aged(self) -> None:
        self._ageing = None
        while self._idle and time.monotonic() - self._idle[0].made >= self._max_age:
            self._let_go(self._idle.popleft(), PoolChange.RECYCLED)
            # What a burst has raised sinks again with each one that nobody wanted.
            self._target = max(self._pool.min_idle, self._target - 1)
        self._tend()
        self._set_age_timer()

    def _let_go(self, warm: Warm, change: PoolChange | None) -> None:
        task = asyncio.create_task(self._remove(warm))
        self._discards.add(task)
        task.add_done_callback(self._discards.discard)
        if change is not None:
            self._count(change)

    async def _remove(self, warm: Warm) -> None:
        try:
            await self._discard(warm)
        except SandboxError as exc:
            # It has ended with its stream; what the engine could not do, a sweep will.
            logger.warning("warm container %s could not be removed: %s", warm.id, exc)

    # --- who is told --------------------------------------------------------------------------

    def _wake(self, error: SandboxError | None) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                if error is None:
                    waiter.set_result(None)
                else:
                    waiter.set_exception(error)

    def _count(self, change: PoolChange) -> None:
        self._counts[change] += 1
        if self._hook is not None:
            event = hooks.PoolChanged(change=change, stats=self.stats())
            task = asyncio.create_task(hooks.tell(self._hook, event))
            self._tellings.add(task)
            task.add_done_callback(self._tellings.discard)
