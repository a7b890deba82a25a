"""Servers in memory: what scripts serve at ports, and the connections to them."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator

from fumehood._wire.table import ErrorCode
from fumehood.testing._changes import Changes
from fumehood.testing._input import ClosedError, Input
from fumehood.testing._standstill import Pause
from fumehood.testing.files import MemoryFiles, RefusedError

_log = logging.getLogger("fumehood.testing")

Send = Callable[[bytes], Awaitable[None]]


class Connection:
    """One connection in memory, as the server or who has connected to it sees it.

    Args:
        port: the server's.
        source: what its peer sends.
        send: what sends to its peer.
        finish: what tells its peer that no more comes.
    """

    def __init__(self, port: int, source: Input, send: Send, finish: Callable[[], None]) -> None:
        self.port: int = port
        self.cut: bool = False
        """Whether the peer is gone."""
        self._input = source
        self._send = send
        self._finish = finish
        self._finished = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} to port {self.port}>"

    async def read(self) -> bytes:
        """Return what comes next; ``b""`` when the peer has ended its direction.

        Raises:
            ConnectionResetError: the peer has broken off.
        """
        return await self._input.read()

    async def read_line(self) -> bytes:
        r"""Return what comes next up to a ``\n``, or to the end."""
        return await self._input.read_line()

    async def write(self, data: bytes | str) -> None:
        """Send; waits for a peer who takes it more slowly.

        Raises:
            ConnectionResetError: the peer has closed the connection.
        """
        if self.cut:
            raise ConnectionResetError(errno.ECONNRESET, "the peer has closed the connection")
        try:
            await self._send(data.encode() if isinstance(data, str) else bytes(data))
        except ClosedError:
            raise ConnectionResetError(errno.ECONNRESET, "nobody reads it any more") from None

    async def write_eof(self) -> None:
        """Tell the peer that no more comes, which may go on itself. Idempotent."""
        if not self._finished:
            self._finished = True
            self._finish()


Server = Callable[[Connection], Awaitable[None]]
"""Serves one connection, which is over when it returns."""


class Ports:
    """Who listens in one session.

    Args:
        files: the session's: the kernel's table of sockets is one of them.
        pause: the session's, in which scripts serve nobody.
    """

    def __init__(self, files: MemoryFiles, pause: Pause) -> None:
        self._files = files
        self._pause = pause
        self._servers: dict[int, Server] = {}
        self._serving: set[asyncio.Task[None]] = set()
        self.changed: Changes = Changes()

    def get(self, port: int) -> Server | None:
        """Return who listens at a port."""
        return self._servers.get(port)

    @contextlib.contextmanager
    def listening(self, port: int, server: Server, *, held: bool = True) -> Generator[None]:
        """Let a server have a port for as long as this is entered.

        Args:
            port: the port.
            server: who serves it.
            held: whether it stands still in a pause.

        Raises:
            OSError: somebody has it.
        """
        if port in self._servers:
            raise OSError(errno.EADDRINUSE, f"port {port} is in use")
        self._servers[port] = functools.partial(self._serve, server) if held else server
        self._tell()
        try:
            yield
        finally:
            del self._servers[port]
            self._tell()

    async def _serve(self, server: Server, connection: Connection) -> None:
        async def serve() -> None:
            await server(connection)

        await self._pause.steps(serve())

    @contextlib.asynccontextmanager
    async def connected(self, port: int) -> AsyncGenerator[Connection, None]:
        """Connect to a server from within, for as long as this is entered.

        Raises:
            ConnectionRefusedError: nobody listens there.
        """
        server = self._servers.get(port)
        if server is None:
            raise ConnectionRefusedError(errno.ECONNREFUSED, f"nobody listens at port {port}")
        up, down = Input(ended=False), Input(ended=False)
        theirs = Connection(port, up, down.write, down.end)
        serving = asyncio.create_task(serve(server, theirs, up))
        self._serving.add(serving)
        serving.add_done_callback(lambda task: self._served(task, down))
        try:
            yield Connection(port, down, up.write, up.end)
        finally:
            # As with a socket that is closed: what was sent arrives, and what comes is refused.
            theirs.cut = True
            down.close()
            up.end()

    def _served(self, serving: asyncio.Task[None], down: Input) -> None:
        self._serving.discard(serving)
        if serving.cancelled() or serving.exception() is not None:
            down.cut_off()
        else:
            down.end()

    def end(self) -> None:
        """End all connections that were made from within."""
        for serving in self._serving:
            serving.cancel()

    def _tell(self) -> None:
        rows = ["  sl  local_address rem_address   st"]
        rows += [
            f"{row:4}: 0100007F:{port:04X} 00000000:0000 0A"
            for row, port in enumerate(sorted(self._servers))
        ]
        self._files.write("/proc/net/tcp", "\n".join(rows) + "\n", mode=0o444)
        self.changed.tell()


async def serve(server: Server, connection: Connection, source: Input) -> None:
    """Let a server serve one connection to its end.

    Raises:
        RefusedError: it has cut the connection off, or failed.
    """
    try:
        await server(connection)
    except ConnectionResetError:
        if not connection.cut:
            raise RefusedError(ErrorCode.CONNECTION_RESET) from None
    except Exception as exc:
        # A server is the test's own code: its fault is told where the test looks.
        _log.exception("the server of port %d failed", connection.port)
        raise RefusedError(ErrorCode.CONNECTION_RESET) from exc
    finally:
        source.close()
