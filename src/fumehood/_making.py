"""What a sandbox is about to make: it does not outlive the sandbox either."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from fumehood._tether.cleanup import to_the_end
from fumehood.errors import InvalidRequestError
from fumehood.session import AsyncSession


class Makings:
    """The sessions of one sandbox that are being made. One event loop."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[AsyncSession]] = set()
        self._closed = False

    async def run(self, make: Callable[[], Coroutine[Any, Any, AsyncSession]]) -> AsyncSession:
        """Make one. It cleans up after itself when cancelled, by its caller or by a close.

        Raises:
            InvalidRequestError: the sandbox was closed meanwhile.
        """
        if self._closed:
            raise _closed()
        # A task of its own, so that a close cancels what it has to and never its caller's task.
        task = asyncio.create_task(make())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            return await task
        except asyncio.CancelledError:
            if task.done() and not task.cancelled() and task.exception() is None:
                # Cancelled in the very moment in which it was ready: nobody gets the session.
                await to_the_end(_leave(task.result()))
                raise
            caller = asyncio.current_task()
            if self._closed and caller is not None and not caller.cancelling():
                raise _closed() from None
            raise

    async def close(self) -> None:
        """End them, and wait until nothing is left of them."""
        self._closed = True
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)


async def _leave(session: AsyncSession) -> None:
    if session.owned:
        await session.destroy(wait=True)
    else:
        await session.detach()


def _closed() -> InvalidRequestError:
    return InvalidRequestError("this sandbox has been closed")
