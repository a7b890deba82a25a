"""One link to a supervisor: a byte stream below, channels above, and nothing of what they mean."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from fumehood._tether import ends
from fumehood._tether.channel import Channel
from fumehood._tether.channels import OF_CHANNELS, Channels
from fumehood._tether.cleanup import to_the_end
from fumehood._tether.ending import Ending, Failure
from fumehood._tether.heartbeat import Heartbeat
from fumehood._tether.last_words import LastWords
from fumehood._tether.patience import patience
from fumehood._tether.reconnect import Attempt, Reopen
from fumehood._tether.streams import Streams
from fumehood._tether.vigil import Vigil, WaitExit
from fumehood._tether.writer import Writer
from fumehood._wire import table
from fumehood._wire.codec import WireViolationError
from fumehood._wire.connection import Connection, State
from fumehood._wire.events import Configured, Ended, Event, Pinged, Welcomed
from fumehood._wire.messages import End, Ready, Welcome
from fumehood._wire.requests import Configure, Request
from fumehood._wire.table import Violation
from fumehood.engines.base import ByteStream
from fumehood.errors import SandboxError
from fumehood.results import EndReason
from fumehood.text import printable

logger = logging.getLogger("fumehood.tether")


class Tether:
    """The link. One event loop, one reader (the stream's callbacks), writes in the order of calls.

    Args:
        stream: the raw duplex stream, not yet started.
        connection: the state machine for it.
        session_id: for messages.
        heartbeat_timeout: seconds of silence after which the other end counts as lost.
        reopen: how to get another stream when this one breaks; ``None``: its end is the end.
        ended: how to learn from the engine that the container has ended; ``None``: from the stream.
    """

    def __init__(
        self,
        stream: ByteStream,
        connection: Connection,
        *,
        session_id: str,
        heartbeat_timeout: float,
        reopen: Reopen | None = None,
        ended: WaitExit | None = None,
    ) -> None:
        self.session_id: str = session_id
        """For messages; a pool's container has another one before its claim."""
        self._streams = Streams(stream, self, reopen)
        self._heartbeat_timeout = heartbeat_timeout
        self._heartbeat = Heartbeat(ping=self._ping, pong=self._pong, silent=self._silent)
        self._vigil = Vigil(
            ended, busy=self._busy, over=self._container_ended, lost=self._engine_ended
        )
        self._connection = connection
        self._writer = Writer(connection, self._streams)
        self._channels = Channels(connection, self._writer)
        self._loop = asyncio.get_running_loop()
        self._pid = os.getpid()
        self._settled: asyncio.Future[None] = self._loop.create_future()
        self._ending = Ending()
        self._leaving: asyncio.Task[None] | None = None
        self._last_words: LastWords | None = None
        self.welcome: Welcome | None = None
        self.ready: Ready | None = None
        self.end: End | None = None

    def __repr__(self) -> str:
        return f"<Tether {self.session_id} {self._connection.state.name} {self.statistics()}>"

    def statistics(self) -> dict[str, int]:
        """Return live numbers, for tests and diagnostics."""
        return {
            "live": self._channels.live,
            **self._connection.statistics(),
            "resumed": self._streams.returns,
        }

    @property
    def alive(self) -> bool:
        """Whether operations can be started."""
        return self._ending.failure is None

    def check_alive(self) -> None:
        """Raise why nothing can be started any more, if that is so."""
        self._ending.check()

    @property
    def cut_off(self) -> bool:
        """Whether the stream has broken and another one is being looked for."""
        return self._streams.cut_off

    @property
    def reconnecting(self) -> bool:
        """Whether the conversation rests: it is on its way to another stream."""
        return self._streams.returning is not None

    @property
    def away(self) -> float:
        """For how many seconds in all there has been no stream: who waits must not count them."""
        return self._streams.away

    @property
    def inherited(self) -> bool:
        """Whether this is a forked child's copy: the link itself stays the parent's."""
        return self._pid != os.getpid()

    # --- life ---------------------------------------------------------------------------------

    def begin(self, configure: Configure | None) -> None:
        """Start to talk; channels may be opened at once, before anything has come back."""
        self._connection.start(configure)
        stream = self._streams.current
        stream.start(
            functools.partial(self._stream_brought, stream),
            functools.partial(self._stream_ended, stream),
        )
        self._writer.flush()

    def claim(self, session_id: str, configure: Configure, reopen: Reopen | None) -> None:
        """Say what a supervisor that waits in stock is to be; :meth:`settle` tells when it is.

        Raises:
            SupervisorError: it has ended meanwhile.
        """
        self.check_alive()
        self.session_id = session_id
        self._streams.reopen = reopen
        self._ending.forget_watcher()
        self._settled = self._loop.create_future()
        self._connection.configure(configure)
        self._writer.flush()
        # What was the pool's rhythm; :meth:`settle` begins the session's.
        self._heartbeat.pause()

    async def settle(self, timeout: float) -> None:
        """Wait until the session is ready or, where it is to wait in stock, until it does.

        Raises:
            SupervisorError: it did not come up, or refused its configuration.
            ProtocolError: what came is not the supervisor's wire.
            OperationTimeoutError: nothing came within ``timeout`` seconds.
        """
        try:
            async with asyncio.timeout(timeout):
                await asyncio.shield(self._settled)
        except TimeoutError as exc:
            raise ends.silent_error(self.session_id, timeout, self._streams.diagnostics()) from exc
        self.check_alive()
        self._begin_heartbeat()

    def watch_engine(self) -> None:
        """End with the engine, also on a stream that does not go through it."""
        self._vigil.stay()

    def prefer(self, reopen: Reopen) -> None:
        """Go on over another stream than the first one, as soon as there is one.

        What is under way moves along, nothing is lost or repeated. Where there is no such stream,
        or it does not last, nothing has changed.
        """
        self._streams.prefer(reopen)

    def watch(self, on_end: Callable[[EndReason], None]) -> None:
        """Be told, once, of an end that this client did not ask for; at once if it has come."""
        self._ending.watch(on_end)

    async def wait_closed(self) -> None:
        """Wait until the session's end or the stream's is known."""
        await self._ending.wait()

    def leave(self) -> None:
        """Close in the background, for somebody who cannot wait."""
        if self._leaving is None:
            self._leaving = self._loop.create_task(self.close())

    async def close(self) -> None:
        """Leave: the stream ends, what is under way fails. Idempotent, and never left half-way."""
        await to_the_end(self._close())

    async def _close(self) -> None:
        if self.alive:
            self._connection.leave()
            self._writer.flush()
        self._break(functools.partial(ends.left_error, self.session_id))
        await self._heartbeat.close()
        await self._streams.stop_looking()
        await self._vigil.close()
        await self._streams.close()

    def destroy(self) -> None:
        """Ask the supervisor to end the session; :meth:`wait_closed` tells when it has."""
        if self.alive:
            self._connection.destroy()
            self._writer.flush()

    async def last_words(self, failure: Failure, seconds: float) -> bool:
        """End the session: fail what is under way, and wait for the supervisor's END.

        Returns:
            Whether it came: every process of the session is dead. ``False`` when the tether was
            over before, the stream ended or broke a rule without it, or the time is over.
        """
        if not await self._streams.stay(seconds) or not self.alive:
            return False
        self._last_words = LastWords(self.session_id, self._connection)
        self._connection.destroy()
        self._writer.flush()
        self._break(failure)
        # From here on nothing but the END is listened for: see _on_data.
        self.end = await self._last_words.wait(seconds)
        self._last_words = None
        return self.end is not None

    def refuse(self, failure: Failure) -> None:
        """Fail what is under way and everything after it with this error."""
        self._break(failure)

    def give_up(self, why: str) -> None:
        """Treat the supervisor as beyond control: everything fails, the session counts as over."""
        logger.error("session %s is given up: %s", self.session_id, why)
        self._break(
            functools.partial(ends.given_up_error, self.session_id, why), EndReason.RESOURCES
        )

    def call_soon(self, action: Callable[[], None]) -> None:
        """Run something on the tether's loop, from any thread; nothing once the loop is closed.

        Nothing in a forked child either: the loop's own pipe is still the parent's.
        """
        if self.inherited:
            return
        with contextlib.suppress(RuntimeError):  # the loop is closed: everything on it is over
            self._loop.call_soon_threadsafe(action)

    # --- channels -----------------------------------------------------------------------------

    def open(self, request: Request, *, standing: bool = False) -> Channel:
        """Open a channel for a request; ``standing``: for one that nobody waits for.

        Raises:
            SessionEndedError: the session is over.
            SessionLostError: the stream has broken.
        """
        self.check_alive()
        if not standing:
            self._vigil.begin()
        return self._channels.open(request, standing=standing)

    def open_with_input(self, request: Request, data: bytes) -> tuple[Channel, int]:
        """Do the same, and send input along; return the channel and how many bytes went."""
        self.check_alive()
        self._vigil.begin()
        return self._channels.open_with_input(request, data)

    def patience(self, seconds: float | None) -> AbstractAsyncContextManager[None]:
        """Bound what is done by a time that does not run while there is no stream."""
        return patience(seconds, away=lambda: self.away)

    # --- the stream's callbacks ---------------------------------------------------------------

    def _stream_brought(self, stream: ByteStream, data: bytes | memoryview) -> None:
        # After a move the first one lives on for a moment, and brings what the other brings again.
        if stream is self._streams.current:
            self._on_data(data)

    def _on_data(self, data: bytes | memoryview) -> None:
        if self._last_words is not None and self._last_words.listen(data):
            if self._connection.has_data_to_send:
                self._writer.flush()
            return
        if not self.alive or self._streams.returning is not None:
            return
        self._heartbeat.heard()
        self._vigil.heard = True
        try:
            for event in self._connection.receive_data(data):
                self._dispatch(event)
        except WireViolationError as violation:
            self.violated(violation)
        if self.alive:
            self._writer.flush_soon()

    def _dispatch(self, event: Event) -> None:
        if isinstance(event, OF_CHANNELS):
            self._channels.hand_on(event)
        elif isinstance(event, Pinged):
            self._heartbeat.answer(event.token)
        elif isinstance(event, Welcomed):
            self.welcome = event.welcome
            logger.debug("session %s: %s", self.session_id, event.welcome)
            if self._connection.state is State.WAITING:
                self._settle()
        elif isinstance(event, Configured):
            self.ready = event.ready
            self._settle()
        elif isinstance(event, Ended):
            self._ended(event.end)

    def _settle(self) -> None:
        if not self._settled.done():
            self._settled.set_result(None)

    def _ended(self, end: End) -> None:
        self.end = end
        reason = ends.END_REASONS[end.reason]
        text = printable(end.message)
        logger.debug("session %s ended: %s %s", self.session_id, reason, text)
        failure: Failure = functools.partial(ends.ended_error, self.session_id, reason, text)
        if not self._settled.done():
            welcomed = self.welcome is not None
            failure = functools.partial(ends.setup_error, self.session_id, end, welcomed=welcomed)
        self._break(failure, reason)

    def violated(self, violation: WireViolationError) -> None:
        """Take the other end for hostile: everything fails with this violation.

        Also for what only a caller can see to be one, such as a record inside the output.
        """
        logger.error("session %s: %s", self.session_id, violation.detail)
        failure = functools.partial(
            ends.violation_error, self.session_id, violation.violation, violation.detail
        )
        self._break(failure, EndReason.PROTOCOL)

    def _stream_ended(self, stream: ByteStream, error: Exception | None) -> None:
        if stream is self._streams.current and self._streams.returning is None:
            self._on_close(error)

    def broken(self, detail: str) -> WireViolationError:
        """Do the same for a value that cannot be, and return what to raise."""
        violation = ends.violation_error(self.session_id, Violation.BAD_VALUE, detail)
        self.violated(violation)
        return violation

    def _on_close(self, error: Exception | None) -> None:
        if self._last_words is not None:
            self._last_words.give_up()
        if self._connection.state is State.ENDED or not self.alive:
            return
        text = f": {error}" if error is not None else ""
        grace = 0 if self.ready is None else self.ready.grace_ms / 1000
        if self._streams.reopen is not None and grace and self._connection.resumable:
            logger.warning("session %s: the stream broke%s; reconnecting", self.session_id, text)
            self._streams.replace(grace, text)
        else:
            self.lost(text)

    def lost(self, text: str) -> None:
        """Fail everything: there is no stream any more, and ``text`` says why."""
        logger.debug("session %s: the stream ended%s", self.session_id, text)
        failure: Failure = functools.partial(ends.lost_error, self.session_id, text)
        if not self._settled.done():
            text += self._streams.diagnostics()
            failure = functools.partial(ends.never_ready_error, self.session_id, text)
        self._break(failure, EndReason.LOST)

    def explain(self, reason: EndReason) -> None:
        """Let what is called from now on fail with the cause of an end that was a mere loss."""
        self._ending.failure = functools.partial(ends.explained_error, self.session_id, reason)

    def _busy(self) -> bool:
        return self.alive and self._channels.under_way > 0

    def _container_ended(self, code: int) -> None:
        """Take the engine's word for an end of which the stream does not tell."""
        if self.alive:
            self.lost(f": its container has ended (exit code {code})")

    def _engine_ended(self, error: SandboxError) -> None:
        """Leave a session whose engine is gone: nobody could limit, show or remove it any more."""
        if self.alive:
            self._streams.close_behind(self._streams.current)
            self.lost(f": {error}")

    # --- from one stream to another ------------------------------------------------------------

    @property
    def can_move(self) -> bool:
        """Whether the conversation can go on over another stream now."""
        return self.alive and self._connection.resumable

    def attempt(self, stream: ByteStream) -> Attempt:
        """Return what goes on with the conversation over a new stream."""
        return Attempt(
            stream,
            self._connection.resumption(),
            taken=self._streams.taken,
            on_data=self._on_data,
            on_close=self._stream_ended,
        )

    def left(self) -> None:
        """Ask nobody for signs of life while there is no stream."""
        self._heartbeat.pause()

    def resumed(self, welcome: Welcome) -> bytes:
        """Return what is to be said again on a new stream."""
        # What has not been sent counts as sent over the old one: it is said again with the rest.
        self._writer.flush()
        return self._connection.resumed(welcome)

    def back(self) -> None:
        """Go on over the new stream."""
        self._heartbeat.heard()
        self._begin_heartbeat()

    def _break(self, failure: Failure, reason: EndReason | None = None) -> None:
        """Fail everything, once."""
        if not self.alive:
            return
        self._ending.failure = failure
        self._heartbeat.end()
        self._streams.give_up()
        self._vigil.end()
        self._channels.fail(failure)
        self._settle()
        self._ending.tell(reason)

    # --- signs of life ------------------------------------------------------------------------

    def _begin_heartbeat(self) -> None:
        if self.alive and self._streams.returning is None:
            silence = self._heartbeat_timeout
            if self._connection.state is State.WAITING:
                silence = min(silence, table.WAIT_SILENCE_MS / 1000)
            self._heartbeat.begin(silence)

    def _ping(self, token: bytes) -> None:
        self._connection.ping(token)
        self._writer.flush()

    async def _pong(self, token: bytes) -> None:
        self._connection.pong(token)
        self._writer.flush()
        await self._writer.drain()

    def _silent(self) -> None:
        self._on_close(TimeoutError(f"no sign of life for {self._heartbeat_timeout:g} s"))
