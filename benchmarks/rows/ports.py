"""A forwarded port beside one that the engine publishes: the same server, at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from benchmarks.bench import Bench, Group
from benchmarks.measure import Side, alternate, median
from benchmarks.row import Row, at_least, at_most
from fumehood import AsyncDockerSandbox, Network

_PORT = 8000
_SIZE = 100_000_000
_ROUNDS = 11

# One byte asks for itself back, another one for 100 MB.
_SERVER = f"""
import socket, threading
def serve(c):
    c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    block = bytes(1 << 20)
    while asked := c.recv(1):
        if asked == b"e":
            c.sendall(asked)
            continue
        left = {_SIZE}
        while left:
            left -= c.send(block[:left])
s = socket.create_server(("0.0.0.0", {_PORT}), backlog=16)
while True:
    threading.Thread(target=serve, args=(s.accept()[0],), daemon=True).start()
"""


@dataclass(frozen=True, slots=True)
class _Line:
    """One connection to the server."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def echo(self) -> None:
        self.writer.write(b"e")
        await self.reader.readexactly(1)

    async def download(self) -> None:
        self.writer.write(b"d")
        left = _SIZE
        while left:
            piece = await self.reader.read(1 << 20)
            if not piece:
                raise RuntimeError(f"the connection ended {left} bytes early")
            left -= len(piece)


@asynccontextmanager
async def _line(host: str, port: int) -> AsyncIterator[_Line]:
    reader, writer = await asyncio.open_connection(host, port, limit=1 << 20)
    try:
        yield _Line(reader, writer)
    finally:
        writer.close()


@asynccontextmanager
async def _lines(bench: Bench) -> AsyncIterator[dict[str, _Line]]:
    async with (
        AsyncDockerSandbox(image=bench.image, network=Network.bridge()) as sandbox,
        sandbox.create_session(ports=(_PORT,)) as session,
    ):
        await session.shell('python3 -c "$P" >/dev/null 2>&1 &', env={"P": _SERVER}, check=True)
        await session.wait_for_port(_PORT)
        async with (
            session.forward_port(_PORT) as forward,
            _line(forward.host, forward.port) as ours,
            _line("127.0.0.1", session.published_ports[_PORT]) as engine,
        ):
            yield {"ours": ours, "engine": engine}


async def _measure(bench: Bench) -> list[Row]:
    async with _lines(bench) as lines:
        echoes = await alternate(
            _ROUNDS, {name: Side(call=line.echo, times=20, warm=5) for name, line in lines.items()}
        )
        downloads = await alternate(
            _ROUNDS, {name: Side(call=line.download) for name, line in lines.items()}
        )
    return [
        Row(
            name="port-round-trip",
            what="round trip through a forwarded port",
            unit="ms",
            ours=median(echoes["ours"]) * 1e3,
            baseline=median(echoes["engine"]) * 1e3,
            against="port published by the engine",
            target=at_most(5),
            samples=len(echoes["ours"]),
        ),
        Row(
            name="port-100m",
            what="100 MB through a forwarded port",
            unit="MB/s",
            ours=_SIZE / 1e6 / median(downloads["ours"]),
            baseline=_SIZE / 1e6 / median(downloads["engine"]),
            against="port published by the engine",
            target=at_least(0.25),
            samples=len(downloads["ours"]),
        ),
    ]


GROUPS = (Group(rows=("port-round-trip", "port-100m"), measure=_measure),)
