"""Through the proxy of an allow-list beside the engine's own bridge: the same server, by turns."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from benchmarks.bench import LIMITS, Bench, Group
from benchmarks.measure import Side, alternate, median
from benchmarks.row import NotMeasurableError, Row, at_least, at_most
from fumehood import AsyncDockerSandbox, AsyncSession, Network

_SIZE = 100_000_000
_REQUESTS = 100
_ROUNDS = 9

# In a process of its own: the proxy must not have to share its interpreter. One byte asks for
# itself back, another one for 100 MB.
_SERVER = f"""
import socket, sys, threading
def serve(c):
    c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    block = bytes(1 << 20)
    if c.recv(1) == b"e":
        c.sendall(b"e")
    else:
        left = {_SIZE}
        while left:
            left -= c.send(block[:left])
    c.close()
s = socket.create_server((sys.argv[1], 0), backlog=64)
print(s.getsockname()[1], flush=True)
while True:
    threading.Thread(target=serve, args=(s.accept()[0],), daemon=True).start()
"""
_CLIENT = """
import socket, sys
way, host, port, asked, times, size = sys.argv[1:]
for _ in range(int(times)):
    if way == "direct":
        s = socket.create_connection((host, int(port)))
    else:
        s = socket.create_connection(("127.0.0.1", 3128))
        s.sendall(f"CONNECT {host}:{port} HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n".encode())
        assert s.recv(4096).startswith(b"HTTP/1.1 200 ")
    s.sendall(asked.encode())
    left = int(size)
    while left:
        piece = s.recv(1 << 20)
        assert piece, left
        left -= len(piece)
    s.close()
"""
# Little-endian, as /proc has it.
_GATEWAY = """
for line in open("/proc/net/route"):
    name, target, gateway = line.split()[:3]
    if target == "00000000":
        print(".".join(str(b) for b in bytes.fromhex(gateway)[::-1]))
"""


@asynccontextmanager
async def _server(host: str) -> AsyncIterator[int]:
    """Serve at an address of this machine; give the port."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _SERVER, host),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdout is not None
    try:
        line = await process.stdout.readline()
        if not line:
            raise NotMeasurableError(f"the engine's bridge is not on this machine: {host}")
        yield int(line)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _measure(bench: Bench) -> list[Row]:
    async with (
        AsyncDockerSandbox(image=bench.image, network=Network.bridge(), limits=LIMITS) as bridged,
        bridged.create_session() as direct,
    ):
        host = (await direct.exec(["python3", "-c", _GATEWAY], check=True)).stdout.strip()
        async with (
            _server(host) as port,
            AsyncDockerSandbox(
                image=bench.image, network=Network.allow(host, ports=(port,)), limits=LIMITS
            ) as walled,
            walled.create_session() as proxied,
        ):

            def side(session: AsyncSession, way: str, asked: str, times: int, size: int) -> Side:
                words = [way, host, str(port), asked, str(times), str(size)]

                async def call() -> None:
                    await session.exec(["python3", "-c", _CLIENT, *words], check=True)

                return Side(call=call)

            ways = {"ours": (proxied, "proxy"), "engine": (direct, "direct")}
            downloads = await alternate(
                _ROUNDS, {name: side(*way, "d", 1, _SIZE) for name, way in ways.items()}
            )
            requests = await alternate(
                _ROUNDS, {name: side(*way, "e", _REQUESTS, 1) for name, way in ways.items()}
            )
    return [
        Row(
            name="egress-100m",
            what="100 MB from outside through the proxy",
            unit="MB/s",
            ours=_SIZE / 1e6 / median(downloads["ours"]),
            baseline=_SIZE / 1e6 / median(downloads["engine"]),
            against="directly, over the engine's bridge",
            target=at_least(0.1),
            samples=len(downloads["ours"]),
        ),
        Row(
            name="egress-request",
            what="a connection to outside through the proxy, and a byte back",
            unit="ms",
            ours=median(requests["ours"]) / _REQUESTS * 1e3,
            baseline=median(requests["engine"]) / _REQUESTS * 1e3,
            against="directly, over the engine's bridge",
            target=at_most(10),
            samples=len(requests["ours"]),
        ),
    ]


GROUPS = (Group(rows=("egress-100m", "egress-request"), measure=_measure),)
