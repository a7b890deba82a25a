"""``fumehood mcp``: sandbox sessions as tools of the Model Context Protocol."""

from __future__ import annotations

import importlib
import os
import secrets
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fumehood import InvalidRequestError, Lifecycle, Limits, Workspace
from fumehood.cli import flags, output, running, values
from fumehood.cli.run import network_of

if TYPE_CHECKING:
    from fumehood.mcp.config import Config

TOKEN = "FUMEHOOD_MCP_TOKEN"  # noqa: S105 - the variable's name
_SERVER = "Server"


def mcp(
    ctx: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A TOML file: tables sandbox, policy, server. Options go before it.",
            rich_help_panel=_SERVER,
        ),
    ] = None,
    http: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="Serve streamable HTTP at /mcp there.",
            show_default="standard input and output",
            rich_help_panel=_SERVER,
        ),
    ] = None,
    no_token: Annotated[
        bool,
        typer.Option(
            "--no-token",
            help="Ask for no token; on this machine's loopback alone.",
            rich_help_panel=_SERVER,
        ),
    ] = False,
    origin: Annotated[
        list[str] | None,
        typer.Option(
            metavar="URL",
            help="A web page that may call it. Can be repeated.",
            show_default=False,
            rich_help_panel=_SERVER,
        ),
    ] = None,
    sessions: Annotated[
        str | None,
        typer.Option(
            metavar="connection|named",
            help="A session for each connection, or those that the model makes by name.",
            show_default="connection",
            rich_help_panel=_SERVER,
        ),
    ] = None,
    tool: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="A tool to offer. Can be repeated.",
            show_default="all",
            rich_help_panel=_SERVER,
        ),
    ] = None,
    look_only: Annotated[
        bool,
        typer.Option(
            "--look-only", help="Offer only what changes nothing.", rich_help_panel=_SERVER
        ),
    ] = False,
    image: Annotated[
        str | None,
        typer.Option(metavar="IMAGE", envvar="FUMEHOOD_IMAGE", help="The sessions' image."),
    ] = None,
    network: Annotated[
        str | None,
        typer.Option(metavar="none|bridge|NAME", help="What they can reach.", show_default="none"),
    ] = None,
    workspace: flags.WorkspaceId = None,
    memory: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Memory: 512m, 2g.", show_default="512m")
    ] = None,
    cpus: Annotated[
        float | None, typer.Option(metavar="N", help="Processors.", show_default="1")
    ] = None,
    ttl: flags.Ttl = None,
    idle: flags.Idle = None,
    env: flags.Env = None,
) -> None:
    """Serve sandbox sessions to a client of the Model Context Protocol.

    A session is made by the first call and ends with the connection, or
    with this process, however that ends.

    [bold]Examples[/bold]

      fumehood mcp --image python:3.13-slim
      fumehood mcp --config sandbox.toml
      FUMEHOOD_MCP_TOKEN=… fumehood mcp --http 127.0.0.1:8000
    """
    changes: dict[str, Any] = {
        "image": image,
        "network": None if network is None else network_of(network),
        "workspace": None if workspace is None else Workspace.persistent(workspace),
        "env": values.environment(env, ()) if env else None,
        "docker_host": running.common(ctx).docker_host,
    }
    limits = {
        "memory_mb": None if memory is None else values.megabytes(memory, "--memory"),
        "cpus": cpus,
    }
    lease = {
        "ttl": None if ttl is None else values.duration(ttl, "--ttl"),
        "idle_timeout": None if idle is None else values.duration(idle, "--idle"),
    }
    own: dict[str, Any] = {"sessions": sessions, "include": tuple(tool) if tool else None}

    async def work() -> int:
        server = _server()
        made = _config(config, changes, limits, lease, own, look_only=look_only)
        if http is None:
            await server.serve_stdio(made)
            return 0
        host, port = _address(http)
        await server.serve_http(
            made,
            host=host,
            port=port,
            token=None if no_token else _token(),
            origins=tuple(origin or ()),
        )
        return 0

    running.finish(work, after="The sessions' leases end them within seconds.")


def _server() -> ModuleType:
    """Return the server, which needs more than the command line itself.

    Raises:
        InvalidRequestError: it is not installed.
    """
    try:
        return importlib.import_module("fumehood.mcp")
    except ModuleNotFoundError as exc:
        raise InvalidRequestError(
            f"the server needs {exc.name}, which is not installed: pip install 'fumehood[mcp]'"
        ) from exc


def _config(
    file: Path | None,
    changes: dict[str, Any],
    limits: dict[str, Any],
    lease: dict[str, Any],
    own: dict[str, Any],
    *,
    look_only: bool,
) -> Config:
    """Return a file's configuration with the options of the command line in their places."""
    from fumehood.mcp.config import Config, load

    base = Config() if file is None else load(file)
    sandbox = {**base.sandbox, **_given(changes)}
    sandbox["limits"] = replace(sandbox.get("limits", Limits()), **_given(limits))
    sandbox["lifecycle"] = replace(sandbox.get("lifecycle", Lifecycle()), **_given(lease))
    policy = replace(base.policy, read_only=True) if look_only else base.policy
    return replace(base, sandbox=sandbox, policy=policy, **_given(own))


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdecimal() or not 1 <= int(port) <= 65535:
        raise InvalidRequestError(f"--http {text!r} is not HOST:PORT")
    return host, int(port)


def _token() -> str:
    """Return the token of the environment (a command line is for all to read), or a new one."""
    token = os.environ.get(TOKEN)
    if token is None:
        token = secrets.token_urlsafe(24)
        output.note(f"Authorization: Bearer {token}")
    return token
