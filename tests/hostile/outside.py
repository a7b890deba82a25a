"""The outside of a session whose egress is attacked: one server, names that lie, and a witness."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field

import pytest

from fumehood.egress import dial

HERE = "127.0.0.1"
"""Where the server is, and the one address that a case's rules may name."""

Serve = Callable[[bytes, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@functools.cache
def _connections() -> list[tuple[str, int]]:
    """Return what this process connects to over TCP, from the first call on.

    From the interpreter itself, whatever code it is that connects. Such a hook stays for ever.
    """
    seen: list[tuple[str, int]] = []

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event == "socket.connect":
            connection, address = arguments
            if getattr(connection, "family", None) in (socket.AF_INET, socket.AF_INET6):
                assert isinstance(address, tuple)
                seen.append((address[0], address[1]))

    sys.addaudithook(hook)
    return seen


@dataclass(slots=True)
class Outside:
    """What there is to be reached, and what was done about it."""

    port: int
    names: dict[str, Iterator[list[str]]] = field(default_factory=dict)
    """What a name leads to, each time that it is asked for."""
    asked: list[str] = field(default_factory=list)
    """The names that were asked for."""
    requests: list[bytes] = field(default_factory=list)
    """All that came on each connection to the server, of those at their end: see `noted`."""
    serve: Serve | None = None
    """In place of an answer that says hello."""
    _seen: list[tuple[str, int]] = field(default_factory=_connections)
    _before: int = 0
    _serving: set[asyncio.Task[None]] = field(default_factory=set)

    def forget(self) -> None:
        """Begin anew."""
        self.asked.clear()
        self.requests.clear()
        self._before = len(self._seen)

    async def noted(self) -> list[bytes]:
        """Return all that came on each connection, once those that were begun are at their ends.

        An answer is there before that.
        """
        async with asyncio.timeout(30):
            while self._serving:
                await asyncio.wait(self._serving)
        return self.requests

    @property
    def dialled(self) -> list[tuple[str, int]]:
        """All that this process has connected to over TCP."""
        return self._seen[self._before :]

    def lookup(self, name: str, port: int) -> list[dial.Place]:
        """Answer in the resolver's place."""
        self.asked.append(name)
        if name not in self.names:
            raise OSError("no such name")
        return [place for text in next(self.names[name]) for place in _places(text, port)]


_real_lookup = dial.lookup


def _places(text: str, port: int) -> list[dial.Place]:
    return _real_lookup(text, port)


async def hello(data: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer and end."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")


@contextlib.asynccontextmanager
async def outside(
    monkeypatch: pytest.MonkeyPatch, secure: ssl.SSLContext | None = None
) -> AsyncIterator[Outside]:
    """Serve on this machine's loopback, over TLS or not, and answer for every name there is."""
    made = Outside(port=0)
    tasks = made._serving

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        data = b""
        try:
            while b"\r\n\r\n" not in data and (piece := await reader.read(65_536)):
                data += piece
            await (made.serve or hello)(data, reader, writer)
            await writer.drain()
            # What is behind the request would be another one.
            while piece := await reader.read(65_536):
                data += piece
        except OSError:
            pass  # the proxy has cut it off, as it does with what it does not trust
        except asyncio.CancelledError:
            pass  # the case is over
        finally:
            made.requests.append(data)
            writer.transport.abort()
            tasks.discard(task)

    server = await asyncio.start_server(serve, HERE, 0, ssl=secure)
    made.port = server.sockets[0].getsockname()[1]
    made.forget()
    monkeypatch.setattr(dial, "lookup", made.lookup)
    try:
        yield made
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks)
        await server.wait_closed()
