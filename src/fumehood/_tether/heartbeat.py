"""Signs of life: pings while the other end is quiet, pongs when it asks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from fumehood._tether.cleanup import stop

BEATS = 3
"""Pings that go unanswered, one each third of the heartbeat time, before the other end is lost."""


class Heartbeat:
    """The rhythm of one connection.

    Beats are counted, not seconds: after a suspended host or a blocked loop there has been one
    beat, and the other end gets its time to answer.

    Args:
        ping: sends a ping.
        pong: sends a pong, and returns when the stream takes more.
        silent: called when the other end has given no sign for all its beats.
    """

    def __init__(
        self,
        *,
        ping: Callable[[bytes], None],
        pong: Callable[[bytes], Awaitable[None]],
        silent: Callable[[], None],
    ) -> None:
        self._ping = ping
        self._pong = pong
        self._silent = silent
        self._unheard = 0
        self._pings = 0
        self._interval = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._asked: bytes | None = None
        self._answering: asyncio.Task[None] | None = None

    def begin(self, patience: float) -> None:
        """Begin to beat, unless it does: the other end may be quiet for so many seconds."""
        if self._timer is None:
            self._interval = patience / BEATS
            self._again()

    def pause(self) -> None:
        """Ask nothing until :meth:`begin`."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def heard(self) -> None:
        """Note a sign of life."""
        self._unheard = 0

    def _again(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._interval, self._beat)

    def _beat(self) -> None:
        self._timer = None
        if self._unheard == BEATS:
            self._silent()
            return
        self._unheard += 1
        self._pings += 1
        # Before the ping: that may find that all is over, and end the beats.
        self._again()
        self._ping(self._pings.to_bytes(8, "big"))

    def answer(self, token: bytes) -> None:
        """Answer, as fast as the stream takes it: of a flood of pings, the newest."""
        self._asked = token
        if self._answering is None:
            self._answering = asyncio.get_running_loop().create_task(self._answer())

    async def _answer(self) -> None:
        try:
            while self._asked is not None:
                token, self._asked = self._asked, None
                await self._pong(token)
        finally:
            self._answering = None

    def end(self) -> None:
        """Ask nothing and answer nothing more."""
        self.pause()
        self._asked = None

    async def close(self) -> None:
        """End, and wait until that is so."""
        self.end()
        await stop(self._answering)
