"""A call that is cancelled at its n-th step: of its own, or of a task that it has started."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

SECONDS = 30.0
"""In which a cancelled call must have ended: cleaning up a creation takes several of the engine's
calls. Longer is a hang."""


class _Counted(Coroutine[Any, Any, Any]):
    """A coroutine that tells each time that it waits."""

    def __init__(self, coro: Coroutine[Any, Any, Any], waits: Callable[[], None]) -> None:
        self._coro = coro
        self._waits = waits

    def send(self, value: Any) -> Any:
        waits_for = self._coro.send(value)
        self._waits()
        return waits_for

    def throw(self, *error: Any) -> Any:
        waits_for = self._coro.throw(*error)
        self._waits()
        return waits_for

    def close(self) -> None:
        self._coro.close()

    def __await__(self) -> Any:
        return self._coro.__await__()


async def cancelled_at(step: int, make: Callable[[], Coroutine[Any, Any, Any]]) -> bool:
    """Run a call and cancel it at a step; return whether it had so many.

    Args:
        step: 0 is before anything of it has run.
        make: makes the call.

    Raises:
        TimeoutError: it did not end.
    """
    loop = asyncio.get_running_loop()
    left = step
    cancelled = False
    outer: asyncio.Task[Any] | None = None

    def cancel() -> None:
        nonlocal cancelled
        # What goes on behind a call has steps too: by the time of this one it may have returned.
        cancelled = outer is not None and outer.cancel()

    def count() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            loop.call_soon(cancel)

    def factory(loop: asyncio.AbstractEventLoop, coro: Any, **kw: Any) -> asyncio.Task[Any]:
        return asyncio.Task(_Counted(coro, count), loop=loop, **kw)

    loop.set_task_factory(factory)
    try:
        outer = asyncio.ensure_future(make())
        if step == 0:
            cancel()
        _, hangs = await asyncio.wait({outer}, timeout=SECONDS)
    finally:
        loop.set_task_factory(None)
    if hangs:
        raise TimeoutError(f"cancelled at step {step}, it hangs: {outer!r}")
    if not outer.cancelled() and (error := outer.exception()) is not None:
        raise error
    return cancelled
