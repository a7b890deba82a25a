"""What a proxy is asked, and what it passes on: the heads of HTTP messages. Bytes in, values out.

h11 knows the grammar. What is stricter here is what two readers of one message could understand in
two ways: a request is refused rather than repaired.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import h11

from fumehood.egress.hosts import Host, HostError, parse_authority, show

MAX_HEAD = 65_536
"""Bytes of a request's head, and of a response's."""

Headers = list[tuple[bytes, bytes]]

# Also what no head needs and some readers take for an end: control characters, a line that is
# continued on the next one, an end of line that is half of one.
_UNCLEAR = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r[^\n]|(?<!\r)\n|\r\n[ \t]")
_ABSOLUTE = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)(.*)", re.DOTALL)
_HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"expect",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
_TO_WEBSOCKET: Headers = [(b"Connection", b"Upgrade"), (b"Upgrade", b"websocket")]


class BadRequestError(Exception):
    """A request that is refused unread; ``status`` and the text are for whoever sent it."""

    def __init__(self, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True, slots=True)
class Head:
    """A request to the proxy."""

    method: str
    host: Host
    port: int
    path: bytes
    """With its query; empty for a tunnel."""
    headers: Headers
    chunked: bool
    """Whether the body has no length that is known before."""
    within: bool = False
    """Whether it came through a tunnel, inside TLS that ends here: one of many, perhaps."""

    @property
    def tunnel(self) -> bool:
        """Whether it asks for a connection and nothing else."""
        return self.method == "CONNECT"

    @property
    def where(self) -> str:
        """The host and the port as they stand in a URL."""
        return f"{show(self.host)}:{self.port}"


class HeadReader:
    """Collects a request's head; never more than :data:`MAX_HEAD` bytes and one read."""

    __slots__ = ("_data", "_seen")

    def __init__(self) -> None:
        self._data = bytearray()
        self._seen = 0

    def feed(self, data: bytes) -> tuple[bytes, bytes] | None:
        """Return the head and what came behind it, or None while it is not whole.

        Raises:
            BadRequestError: it is too long, or unclear.
        """
        self._data += data
        end = self._data.find(b"\r\n\r\n", max(0, self._seen - 3))
        stop = len(self._data) if end < 0 else end + 4
        if stop > MAX_HEAD:
            raise BadRequestError(f"the head has more than {MAX_HEAD} bytes", 431)
        if _UNCLEAR.search(self._data, max(0, self._seen - 3), stop):
            raise BadRequestError("the head holds bytes or line ends that HTTP does not have")
        self._seen = len(self._data)
        return None if end < 0 else (bytes(self._data[:stop]), bytes(self._data[stop:]))


def parse_head(connection: h11.Connection, raw: bytes) -> Head:
    """Take a whole head apart; the connection then reads the body.

    Raises:
        BadRequestError: it is not a proxy's request, or can be understood in two ways.
    """
    event = _parse(connection, raw)
    method = event.method.decode("ascii")
    chunked = _check_framing(raw, event, method)
    target = event.target.decode("latin-1")
    try:
        if method == "CONNECT":
            host, port = parse_authority(target, None)
            return Head(method, host, port, b"", [], False)
        authority, path = _absolute(target)
        host, port = parse_authority(authority, 80)
    except HostError as exc:
        raise BadRequestError(
            f"the host is not written in a way that is understood: {exc}"
        ) from exc
    return Head(method, host, port, path, list(event.headers), chunked)


def parse_within(connection: h11.Connection, raw: bytes, tunnel: Head) -> Head:
    """Take apart a head that came through a tunnel, inside TLS; otherwise as :func:`parse_head`.

    It goes to the tunnel's host and to no other, and has to say so: who may ask for one host must
    not reach another one that the same server serves.

    Raises:
        BadRequestError: it does not, or can be understood in two ways.
    """
    event = _parse(connection, raw)
    method = event.method.decode("ascii")
    chunked = _check_framing(raw, event, method)
    if method == "CONNECT":
        raise BadRequestError("CONNECT is not possible inside a tunnel", 405)
    path = event.target
    if not (path.startswith(b"/") or (path == b"*" and method == "OPTIONS")) or b"#" in path:
        raise BadRequestError("the target must be a path")
    for name, value in event.headers:
        if name == b"host" and not _is_for(value, tunnel):
            raise BadRequestError(f"the Host is not that of the tunnel, {tunnel.where}", 421)
    headers = list(event.headers)
    return Head(method, tunnel.host, tunnel.port, path, headers, chunked, within=True)


def _is_for(host: bytes, tunnel: Head) -> bool:
    try:
        return parse_authority(host.decode("latin-1"), 443) == (tunnel.host, tunnel.port)
    except HostError:
        return False


def _parse(connection: h11.Connection, raw: bytes) -> h11.Request:
    connection.receive_data(raw)
    try:
        event = connection.next_event()
    except h11.RemoteProtocolError as exc:
        # What h11 says quotes nothing of the request.
        raise BadRequestError(f"not an HTTP request: {exc}") from None
    if not isinstance(event, h11.Request):
        raise BadRequestError("not an HTTP request")
    if event.http_version not in (b"1.0", b"1.1"):
        raise BadRequestError("this proxy speaks HTTP/1.1 and 1.0", 505)
    if event.method == b"TRACE":
        # It would send back what was added on the way.
        raise BadRequestError("TRACE is not possible through this proxy", 405)
    return event


def _absolute(target: str) -> tuple[str, bytes]:
    match = _ABSOLUTE.fullmatch(target)
    if match is None:
        raise BadRequestError("this is a proxy: the target must be a whole http:// URL")
    scheme, authority, rest = match.groups()
    if scheme.lower() != "http":
        raise BadRequestError(f"no requests for {scheme[:16].lower()}:// here: use CONNECT", 501)
    if "#" in rest or "\\" in authority:
        raise BadRequestError("the target holds what does not belong there")
    path = rest if rest.startswith("/") else "/" + rest
    return authority, path.encode("latin-1")


def _check_framing(raw: bytes, request: h11.Request, method: str) -> bool:
    """Refuse a body whose end two readers could find in two places; return whether it is chunked.

    From the bytes: h11 has made one header of several that agree.
    """
    fields = [line.partition(b":")[::2] for line in raw.split(b"\r\n")[1:-2]]
    lengths = [value for name, value in fields if name.lower() == b"content-length"]
    codings = [value for name, value in fields if name.lower() == b"transfer-encoding"]
    if len(lengths) + len(codings) > 1 or any(b"," in value for value in lengths):
        raise BadRequestError("the body's length is said more than once")
    if codings and request.http_version != b"1.1":
        raise BadRequestError("a Transfer-Encoding before HTTP/1.1")
    if method == "CONNECT" and (lengths or codings):
        raise BadRequestError("CONNECT has no body")
    return bool(codings)


def _passed_on(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """Return the headers that are for the other end, and not for this one."""
    kept = [(name.lower(), value) for name, value in headers]
    named = {*_listed(kept, b"connection"), *_listed(kept, b"proxy-connection")}
    # Never these: a request must not lose its length on the way because somebody asked for it.
    named -= {b"content-length", b"host"}
    return [(name, value) for name, value in kept if name not in _HOP_BY_HOP | named]


def outgoing(head: Head, added: Iterable[tuple[str, str]]) -> h11.Request:
    """Return the request for the server itself.

    One request, then the connection ends; but for one from within a tunnel, which others may
    follow. Its Host is that of the target, whatever stood there; ``added`` replaces what has its
    names.
    """
    extra = [(name.encode("ascii"), value.encode("ascii")) for name, value in added]
    replaced = {_alike(name) for name, _ in extra} | {b"host"}
    host = show(head.host) if head.port == (443 if head.within else 80) else head.where
    headers: Headers = [(b"Host", host.encode("ascii"))]
    headers += [item for item in _passed_on(head.headers) if _alike(item[0]) not in replaced]
    headers += extra
    if head.chunked:
        headers.append((b"Transfer-Encoding", b"chunked"))
    if not head.within:
        headers.append((b"Connection", b"close"))
    elif _asks_for_websocket(head):
        headers += _TO_WEBSOCKET
    return h11.Request(method=head.method, target=head.path, headers=headers)


def _alike(name: bytes) -> bytes:
    """Return what a server may take a header for: many make a variable of it (RFC 3875)."""
    return name.lower().replace(b"_", b"-")


def _asks_for_websocket(head: Head) -> bool:
    """Whether it would go on as WebSocket.

    As nothing else: behind a change to HTTP/2, say, there would be requests that nobody reads here.
    """
    return (
        head.method == "GET"
        and not head.chunked
        and all(name != b"content-length" for name, _ in head.headers)
        and b"upgrade" in _listed(head.headers, b"connection")
        and _listed(head.headers, b"upgrade") == [b"websocket"]
    )


def _listed(headers: Iterable[tuple[bytes, bytes]], wanted: bytes) -> list[bytes]:
    """Return the parts of a header that is a list, in lower case."""
    return [
        part.strip().lower()
        for name, value in headers
        if name.lower() == wanted
        for part in value.split(b",")
    ]


def switching(response: h11.InformationalResponse) -> h11.InformationalResponse:
    """Return a server's word that WebSocket begins, as it goes to whoever asked."""
    headers = [*_passed_on(response.headers), *_TO_WEBSOCKET]
    return h11.InformationalResponse(status_code=101, reason=response.reason, headers=headers)


def returning(response: h11.Response, *, last: bool = True) -> h11.Response:
    """Return a server's response as it goes to whoever asked.

    Args:
        response: the server's.
        last: whether the connection ends with it in any case. It does too if the server says so.
    """
    headers = _passed_on(response.headers)
    if (
        last
        or response.http_version != b"1.1"
        or b"close" in _listed(response.headers, b"connection")
    ):
        headers.append((b"Connection", b"close"))
    if any(name == b"transfer-encoding" for name, _ in response.headers):
        headers = [item for item in headers if item[0] != b"content-length"]
    return h11.Response(status_code=response.status_code, reason=response.reason, headers=headers)


def refusal(status: int, reason: str, text: str, *, head: bool = False) -> bytes:
    """Return a response of the proxy's own, whole; ``head`` for one without its body."""
    body = text.encode("utf-8")
    lines = [
        f"HTTP/1.1 {status} {reason}",
        "Content-Type: text/plain; charset=utf-8",
        f"Content-Length: {len(body)}",
        "Cache-Control: no-store",
        "Connection: close",
    ]
    return "\r\n".join([*lines, "", ""]).encode("ascii") + (b"" if head else body)


ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"
"""The answer to a CONNECT that is let through."""
