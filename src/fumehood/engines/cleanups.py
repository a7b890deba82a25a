"""Clean-up on an engine that goes on whatever becomes of the call that needs it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


class Cleanups:
    """The clean-up that one engine's client has under way.

    Work must bound itself, and tell of its own failures: after a second cancellation there is
    nobody else who could.
    """

    def __init__(self) -> None:
        # A loop holds its tasks weakly.
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Do the work; when cancelled, leave it to the background, where :meth:`settle` waits.

        Who cleans up after a cancellation is not cancelled by it: it takes another one to go on
        before the work is done.
        """
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            # The caller is thrown away with a loop that was closed under it: a sweep's, then.
            work.close()
            raise GeneratorExit from None
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        await asyncio.shield(task)

    async def settle(self) -> None:
        """Wait for all that is under way."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))
