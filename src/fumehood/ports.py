"""Ports of a session: servers inside, reached through the tether, whatever network there is."""

from __future__ import annotations

import math
from types import TracebackType
from typing import Self

from fumehood._core import CANCEL_PATIENCE, SessionCore, SessionPart
from fumehood._failures import port_failure
from fumehood._opening import Opening
from fumehood._tether.channel import Channel
from fumehood._tether.cleanup import to_the_end
from fumehood._wire.messages import Fail
from fumehood._wire.requests import connect_request, wait_port_request
from fumehood.errors import InvalidRequestError, PortResetError, SandboxError, SupervisorError
from fumehood.forward import MAX_CONNECTIONS, AsyncPortForward, check_host, start_forward
from fumehood.options import Seconds, optional_seconds, whole

__all__ = ["AsyncPortStream", "PortsPart", "check_port"]

_FOR_EVER_MS = 1 << 52
_SLACK = 10.0
"""Seconds that a supervisor may be late with the word that a wait is over."""


def check_port(port: int, name: str = "port") -> int:
    """Return a TCP port's number, or raise with what was given."""
    return whole(port, name, minimum=1, maximum=65535)


class PortsPart(SessionPart):
    """The ports of a session."""

    def connect_port(self, port: int) -> Opening[AsyncPortStream]:
        r"""Open a raw byte stream to a server inside: ``await`` it, or use it with ``async with``.

        The supervisor connects to ``127.0.0.1``, then to ``::1``, inside the session: it works
        without any network, and for servers that listen on loopback only. An open connection counts
        as activity. A session carries at most 256 operations at once, connections among them.

        Args:
            port: the number inside, 1 to 65535.

        Example::

            async with session.connect_port(6379) as stream:
                await stream.write(b"PING\r\n")
                reply = await stream.read()

        Raises:
            InvalidRequestError: for a value, before anything is tried.
            PortRefusedError: nobody listens there.
            OperationTimeoutError: a server that accepts nothing for 10 seconds.
            ResourceLimitError: too many operations are under way.
            SessionEndedError: the session is over.
        """
        number = check_port(port)
        return Opening(lambda: _connect(self._core, number))

    def forward_port(
        self,
        port: int,
        local_port: int = 0,
        *,
        host: str = "127.0.0.1",
        max_connections: int = MAX_CONNECTIONS,
    ) -> Opening[AsyncPortForward]:
        """Forward a port of this machine: ``await`` it, or use it with ``async with``.

        It listens on loopback, and each connection leads to a server inside, as
        :meth:`connect_port` does; one that nobody serves is reset. It ends with its block, when it
        is closed, or with the session. A forward without connections is no activity, and an idle
        session ends all the same; each connection is.

        Args:
            port: the number inside, 1 to 65535.
            local_port: where to listen here; 0 takes any free port.
            host: a loopback address of this machine: ``127.0.0.1`` or ``::1``.
            max_connections: at once; those beyond wait in the listener's queue. A session carries
                at most 256 operations at once, connections of all forwards among them.

        Example::

            async with session.forward_port(8000) as forward:
                page = await fetch(f"http://{forward.host}:{forward.port}/")

        Raises:
            InvalidRequestError: for a value, before anything is tried.
            PortError: ``local_port`` cannot be listened on.
            SessionEndedError: the session is over.
        """
        number = check_port(port)
        local = whole(local_port, "local_port", minimum=0, maximum=65535)
        address = check_host(host)
        most = whole(max_connections, "max_connections", minimum=1, maximum=MAX_CONNECTIONS)
        return Opening(lambda: start_forward(self._core, number, address, local, most))

    async def wait_for_port(self, port: int, timeout: Seconds | None = 30.0) -> None:
        """Wait until somebody listens at a port inside.

        The supervisor looks itself, every 5 to 100 milliseconds, by connecting to ``127.0.0.1`` and
        ``::1`` and closing at once: no shell and no tool of the image is needed, and the
        server sees a connection that says nothing.

        Args:
            port: the number inside, 1 to 65535.
            timeout: seconds; 0 looks once, ``None`` waits as long as the session lives.

        Raises:
            OperationTimeoutError: nobody did in time.
            ResourceLimitError: too many operations are under way.
            SessionEndedError: the session is over, or ended first.
        """
        number = check_port(port)
        patience = optional_seconds(timeout, "timeout")
        ms = _FOR_EVER_MS if patience is None else math.ceil(patience * 1000)
        core = self._core
        channel = core.tether.open(wait_port_request(number, ms))
        try:
            async with core.tether.patience(None if patience is None else patience + _SLACK):
                answer = await channel.answer()
        except TimeoutError as exc:
            core.tether.give_up("the supervisor missed the deadline of wait_for_port")
            raise SupervisorError(
                f"the supervisor did not answer within {_SLACK:g} s of wait_for_port's timeout; "
                "the session is given up",
                op="wait_for_port",
                session_id=core.id,
            ) from exc
        finally:
            await channel.aclose(CANCEL_PATIENCE)
        if isinstance(answer, Fail):
            raise port_failure(answer, op="wait_for_port", port=number, session_id=core.id)


async def _connect(core: SessionCore, port: int) -> AsyncPortStream:
    channel = core.tether.open(connect_request(port))
    try:
        if not await channel.wait_opened():
            answer = await channel.answer()
            assert isinstance(answer, Fail)
            raise port_failure(answer, op="connect_port", port=port, session_id=core.id)
    except BaseException:
        await to_the_end(channel.aclose(CANCEL_PATIENCE))
        raise
    return AsyncPortStream(core, channel, port)


class AsyncPortStream:
    r"""A connection to a server inside; see :meth:`PortsPart.connect_port`.

    One task reads and one writes, at the same time or not; each direction ends by itself. At most
    512 KiB wait unread in this client, and then the server waits.

    Example::

        async with session.connect_port(80) as stream:
            await stream.write(b"GET / HTTP/1.0\r\n\r\n")
            while data := await stream.read():
                print(len(data))
    """

    def __init__(self, core: SessionCore, channel: Channel, port: int) -> None:
        self._core = core
        self._channel = channel
        self._port = port
        self._rest = b""
        self._input_over = False
        self._closed = False

    def __repr__(self) -> str:
        return f"<AsyncPortStream {self._port}{' closed' if self._closed else ''}>"

    @property
    def port(self) -> int:
        """The number inside."""
        return self._port

    async def read(self, max_bytes: int = 65_536) -> bytes:
        """Return what has come, at least one byte, or ``b""`` once the server has sent its end.

        A cancellation loses nothing: the next call returns what this one would have.

        Args:
            max_bytes: the most to return at once.

        Raises:
            PortResetError: the connection was cut off; everything that came before was returned.
            SessionEndedError: the session ended.
        """
        whole(max_bytes, "max_bytes", minimum=1, maximum=1 << 62)
        if not self._rest:
            self._check_open()
            item = await self._channel.receive()
            if item is None:
                return self._end()
            self._rest = item.data
        data, self._rest = self._rest[:max_bytes], self._rest[max_bytes:]
        return data

    def _end(self) -> bytes:
        answer = self._channel.outcome
        if isinstance(answer, Fail) and not self._closed:
            raise self._failure(answer, "read")
        return b""

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of ``data``, as fast as the server takes it.

        Returns when it is on its way: at most 512 KiB are between here and the server. When it is
        cancelled, a part may have been sent.

        Raises:
            PortResetError: the connection was cut off.
            SessionEndedError: the session ended.
        """
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise InvalidRequestError(f"data must be bytes, not {type(data).__name__}")
        self._check_open()
        if self._input_over:
            raise InvalidRequestError("nothing can be written after write_eof()")
        if not await self._channel.send(memoryview(data)):
            answer = await self._channel.answer()
            if isinstance(answer, Fail):
                raise self._failure(answer, "write")
            raise PortResetError(
                f"the connection to port {self._port} is over",
                port=self._port,
                op="write",
                session_id=self._core.id,
            )

    async def write_eof(self) -> None:
        """Tell the server that nothing more comes; reading goes on. Idempotent."""
        self._check_open()
        self._input_over = True
        self._channel.end_input()

    async def aclose(self) -> None:
        """Close both directions. Idempotent.

        What was written and has reached the server's socket is still delivered. To be sure of
        all of it, ``write_eof()`` and read to the end first.
        """
        await self._close(proper=True)

    async def _close(self, *, proper: bool) -> None:
        if self._closed:
            return
        self._closed = True
        self._rest = b""
        if proper:
            self._channel.end_input()
        await to_the_end(self._channel.aclose(CANCEL_PATIENCE))

    def _check_open(self) -> None:
        if self._closed:
            raise InvalidRequestError("this stream has been closed")

    def _failure(self, answer: Fail, op: str) -> SandboxError:
        return port_failure(answer, op=op, port=self._port, session_id=self._core.id)

    async def __aenter__(self) -> Self:
        """Return itself."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it; after an error in the block the server sees a reset, not an end."""
        await self._close(proper=error is None)

    def __del__(self) -> None:
        channel = getattr(self, "_channel", None)
        if channel is not None and not self._closed:
            self._core.tether.call_soon(channel.abandon)
