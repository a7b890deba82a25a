"""A port of this machine that leads to one inside a session."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import logging
import socket
from types import TracebackType
from typing import Self

from fumehood._core import CANCEL_PATIENCE, SessionCore
from fumehood._relay import Traffic, relay, reset
from fumehood._tether.cleanup import stop, to_the_end
from fumehood._wire.messages import Fail
from fumehood._wire.requests import connect_request
from fumehood.errors import InvalidRequestError, PortError, SandboxError
from fumehood.text import brief

logger: logging.Logger = logging.getLogger("fumehood.ports")

MAX_CONNECTIONS = 200
"""Of one forward at once: a session carries 256 operations, and commands want to be among them."""

_BACKLOG = 256
_LIMIT = 1 << 17
_FULL = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_PAUSE = 0.25
"""Seconds to wait when this process has no descriptor left for one more connection."""


def check_host(host: str) -> str:
    """Return a loopback address, or refuse: whoever reaches the port reaches the session."""
    try:
        loopback = ipaddress.ip_address(host).is_loopback and "%" not in host
    except ValueError:
        loopback = False
    if not loopback:
        raise InvalidRequestError(
            f"host must be a loopback address such as '127.0.0.1', not {brief(host)}: a forwarded "
            "port has no password; put a proxy with one in front to serve others"
        )
    return host


class AsyncPortForward:
    """A listener on this machine's loopback; see :meth:`PortsPart.forward_port`."""

    def __init__(
        self, core: SessionCore, port: int, listener: socket.socket, max_connections: int
    ) -> None:
        self._core = core
        self._container_port = port
        self._listener = listener
        name: tuple[str, int] = listener.getsockname()[:2]
        self._host, self._local_port = name
        self._slots = asyncio.Semaphore(max_connections)
        self._traffic = Traffic()
        self._accepted = 0
        self._refused = 0
        self._connections: set[asyncio.Task[None]] = set()
        self._accepting = asyncio.create_task(self._accept())
        self._watching = asyncio.create_task(self._watch())
        self._closing: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        state = " closed" if self._closing is not None else ""
        return (
            f"<AsyncPortForward {self._host}:{self._local_port} to {self._container_port}{state}>"
        )

    @property
    def host(self) -> str:
        """The address that it listens on here."""
        return self._host

    @property
    def port(self) -> int:
        """The port that it listens on here."""
        return self._local_port

    @property
    def container_port(self) -> int:
        """The port inside."""
        return self._container_port

    def statistics(self) -> dict[str, int]:
        """Return numbers: connections now and in all, those that failed, bytes of those that ended.

        ``sent`` went into the session, ``received`` came out of it.
        """
        return {
            "connections": len(self._connections),
            "accepted": self._accepted,
            "refused": self._refused,
            "sent": self._traffic.sent,
            "received": self._traffic.received,
        }

    async def aclose(self) -> None:
        """Stop listening and cut off what is under way. Idempotent."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        await stop(self._accepting)
        self._listener.close()
        connections = list(self._connections)
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
        if self._watching is not asyncio.current_task():
            self._watching.cancel()

    async def _watch(self) -> None:
        """End with the session."""
        await self._core.tether.wait_closed()
        await self.aclose()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._slots.acquire()
            try:
                connection, _ = await loop.sock_accept(self._listener)
            except OSError as exc:
                self._slots.release()
                if exc.errno not in _FULL:
                    raise
                logger.warning("port %d: %s; trying again", self._local_port, exc)
                await asyncio.sleep(_PAUSE)
                continue
            except BaseException:
                self._slots.release()
                raise
            self._accepted += 1
            task = asyncio.create_task(self._serve(connection))
            self._connections.add(task)
            task.add_done_callback(self._served)

    def _served(self, task: asyncio.Task[None]) -> None:
        self._connections.discard(task)
        self._slots.release()
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("port %d: a connection failed", self._local_port, exc_info=error)

    async def _serve(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        reader, writer = await asyncio.open_connection(sock=connection, limit=_LIMIT)
        proper = False
        try:
            if await self._carry(reader, writer):
                writer.close()
                await writer.wait_closed()
                proper = True
        except OSError as exc:
            logger.debug("port %d: a client broke off: %s", self._local_port, exc)
        finally:
            if not proper:
                self._refused += 1
                reset(writer)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Carry one connection; return whether it came to a proper end."""
        try:
            channel = self._core.tether.open(connect_request(self._container_port))
        except SandboxError as exc:
            logger.debug("port %d: %s", self._local_port, exc)
            return False
        traffic = Traffic()
        try:
            answer = await relay(channel, reader, writer, traffic)
        except SandboxError as exc:
            # OSErrors among them, too: the session's end is not the local client's doing.
            logger.debug("port %d: %s", self._local_port, exc)
            return False
        finally:
            self._traffic.sent += traffic.sent
            self._traffic.received += traffic.received
            await to_the_end(channel.aclose(CANCEL_PATIENCE))
        if isinstance(answer, Fail):
            logger.debug("port %d: %s", self._local_port, answer)
            return False
        return True

    async def __aenter__(self) -> Self:
        """Return itself."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        await self.aclose()


async def start_forward(
    core: SessionCore, port: int, host: str, local_port: int, max_connections: int
) -> AsyncPortForward:
    """Listen, and return the forward."""
    core.tether.check_alive()
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setblocking(False)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, local_port))
        listener.listen(_BACKLOG)
    except OSError as exc:
        listener.close()
        raise PortError(
            f"{host}:{local_port} cannot be listened on: {exc.strerror}",
            port=local_port,
            op="forward_port",
            session_id=core.id,
        ) from exc
    return AsyncPortForward(core, port, listener, max_connections)
