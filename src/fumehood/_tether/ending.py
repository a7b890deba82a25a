"""Why a tether is over, once it is, and who is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from fumehood.errors import SandboxError
from fumehood.results import EndReason

Failure = Callable[[], SandboxError]
"""Makes an error: each of those who wait gets an exception object of its own."""


class Ending:
    """The end of one tether; it has none at first."""

    __slots__ = ("_known", "_on_end", "_reason", "failure")

    def __init__(self) -> None:
        self.failure: Failure | None = None
        """What everything fails with; ``None``: nothing does."""
        self._known: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._reason: EndReason | None = None
        self._on_end: Callable[[EndReason], None] | None = None

    def check(self) -> None:
        """Raise the failure, if there is one."""
        if self.failure is not None:
            raise self.failure()

    def watch(self, on_end: Callable[[EndReason], None]) -> None:
        """Tell somebody of an end that has a reason; at once if it has come."""
        self._on_end = on_end
        if self._reason is not None:
            on_end(self._reason)

    def forget_watcher(self) -> None:
        """Tell nobody, until :meth:`watch`."""
        self._on_end = None

    async def wait(self) -> None:
        """Wait until :meth:`tell`. Any number may."""
        await asyncio.shield(self._known)

    def tell(self, reason: EndReason | None) -> None:
        """Tell everybody, once; ``None`` is for an end that this client has asked for."""
        if not self._known.done():
            self._known.set_result(None)
        self._reason = reason
        if reason is not None and self._on_end is not None:
            self._on_end(reason)
