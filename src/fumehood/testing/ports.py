"""Servers in memory: what scripts serve at ports, and the connections to them."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Awaitable, Callable, Generator

from fumehood.testing._changes import Changes
from fumehood.testing._input import Input
from fumehood.testing.files import MemoryFiles

Send = Callable[[bytes], Awaitable[None]]


class Connection:
    """One connection to a server in memory, as the server sees it.

    Args:
        port: the server's.
        source: what its peer sends.
        send: what sends to its peer.
    """

    def __init__(self, port: int, source: Input, send: Send) -> None:
        self.port: int = port
        self.cut: bool = False
        """Whether the peer is gone."""
        self._input = source
        self._send = send

    def __repr__(self) -> str:
        return f"<{type(self).__name__} to port {self.port}>"

    async def read(self) -> bytes:
        """Return what comes next; ``b""`` when the peer has ended its direction."""
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
        await self._send(data.encode() if isinstance(data, str) else bytes(data))


Server = Callable[[Connection], Awaitable[None]]
"""Serves one connection, which is over when it returns."""


class Ports:
    """Who listens in one session.

    Args:
        files: the session's: the kernel's table of sockets is one of them.
    """

    def __init__(self, files: MemoryFiles) -> None:
        self._files = files
        self._servers: dict[int, Server] = {}
        self.changed: Changes = Changes()

    def get(self, port: int) -> Server | None:
        """Return who listens at a port."""
        return self._servers.get(port)

    @contextlib.contextmanager
    def listening(self, port: int, server: Server) -> Generator[None]:
        """Let a server have a port for as long as this is entered.

        Raises:
            OSError: somebody has it.
        """
        if port in self._servers:
            raise OSError(errno.EADDRINUSE, f"port {port} is in use")
        self._servers[port] = server
        self._tell()
        try:
            yield
        finally:
            del self._servers[port]
            self._tell()

    def _tell(self) -> None:
        rows = ["  sl  local_address rem_address   st"]
        rows += [
            f"{row:4}: 0100007F:{port:04X} 00000000:0000 0A"
            for row, port in enumerate(sorted(self._servers))
        ]
        self._files.write("/proc/net/tcp", "\n".join(rows) + "\n", mode=0o444)
        self.changed.tell()
