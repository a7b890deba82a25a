"""Ports without a network: raw streams, forwards, waiting, with real servers and real clients."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import socket

import aiohttp
import pytest

from contract.adapter import Api
from contract.servers import ECHO, HTTP, WEBSOCKET, running, server
from fumehood import (
    AsyncSession,
    EndReason,
    InvalidRequestError,
    Lifecycle,
    OperationTimeoutError,
    PortError,
    PortRefusedError,
    PortResetError,
    SessionEndedError,
)

PORT = 8000
MIB = 1 << 20


# --- raw streams ----------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "0.0.0.0"])
async def test_bytes_go_both_ways_and_each_direction_ends_by_itself(
    session: AsyncSession, host: str
) -> None:
    if host == "::1" and await _without_ipv6(session):
        host = "127.0.0.1"  # as in most containers without a network
    async with running(session, server(ECHO, PORT, host)):
        stream = await session.connect_port(PORT)
        assert stream.port == PORT
        await stream.write(b"hello")
        assert await stream.read() == b"hello"
        await stream.write_eof()
        assert await stream.read() == b"!"
        assert await stream.read() == b""
        assert await stream.read() == b""
        await stream.aclose()
        await stream.aclose()


async def _without_ipv6(session: AsyncSession) -> bool:
    return not (await session.exec(["cat", "/proc/net/if_inet6"])).stdout


@pytest.mark.engines("docker", "memory")
async def test_megabytes_go_through_whole_and_in_pieces_as_small_as_wanted(
    session: AsyncSession,
) -> None:
    data = os.urandom(8 * MIB)
    async with running(session, server(ECHO, PORT)), session.connect_port(PORT) as stream:

        async def send() -> None:
            await stream.write(data)
            await stream.write_eof()

        sending = asyncio.create_task(send())
        received = bytearray()
        for size in (1, 7, 1000):
            received += (piece := await stream.read(size))
            assert 0 < len(piece) <= size
        while piece := await stream.read(1 << 20):
            received += piece
        await sending
    assert bytes(received) == data + b"!"


@pytest.mark.engines("docker", "memory")
async def test_nobody_at_a_port_is_an_error_of_its_own(session: AsyncSession) -> None:
    with pytest.raises(PortRefusedError, match="nobody listens at port 8000") as caught:
        await session.connect_port(PORT)
    assert isinstance(caught.value, ConnectionRefusedError)
    assert (caught.value.port, caught.value.session_id) == (PORT, session.id)
    # The session is as good as before.
    assert (await session.exec(["true"])).ok


async def test_a_cut_connection_is_told_after_what_came_before(session: AsyncSession) -> None:
    body = (
        "c.sendall(b'last words'); c.recv(1)\n"
        "c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b'\\1\\0\\0\\0\\0\\0\\0\\0')\n"
        "c.close()"
    )
    async with running(session, server(body, PORT)), session.connect_port(PORT) as stream:
        assert await stream.read() == b"last words"
        await stream.write(b"x")
        for _ in range(2):
            with pytest.raises(PortResetError):
                await stream.read()
        with pytest.raises(PortResetError):
            await stream.write(b"x")


async def test_a_reader_that_stalls_stalls_its_own_connection_alone(session: AsyncSession) -> None:
    body = "c.recv(1)\nwhile True: c.sendall(bytes(65536))"
    async with (
        running(session, server(body, PORT)),
        session.connect_port(PORT) as stalled,
        session.connect_port(PORT) as other,
    ):
        await stalled.write(b"x")
        await other.write(b"x")
        total = 0
        while total < 4 * MIB:
            total += len(await other.read())
        assert (await session.exec(["echo", "quick"])).stdout == "quick\n"
        assert len(await stalled.read()) > 0


@pytest.mark.engines("docker", "memory")
async def test_a_closed_stream_says_so_and_a_write_after_the_end_too(session: AsyncSession) -> None:
    async with running(session, server(ECHO, PORT)):
        stream = await session.connect_port(PORT)
        await stream.write_eof()
        with pytest.raises(InvalidRequestError, match="write_eof"):
            await stream.write(b"x")
        with pytest.raises(InvalidRequestError, match="bytes"):
            await stream.write("text")  # type: ignore[arg-type]
        await stream.aclose()
        for call in (stream.read, lambda: stream.write(b"x"), stream.write_eof):
            with pytest.raises(InvalidRequestError, match="closed"):
                await call()


async def test_an_error_in_the_block_shows_inside_as_a_reset(session: AsyncSession) -> None:
    body = (
        "try:\n    while c.recv(10): pass\n    print('end', flush=True)\n"
        "except ConnectionResetError:\n    print('reset', flush=True)"
    )
    stream = session.exec_stream(["python3", "-c", server(body, PORT)], timeout=None)
    async with stream:
        await stream.__anext__()
        async with session.connect_port(PORT) as connection:
            await connection.write(b"x")
        assert getattr(await stream.__anext__(), "text", "") == "end\n"
        with pytest.raises(RuntimeError, match="of the caller"):
            async with session.connect_port(PORT) as connection:
                await connection.write(b"x")
                raise RuntimeError("of the caller")
        assert getattr(await stream.__anext__(), "text", "") == "reset\n"


@pytest.mark.parametrize("port", [0, -1, 65_536, 1.5, "80", True])
@pytest.mark.engines("docker", "memory")
async def test_a_number_that_is_no_port_is_refused(session: AsyncSession, port: int) -> None:
    for call in (session.connect_port, session.forward_port, session.wait_for_port):
        with pytest.raises(InvalidRequestError, match="port"):
            await call(port)


# --- waiting --------------------------------------------------------------------------------------


@pytest.mark.engines("docker", "memory")
async def test_a_wait_ends_when_somebody_listens(session: AsyncSession) -> None:
    waiting = asyncio.create_task(session.wait_for_port(PORT))
    async with running(session, server(ECHO, PORT)):
        await waiting
        await session.wait_for_port(PORT, timeout=0)


@pytest.mark.engines("docker", "memory")
async def test_a_wait_that_is_over_says_so(session: AsyncSession) -> None:
    with pytest.raises(OperationTimeoutError, match="8000"):
        await session.wait_for_port(PORT, timeout=0.2)
    with pytest.raises(OperationTimeoutError):
        await session.wait_for_port(PORT, 0)


async def test_a_wait_needs_nothing_of_the_image(scratch: AsyncSession) -> None:
    with pytest.raises(OperationTimeoutError):
        await scratch.wait_for_port(PORT, timeout=0.1)


# --- forwards -------------------------------------------------------------------------------------


async def test_http_through_a_forward(session: AsyncSession) -> None:
    body = os.urandom(3 * MIB)
    program = HTTP.replace("PORT", str(PORT))
    async with running(session, program), session.forward_port(PORT) as forward:
        assert forward.host == "127.0.0.1"
        base = f"http://{forward.host}:{forward.port}"
        async with aiohttp.ClientSession() as client:
            async with client.get(f"{base}/100000") as response:
                assert await response.read() == (bytes(range(256)) * 391)[:100_000]
                assert response.headers["X-Host"] == f"127.0.0.1:{forward.port}"
            async with client.post(base, data=io.BytesIO(body)) as response:
                assert await response.text() == hashlib.sha256(body).hexdigest()


async def test_a_download_of_a_hundred_megabytes_arrives_whole(session: AsyncSession) -> None:
    size = 100_000_000
    digest, received = hashlib.sha256(), 0
    program = HTTP.replace("PORT", str(PORT))
    async with (
        running(session, program),
        session.forward_port(PORT) as forward,
        aiohttp.ClientSession() as client,
        client.get(f"http://{forward.host}:{forward.port}/{size}") as response,
    ):
        async for piece in response.content.iter_any():
            digest.update(piece)
            received += len(piece)
    expected = hashlib.sha256()
    block = bytes(range(256)) * 256
    for at in range(0, size, len(block)):
        expected.update(block[: size - at])
    assert (received, digest.hexdigest()) == (size, expected.hexdigest())


async def test_a_websocket_through_a_forward(session: AsyncSession) -> None:
    async with (
        running(session, server(WEBSOCKET, PORT)),
        session.forward_port(PORT) as forward,
        aiohttp.ClientSession() as client,
        client.ws_connect(f"ws://{forward.host}:{forward.port}/") as socket_,
    ):
        for text in ("one", "two", "three"):
            await socket_.send_str(text)
            assert (await socket_.receive_str()) == text


async def test_either_side_may_end_its_own_direction_first(session: AsyncSession) -> None:
    async with running(session, server(ECHO, PORT)), session.forward_port(PORT) as forward:
        reader, writer = await asyncio.open_connection(forward.host, forward.port)
        writer.write(b"and then the end")
        writer.write_eof()
        assert await reader.read() == b"and then the end!"
        writer.close()
        await writer.wait_closed()
    last = "c.sendall(b'bye'); c.shutdown(socket.SHUT_WR); print(len(c.makefile('rb').read()))"
    async with running(session, server(last, PORT)), session.forward_port(PORT) as forward:
        reader, writer = await asyncio.open_connection(forward.host, forward.port)
        assert await reader.read() == b"bye"
        writer.write(bytes(100_000))
        await writer.drain()
        writer.close()
        await writer.wait_closed()


async def test_two_hundred_connections_at_once(session: AsyncSession) -> None:
    async with running(session, server(ECHO, PORT)), session.forward_port(PORT) as forward:

        async def talk(number: int) -> tuple[bytes, asyncio.StreamWriter]:
            reader, writer = await asyncio.open_connection(forward.host, forward.port)
            text = b"%d" % number
            writer.write(text)
            return await reader.readexactly(len(text)), writer

        talked = await asyncio.gather(*map(talk, range(200)))
        assert [said for said, _ in talked] == [b"%d" % number for number in range(200)]
        statistics = forward.statistics()
        assert (statistics["connections"], statistics["refused"]) == (200, 0)
        # There is still room for commands.
        assert (await session.exec(["true"])).ok
        for _, writer in talked:
            writer.close()


async def test_connections_beyond_the_limit_wait_their_turn(session: AsyncSession) -> None:
    opening = session.forward_port(PORT, max_connections=2)
    async with running(session, server(ECHO, PORT)), opening as forward:

        async def talk() -> bytes:
            reader, writer = await asyncio.open_connection(forward.host, forward.port)
            writer.write(b"x")
            writer.write_eof()
            try:
                return await reader.read()
            finally:
                writer.close()

        assert await asyncio.gather(*(talk() for _ in range(20))) == [b"x!"] * 20
        assert forward.statistics()["accepted"] == 20


async def test_a_connection_that_nobody_serves_is_reset(session: AsyncSession) -> None:
    async with session.forward_port(PORT) as forward:
        # The reset may be there before the client has looked at its own connecting.
        with pytest.raises(ConnectionResetError):
            reader, writer = await asyncio.open_connection(forward.host, forward.port)
            try:
                await reader.read()
            finally:
                writer.close()
        # The forward is as good as before, once there is a server.
        async with running(session, server(ECHO, PORT)):
            reader, writer = await asyncio.open_connection(forward.host, forward.port)
            writer.write_eof()
            assert await reader.read() == b"!"
            writer.close()


async def test_a_server_that_dies_ends_its_connections(session: AsyncSession) -> None:
    async with session.forward_port(PORT) as forward:
        async with running(session, server("c.sendall(b'x')\nc.recv(1)", PORT)):
            reader, writer = await asyncio.open_connection(forward.host, forward.port)
            assert await reader.readexactly(1) == b"x"
        assert await reader.read() == b""
        writer.close()


async def test_a_closed_forward_takes_no_connection_and_ends_those_it_had(
    session: AsyncSession,
) -> None:
    async with running(session, server(ECHO, PORT)):
        forward = await session.forward_port(PORT)
        host, port = forward.host, forward.port
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(b"x")
        assert await reader.readexactly(1) == b"x"
        await forward.aclose()
        await forward.aclose()
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(host, port)


async def test_a_forward_is_for_this_machine_alone(session: AsyncSession) -> None:
    for host in ("0.0.0.0", "::", "192.0.2.1", "localhost", "127.0.0.1 ", ""):
        with pytest.raises(InvalidRequestError, match="loopback"):
            await session.forward_port(PORT, host=host)
    for local in (-1, 65_536, "1"):
        with pytest.raises(InvalidRequestError, match="local_port"):
            await session.forward_port(PORT, local_port=local)  # type: ignore[arg-type]
    for most in (0, 201):
        with pytest.raises(InvalidRequestError, match="max_connections"):
            await session.forward_port(PORT, max_connections=most)


async def test_a_local_port_that_is_taken_is_an_error(session: AsyncSession) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortError, match=f"127.0.0.1:{port} cannot be listened on"):
            await session.forward_port(PORT, port)


async def test_forwards_and_streams_end_with_their_session(api: Api) -> None:
    async with api.session() as session:
        async with running(session, server(ECHO, PORT)):
            forward = await session.forward_port(PORT)
            reader, writer = await asyncio.open_connection(forward.host, forward.port)
            stream = await session.connect_port(PORT)
            reading = asyncio.create_task(stream.read())
            await session.destroy()
            with pytest.raises(SessionEndedError):
                await reading
            with pytest.raises(ConnectionResetError):
                await reader.read()
            writer.close()
        with pytest.raises(SessionEndedError):
            await session.forward_port(PORT)
        await stream.aclose()
        await forward.aclose()


async def test_an_idle_forward_keeps_no_session_alive_and_a_connection_does(api: Api) -> None:
    async with api.session(lifecycle=Lifecycle(idle_timeout=1.0)) as session:
        body = "import time\nc.sendall(c.recv(1))\nc.recv(1)\ntime.sleep(2)\nc.sendall(b'y')"
        program = server(f"{body}\nc.close()", PORT)
        # However long it takes to get so far, the session is not idle.
        async with session.open_terminal(["cat"]):
            await session.shell('python3 -c "$P" >/dev/null 2>&1 &', env={"P": program})
            await session.wait_for_port(PORT)
            forward = await session.forward_port(PORT)
            reader, writer = await asyncio.open_connection(forward.host, forward.port)
            writer.write(b"x")
            assert await reader.readexactly(1) == b"x"
        # Twice as long as the idle time, with nothing under way but the connection.
        writer.write(b"x")
        assert await reader.read() == b"y"
        writer.close()
        assert await session.wait_ended() is EndReason.IDLE
