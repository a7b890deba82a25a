"""Something between a client and an engine that goes wrong: as a test says, request by request.

Each request gets a connection of its own to the engine (`Connection: close`), so that a rule can
see it whole; a request that becomes a stream stays one.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

_HEAD = b"\r\n\r\n"
_PIECE = 64 * 1024


@dataclass(slots=True)
class Exchange:
    """One request, and both ends of its connections."""

    method: str
    path: str
    """Without the API's version and the query."""
    head: bytes
    client: tuple[asyncio.StreamReader, asyncio.StreamWriter]
    engine: tuple[asyncio.StreamReader, asyncio.StreamWriter]
    upgrades: bool
    forwarded: asyncio.Event = field(default_factory=asyncio.Event)

    async def forward(self) -> None:
        """Send the request on; its body follows by itself."""
        self.engine[1].write(self.head)
        await self.engine[1].drain()
        self.forwarded.set()

    async def reply(self) -> bytes:
        """Take the engine's whole answer (of a stream: its head)."""
        if self.upgrades:
            return await self.engine[0].readuntil(_HEAD)
        return await self.engine[0].read(-1)

    async def answer(self, status: int, body: bytes) -> None:
        """Answer the client in the engine's place."""
        head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nConnection: close\r\n"
        self.client[1].write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        await self.client[1].drain()


Fault = Callable[[Exchange], Awaitable[bool]]
"""What goes wrong with a request. ``True``: go on as if nothing was; ``False``: that was all."""


@dataclass(slots=True)
class Rule:
    """Which requests a fault happens to."""

    method: str
    path: re.Pattern[str]
    fault: Fault
    times: int
    """How many times yet."""
    seen: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when it has happened (or begun to)."""


class Proxy:
    """Listens on a socket of its own. Made by :func:`between`."""

    def __init__(self, engine: Path) -> None:
        self._engine = engine
        self._rules: list[Rule] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._streams: list[Exchange] = []
        self._flowing = asyncio.Event()
        self._flowing.set()
        self.requests: list[str] = []
        """``METHOD path`` of each request, in order."""

    def on(self, method: str, path: str, fault: Fault, *, times: int = 1_000_000) -> Rule:
        """Let something go wrong with requests of a method whose path matches whole.

        Rules added last come first; one that says ``True`` leaves the request to the next.
        """
        rule = Rule(method=method, path=re.compile(path), fault=fault, times=times)
        self._rules.insert(0, rule)
        return rule

    def clear(self) -> None:
        """Let nothing go wrong any more."""
        self._rules.clear()
        self._flowing.set()

    # --- faults of the streams that are open ---------------------------------------------------

    def cut_streams(self) -> int:
        """Break every open stream at once, in both directions; return how many there were."""
        for exchange in self._streams:
            for _, writer in (exchange.client, exchange.engine):
                writer.transport.abort()
        return len(self._streams)

    def half_close_streams(self) -> None:
        """Tell each client that nothing more will come, and go on listening to it."""
        for exchange in self._streams:
            exchange.client[1].write_eof()

    def hold_streams(self) -> None:
        """Carry nothing any more, and close nothing: a network that swallows packets."""
        self._flowing.clear()

    # --- how -----------------------------------------------------------------------------------

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one request and its answer."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            await self._carry(reader, writer)
            writer.close()
        except (OSError, asyncio.IncompleteReadError):
            pass  # a connection that broke is what this is about; who is at its ends finds out
        except asyncio.CancelledError:
            pass  # the proxy is closed
        finally:
            if not writer.is_closing():
                writer.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(_HEAD)
        first, _, rest = head.partition(b"\r\n")
        method, target, _ = first.decode("ascii").split(" ", 2)
        path = re.sub(r"^/v\d+\.\d+", "", target.partition("?")[0]).strip("/")
        self.requests.append(f"{method} {path}")
        upgrades = b"upgrade: tcp" in rest.lower()
        if not upgrades:
            rest = re.sub(rb"(?i)connection: [^\r]*\r\n", b"", rest)
            rest = b"Connection: close\r\n" + rest
        opening = asyncio.ensure_future(asyncio.open_unix_connection(str(self._engine)))
        try:
            engine = await asyncio.shield(opening)
        except asyncio.CancelledError:
            (await opening)[1].transport.abort()
            raise
        exchange = Exchange(
            method, path, first + b"\r\n" + rest, (reader, writer), engine, upgrades
        )
        up = asyncio.create_task(self._up(exchange))
        try:
            if await self._goes_on(exchange):
                await exchange.forward()
                await self._join(exchange, up)
        finally:
            # First, and without a wait in which this could be cancelled: what had to go has gone.
            engine[1].transport.abort()
            up.cancel()
            await asyncio.wait({up})

    async def _goes_on(self, exchange: Exchange) -> bool:
        for rule in list(self._rules):
            if (
                rule.times > 0
                and rule.method == exchange.method
                and rule.path.fullmatch(exchange.path)
            ):
                rule.times -= 1
                rule.seen.set()
                if not await rule.fault(exchange):
                    return False
        return True

    async def _up(self, exchange: Exchange) -> None:
        """Carry what the client sends: a request's body, or its side of a stream."""
        await exchange.forwarded.wait()
        await self._pump(exchange.client[0], exchange.engine[1])

    async def _join(self, exchange: Exchange, up: asyncio.Task[None]) -> None:
        if not exchange.upgrades:
            await self._pump(exchange.engine[0], exchange.client[1])
            return
        self._streams.append(exchange)
        try:
            await self._pump(exchange.engine[0], exchange.client[1])
            await asyncio.wait({up})
        finally:
            self._streams.remove(exchange)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(_PIECE):
            await self._flowing.wait()
            writer.write(data)
            await writer.drain()
        await self._flowing.wait()
        if writer.can_write_eof() and not writer.is_closing():
            writer.write_eof()

    async def close(self) -> None:
        """End every connection."""
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(set(self._tasks))


@asynccontextmanager
async def between(engine: Path, socket: Path) -> AsyncIterator[Proxy]:
    """Give a proxy that listens on ``socket`` and asks the engine on another."""
    proxy = Proxy(engine)
    server = await asyncio.start_unix_server(proxy.serve, str(socket), limit=1 << 20)
    try:
        yield proxy
    finally:
        server.close()
        await proxy.close()
        await server.wait_closed()


@asynccontextmanager
async def over_tcp(engine: Path) -> AsyncIterator[tuple[Proxy, str]]:
    """Give a proxy that listens on a TCP port of the loopback, and its address."""
    proxy = Proxy(engine)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", limit=1 << 20)
    try:
        yield proxy, f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await proxy.close()
        await server.wait_closed()


# --- faults ------------------------------------------------------------------------------------


def lost() -> Fault:
    """Break the connection before the engine hears of the request."""

    async def fault(exchange: Exchange) -> bool:
        exchange.client[1].transport.abort()
        return False

    return fault


def reply_lost(*, after: int = 0) -> Fault:
    """Let the engine do it, and break the connection after so many bytes of its answer."""

    async def fault(exchange: Exchange) -> bool:
        await exchange.forward()
        reply = await exchange.reply()
        exchange.client[1].write(reply[:after])
        await exchange.client[1].drain()
        exchange.client[1].close()
        return False

    return fault


def answers(status: int, body: bytes) -> Fault:
    """Answer in the engine's place; it does not hear of the request."""

    async def fault(exchange: Exchange) -> bool:
        await exchange.answer(status, body)
        return False

    return fault


def refuses(status: int, message: str) -> Fault:
    """Answer with the engine's form of an error."""
    return answers(status, b'{"message": "%s"}' % message.encode())


def late(seconds: float) -> Fault:
    """Let time pass before the engine hears of it."""

    async def fault(exchange: Exchange) -> bool:
        del exchange
        await asyncio.sleep(seconds)
        return True

    return fault


def held(until: asyncio.Event) -> Fault:
    """Wait for the test before the engine hears of it."""

    async def fault(exchange: Exchange) -> bool:
        del exchange
        await until.wait()
        return True

    return fault


def reply_held(until: asyncio.Event) -> Fault:
    """Let the engine do it, and wait for the test before the client hears of it."""

    async def fault(exchange: Exchange) -> bool:
        await exchange.forward()
        reply = await exchange.reply()
        await until.wait()
        exchange.client[1].write(reply)
        await exchange.client[1].drain()
        return False

    return fault


def rewritten(change: Callable[[bytes], bytes]) -> Fault:
    """Let the engine do it, and change the body of its answer."""

    async def fault(exchange: Exchange) -> bool:
        await exchange.forward()
        head, _, body = (await exchange.reply()).partition(_HEAD)
        if b"chunked" in head.lower():
            body = _joined(body)
        await exchange.answer(int(head.split(b" ", 2)[1]), change(body))
        return False

    return fault


def _joined(body: bytes) -> bytes:
    """Take the chunks of an answer together."""
    whole = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        whole += body[: int(size, 16)]
        body = body[int(size, 16) + 2 :]
    return whole
