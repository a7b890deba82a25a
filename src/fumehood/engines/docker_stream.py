"""The byte stream of an attached container or a started exec: Docker's framing taken off, fast.

The HTTP upgrade is aiodocker's; after it the transport gets a protocol of our own. aiodocker's
stream object collects each frame in a growing buffer and hands it over a queue, which costs most of
the throughput.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import deque
from collections.abc import Callable
from typing import Protocol

import aiohttp

from fumehood.engines import forks
from fumehood.engines.docker_framing import StdcopyParser
from fumehood.engines.docker_pace import REST_SECONDS, Pace
from fumehood.engines.docker_text import Ring, printable
from fumehood.errors import EngineUnavailableError, LocalProtocolError, ProtocolError, SandboxError

_log = logging.getLogger("fumehood.engine")

HIGH_WATER = 256 * 1024
_FLUSH_SECONDS = 1.0


class _Connection(Protocol):
    """What is left of the HTTP exchange: kept alive with the stream, told when it is over."""

    def connection_lost(self, exc: BaseException | None) -> None: ...


class Parser(Protocol):
    """What takes an engine's own framing off a stream."""

    stderr: Ring

    @property
    def at_boundary(self) -> bool:
        """Whether the stream may end here."""
        ...

    def feed(self, data: bytes, out: Callable[[memoryview], object]) -> None:
        """Call ``out`` with each piece of the supervisor's bytes in ``data``."""
        ...


class Unframed:
    """The parser of a stream without a framing of its own."""

    def __init__(self) -> None:
        self.stderr: Ring = Ring(0)

    @property
    def at_boundary(self) -> bool:
        """Always."""
        return True

    def feed(self, data: bytes, out: Callable[[memoryview], object]) -> None:
        """Hand everything on."""
        out(memoryview(data))


class DockerStream(asyncio.Protocol):
    """A hijacked connection as a :class:`~fumehood.engines.base.ByteStream`.

    Made by :func:`take_over`. Reading is paused until :meth:`start`: what the engine sends before
    stays in the socket, or in the few bytes that came with the upgrade.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        *,
        address: str,
        what: str,
        response: aiohttp.ClientResponse | None = None,
        handler: _Connection | None = None,
        early: bytes = b"",
        can_break: bool = False,
        parser: Parser | None = None,
        paced: bool = True,
    ) -> None:
        self._transport = transport
        self._can_break = can_break
        self._address = address
        self._what = what
        self._response = response
        self._handler = handler
        self._loop = asyncio.get_running_loop()
        self._parser: Parser = StdcopyParser() if parser is None else parser
        self._pace = Pace() if paced else None
        self._pieces: deque[bytes | memoryview] = deque()
        self._early = early
        self._on_data: Callable[[bytes | memoryview], None] | None = None
        self._on_close: Callable[[Exception | None], None] | None = None
        self._paused = False
        self._delivering = False
        self._writable = asyncio.Event()
        self._writable.set()
        self._lost = asyncio.Event()
        self._ended = False
        self._end: Exception | None = None
        self._closed = False
        self.received: int = 0
        """Payload bytes delivered."""
        self.sent: int = 0
        """Bytes queued for the supervisor."""
        forks.keep(self)

    def __repr__(self) -> str:
        state = "closed" if self._closed else "ended" if self._ended else "open"
        return f"<DockerStream {self._what} {state} received={self.received} sent={self.sent}>"

    # --- the ByteStream ------------------------------------------------------------------------

    @property
    def can_break(self) -> bool:
        """Whether it may end before its container does."""
        return self._can_break

    def start(
        self,
        on_data: Callable[[bytes | memoryview], None],
        on_close: Callable[[Exception | None], None],
    ) -> None:
        """Begin delivery; see the protocol."""
        if self._on_data is not None:
            raise LocalProtocolError("the stream was started before")
        self._on_data = on_data
        self._on_close = on_close
        # Not from here: a callback during start() would surprise the caller.
        self._loop.call_soon(self._begin)

    def write(self, data: bytes) -> None:
        """Queue bytes for the supervisor; see the protocol."""
        if self._ended or self._closed or not data:
            return
        self.sent += len(data)
        self._transport.write(data)

    async def drain(self) -> None:
        """Wait until the queue is below the high-water mark or the stream has ended."""
        await self._writable.wait()

    def pause_reading(self) -> None:
        """Stop delivery."""
        self._paused = True
        if not self._ended:
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Go on with delivery."""
        if not self._paused:
            return
        self._paused = False
        if self._pieces:
            # What was cut off by the pause comes first, and not inside this call.
            self._loop.call_soon(self._deliver)
        elif self._on_data is not None:
            self._transport.resume_reading()

    def fileno(self) -> int:
        """Return the socket's descriptor, -1 once it is closed or where there is none."""
        sock = self._transport.get_extra_info("socket")
        return -1 if sock is None else int(sock.fileno())

    def diagnostics(self) -> str:
        """Return the end of stderr, printable."""
        return self._parser.stderr.text()

    async def close(self) -> None:
        """Flush for a moment, end both directions, release the connection."""
        if not self._closed:
            self._closed = True
            self._pieces.clear()
            self._transport.close()
        try:
            # A peer that does not read keeps a transport from ever closing: the flush is bounded.
            async with asyncio.timeout(_FLUSH_SECONDS):
                await self._lost.wait()
        except TimeoutError:
            self._transport.abort()
        except BaseException:
            self._transport.abort()
            raise

    # --- the asyncio protocol ------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Parse a chunk and deliver it."""
        if self._ended or self._closed:
            return
        pieces: list[memoryview] = []
        try:
            self._parser.feed(data, pieces.append)
        except ProtocolError as exc:
            self._arrived(pieces)
            self._finish(exc)
            self._transport.abort()
            return
        self._arrived(pieces)
        self._deliver()
        if self._pace is None or self._stopped:
            return
        if self._pace.wants_rest(len(data), self._loop.time()):
            self._transport.pause_reading()
            self._loop.call_later(REST_SECONDS, self._rested)

    def _arrived(self, pieces: list[memoryview]) -> None:
        # Together: a copy of a few KiB costs much less than a delivery.
        if pieces:
            self._pieces.append(pieces[0] if len(pieces) == 1 else b"".join(pieces))

    def _rested(self) -> None:
        if not self._stopped:
            self._transport.resume_reading()

    def eof_received(self) -> bool:
        """Close: the engine ends its direction when the process is gone, and nobody reads ours."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """End the stream once everything before was delivered."""
        if self._handler is not None:
            # aiohttp's connector waits for its own protocol to hear of this when it is closed.
            self._handler.connection_lost(exc)
            self._handler = None
        if self._response is not None:
            self._response.close()
            self._response = None
        self._lost.set()
        error: Exception | None = None
        if exc is not None:
            error = EngineUnavailableError(
                f"{self._what}: the connection to the engine at {self._address} broke: "
                f"{printable(str(exc) or type(exc).__name__)}"
            )
            error.__cause__ = exc
        elif not self._parser.at_boundary:
            error = EngineUnavailableError(
                f"{self._what}: the engine at {self._address} ended the stream inside a frame"
            )
        self._finish(None if self._closed else error)

    def pause_writing(self) -> None:
        """Hold back :meth:`drain`: the transport's buffer is over the high-water mark."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Let :meth:`drain` go: the transport's buffer is low again."""
        self._writable.set()

    @property
    def _stopped(self) -> bool:
        """Whether nothing is to be read now: by the consumer's wish or for good."""
        return self._paused or self._ended or self._closed

    # --- delivery ------------------------------------------------------------------------------

    def _begin(self) -> None:
        early, self._early = self._early, b""
        if early:
            self.data_received(early)
        if self._ended:
            self._deliver()
        elif not self._stopped:
            self._transport.resume_reading()

    def _deliver(self) -> None:
        on_data = self._on_data
        if on_data is None or self._delivering:
            return
        self._delivering = True
        try:
            # A consumer may have paused when more had been read already: it waits.
            while self._pieces and not self._paused:
                piece = self._pieces.popleft()
                self.received += len(piece)
                on_data(piece)
        except Exception as exc:  # noqa: BLE001 - whatever it is, it ends the stream and is reported
            self._pieces.clear()
            self._end = exc if isinstance(exc, SandboxError) else self._consumer_failed(exc)
            self._ended = True
            self._writable.set()
            self._transport.abort()
        finally:
            self._delivering = False
        if self._pieces:
            return
        if self._ended:
            self._report()
        elif not self._stopped:
            self._transport.resume_reading()

    def _consumer_failed(self, exc: Exception) -> LocalProtocolError:
        _log.error("%s: the consumer of the stream failed", self._what, exc_info=exc)
        error = LocalProtocolError(f"{self._what}: the consumer of the stream failed: {exc!r}")
        error.__cause__ = exc
        return error

    def _finish(self, error: Exception | None) -> None:
        """End the stream, once; what was received is still delivered before it is reported."""
        self._writable.set()
        if not self._ended:
            self._ended, self._end = True, error
        self._deliver()

    def _report(self) -> None:
        on_close, self._on_close = self._on_close, None
        if on_close is not None:
            on_close(self._end)


class _TailCatcher:
    """A payload parser in aiohttp's sense, for the bytes that came together with the upgrade."""

    def __init__(self) -> None:
        self.data = b""

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self.data += data
        return False, b""

    def feed_eof(self) -> None:
        """Nothing to finish: the end of the stream is the protocol's business."""


def take_over(
    response: aiohttp.ClientResponse, *, address: str, what: str, can_break: bool = False
) -> DockerStream:
    """Turn an upgraded HTTP exchange into a stream; no byte that came with the upgrade is lost.

    Must run without an await after the response, or the transport might read on for aiohttp.

    Raises:
        EngineUnavailableError: the engine closed the connection instead of upgrading it.
    """
    connection = response.connection
    handler = connection.protocol if connection is not None else None
    transport = handler.transport if handler is not None else None
    if handler is None or transport is None or transport.is_closing():
        response.close()
        raise EngineUnavailableError(
            f"{what}: the engine at {address} closed the connection instead of opening a stream "
            f"(status {response.status})"
        )
    catcher = _TailCatcher()
    # This is how aiohttp itself hands an upgraded connection over, to its web socket reader.
    handler.set_parser(catcher, catcher)
    transport.pause_reading()
    # Or closing the connector would give the connection back to the pool.
    handler.force_close()
    _keep_alive(transport)
    transport.set_write_buffer_limits(high=HIGH_WATER)
    stream = DockerStream(
        transport,
        address=address,
        what=what,
        response=response,
        handler=handler,
        early=catcher.data,
        can_break=can_break,
    )
    transport.set_protocol(stream)
    return stream


def _keep_alive(transport: asyncio.BaseTransport) -> None:
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
