"""Connections out and in ride the stream too: when it breaks and comes back, they go on."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from cases.mark import case
from faults.conftest import MakeSandbox, OpenProxy
from faults.pending import SECONDS
from faults.proxy import lost
from faults.reached import back, cut_twice, noticed, reached
from fumehood import Lifecycle, Network, SessionLostError

BROKEN = "A live session survives the loss of its stream"
HALF = bytes(range(256)) * 4000
DIGEST = hashlib.sha256(HALF + HALF).hexdigest()


@dataclass(slots=True)
class Outside:
    """A server of this machine that sends half of a page, and the rest when it is told to."""

    port: int = 0
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    on: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (2 * len(HALF)) + HALF)
            await writer.drain()
            self.asked.set()
            await self.on.wait()
            writer.write(HALF)
            await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def outside() -> AsyncIterator[Outside]:
    made = Outside()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        made.on.set()
        server.close()
        await server.wait_closed()


def get(port: int) -> str:
    # Loopback too goes through the proxy.
    return f"no_proxy= NO_PROXY= wget -q -O - http://127.0.0.1:{port}/ | sha256sum"


@case("X74", BROKEN)
async def test_a_download_through_the_proxy_goes_on_over_streams_that_are_cut(
    sandbox: MakeSandbox, open_proxy: OpenProxy
) -> None:
    async with outside() as out:
        network = Network.allow("127.0.0.1", ports=(out.port,))
        async with reached(sandbox, open_proxy, network=network) as (proxy, session):
            download = asyncio.ensure_future(session.shell(get(out.port), timeout=None))
            await out.asked.wait()
            await cut_twice(proxy, session)
            out.on.set()
            async with asyncio.timeout(6 * SECONDS):
                assert (await download).stdout.split()[0] == DIGEST
            # And the proxy is there for the next one.
            assert (await session.shell(get(out.port))).stdout.split()[0] == DIGEST
            assert session.egress_statistics()["served"] == 2


@case("X74", BROKEN)
async def test_a_list_that_is_changed_while_the_stream_is_broken_holds_when_it_is_back(
    sandbox: MakeSandbox, open_proxy: OpenProxy
) -> None:
    async with outside() as out:
        network = Network.allow("127.0.0.1", ports=(out.port,))
        async with reached(sandbox, open_proxy, network=network) as (proxy, session):
            out.on.set()
            assert (await session.shell(get(out.port))).stdout.split()[0] == DIGEST
            out.on.clear()
            out.asked.clear()
            download = asyncio.ensure_future(session.shell(get(out.port), timeout=None))
            await out.asked.wait()
            assert proxy.cut_streams() == 1
            async with asyncio.timeout(SECONDS):
                await session.set_network(Network.none())
            await back(session, 1)
            # What it had, and not the rest of it.
            async with asyncio.timeout(6 * SECONDS):
                assert (await download).stdout.split()[0] != DIGEST
            refused = await session.shell(get(out.port))
            assert "403" in refused.stderr


@case("X75", BROKEN)
async def test_connections_to_a_forwarded_port_go_on_over_streams_that_are_cut(
    sandbox: MakeSandbox, open_proxy: OpenProxy
) -> None:
    async with reached(sandbox, open_proxy) as (proxy, session):
        await session.start_process(["nc", "-ll", "-p", "8000", "-e", "cat"])
        await session.wait_for_port(8000)
        async with session.forward_port(8000) as forward:
            reader, writer = await asyncio.open_connection(forward.host, forward.port)
            for time in (1, 2):
                writer.write(HALF[:1000])
                assert await reader.readexactly(1000) == HALF[:1000]
                writer.write(HALF[:1000])
                assert proxy.cut_streams() == 1
                await noticed(session)
                # Who comes while there is no stream waits for it, and is not turned away.
                late = await asyncio.open_connection(forward.host, forward.port)
                late[1].write(b"late")
                await back(session, time)
                async with asyncio.timeout(6 * SECONDS):
                    assert await reader.readexactly(1000) == HALF[:1000]
                    assert await late[0].readexactly(4) == b"late"
                late[1].close()
            writer.write_eof()
            async with asyncio.timeout(SECONDS):
                assert await reader.read() == b""
            writer.close()


@case("X75", BROKEN)
async def test_without_a_way_back_connections_in_and_out_are_cut_off(
    sandbox: MakeSandbox, open_proxy: OpenProxy
) -> None:
    short = Lifecycle(disconnect_grace=1)
    async with outside() as out, open_proxy(tcp=True) as (proxy, address):
        network = Network.allow("127.0.0.1", ports=(out.port,))
        async with sandbox(docker_host=address, lifecycle=short, network=network) as box:
            session = await box.create_session()
            await session.start_process(["nc", "-ll", "-p", "8000", "-e", "cat"])
            await session.wait_for_port(8000)
            forward = await session.forward_port(8000)
            reader, writer = await asyncio.open_connection(forward.host, forward.port)
            writer.write(b"x")
            assert await reader.readexactly(1) == b"x"
            download = asyncio.ensure_future(session.shell(get(out.port), timeout=None))
            await out.asked.wait()
            for method in ("GET", "POST"):
                proxy.on(method, ".*", lost())
            proxy.cut_streams()
            async with asyncio.timeout(6 * SECONDS):
                # A reset on the one side, a loss with a name on the other: no proper ends.
                with pytest.raises(ConnectionResetError):
                    await reader.read()
                with pytest.raises(SessionLostError):
                    await download
            writer.close()
            await forward.aclose()
            proxy.clear()
            await session.destroy()
