"""Heads of requests: read once, in one way, and written anew."""

from __future__ import annotations

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fumehood.egress.heads import (
    MAX_HEAD,
    BadRequestError,
    Head,
    HeadReader,
    outgoing,
    parse_head,
    refusal,
    returning,
)

GOOD = b"GET http://a.org/x?y=z HTTP/1.1\r\nHost: b.org\r\n\r\n"
ADDED = [("Authorization", "Bearer kept outside"), ("X-Trace", "1")]


def read(raw: bytes, sizes: list[int] | None = None) -> tuple[bytes, bytes] | str | None:
    """Return what a reader makes of bytes that come in pieces of these sizes, the last repeated."""
    reader = HeadReader()
    at = 0
    sizes = sizes or [len(raw) or 1]
    while at < len(raw):
        size = sizes.pop(0) if len(sizes) > 1 else sizes[0]
        try:
            whole = reader.feed(raw[at : at + size])
        except BadRequestError as exc:
            return f"{exc.status} {exc}"
        at += size
        if whole is not None:
            return whole[0], whole[1] + raw[at:]
    return None


def parse(raw: bytes) -> Head:
    return parse_head(h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD), raw)


def wire(event: h11.Request | h11.Response) -> bytes:
    data = h11.Connection(h11.CLIENT if isinstance(event, h11.Request) else h11.SERVER).send(event)
    assert data is not None
    return data


def request(*headers: str, target: str = "http://a.org/", method: str = "GET") -> bytes:
    lines = [f"{method} {target} HTTP/1.1", "Host: a.org", *headers, "", ""]
    return "\r\n".join(lines).encode()


def test_a_head_is_read_whole_and_what_is_behind_it_is_kept_apart() -> None:
    assert read(GOOD + b"rest\r\n\r\n") == (GOOD, b"rest\r\n\r\n")
    assert read(GOOD[:-1]) is None


def test_a_head_may_have_so_many_bytes_and_not_one_more() -> None:
    fill = MAX_HEAD - len(request("X: "))
    assert read(request("X: " + "y" * fill)) == (request("X: " + "y" * fill), b"")
    answer = read(request("X: " + "y" * (fill + 1)))
    assert isinstance(answer, str)
    assert answer.startswith("431 ")
    # One that never ends is not waited for.
    assert str(read(b"y" * (MAX_HEAD + 1), [1000])).startswith("431 ")


pieces_of_heads = st.lists(
    st.sampled_from([b"\r\n", b"\r", b"\n", b"\r\n\r\n", b"\0", b"a", b": ", b" ", b"\t", b"\x80"])
    | st.sampled_from(GOOD.split(b" ")),
    max_size=30,
).map(b"".join)


@given(pieces_of_heads, st.lists(st.integers(1, 5), min_size=1, max_size=20))
def test_how_a_head_is_cut_into_pieces_makes_no_difference(raw: bytes, sizes: list[int]) -> None:
    whole, cut = read(raw), read(raw, sizes)
    if isinstance(cut, tuple) or cut is None:
        assert cut == whole
    else:
        # What is behind the first bad byte has not been looked at.
        assert isinstance(whole, str)


@given(pieces_of_heads)
def test_what_is_taken_for_a_head_has_no_second_reading(raw: bytes) -> None:
    whole = read(raw)
    if isinstance(whole, tuple):
        head = whole[0]
        assert head.endswith(b"\r\n\r\n")
        assert head.count(b"\r\n\r\n") == 1
        assert b"\r" not in head.replace(b"\r\n", b"")
        assert b"\n" not in head.replace(b"\r\n", b"")
        assert not any(byte < 32 and byte not in b"\r\n\t" for byte in head)


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (request(method="TRACE"), 405),
        (request(target="https://a.org/"), 501),
        (request(target="/"), 400),
        (request(target="http://a.org\\@b.org/"), 400),
        (request(target="http://a.org/#x"), 400),
        (request(target="a.org", method="CONNECT"), 400),
        (request("Content-Length: 1", target="a.org:1", method="CONNECT"), 400),
        (request("Content-Length: 1, 1"), 400),
        (request("Content-Length: 1", "content-length: 1"), 400),
        (request("Content-Length: 1", "Transfer-Encoding: chunked"), 400),
        (GOOD.replace(b"1.1", b"2.0"), 505),
        (GOOD.replace(b"1.1", b"1.2"), 505),
        (b"GET http://a.org/ HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    ],
)
def test_what_is_refused_has_a_status_that_says_how(raw: bytes, status: int) -> None:
    with pytest.raises(BadRequestError) as failure:
        parse(raw)
    assert failure.value.status == status


def test_a_request_for_a_tunnel_and_one_for_a_page() -> None:
    tunnel = parse(request(target="A.org.:443", method="CONNECT"))
    assert tunnel.tunnel
    assert (tunnel.where, tunnel.path) == ("a.org:443", b"")
    page = parse(GOOD)
    assert not page.tunnel
    assert (page.where, page.path) == ("a.org:80", b"/x?y=z")
    assert parse(request(target="http://[2606:4700::1111]?x")).path == b"/?x"


MEANINGFUL = [
    "Host",
    "Connection",
    "Authorization",
    "authorization",
    "X-Trace",
    "TE",
    "Upgrade",
    "Keep-Alive",
    "Proxy-Authorization",
    "Proxy-Connection",
    "Content-Length",
    "Expect",
    "Transfer-Encoding",
    "Trailer",
]
FIELD = st.tuples(
    st.text("abXY-_!", min_size=1, max_size=8) | st.sampled_from(MEANINGFUL),
    st.text("ab,;= -", max_size=12).map(str.strip)
    | st.sampled_from(["close", "chunked", "5", "0", "host, content-length", "authorization"]),
)


@given(st.lists(FIELD, max_size=12), st.sampled_from(["GET", "POST", "HEAD", "X"]))
def test_what_goes_out_is_one_request_of_ours(fields: list[tuple[str, str]], method: str) -> None:
    raw = request(
        *(f"{name}: {value}" for name, value in fields), target="http://b.org:81/p", method=method
    )
    try:
        head = parse(raw)
    except BadRequestError:
        return
    lines = wire(outgoing(head, ADDED)).split(b"\r\n")
    assert lines[0] == method.encode() + b" /p HTTP/1.1"
    assert lines[-2:] == [b"", b""]
    sent = [tuple(line.split(b": ", 1)) for line in lines[1:-2]]
    names = [name.lower() for name, *_ in sent]
    assert sent[0] == (b"Host", b"b.org:81")
    assert names.count(b"host") == 1
    assert names.count(b"content-length") + names.count(b"transfer-encoding") <= 1
    assert (b"transfer-encoding" in names) == head.chunked
    assert [value for name, value in sent if name.lower() == b"connection"] == [b"close"]
    for name, value in ADDED:
        assert [v for n, v in sent if n.lower() == name.lower().encode()] == [value.encode()]
    hop = {b"te", b"upgrade", b"keep-alive", b"proxy-authorization", b"proxy-connection"}
    assert not hop.union({b"expect", b"trailer"}).intersection(names)


def test_a_request_loses_its_length_to_nobody_who_asks_for_it() -> None:
    head = parse(request("Content-Length: 5", "Connection: content-length, x", "X: y"))
    names = [name.lower() for name, _ in outgoing(head, ()).headers]
    assert names == [b"host", b"content-length", b"connection"]


def test_a_response_keeps_what_is_its_own_and_says_where_it_ends_once() -> None:
    response = h11.Response(
        status_code=200,
        headers=[
            ("X", "y"),
            ("Connection", "keep-alive, x-hop"),
            ("X-Hop", "1"),
            ("Keep-Alive", "timeout=5"),
            ("Proxy-Authenticate", "Basic"),
            ("Content-Length", "3"),
        ],
    )
    names = [name for name, _ in returning(response).headers]
    assert names == [b"x", b"content-length", b"connection"]


def test_a_refusal_to_a_request_for_a_head_has_none_of_its_body() -> None:
    text = "fumehood: nö\n"
    whole, alone = refusal(403, "No", text), refusal(403, "No", text, head=True)
    assert whole == alone + text.encode()
    assert f"Content-Length: {len(text.encode())}".encode() in alone
