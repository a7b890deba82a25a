"""Removals that go on after their sessions are over, beside whatever comes next.

A session whose supervisor has said that all is dead can do no more harm; what is left is the
engine's own work (unmounting, deleting), which nobody has to wait for. Until it is done the
session's name is not free: whoever wants it next waits here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from fumehood.errors import SandboxError

_log = logging.getLogger("fumehood.engine")

Failed = Callable[[SandboxError], Awaitable[None]]
"""Told of a removal that has failed."""


class Releases:
    """The removals that one engine's client has under way.

    Args:
        remove: removes the container with this id and this nonce, and none that has taken its name.
    """

    def __init__(self, remove: Callable[[str, str], Awaitable[None]]) -> None:
        self._remove = remove
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._nonces: dict[str, str] = {}

    def begin(self, session_id: str, nonce: str, failed: Failed) -> None:
        """Go on with a removal in the background; of one that is under way already, nothing."""
        if session_id not in self._tasks:
            task = asyncio.create_task(self._go_on(session_id, nonce, failed))
            self._tasks[session_id] = task
            self._nonces[session_id] = nonce
            task.add_done_callback(lambda _: self._done(session_id))

    def _done(self, session_id: str) -> None:
        del self._tasks[session_id], self._nonces[session_id]

    async def _go_on(self, session_id: str, nonce: str, failed: Failed) -> None:
        try:
            await self._remove(session_id, nonce)
        except SandboxError as exc:
            _log.warning(
                "session %s is over, but could not be removed; `fumehood gc` will: %s",
                session_id,
                exc,
            )
            await failed(exc)

    def covers(self, nonce: str) -> bool:
        """Whether the container with this nonce is being removed: it is no session any more."""
        return nonce in self._nonces.values()

    async def wait(self, session_id: str) -> None:
        """Wait until nothing of that name is being removed, whether it succeeded or not."""
        task = self._tasks.get(session_id)
        if task is not None:
            await asyncio.wait({task})

    async def settle(self) -> None:
        """Wait for all that is under way: each bounds itself."""
        while self._tasks:
            await asyncio.wait(set(self._tasks.values()))
