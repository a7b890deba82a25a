"""The stream that a tether talks over: from one that breaks, or for a better one, to the next."""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

from fumehood._tether.cleanup import stop, to_the_end
from fumehood._tether.reconnect import Attempt, Reopen, come_back
from fumehood._wire.codec import WireViolationError
from fumehood._wire.messages import Welcome
from fumehood.engines.base import ByteStream
from fumehood.errors import SandboxError, SessionNotFoundError

logger = logging.getLogger("fumehood.tether")

MOVE_SECONDS = 10.0
"""In which a connection that moves to a better stream must have done so."""


class Talker(Protocol):
    """Who talks over the streams, and is told what becomes of them."""

    session_id: str

    @property
    def can_move(self) -> bool:
        """Whether the conversation can go on over another stream now."""
        ...

    def attempt(self, stream: ByteStream) -> Attempt:
        """Return what goes on with the conversation over a new stream."""
        ...

    def left(self) -> None:
        """Know that nothing can be said until :meth:`back`."""
        ...

    def resumed(self, welcome: Welcome) -> bytes:
        """Return what is to be said again; whatever comes after it goes over the new stream."""
        ...

    def back(self) -> None:
        """Go on: the new stream is the current one."""
        ...

    def lost(self, text: str) -> None:
        """Know that there is no stream any more."""
        ...

    def violated(self, violation: WireViolationError) -> None:
        """Know that what answered on a new stream breaks the wire's rules."""
        ...


class Streams:
    """One stream at a time.

    Args:
        first: the stream that is there.
        talker: who talks over it.
        reopen: how to get another one when this one breaks; ``None``: its end is the end.
    """

    def __init__(self, first: ByteStream, talker: Talker, reopen: Reopen | None) -> None:
        self.current: ByteStream = first
        self.reopen: Reopen | None = reopen
        self.returns: int = 0
        """How often it has gone on over another one."""
        self._talker = talker
        self._loop = asyncio.get_running_loop()
        self.returning: asyncio.Task[None] | None = None
        """What looks for another stream; nothing is read from the current one meanwhile."""
        self._moving: asyncio.Task[None] | None = None
        self._move_on: asyncio.Task[None] | None = None
        self._offered: ByteStream | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._away = 0.0
        self._away_since: float | None = None

    @property
    def cut_off(self) -> bool:
        """Whether there is none: a move has the current one until it has the other."""
        return self.returning is not None and self.returning is not self._move_on

    @property
    def away(self) -> float:
        """For how many seconds in all there has been no stream."""
        current = 0.0 if self._away_since is None else self._loop.time() - self._away_since
        return self._away + current

    def diagnostics(self) -> str:
        """Return what the current one knows of its other end, for the end of a message."""
        text = self.current.diagnostics().strip()
        return f" (it wrote: {text})" if text else ""

    # --- a better one --------------------------------------------------------------------------

    def prefer(self, reopen: Reopen) -> None:
        """Go over to another stream as soon as there is one."""
        if self._moving is None and self._talker.can_move:
            self._moving = self._loop.create_task(self._move(reopen))

    async def _move(self, reopen: Reopen) -> None:
        try:
            stream = await reopen()
        except SandboxError as exc:
            logger.debug("session %s: stays on its stream: %s", self._talker.session_id, exc)
            return
        if self.returning is not None or not self._talker.can_move:
            await to_the_end(stream.close())
            return
        self._offered = stream
        self._talker.left()
        self.returning = self._loop.create_task(
            self._come_back(self._offered_first, MOVE_SECONDS, moving=True)
        )
        self._move_on = self.returning

    async def _offered_first(self) -> ByteStream:
        """Return the stream that is there, and after that whatever another look finds."""
        stream, self._offered = self._offered, None
        if stream is not None:
            return stream
        if self.reopen is None:
            raise SessionNotFoundError(
                "there is no other stream", session_id=self._talker.session_id
            )
        return await self.reopen()

    async def stay(self, seconds: float) -> bool:
        """Move no more; return whether the current stream is one to talk over."""
        await stop(self._moving)
        if self.returning is not None and self.returning is self._move_on:
            await asyncio.wait({self.returning}, timeout=seconds)
        return self.returning is None

    # --- another one ---------------------------------------------------------------------------

    def replace(self, within: float, text: str) -> None:
        """Look for another stream, for so many seconds; ``text`` says how the current one ended."""
        assert self.reopen is not None
        self._talker.left()
        self.returning = self._loop.create_task(self._come_back(self.reopen, within, text))

    async def _come_back(
        self, reopen: Reopen, within: float, text: str = "", *, moving: bool = False
    ) -> None:
        """Find another stream; what is under way waits, as everything does that is begun now.

        Args:
            reopen: how.
            within: seconds.
            text: how the last one has ended.
            moving: it has not, and is closed only when there is another: the supervisor must not
                take this client for a lost one in between.
        """
        talker = self._talker
        self._away_since = self._loop.time()
        old = self.current
        if not moving:
            self.close_behind(old)
        try:
            why_not = await come_back(
                reopen, talker.attempt, session_id=talker.session_id, within=within
            )
            if why_not:
                talker.lost(f"{text}; {why_not}")
        except WireViolationError as violation:
            talker.violated(violation)
        except Exception as exc:  # whatever it is, nobody may wait for ever
            logger.exception("session %s: reconnecting failed", talker.session_id)
            talker.lost(f"{text}; {exc!r}")
        finally:
            if moving:
                self.close_behind(old)
            if self.returning is asyncio.current_task():
                self.returning = None

    def taken(self, stream: ByteStream, welcome: Welcome) -> None:
        """Take a stream on which the supervisor has answered for the current one."""
        again = self._talker.resumed(welcome)
        self.current = stream
        self._away, self._away_since = self.away, None
        self.returning = None
        self.returns += 1
        stream.write(again)
        self._talker.back()
        logger.info("session %s: resumed on a new stream", self._talker.session_id)

    # --- the end -------------------------------------------------------------------------------

    def give_up(self) -> None:
        """Look for no other stream any more."""
        if self.returning is not None and self.returning is not asyncio.current_task():
            self.returning.cancel()

    def close_behind(self, stream: ByteStream) -> None:
        """Close a stream that is nobody's any more; :meth:`close` waits for it."""
        closing = self._loop.create_task(stream.close())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    async def stop_looking(self) -> None:
        """Look for nothing any more, and wait until that is so."""
        await stop(self._moving)
        await stop(self.returning)
        self.returning = None
        if self._offered is not None:
            # A task that is cancelled before its first step has taken nothing.
            await to_the_end(self._offered.close())

    async def close(self) -> None:
        """Close what is open."""
        await self.current.close()
        if self._closing:
            await asyncio.wait(self._closing)
