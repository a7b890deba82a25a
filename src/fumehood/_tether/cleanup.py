"""Clean-up that is never left half-way: the one place where a cancellation is made to wait."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

logger = logging.getLogger("fumehood.tether")

_T = TypeVar("_T")


async def to_the_end(work: Coroutine[Any, Any, _T]) -> _T:
    """Run clean-up to its end, however often the caller is cancelled meanwhile.

    The work must bound itself. A cancellation is held back, not lost: it goes on afterwards, and
    then what the work raised is logged, since only one of the two can be raised.

    Without a running loop there is nobody to run it: the caller is being thrown away with a loop
    that was closed under it. What it leaves behind is the supervisor's and the sweep's to remove.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        work.close()
        raise GeneratorExit from None
    task = asyncio.ensure_future(work)
    held: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as exc:
            held = exc
    if held is None:
        return task.result()
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.warning("clean-up of a cancelled operation failed: %s", error)
    raise held


async def stop(task: asyncio.Task[Any] | None) -> None:
    """Cancel a task of ours and wait until it is gone; what it raised no longer matters."""
    if task is None or task.done():
        return
    task.cancel()
    await asyncio.wait({task})


def unattended(task: asyncio.Task[Any]) -> None:
    """Take note of the end of a task that nobody waits for; a callback for when it is done.

    An interrupt that hits it is raised by its event loop already, and is no news of the task's. Any
    other error is told as asyncio tells of those that were never retrieved.
    """
    if task.cancelled() or (error := task.exception()) is None:
        return
    if not isinstance(error, (KeyboardInterrupt, SystemExit)):
        task.get_loop().call_exception_handler(
            {"message": "a task that nobody waits for failed", "exception": error, "task": task}
        )
