"""Ports of sessions in memory: servers and clients that are scripts, and the proxy between."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from fumehood import (
    AsyncSession,
    CommandError,
    Network,
    PortError,
    PortRefusedError,
    PortResetError,
)
from fumehood.testing import (
    AsyncMemorySandbox,
    CommandCall,
    CommandReply,
    Connection,
)
from fumehood.testing.commands import Handler


@contextlib.asynccontextmanager
async def served(
    port: int,
    serve: Callable[[Connection], Awaitable[None]],
    client: Handler | None = None,
) -> AsyncIterator[AsyncSession]:
    """Give a session in which a script serves a port, and another can be run as ``client``."""

    async def server(call: CommandCall) -> None:
        with call.serve(port, serve):
            await asyncio.Event().wait()

    async with (
        AsyncMemorySandbox(commands={"server": server, "client": client}) as sandbox,
        sandbox.create_session() as session,
    ):
        await session.start_process(["server"])
        await session.wait_for_port(port)
        yield session


async def test_a_port_is_free_again_when_its_script_has_ended() -> None:
    async def greet(connection: Connection) -> None:
        await connection.write("hello\n")

    async def web(call: CommandCall) -> CommandReply | None:
        try:
            with call.serve(80, greet):
                await asyncio.Event().wait()
        except OSError as exc:
            return CommandReply(stderr=str(exc), exit_code=1)
        return None

    async with (
        AsyncMemorySandbox(commands={"web": web}) as sandbox,
        sandbox.create_session() as session,
    ):
        for _ in range(2):
            process = await session.start_process(["web"])
            await session.wait_for_port(80)
            second = await session.exec(["web"])
            assert (second.exit_code, "in use" in second.stderr) == (1, True)
            async with session.connect_port(80) as stream:
                assert await stream.read() == b"hello\n"
                assert await stream.read() == b""
            await process.stop()
        with pytest.raises(PortRefusedError):
            await session.connect_port(80)


async def test_a_forward_leads_to_a_scripted_server() -> None:
    async def http(connection: Connection) -> None:
        request = await connection.read_line()
        while await connection.read_line() != b"\r\n":
            pass
        body = f"you asked for {request.split()[1].decode()}"
        await connection.write(f"HTTP/1.0 200 OK\r\nContent-Length: {len(body)}\r\n\r\n{body}")

    async with served(8000, http) as session:
        async with session.forward_port(8000) as forward:
            reader, writer = await asyncio.open_connection(forward.host, forward.port)
            writer.write(b"GET /page HTTP/1.0\r\n\r\n")
            answer = await reader.read()
            writer.close()
            await writer.wait_closed()
        assert answer.endswith(b"\r\n\r\nyou asked for /page")


async def test_who_has_sent_its_end_is_served_and_who_breaks_off_is_not() -> None:
    taken: list[bytes] = []
    told, hung, broken = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def take(connection: Connection) -> None:
        if await connection.read_line() == b"hang\n":
            try:
                hung.set()
                await asyncio.Event().wait()
            finally:
                broken.set()
        taken.append(await connection.read())
        told.set()

    async with asyncio.timeout(30), served(80, take) as session:
        async with session.connect_port(80) as stream:
            await stream.write(b"line\nrest")
        await told.wait()
        assert taken == [b"rest"]
        with pytest.raises(RuntimeError, match="mine"):
            async with session.connect_port(80) as stream:
                await stream.write(b"hang\n")
                await hung.wait()
                raise RuntimeError("mine")
        await broken.wait()


async def test_a_server_that_fails_is_a_reset_and_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fail(connection: Connection) -> None:
        raise KeyError("mine")

    async with served(80, fail) as session, session.connect_port(80) as stream:
        with pytest.raises(PortResetError):
            await stream.read()
    [record] = caplog.records
    assert record.exc_info is not None


async def test_scripts_connect_to_each_other() -> None:
    async def add(connection: Connection) -> None:
        total = 0
        while line := await connection.read_line():
            total += int(line)
        await connection.write(f"{total}\n")
        await connection.write_eof()

    async def client(call: CommandCall) -> str:
        async with call.connect(80) as connection:
            await connection.write("1\n2\n")
            await connection.write_eof()
            answer = await connection.read_line()
            assert await connection.read() == b""
        try:
            async with call.connect(81):
                raise AssertionError
        except ConnectionRefusedError as exc:
            return f"{answer.decode()}{exc.strerror}\n"

    async with asyncio.timeout(30), served(80, add, client=client) as session:
        result = await session.exec(["client"])
        assert result.stdout == "3\nnobody listens at port 81\n"
        async with session.connect_port(80) as stream:
            await stream.write(b"40\n2\n")
            await stream.write_eof()
            assert await stream.read() == b"42\n"
            assert await stream.read() == b""


async def test_a_script_whose_peer_breaks_off_hears_a_reset_and_one_that_leaves_is_heard() -> None:
    left = asyncio.Event()

    async def serve(connection: Connection) -> None:
        if await connection.read_line() == b"break\n":
            raise ConnectionResetError
        try:
            while True:
                await connection.write(bytes(1 << 16))
        except ConnectionResetError:
            left.set()

    async def client(call: CommandCall) -> str:
        async with call.connect(80) as connection:
            await connection.write("flood\n")
            assert await connection.read()
        async with call.connect(80) as connection:
            await connection.write("break\n")
            try:
                await connection.read()
            except ConnectionResetError:
                return "reset\n"
        raise AssertionError

    async with asyncio.timeout(30), served(80, serve, client=client) as session:
        assert (await session.exec(["client"])).stdout == "reset\n"
        await left.wait()


async def test_the_port_of_the_proxy_is_one_that_a_script_may_have_taken() -> None:
    async def take(call: CommandCall) -> None:
        async def nothing(connection: Connection) -> None:
            await connection.read()

        with call.serve(3128, nothing):
            await call.write("taken\n")
            await asyncio.Event().wait()

    network = Network.allow("example.org")
    async with (
        AsyncMemorySandbox(commands={"take": take}, network=network) as sandbox,
        sandbox.create_session() as session,
        asyncio.timeout(30),
    ):
        # The proxy was there first, and is no process of anybody.
        with pytest.raises(CommandError, match="3128 is in use"):
            await session.exec(["take"])
        assert await session.list_processes() == []
        async with sandbox.connect(session.id) as joined:
            with pytest.raises(PortError, match="another client"):
                await joined.set_network(network)
            assert (await joined.exec(["env"])).stdout.count("http_proxy=") == 1
        async with session.connect_port(3128) as stream:
            await stream.write(
                b"GET http://elsewhere.test/ HTTP/1.1\r\nHost: elsewhere.test\r\n\r\n"
            )
            assert (await stream.read()).startswith(b"HTTP/1.1 403 ")
        assert session.egress_statistics()["served"] == 1
