"""A server of the Model Context Protocol whose tools work in sandbox sessions: ``fumehood mcp``.

Needs the extra ``mcp``.
"""

from __future__ import annotations

from dataclasses import replace

from mcp.server.stdio import stdio_server
from mcp.server.streamable_http_manager import DEFAULT_SESSION_IDLE_TIMEOUT

from fumehood.mcp.config import Config, load, parse
from fumehood.mcp.http import PATH, check_access, connection_of, http_app
from fumehood.mcp.server import SandboxServer, sandbox_server
from fumehood.mcp.serving import serve
from fumehood.options import Lifecycle

__all__ = ["PATH", "Config", "SandboxServer", "load", "parse", "serve_http", "serve_stdio"]


async def serve_stdio(config: Config) -> None:
    """Serve one client on standard input and output, until it closes them.

    Its session is made by its first call and ends with it.
    """
    async with sandbox_server(config) as served, stdio_server() as (reading, writing):
        server = served.server
        await server.run(reading, writing, server.create_initialization_options())


async def serve_http(
    config: Config,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    token: str | None = None,
    origins: tuple[str, ...] = (),
) -> None:
    """Serve streamable HTTP at ``/mcp`` until it is cancelled, which ends all sessions.

    A session ends when its client closes the connection, or after half an hour without a call when
    the configuration has no other ``idle_timeout``. Signals are the caller's: none is caught here.

    Raises:
        InvalidRequestError: no token for an address that others reach, or a short one.
    """
    lease = config.sandbox.get("lifecycle", Lifecycle())
    if lease.idle_timeout is None:
        # A client that is gone says nothing, and the protocol itself gives it up after this time.
        lease = replace(lease, idle_timeout=DEFAULT_SESSION_IDLE_TIMEOUT)
    config = replace(config, sandbox={**config.sandbox, "lifecycle": lease})
    check_access(host, token)
    async with sandbox_server(config, connection_of) as served:
        app = http_app(served, host=host, token=token, origins=origins)
        await serve(app, host, port)
