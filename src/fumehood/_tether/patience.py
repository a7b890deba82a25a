"""A time that does not run while there is no stream."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable

_LEAST_LOOK = 0.1
"""Seconds between two looks at a time that has been extended."""


@contextlib.asynccontextmanager
async def patience(
    seconds: float | None, *, away: Callable[[], float]
) -> AsyncGenerator[None, None]:
    """Bound what is done by this many seconds, which are more by what is spent without a stream.

    Args:
        seconds: ``None``: no bound.
        away: for how many seconds in all there has been no stream.

    Raises:
        TimeoutError: the time is over.
    """
    loop = asyncio.get_running_loop()
    counted = away()
    timer: asyncio.TimerHandle | None = None

    def look() -> None:
        nonlocal counted, timer
        more, counted = away() - counted, away()
        if more > 0:
            timer = loop.call_later(max(more, _LEAST_LOOK), look)
        else:
            timeout.reschedule(loop.time())

    async with asyncio.timeout(None) as timeout:
        if seconds is not None:
            timer = loop.call_later(seconds, look)
        try:
            yield
        finally:
            if timer is not None:
                timer.cancel()
