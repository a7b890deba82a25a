"""One link to a supervisor: a byte stream below, channels above, and nothing of what they mean."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
from collections.abc import AsyncGenerator, Callable

from fumehood._tether.channel import Channel
from fumehood._tether.ends import END_REASONS, ended_error, setup_error
from fumehood._tether.heartbeat import Heartbeat
from fumehood._tether.reconnect import Attempt, Reopen
from fumehood._tether.streams import Streams
from fumehood._tether.vigil import Vigil, WaitExit
from fumehood._wire import table
from fumehood._wire.codec import WireViolationError
from fumehood._wire.connection import Connection, State
from fumehood._wire.events import (
    Configured,
    Described,
    Ended,
    Event,
    Finished,
    Incoming,
    InputCredit,
    Opened,
    Output,
    OutputEnded,
    Pinged,
    Welcomed,
)
from fumehood._wire.messages import End, Ready, Welcome
from fumehood._wire.requests import Configure, Request
from fumehood._wire.table import Violation
from fumehood.engines.base import ByteStream
from fumehood.errors import (
    OperationTimeoutError,
    SandboxError,
    SessionEndedError,
    SessionLostError,
    SupervisorError,
)
from fumehood.results import EndReason
from fumehood.text import printable

logger = logging.getLogger("fumehood.tether")

_OF_CHANNELS = (Output, Described, Finished, InputCredit, Opened, OutputEnded, Incoming)
_LEAST_LOOK = 0.1
"""Seconds between two looks at a time that has been extended."""


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
        self._vigil: Vigil | None = None
        if ended is not None:
            self._vigil = Vigil(
                ended, busy=self._busy, over=self._container_ended, lost=self._engine_ended
            )
        self._connection = connection
        self._channels: dict[int, Channel] = {}
        self._standing: set[int] = set()
        self._loop = asyncio.get_running_loop()
        self._pid = os.getpid()
        self._settled: asyncio.Future[None] = self._loop.create_future()
        self._closed: asyncio.Future[None] = self._loop.create_future()
        self._failure: Callable[[], SandboxError] | None = None
        self._end_reason: EndReason | None = None
        self._on_end: Callable[[EndReason], None] | None = None
        self._flush_scheduled = False
        self._leaving: asyncio.Task[None] | None = None
        self._last_words: asyncio.Future[bool] | None = None
        self.welcome: Welcome | None = None
        self.ready: Ready | None = None
        self.end: End | None = None

    def __repr__(self) -> str:
        return f"<Tether {self.session_id} {self._connection.state.name} {self.statistics()}>"

    def statistics(self) -> dict[str, int]:
        """Return live numbers, for tests and diagnostics."""
        return {
            "live": len(self._channels),
            **self._connection.statistics(),
            "resumed": self._streams.returns,
        }

    @property
    def alive(self) -> bool:
        """Whether operations can be started."""
        return self._failure is None

    def check_alive(self) -> None:
        """Raise why nothing can be started any more, if that is so."""
        if self._failure is not None:
            raise self._failure()

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
        self._flush()

    def claim(self, session_id: str, configure: Configure, reopen: Reopen | None) -> None:
        """Say what a supervisor that waits in stock is to be; :meth:`settle` tells when it is.

        Raises:
            SupervisorError: it has ended meanwhile.
        """
        self.check_alive()
        self.session_id = session_id
        self._streams.reopen = reopen
        self._on_end = None
        self._settled = self._loop.create_future()
        self._connection.configure(configure)
        self._flush()
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
            raise OperationTimeoutError(
                f"the supervisor of session {self.session_id} did not answer within {timeout:g} s"
                + self._diagnostics(),
                op="create_session",
                session_id=self.session_id,
            ) from exc
        if self._failure is not None:
            raise self._failure()
        self._begin_heartbeat()

    def watch_engine(self) -> None:
        """End with the engine, also on a stream that does not go through it."""
        if self._vigil is not None:
            self._vigil.stay()

    def prefer(self, reopen: Reopen) -> None:
        """Go on over another stream than the first one, as soon as there is one.

        What is under way moves along, nothing is lost or repeated. Where there is no such stream,
        or it does not last, nothing has changed.
        """
        self._streams.prefer(reopen)

    def watch(self, on_end: Callable[[EndReason], None]) -> None:
        """Be told, once, of an end that this client did not ask for; at once if it has come."""
        self._on_end = on_end
        if self._end_reason is not None:
            on_end(self._end_reason)

    async def wait_closed(self) -> None:
        """Wait until the session's end or the stream's is known."""
        await asyncio.shield(self._closed)

    def leave(self) -> None:
        """Close in the background, for somebody who cannot wait."""
        if self._leaving is None:
            self._leaving = self._loop.create_task(self.close())

    async def close(self) -> None:
        """Leave: the stream ends, what is under way fails. Idempotent."""
        if self._failure is None:
            self._connection.leave()
            self._flush()
        self._break(
            lambda: SessionEndedError(
                f"this client has left session {self.session_id}",
                reason="detached",
                session_id=self.session_id,
            )
        )
        await self._heartbeat.close()
        await self._streams.stop_looking()
        if self._vigil is not None:
            await self._vigil.close()
        await self._streams.close()

    def destroy(self) -> None:
        """Ask the supervisor to end the session; :meth:`wait_closed` tells when it has."""
        if self._failure is None:
            self._connection.destroy()
            self._flush()

    async def last_words(self, failure: Callable[[], SandboxError], seconds: float) -> bool:
        """End the session: fail what is under way, and wait for the supervisor's END.

        Returns:
            Whether it came: every process of the session is dead. ``False`` when the tether was
            over before, the stream ended or broke a rule without it, or the time is over.
        """
        if not await self._streams.stay(seconds) or self._failure is not None:
            return False
        self._last_words = self._loop.create_future()
        self._connection.destroy()
        self._flush()
        self._break(failure)
        # From here on nothing but the END is listened for: see _on_data.
        done, _ = await asyncio.wait({self._last_words}, timeout=seconds)
        words, self._last_words = self._last_words, None
        return bool(done) and words.result()

    def _listen_for_the_end(self, words: asyncio.Future[bool], data: bytes | memoryview) -> None:
        try:
            for event in self._connection.receive_data(data):
                if isinstance(event, Ended) and not words.done():
                    self.end = event.end
                    words.set_result(True)
        except WireViolationError as violation:
            logger.warning("session %s, at its end: %s", self.session_id, violation.detail)
            if not words.done():
                words.set_result(False)
        if self._connection.has_data_to_send:
            self._flush()

    def refuse(self, failure: Callable[[], SandboxError]) -> None:
        """Fail what is under way and everything after it with this error."""
        self._break(failure)

    def give_up(self, why: str) -> None:
        """Treat the supervisor as beyond control: everything fails, the session counts as over."""
        logger.error("session %s is given up: %s", self.session_id, why)
        self._break(
            lambda: SupervisorError(
                f"session {self.session_id} was given up: {why}", session_id=self.session_id
            ),
            EndReason.RESOURCES,
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
        if self._failure is not None:
            raise self._failure()
        number = self._connection.open(request)
        channel = Channel(self, number)
        self._channels[number] = channel
        if standing:
            self._standing.add(number)
        elif self._vigil is not None:
            self._vigil.begin()
        self._flush_now()
        return channel

    def open_with_input(self, request: Request, data: bytes) -> tuple[Channel, int]:
        """Open a channel and send what its window allows of ``data`` in the same write.

        Returns the channel and how many bytes went along; when all did, the input is closed too.
        """
        if self._failure is not None:
            raise self._failure()
        number = self._connection.open(request)
        channel = Channel(self, number)
        self._channels[number] = channel
        if self._vigil is not None:
            self._vigil.begin()
        sent = min(self._connection.input_allowed(number), len(data))
        self._connection.send_input(number, memoryview(data)[:sent])
        if sent == len(data):
            self._connection.end_input(number)
        self._flush_now()
        return channel, sent

    def consumed(self, number: int, amount: int) -> None:
        """Return credit for output that a caller has taken."""
        if self._failure is None:
            self._connection.consumed(number, amount)
            self._flush_soon()

    def input_allowed(self, number: int) -> int:
        """Return how much input a channel takes now."""
        return 0 if self._failure is not None else self._connection.input_allowed(number)

    def send_input(self, number: int, data: bytes | memoryview) -> None:
        """Send input that the window allows."""
        self._connection.send_input(number, data)
        self._flush()

    def end_input(self, number: int) -> None:
        """Close a channel's input."""
        self._connection.end_input(number)
        self._flush()

    def resize_channel(self, number: int, rows: int, columns: int) -> None:
        """Give a channel's terminal another size."""
        self._connection.resize(number, rows, columns)
        self._flush()

    def cancel_channel(self, number: int) -> None:
        """Ask for a channel's end."""
        self._connection.cancel(number)
        self._flush()

    @contextlib.asynccontextmanager
    async def patience(self, seconds: float | None) -> AsyncGenerator[None, None]:
        """Bound what is done by a time that does not run while there is no stream.

        Raises:
            TimeoutError: the time is over.
        """
        away = self.away
        timer: asyncio.TimerHandle | None = None

        def look() -> None:
            nonlocal away, timer
            more, away = self.away - away, self.away
            if more > 0:
                timer = self._loop.call_later(max(more, _LEAST_LOOK), look)
            else:
                timeout.reschedule(self._loop.time())

        async with asyncio.timeout(None) as timeout:
            if seconds is not None:
                timer = self._loop.call_later(seconds, look)
            try:
                yield
            finally:
                if timer is not None:
                    timer.cancel()

    async def drain(self) -> None:
        """Wait until the stream takes more."""
        await self._streams.current.drain()

    # --- the stream's callbacks ---------------------------------------------------------------

    def _flush(self) -> None:
        self._flush_scheduled = False
        data = self._connection.data_to_send()
        if data:
            self._streams.current.write(data)

    def _flush_soon(self) -> None:
        """Write after those who are about to run: what they have to send goes along.

        Each write passes through several processes on its way, at a price that hardly depends on
        its size: the credit for the connection and for its channels should be one, not many.
        """
        if not self._flush_scheduled and self._connection.has_data_to_send:
            self._flush_scheduled = True
            self._loop.call_soon(self._flush)

    def _flush_now(self) -> None:
        """Write at once, but only one write: those who follow in the same turn share another.

        For a channel that is alone no turn of the loop is spent on those who might.
        """
        if self._flush_scheduled:
            return
        self._flush()
        if self._under_way > 1:
            self._flush_scheduled = True
            self._loop.call_soon(self._flush)

    def _stream_brought(self, stream: ByteStream, data: bytes | memoryview) -> None:
        # After a move the first one lives on for a moment, and brings what the other brings again.
        if stream is self._streams.current:
            self._on_data(data)

    def _on_data(self, data: bytes | memoryview) -> None:
        if self._last_words is not None and not self._last_words.done():
            self._listen_for_the_end(self._last_words, data)
            return
        if self._failure is not None or self._streams.returning is not None:
            return
        self._heartbeat.heard()
        if self._vigil is not None:
            self._vigil.heard = True
        try:
            for event in self._connection.receive_data(data):
                self._dispatch(event)
        except WireViolationError as violation:
            self.violated(violation)
        if self._failure is None:
            self._flush_soon()

    def _dispatch(self, event: Event) -> None:
        if isinstance(event, _OF_CHANNELS):
            self._hand_on(event)
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

    def _hand_on(
        self, event: Output | Described | Finished | InputCredit | Opened | OutputEnded | Incoming
    ) -> None:
        """Give its channel what is for it, unless nobody has it any more."""
        channel = self._channels.get(event.channel)
        if channel is None:
            return
        if isinstance(event, Finished):
            del self._channels[event.channel]
            self._standing.discard(event.channel)
            channel.finish(event.answer)
        elif isinstance(event, Described):
            channel.described.append(event.process)
        else:
            channel.take(event)

    def _settle(self) -> None:
        if not self._settled.done():
            self._settled.set_result(None)

    def _ended(self, end: End) -> None:
        self.end = end
        reason = END_REASONS[end.reason]
        text = printable(end.message)
        logger.debug("session %s ended: %s %s", self.session_id, reason, text)
        settled = self._settled.done()

        def failure() -> SandboxError:
            if settled:
                return ended_error(self.session_id, reason, text)
            return setup_error(self.session_id, end, welcomed=self.welcome is not None)

        self._break(failure, reason)

    def violated(self, violation: WireViolationError) -> None:
        """Take the other end for hostile: everything fails with this violation.

        Also for what only a caller can see to be one, such as a record inside the output.
        """
        logger.error("session %s: %s", self.session_id, violation.detail)
        detail = violation.detail
        code = violation.violation

        def failure() -> SandboxError:
            error = WireViolationError(code, detail)
            error.session_id = self.session_id
            return error

        self._break(failure, EndReason.PROTOCOL)

    def _stream_ended(self, stream: ByteStream, error: Exception | None) -> None:
        if stream is self._streams.current and self._streams.returning is None:
            self._on_close(error)

    def broken(self, detail: str) -> WireViolationError:
        """Do the same for a value that cannot be, and return what to raise."""
        violation = WireViolationError(Violation.BAD_VALUE, detail)
        self.violated(violation)
        violation.session_id = self.session_id
        return violation

    def _on_close(self, error: Exception | None) -> None:
        if self._last_words is not None and not self._last_words.done():
            self._last_words.set_result(False)
        if self._connection.state is State.ENDED or self._failure is not None:
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
        settled = self._settled.done()
        diagnostics = self._diagnostics()
        logger.debug("session %s: the stream ended%s", self.session_id, text)

        def failure() -> SandboxError:
            if not settled:
                return SupervisorError(
                    f"the supervisor of session {self.session_id} ended before it was ready"
                    f"{text}{diagnostics}",
                    session_id=self.session_id,
                )
            return SessionLostError(
                f"the stream to session {self.session_id} broke{text}",
                reason=EndReason.LOST,
                session_id=self.session_id,
            )

        self._break(failure, EndReason.LOST)

    def _busy(self) -> bool:
        return self._failure is None and self._under_way > 0

    @property
    def _under_way(self) -> int:
        return len(self._channels) - len(self._standing)

    def _container_ended(self, code: int) -> None:
        """Take the engine's word for an end of which the stream does not tell."""
        if self._failure is None:
            self.lost(f": its container has ended (exit code {code})")

    def _engine_ended(self, error: SandboxError) -> None:
        """Leave a session whose engine is gone: nobody could limit, show or remove it any more."""
        if self._failure is None:
            self._streams.close_behind(self._streams.current)
            self.lost(f": {error}")

    # --- from one stream to another ------------------------------------------------------------

    @property
    def can_move(self) -> bool:
        """Whether the conversation can go on over another stream now."""
        return self._failure is None and self._connection.resumable

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
        self._flush()
        return self._connection.resumed(welcome)

    def back(self) -> None:
        """Go on over the new stream."""
        self._heartbeat.heard()
        self._begin_heartbeat()

    def _diagnostics(self) -> str:
        text = self._streams.current.diagnostics().strip()
        return f" (it wrote: {text})" if text else ""

    def _break(self, failure: Callable[[], SandboxError], reason: EndReason | None = None) -> None:
        """Fail everything, once. Each waiter gets an exception object of its own."""
        if self._failure is not None:
            return
        self._failure = failure
        self._heartbeat.end()
        self._streams.give_up()
        if self._vigil is not None:
            self._vigil.end()
        channels = list(self._channels.values())
        self._channels.clear()
        self._standing.clear()
        for channel in channels:
            channel.fail(failure)
        self._settle()
        if not self._closed.done():
            self._closed.set_result(None)
        self._end_reason = reason
        if reason is not None and self._on_end is not None:
            self._on_end(reason)

    # --- signs of life ------------------------------------------------------------------------

    def _begin_heartbeat(self) -> None:
        if self._failure is None and self._streams.returning is None:
            patience = self._heartbeat_timeout
            if self._connection.state is State.WAITING:
                patience = min(patience, table.WAIT_SILENCE_MS / 1000)
            self._heartbeat.begin(patience)

    def _ping(self, token: bytes) -> None:
        self._connection.ping(token)
        self._flush()

    async def _pong(self, token: bytes) -> None:
        self._connection.pong(token)
        self._flush()
        await self._streams.current.drain()

    def _silent(self) -> None:
        self._on_close(TimeoutError(f"no sign of life for {self._heartbeat_timeout:g} s"))
