"""Streamable HTTP: who may speak to the server, and which connection a request belongs to."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Sequence
from typing import Any

from mcp.server.context import ServerRequestContext
from mcp.server.transport_security import TransportSecuritySettings
from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fumehood.errors import InvalidRequestError
from fumehood.mcp.server import SandboxServer

PATH = "/mcp"
MCP_SESSION = "mcp-session-id"
OWN_SESSION = "fumehood-session"
"""Tells sessions apart where the protocol knows no connections: from 2026-07-28 on."""
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_MIN_TOKEN = 16


def connection_of(ctx: ServerRequestContext[Any, Any]) -> str:
    """Return which connection a request belongs to."""
    headers: Headers = ctx.request.headers if ctx.request is not None else Headers()
    if (session := headers.get(MCP_SESSION)) is not None:
        return f"connection:{session}"
    return f"client:{headers.get(OWN_SESSION, '')}"


def http_app(
    server: SandboxServer, *, host: str, token: str | None, origins: Sequence[str] = ()
) -> Gate:
    """Return the application that serves one server.

    Args:
        server: made with :func:`connection_of`.
        host: the address that it is bound to.
        token: what ``Authorization: Bearer`` must say; ``None`` lets everybody in who reaches this
            machine's loopback.
        origins: web pages that may call it, besides those of this machine.

    Raises:
        InvalidRequestError: no token for an address that others reach, or a short one.
    """
    check_access(host, token)
    security = TransportSecuritySettings(
        enable_dns_rebinding_protection=True,
        allowed_hosts=["127.0.0.1:*", "localhost:*", "[::1]:*", f"{host}:*"],
        allowed_origins=[
            "http://127.0.0.1:*",
            "http://localhost:*",
            "http://[::1]:*",
            *origins,
        ],
    )
    app: Starlette = server.server.streamable_http_app(
        streamable_http_path=PATH, host=host, transport_security=security
    )
    return Gate(app, server, token)


def check_access(host: str, token: str | None) -> None:
    """Refuse a server that anybody could use.

    Raises:
        InvalidRequestError: no token for an address that others reach, or a short one.
    """
    if token is None and host not in _LOOPBACK:
        raise InvalidRequestError(f"a server at {host} needs a token: others can reach it")
    if token is not None and len(token) < _MIN_TOKEN:
        raise InvalidRequestError(f"a token has at least {_MIN_TOKEN} characters")


class Gate:
    """Lets in who has the token, and ends a sandbox session with its connection."""

    _STREAM = "GET"
    """The method of the requests that clients hold open without awaiting an answer."""

    def __init__(self, app: ASGIApp, server: SandboxServer, token: str | None) -> None:
        self._app = app
        self._server = server
        self._expected = None if token is None else f"Bearer {token}".encode()
        self._ending = False
        self._asking = 0
        self._answered = asyncio.Event()
        self._answered.set()

    async def end(self) -> None:
        """End all sessions and let in nobody else; return when all who asked have been answered.

        A call that awaits a command is answered by the end of its session.
        """
        self._ending = True
        await self._server.end_all()
        await self._answered.wait()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        send = _as_data(send)
        headers = Headers(scope=scope)
        given = headers.get("authorization", "").encode("utf-8", "replace")
        if self._expected is not None and not hmac.compare_digest(given, self._expected):
            answer = PlainTextResponse(
                "a token is needed", 401, headers={"WWW-Authenticate": "Bearer"}
            )
            await answer(scope, receive, send)
            return
        if self._ending:
            await PlainTextResponse("the server is ending", 503)(scope, receive, send)
            return
        if scope["method"] == self._STREAM:
            await self._app(scope, receive, send)
            return
        self._asking += 1
        self._answered.clear()
        try:
            await self._answer(headers, scope, receive, send)
        finally:
            self._asking -= 1
            if not self._asking:
                self._answered.set()

    async def _answer(self, headers: Headers, scope: Scope, receive: Receive, send: Send) -> None:
        deleting = scope["method"] == "DELETE"
        ended: str | None = None

        async def watched(message: Message) -> None:
            nonlocal ended
            if deleting and message["type"] == "http.response.start" and message["status"] < 300:
                ended = headers.get(MCP_SESSION)
            await send(message)

        await self._app(scope, receive, watched)
        if ended is not None:
            await self._server.end_connection(f"connection:{ended}")


def _as_data(send: Send) -> Send:
    """Return what sends answers that no browser takes for anything but what they say they are."""

    async def marked(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message)["X-Content-Type-Options"] = "nosniff"
        await send(message)

    return marked
