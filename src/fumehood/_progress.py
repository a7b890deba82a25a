"""The deadline of an operation that is not a command: it may take any time, as long as it moves."""

from __future__ import annotations

import asyncio
from typing import Self

from fumehood._core import SessionCore
from fumehood._paused import paused_ms
from fumehood._tether.channel import Channel
from fumehood.errors import OperationTimeoutError, SandboxError

PATIENCE = 60.0
"""Seconds without a byte, a record or credit for one. The supervisor itself ends a file operation
that makes no progress for 30, so one that is silent for so long keeps no promise."""
_LOOKS = 4
"""How often in that time somebody looks: an end comes at most a quarter later than it could."""


class Progress:
    """Watches one channel while the caller waits for the supervisor there.

    Who waits for the caller is not late: a reader that nobody asks for more, a writer that is given
    nothing. Neither is a session that is paused, or whose stream is being looked for.

    Args:
        core: the session.
        channel: what is watched.
        what: the operation and its object, for the message.
        op: the public operation's name.
    """

    def __init__(self, core: SessionCore, channel: Channel, *, what: str, op: str) -> None:
        self._core = core
        self._channel = channel
        self._what = what
        self._op = op
        self._moved = channel.moved
        self._still = 0
        self._paused_ms = 0
        self._asking: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(PATIENCE / _LOOKS, self._look)

    def __enter__(self) -> Self:
        """Return itself; the watch has begun."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self.stop()

    def stop(self) -> None:
        """End the watch. Idempotent."""
        self._timer.cancel()
        if self._asking is not None:
            self._asking.cancel()

    def _look(self) -> None:
        channel = self._channel
        if channel.finished:
            return
        still = channel.moved == self._moved and channel.waiting
        self._moved = channel.moved
        self._still = self._still + 1 if still and not self._core.tether.reconnecting else 0
        if self._still < _LOOKS:
            self._timer = self._loop.call_later(PATIENCE / _LOOKS, self._look)
        else:
            self._asking = self._loop.create_task(self._judge())

    async def _judge(self) -> None:
        if await self._was_paused():
            self._still = 0
            self._timer = self._loop.call_later(PATIENCE / _LOOKS, self._look)
        elif self._channel.moved == self._moved:
            self._channel.expire(self._overdue)

    async def _was_paused(self) -> bool:
        """Ask whether it has been, since it was last asked."""
        before = self._paused_ms
        self._paused_ms = max(before, await paused_ms(self._core))
        return self._paused_ms > before

    def _overdue(self) -> SandboxError:
        return OperationTimeoutError(
            f"{self._what}: the supervisor has made no progress for {PATIENCE:g} s and does not "
            "say why; what it has done of it is not known. If this happens again, destroy the "
            "session",
            op=self._op,
            session_id=self._core.id,
        )


def of_file(core: SessionCore, channel: Channel, op: str, name: str) -> Progress:
    """Watch an operation on a file."""
    return Progress(core, channel, what=f"{op} {name!r}", op=op)
