"""Calls that may block for ever (a frozen terminal, an idle pipe), away from the event loop.

The loop must run on: it answers the supervisor's heartbeats and takes Ctrl-C. asyncio's own threads
will not do: the interpreter waits for them at its end.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

_T = TypeVar("_T")


class DaemonThread:
    """One thread that makes calls one after the other, and that nobody waits for at the end.

    Cancelling a caller does not end the call that is under way: what it returns is thrown away.
    """

    def __init__(self, name: str) -> None:
        self._work: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        threading.Thread(target=self._serve, name=name, daemon=True).start()

    def _serve(self) -> None:
        while True:
            self._work.get()()

    async def call(self, function: Callable[..., _T], *arguments: Any) -> _T:  # noqa: ANN401
        """Make a call in the thread and return what it returns, or raise what it raises."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[_T] = loop.create_future()

        def settle(value: _T | None, error: BaseException | None) -> None:
            if future.done():
                return
            if error is None:
                future.set_result(value)  # type: ignore[arg-type]
            else:
                future.set_exception(error)

        def work() -> None:
            value: _T | None = None
            error: BaseException | None = None
            try:
                value = function(*arguments)
            except BaseException as exc:  # noqa: BLE001 - it is raised in the caller
                error = exc
            try:
                loop.call_soon_threadsafe(settle, value, error)
            except RuntimeError:
                # The loop is over, and with it whoever had asked.
                return

        self._work.put(work)
        return await future
