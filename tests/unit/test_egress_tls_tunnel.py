"""What is said within a tunnel whose TLS ends here."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from fumehood._relay import Traffic
from fumehood.egress import within
from fumehood.egress.authority import Authority
from fumehood.egress.ends import OutsideEnd
from fumehood.egress.exchange import UpstreamError
from fumehood.egress.heads import BadRequestError, Head
from fumehood.egress.hosts import Name
from fumehood.egress.tls import TlsEnd
from fumehood.egress.within import Conversation

SECRET = "Bearer hunter2"
HEADERS = {"Authorization": SECRET, "X-Api-Key": "k"}
OURS = Authority(["api.test"])
THEIRS = Authority(["test"])
SERVER = THEIRS.server_context("api.test")
IN_ITS_PLACE = OURS.server_context("api.test")
TUNNEL = Head("CONNECT", Name("api.test"), 443, b"", [], False)

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def trusting(made: Authority) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=made.pem.decode())


class Talk:
    """A program inside, a server outside, and what is said between them through TLS twice."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.traffic = Traffic()
        self.got: list[bytes] = []
        self.failure: BaseException | None = None
        self.done = asyncio.Event()

    async def say(self, *lines: str, body: bytes = b"") -> None:
        self.writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        await self.writer.drain()

    async def hear(self) -> bytes:
        """Return all that comes until the end."""
        async with asyncio.timeout(10):
            data = await self.reader.read()
            await self.done.wait()
        return data

    async def head(self) -> bytes:
        async with asyncio.timeout(10):
            return await self.reader.readuntil(b"\r\n\r\n")


@contextlib.asynccontextmanager
async def talking(serve: Serve) -> AsyncIterator[Talk]:
    """Let a program inside talk to a server through a conversation."""
    program, near = socket.socketpair()
    far, server = socket.socketpair()

    async def served() -> None:
        reader, writer = await secure(server, SERVER, server_side=True)
        with contextlib.suppress(OSError, EOFError):
            await serve(reader, writer)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    async def conversation() -> None:
        _, near_writer = near_streams
        inside = TlsEnd(OutsideEnd(*near_streams), IN_ITS_PLACE)
        outside = TlsEnd(OutsideEnd(*far_streams), trusting(THEIRS), server_hostname="api.test")
        await asyncio.gather(outside.handshake(), inside.handshake())
        added = list(HEADERS.items())
        talk = Conversation(inside, outside, TUNNEL, lambda: added, made.traffic)
        try:
            await talk.run()
        except (BadRequestError, UpstreamError, OSError) as exc:
            made.failure = exc
        near_writer.transport.abort()
        far_streams[1].transport.abort()
        made.done.set()

    near_streams = await asyncio.open_connection(sock=near)
    far_streams = await asyncio.open_connection(sock=far)
    made = Talk(*near_streams)  # replaced below, once there is TLS
    tasks = [asyncio.create_task(served())]
    carrying = asyncio.create_task(conversation())
    try:
        made.reader, made.writer = await secure(program, trusting(OURS), server_hostname="api.test")
        yield made
    finally:
        made.writer.transport.abort()
        async with asyncio.timeout(10):
            await carrying
            await asyncio.gather(*tasks)


async def secure(connection: socket.socket, context: ssl.SSLContext, **more: Any) -> Streams:
    """Return a connected socket as streams inside TLS."""
    if not more.pop("server_side", False):
        return await asyncio.open_connection(sock=connection, ssl=context, **more)
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    transport, _ = await loop.connect_accepted_socket(lambda: protocol, connection, ssl=context)
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


GET = ("GET /p?q HTTP/1.1", "Host: api.test")
PAGE = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


async def read_request(reader: asyncio.StreamReader) -> bytes:
    """Return a request's head, and its body in lower-case hex chunks undone or by its length."""
    head = await reader.readuntil(b"\r\n\r\n")
    lowered = head.lower()
    if b"transfer-encoding: chunked" in lowered:
        body = b""
        while size := int(await reader.readuntil(b"\r\n"), 16):
            body += await reader.readexactly(size)
            await reader.readexactly(2)
        await reader.readexactly(2)
        return head + body
    if b"content-length: " in lowered:
        length = int(lowered.partition(b"content-length: ")[2].partition(b"\r")[0])
        return head + await reader.readexactly(length)
    return head


def answering(*answers: bytes, got: list[bytes] | None = None, goes_on: bool = True) -> Serve:
    """Return a server that answers one request after the other, and then listens on or not."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            request = await read_request(reader)
            if got is not None:
                got.append(request)
            writer.write(answer)
            await writer.drain()
        if goes_on and got is not None and (rest := await reader.read()):
            got.append(rest)
        elif goes_on:
            await reader.read()

    return serve


async def test_each_request_on_a_connection_is_given_the_headers_in_place_of_its_own() -> None:
    got: list[bytes] = []
    async with talking(answering(PAGE, PAGE, got=got)) as talk:
        await talk.say(*GET, "Authorization: mine", "x_api_key: mine", "X-Other: mine")
        assert (await talk.head()).startswith(b"HTTP/1.1 200 OK\r\n")
        assert await talk.reader.readexactly(5) == b"hello"
        await talk.say(*GET, "authorization: mine", "Connection: authorization, close")
        answer = await talk.hear()
        assert answer.endswith(b"\r\n\r\nhello")
        assert b"connection: close" in answer.lower()
    assert talk.failure is None
    for request in got:
        lines = request.decode().split("\r\n")
        assert lines[:2] == ["GET /p?q HTTP/1.1", "Host: api.test"]
        named = [
            line for line in lines if line.lower().startswith(("authorization", "x-api", "x_api"))
        ]
        assert named == [f"Authorization: {SECRET}", "X-Api-Key: k"]
        assert ("x-other: mine" in lines) == (request is got[0])
        assert "connection" not in request.decode().lower()
    assert (talk.traffic.received, talk.traffic.sent) == (0, 10)


async def test_bodies_of_unknown_length_arrive_whole_both_ways() -> None:
    got: list[bytes] = []
    chunked = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n"
    )
    async with talking(answering(chunked, PAGE, got=got)) as talk:
        large = b"x" * 300_000
        body = b"%x\r\n%b\r\n1\r\ny\r\n0\r\nAuthorization: trailer\r\n\r\n" % (len(large), large)
        await talk.say(
            "POST / HTTP/1.1", "Host: api.test:443", "Transfer-Encoding: chunked", body=body
        )
        assert b"transfer-encoding: chunked" in (await talk.head()).lower()
        assert await talk.reader.readuntil(b"0\r\n\r\n") == b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
        await talk.say("PUT / HTTP/1.1", "Host: API.test", "Content-Length: 3", body=b"abc")
        assert (await talk.head()).startswith(b"HTTP/1.1 200 OK\r\n")
    assert got[0].endswith(b"\r\n\r\n" + large + b"y")
    assert got[1].endswith(b"\r\n\r\nabc")
    assert b"trailer" not in got[0]


async def test_who_asks_for_a_head_and_waits_for_a_word_gets_both() -> None:
    page = (
        b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"
    )
    async with talking(answering(page, PAGE)) as talk:
        await talk.say("HEAD / HTTP/1.1", "Host: api.test")
        assert b"content-length: 5" in (await talk.head()).lower()
        await talk.say(
            "PUT / HTTP/1.1", "Host: api.test", "Content-Length: 3", "Expect: 100-continue"
        )
        assert (await talk.head()).startswith(b"HTTP/1.1 100 ")
        talk.writer.write(b"abc")
        assert (await talk.head()).startswith(b"HTTP/1.1 200 ")


async def test_a_body_whose_end_is_the_connections_is_whole_or_broken() -> None:
    async def whole(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nhello")

    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await whole(reader, writer)
        await writer.drain()
        # Without TLS's own word for an end: anybody on the way can do that.
        connection: socket.socket = writer.get_extra_info("socket")
        connection.shutdown(socket.SHUT_WR)
        await reader.read()

    async with talking(whole) as talk:
        await talk.say(*GET)
        assert (await talk.hear()).endswith(b"5\r\nhello\r\n0\r\n\r\n")
        assert talk.failure is None
    async with talking(cut) as talk:
        await talk.say(*GET)
        await talk.head()
        with contextlib.suppress(ConnectionError):
            assert await talk.reader.read() == b"5\r\nhello\r\n"
        await talk.done.wait()
        assert isinstance(talk.failure, UpstreamError)


ACCEPT = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nX: y\r\n\r\n"
)
UPGRADE = (*GET, "Connection: keep-alive, Upgrade", "Upgrade: WebSocket", "Sec-WebSocket-Key: k")


async def test_a_websocket_is_carried_as_it_is_once_the_server_takes_it() -> None:
    got: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(ACCEPT + b"first")
        while data := await reader.read(100):
            writer.write(data.upper())

    async with talking(serve) as talk:
        await talk.say(*UPGRADE, body=b"early")
        answer = (await talk.head()).lower()
        assert answer.startswith(b"http/1.1 101 ")
        assert b"x: y" in answer
        assert await talk.reader.readexactly(10) == b"firstEARLY"
        talk.writer.write(b"GET / HTTP/1.1\r\n")
        assert await talk.reader.readexactly(16) == b"GET / HTTP/1.1\r\n"
    assert b"Upgrade: websocket\r\n" in got[0]
    assert SECRET.encode() in got[0]


@pytest.mark.parametrize(
    "lines",
    [
        (*GET, "Connection: Upgrade", "Upgrade: h2c", "HTTP2-Settings: x"),
        (*GET, "Connection: Upgrade", "Upgrade: websocket, h2c"),
        (*GET, "Upgrade: websocket"),
        ("POST / HTTP/1.1", *UPGRADE[1:], "Content-Length: 0"),
    ],
)
async def test_no_other_protocol_is_asked_for(lines: tuple[str, ...]) -> None:
    got: list[bytes] = []
    async with talking(answering(ACCEPT + PAGE, got=got)) as talk:
        await talk.say(*lines)
        # A server that takes what it was not asked for does not speak HTTP.
        assert (await talk.hear()).startswith(b"HTTP/1.1 502 ")
    assert b"pgrade" not in got[0]


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (("GET / HTTP/1.1", "Host: evil.test"), 421),
        (("GET / HTTP/1.1", "Host: api.test:444"), 421),
        (("GET / HTTP/1.1", "Host: api.test@evil.test"), 421),
        (("GET / HTTP/1.1", "Host: "), 421),
        (("GET / HTTP/1.1", "Host: api.test, evil.test"), 421),
        (("GET / HTTP/1.1", "Host: api.test", "Host: evil.test"), 400),
        (("GET / HTTP/1.1",), 400),
        (("GET https://evil.test/ HTTP/1.1", "Host: api.test"), 400),
        (("GET https://api.test/ HTTP/1.1", "Host: api.test"), 400),
        (("GET evil.test HTTP/1.1", "Host: api.test"), 400),
        (("GET /#x HTTP/1.1", "Host: api.test"), 400),
        (("CONNECT evil.test:443 HTTP/1.1", "Host: api.test"), 405),
        (("TRACE / HTTP/1.1", "Host: api.test"), 405),
        (("PRI * HTTP/2.0",), 505),
        ((*GET, "Content-Length: 1", "Transfer-Encoding: chunked"), 400),
        ((*GET, "Content-Length: 1", "Content-Length: 1"), 400),
        ((*GET, "Transfer-Encoding: xchunked"), 501),
        ((*GET, "X: a\r\n folded"), 400),
        ((*GET, "X: a\nHost: evil.test"), 400),
        ((*GET, "X : a"), 400),
        ((*GET, "X: " + "y" * 70_000), 431),
        (("\x16\x03\x01 HTTP/1.1",), 400),
    ],
)
async def test_a_request_that_is_not_this_hosts_or_not_clear_goes_nowhere(
    lines: tuple[str, ...], status: int
) -> None:
    got: list[bytes] = []
    async with talking(answering(got=got)) as talk:
        await talk.say(*lines)
        answer = await talk.hear()
        assert answer.split(b" ")[1] in (str(status).encode(), b"400")
        assert b"connection: close" in answer.lower()
        assert isinstance(talk.failure, BadRequestError)
    assert got == []


@pytest.mark.parametrize("body", [b"0x2\r\nab\r\n", b"2\nab\r\n", b"-1\r\n", b"2\r\nabc\r\n"])
async def test_a_body_that_is_not_clear_ends_all(body: bytes) -> None:
    got: list[bytes] = []
    behind = b"0\r\n\r\nGET /stolen HTTP/1.1\r\nHost: api.test\r\n\r\n"
    async with talking(answering(got=got)) as talk:
        await talk.say(*GET, "Transfer-Encoding: chunked", body=body + behind)
        with contextlib.suppress(ConnectionError):
            assert await talk.reader.read() == b""
        await talk.done.wait()
        assert isinstance(talk.failure, BadRequestError)
    assert b"stolen" not in b"".join(got)


async def test_what_a_server_says_unasked_is_no_answer_to_the_next_request() -> None:
    async with talking(
        answering(PAGE + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
    ) as talk:
        await talk.say(*GET)
        await talk.say(*GET)
        answer = await talk.hear()
        assert answer.endswith(b"hello")
        assert b"evil" not in answer


async def test_a_server_that_ends_between_two_requests_ends_the_connection() -> None:
    async with talking(answering(PAGE, goes_on=False)) as talk:
        await talk.say(*GET)
        assert (await talk.hear()).endswith(b"hello")
        assert talk.failure is None


async def test_who_asks_for_nothing_more_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(within, "IDLE_SECONDS", 0.05)
    async with talking(answering(PAGE)) as talk:
        await talk.say(*GET)
        assert (await talk.hear()).endswith(b"hello")
        assert talk.failure is None


async def test_a_head_that_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(within, "HEAD_SECONDS", 0.05)
    async with talking(answering(PAGE)) as talk:
        talk.writer.write(b"GET / HTTP/1.1\r\n")
        with contextlib.suppress(ConnectionError):
            assert await talk.reader.read() == b""
        await talk.done.wait()
        assert isinstance(talk.failure, TimeoutError)


async def test_a_program_that_just_goes_away_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    async with talking(answering(PAGE)) as talk:
        await talk.say(*GET)
        await talk.head()
        await talk.reader.readexactly(5)
        # As Python's own clients do: without TLS's word for it.
        talk.writer.get_extra_info("socket").shutdown(socket.SHUT_WR)
        async with asyncio.timeout(10):
            await talk.done.wait()
        assert talk.failure is None
