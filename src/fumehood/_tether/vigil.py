"""A stream that is silent while somebody waits: is there still a container at its other end?

An engine may tell the end of a container's stream late, or not at all (its shim was killed, say),
and the heartbeat needs a minute to find out. The engine itself knows at once, so it is asked; but
only where there is a reason to, since almost every call is answered within the first moment.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from fumehood._tether.cleanup import stop
from fumehood.errors import SandboxError

WaitExit = Callable[[], Awaitable[int]]
"""Waits until the engine says that the container has ended; returns its exit code."""

QUIET_SECONDS = 1.0
"""Silence, with calls under way, after which the engine is asked."""
LAST_WORDS_SECONDS = 0.5
"""What the stream has to bring its last bytes once the container has ended."""


class Vigil:
    """Looks after one tether: one timer while calls are under way, and one task once it was silent.

    Args:
        ended: how the engine is asked; ``None``: it cannot be, and nobody looks.
        busy: whether calls are under way.
        over: called with the exit code when the container has ended and the stream has not.
        lost: called with the reason when the engine cannot tell any more.
    """

    def __init__(
        self,
        ended: WaitExit | None,
        *,
        busy: Callable[[], bool],
        over: Callable[[int], None],
        lost: Callable[[SandboxError], None],
    ) -> None:
        self._ended = ended
        self._busy = busy
        self._over = over
        self._lost = lost
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self.heard: bool = False
        """Set by whoever hears something."""

    def begin(self) -> None:
        """Note that a call is under way."""
        if self._ended is not None and self._timer is None and self._task is None:
            self.heard = False
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(QUIET_SECONDS, self._look)

    def _look(self) -> None:
        self._timer = None
        if not self._busy():
            return
        if self.heard:
            self.begin()
        else:
            # From now on to the end of the session: a second silence costs nothing more.
            self._ask()

    def stay(self) -> None:
        """Ask the engine from now on, whatever the stream says."""
        if self._task is None:
            self.end()
            self._ask()

    def _ask(self) -> None:
        if self._ended is not None:
            self._task = asyncio.get_running_loop().create_task(self._wait(self._ended))

    async def _wait(self, ended: WaitExit) -> None:
        try:
            code = await ended()
        except SandboxError as exc:
            await asyncio.sleep(LAST_WORDS_SECONDS)
            self._lost(exc)
            return
        await asyncio.sleep(LAST_WORDS_SECONDS)
        self._over(code)

    def end(self) -> None:
        """Stop looking."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()

    async def close(self) -> None:
        """Stop looking, and wait until that is so."""
        self.end()
        await stop(self._task)
