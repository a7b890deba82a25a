"""One request and its response: bodies whole both ways, and a server's lies kept outside."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.channel import FakeChannel
from fumehood._relay import Traffic
from fumehood.egress.ends import InsideEnd, OutsideEnd
from fumehood.egress.exchange import Sides, UpstreamError, exchange
from fumehood.egress.heads import MAX_HEAD, BadRequestError, HeadReader, parse_head
from fumehood.results import EgressReason

Server = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
ADDED = [("Authorization", "Bearer kept outside")]
PAGE = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


def head(*headers: str, method: str = "POST") -> bytes:
    lines = [f"{method} http://good.org/p HTTP/1.1", "Host: x", *headers, "", ""]
    return "\r\n".join(lines).encode()


async def carry(
    pieces: list[bytes], server: Server, *, goes_on: bool = False
) -> tuple[FakeChannel, Traffic]:
    """Carry the request that begins the first piece to a server; return what came of it."""
    inside = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
    whole = HeadReader().feed(pieces[0])
    assert whole is not None
    parsed = parse_head(inside, whole[0])
    near, far = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=near)
    serving = asyncio.create_task(_serve(far, server))
    channel, traffic = FakeChannel(pieces[1:], open_=goes_on), Traffic()
    sides = Sides(InsideEnd(channel), inside, OutsideEnd(reader, writer), traffic)
    try:
        async with asyncio.timeout(10):
            await exchange(sides, parsed, ADDED, whole[1])
    finally:
        writer.transport.abort()
        await serving
    return channel, traffic


async def _serve(far: socket.socket, server: Server) -> None:
    reader, writer = await asyncio.open_connection(sock=far)
    with contextlib.suppress(ConnectionError):  # cut off, as what is not trusted is
        await server(reader, writer)
        writer.write_eof()
        await reader.read()
    writer.transport.abort()


async def read_request(reader: asyncio.StreamReader) -> tuple[h11.Request, bytes]:
    """Read a request as a server does that knows HTTP."""
    connection = h11.Connection(h11.SERVER)
    request, body = None, b""
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(65_536))
        elif isinstance(event, h11.Request):
            request = event
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            assert request is not None
            return request, body
        else:
            raise AssertionError(event)


def says(answer: bytes) -> Server:
    """Return a server that takes a head and says this."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()

    return serve


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    pieces = []
    for size in sizes:
        pieces.append(data[:size])
        data = data[size:]
    return [piece for piece in [*pieces, data] if piece]


@given(
    st.lists(st.binary(min_size=1, max_size=40), max_size=6),
    st.booleans(),
    st.lists(st.integers(1, 30), max_size=6),
    st.integers(0, 40),
)
def test_a_body_arrives_whole_however_it_is_framed_and_cut(
    chunks: list[bytes], chunked: bool, sizes: list[int], early: int
) -> None:
    body = b"".join(chunks)
    if chunked:
        first = head("Transfer-Encoding: chunked")
        framed = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
        framed += b"0\r\nX-Trailer: y\r\n\r\n"
    else:
        first, framed = head(f"Content-Length: {len(body)}"), body
    # And what stands behind it, which is nobody's.
    framed += b"GET http://evil.org/ HTTP/1.1\r\n\r\n"
    seen: list[tuple[h11.Request, bytes]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await read_request(reader))
        writer.write(PAGE)

    pieces = [first + framed[:early], *cut(framed[early:], sizes)]
    channel, traffic = asyncio.run(carry(pieces, serve))
    ((request, got),) = seen
    assert got == body
    assert (request.method, request.target) == (b"POST", b"/p")
    assert dict(request.headers)[b"authorization"] == b"Bearer kept outside"
    assert channel.sent.endswith(b"\r\n\r\nhello")
    assert (traffic.received, traffic.sent) == (len(body), 5)


STATUS = st.sampled_from(
    ["HTTP/1.1 200 OK", "HTTP/1.0 200 OK", "HTTP/1.1 204 No", "HTTP/1.1 101 X", "SSH-2.0"]
)
FIELDS = st.sampled_from(
    [
        "Content-Length: 3",
        "Content-Length: 4",
        "Transfer-Encoding: chunked",
        "X: y",
        " folded",
        "Connection: keep-alive, x",
        "Keep-Alive: timeout=5",
        "Proxy-Authenticate: Basic",
        "X\x00: y",
    ]
)
BODIES = st.sampled_from([b"", b"abc", b"3\r\nabc\r\n0\r\n\r\n", b"3\r\nab", PAGE, b"abc" + PAGE])


@st.composite
def answers(draw: st.DrawFn) -> bytes:
    """An answer or something near one, behind a few others that say nothing yet."""
    early = b"HTTP/1.1 100 Continue\r\n\r\n" * draw(st.integers(0, 2))
    lines = [draw(STATUS), *draw(st.lists(FIELDS, max_size=4)), "", ""]
    return early + "\r\n".join(lines).encode() + draw(BODIES)


@given(answers(), st.sampled_from(["GET", "HEAD"]))
def test_whatever_a_server_says_one_answer_at_most_goes_inside(answer: bytes, method: str) -> None:
    async def run() -> tuple[bytes, bool | None]:
        inside = h11.Connection(h11.SERVER)
        parsed = parse_head(inside, head(method=method))
        near, far = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=near)
        serving = asyncio.create_task(_serve(far, says(answer)))
        channel, begun = FakeChannel([]), None
        sides = Sides(InsideEnd(channel), inside, OutsideEnd(reader, writer), Traffic())
        try:
            await exchange(sides, parsed, (), b"")
        except UpstreamError as exc:
            begun = exc.begun
        finally:
            writer.transport.abort()
            await serving
        return bytes(channel.sent), begun

    sent, begun = asyncio.run(run())
    # Who asked can be told of what went wrong so long as nothing has come.
    assert begun in (None, bool(sent))
    reading = h11.Connection(h11.CLIENT)
    reading.send(h11.Request(method=method, target="/", headers=[("Host", "x")]))
    reading.send(h11.EndOfMessage())
    reading.receive_data(sent)
    reading.receive_data(b"")
    count = 0
    with contextlib.suppress(h11.RemoteProtocolError):  # cut off where it was wrong
        while not isinstance(event := reading.next_event(), (h11.ConnectionClosed, h11.PAUSED)):
            count += isinstance(event, h11.Response)
            if isinstance(event, h11.Response):
                assert dict(event.headers)[b"connection"] == b"close"
                assert not {b"keep-alive", b"proxy-authenticate"} & dict(event.headers).keys()
                assert [n for n, _ in event.headers].count(b"connection") == 1
    assert count <= 1
    assert reading.trailing_data[0] == b""


def test_a_server_that_answers_before_the_body_is_whole_is_heard() -> None:
    pieces = [head("Content-Length: 9"), b"abc", b"d"]
    channel, _ = asyncio.run(carry(pieces, says(PAGE), goes_on=True))
    assert channel.sent.endswith(b"hello")


def test_what_a_server_says_before_its_answer_stays_outside() -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
    channel, _ = asyncio.run(carry([head(method="GET")], says(3 * early + PAGE)))
    assert channel.sent.startswith(b"HTTP/1.1 200 ")
    assert channel.sent.count(b"HTTP/1.1 ") == 1


def test_who_waits_for_a_word_before_the_body_gets_it() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request, body = await read_request(reader)
        assert b"expect" not in dict(request.headers)
        assert body == b"abc"
        writer.write(PAGE)

    first = head("Content-Length: 3", "Expect: 100-continue")
    channel, _ = asyncio.run(carry([first, b"abc"], serve))
    assert channel.sent.startswith(b"HTTP/1.1 100 ")
    assert channel.sent.count(b"HTTP/1.1 ") == 2


@pytest.mark.parametrize("rest", [b"3\r\nabcX", b"zz\r\n", b"3\r\nab"])
def test_a_body_that_is_not_what_it_says_is_cut_off(rest: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    with pytest.raises(BadRequestError):
        asyncio.run(carry([head("Transfer-Encoding: chunked"), rest], serve))


@pytest.mark.parametrize(
    ("answer", "begun"),
    [(b"", False), (b"no HTTP\r\n\r\n", False), (PAGE[:-1], True)],
)
def test_a_server_that_breaks_off_is_told_of(answer: bytes, begun: bool) -> None:
    with pytest.raises(UpstreamError) as failure:
        asyncio.run(carry([head(method="GET")], says(answer)))
    assert failure.value.begun is begun
    assert failure.value.reason is EgressReason.UNREACHABLE


def test_a_server_may_be_silent_for_as_long_as_a_body_is_on_its_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("fumehood.egress.exchange.QUIET_SECONDS", 1.0)
    read = InsideEnd.read

    async def read_slowly(end: InsideEnd) -> bytes:
        await asyncio.sleep(0.3)
        return await read(end)

    monkeypatch.setattr(InsideEnd, "read", read_slowly)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(PAGE)
        await writer.drain()

    _, traffic = asyncio.run(carry([head("Content-Length: 6"), *[b"x"] * 6], serve))
    assert (traffic.received, traffic.sent) == (6, 5)


def test_a_server_that_falls_silent_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fumehood.egress.exchange.QUIET_SECONDS", 0.01)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    with pytest.raises(UpstreamError) as failure:
        asyncio.run(carry([head(method="GET")], serve))
    assert failure.value.reason is EgressReason.TIMED_OUT
