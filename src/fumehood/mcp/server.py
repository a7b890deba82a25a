"""The server of the Model Context Protocol: our tools and a workspace's files in its words."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any, TypeVar
from urllib.parse import quote, unquote, urlsplit

import anyio
import mcp_types as types
from mcp import MCPError
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server

from fumehood._version import __version__
from fumehood.errors import SandboxError, SessionEndedError
from fumehood.mcp.config import Config
from fumehood.mcp.sessions import Places, TooManySessionsError
from fumehood.sandbox import AsyncDockerSandbox
from fumehood.session import AsyncSession
from fumehood.text import brief
from fumehood.tools import ToolResult
from fumehood.tools.toolset import TOOLS

_T = TypeVar("_T")
_Context = ServerRequestContext[Any, Any]
KeyOf = Callable[[_Context], str]
"""Which connection a request belongs to."""

SCHEME = "workspace"
MAX_RESOURCES = 1000
_NAME = {
    "type": "string",
    "pattern": "^[a-z0-9][a-z0-9._-]{0,62}$",
    "description": "The name of the sandbox, as given to create_session.",
}
_OWN_TOOLS = {
    "create_session": "Make a sandbox under a name: an empty workspace of its own.",
    "end_session": "End a sandbox and everything in it.",
}


class SandboxServer:
    """Answers the requests of one transport.

    Args:
        sandbox: what makes sessions. It belongs to the caller, whose end ends them all.
        config: what is offered.
        key: which connection a request belongs to; without it all belong to one.
    """

    def __init__(
        self, sandbox: AsyncDockerSandbox, config: Config, key: KeyOf = lambda _: "connection"
    ) -> None:
        self.places: Places = Places(sandbox, config)
        self._config = config
        self._key = key
        self._named = config.sessions == "named"
        chosen = TOOLS if config.include is None else {n: TOOLS[n] for n in config.include}
        self._tools = {
            name: tool
            for name, tool in chosen.items()
            if not (config.policy.read_only and tool.changes)
        }
        self.server: Server[Any] = Server(
            "fumehood",
            version=__version__,
            instructions=_instructions(self._named),
            on_list_tools=self._list_tools,
            on_call_tool=self._call_tool,
            on_list_resources=self._list_resources,
            on_list_resource_templates=self._list_templates,
            on_read_resource=self._read_resource,
        )

    async def end_connection(self, key: str) -> None:
        """End every session of a connection."""
        for name in self.places.names:
            if name == key or name.startswith(f"{key} "):
                await self.places.end_quietly(name)

    async def end_all(self) -> None:
        """End every session, side by side; a call that works in one is answered so."""
        await asyncio.gather(*map(self.places.end_quietly, self.places.names))

    # --- tools --------------------------------------------------------------------------------

    async def _list_tools(
        self, ctx: _Context, params: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        del ctx, params
        tools: list[types.Tool] = []
        for tool in self._tools.values():
            schema = tool.input_schema
            if self._named:
                schema["properties"] = {"session": _NAME, **schema["properties"]}
                schema["required"] = ["session", *schema["required"]]
            tools.append(
                types.Tool(
                    name=tool.name,
                    description=tool.description,
                    input_schema=schema,
                    annotations=types.ToolAnnotations(
                        read_only_hint=not tool.changes, open_world_hint=False
                    ),
                )
            )
        if self._named:
            schema = {"type": "object", "properties": {"session": _NAME}, "required": ["session"]}
            tools += [
                types.Tool(name=name, description=text, input_schema=schema)
                for name, text in _OWN_TOOLS.items()
            ]
        return types.ListToolsResult(tools=tools)

    async def _call_tool(
        self, ctx: _Context, params: types.CallToolRequestParams
    ) -> types.CallToolResult:
        arguments = dict(params.arguments or {})
        key = self._key(ctx)
        if self._named:
            name = arguments.pop("session", None)
            if not isinstance(name, str) or not name:
                return _said("error: every tool needs session, the name of a sandbox", error=True)
            key = f"{key} {name}"
        try:
            return await _to_the_end(self._called(ctx, params.name, arguments, key))
        except SessionEndedError as exc:
            self.places.forget(key)
            after = "make it again" if self._named else "the next call gets a new, empty one"
            return _said(f"error: the sandbox has ended ({exc.reason}); {after}", error=True)
        except (SandboxError, TooManySessionsError) as exc:
            return _said(f"error: {exc}", error=True)

    async def _called(
        self, ctx: _Context, name: str, arguments: dict[str, Any], key: str
    ) -> types.CallToolResult:
        if self._named and name in _OWN_TOOLS:
            return await self._own(name, key)
        tools = await self.places.tools(key, make=not self._named)
        if tools is None:
            return _said("error: there is no sandbox of this name: create_session", error=True)
        written = 0

        async def told(text: str) -> None:
            nonlocal written
            written += len(text)
            await ctx.session.report_progress(written, message=text)

        return _answer(await tools.dispatch(name, arguments, on_output=told))

    async def _own(self, name: str, key: str) -> types.CallToolResult:
        if name == "end_session":
            known = await self.places.end(key)
            return _said("ended" if known else "error: no such sandbox", error=not known)
        if await self.places.tools(key, make=False) is not None:
            return _said("error: there is a sandbox of this name", error=True)
        await self.places.tools(key, make=True)
        return _said("made; its workspace is empty")

    # --- files as resources -------------------------------------------------------------------

    async def _list_resources(
        self, ctx: _Context, params: types.PaginatedRequestParams | None
    ) -> types.ListResourcesResult:
        del params
        found: list[types.Resource] = []
        for name, session in self._sessions(ctx):
            try:
                entries = await _to_the_end(session.list_files(recursive=True))
            except SessionEndedError:
                continue  # and its files with it; the next call of a tool is told so
            except SandboxError as exc:
                raise MCPError(types.INTERNAL_ERROR, str(exc)) from exc
            for entry in entries:
                if entry.type == "file" and len(found) < MAX_RESOURCES:
                    uri = f"{SCHEME}://{name}/{quote(entry.path)}"
                    found.append(types.Resource(uri=uri, name=entry.path, size=entry.size))
        return types.ListResourcesResult(resources=found)

    def _sessions(self, ctx: _Context) -> list[tuple[str, AsyncSession]]:
        """Return the sessions that a connection sees, each with its name in addresses."""
        key = self._key(ctx)
        if not self._named:
            session = self.places.session(key)
            return [] if session is None else [("", session)]
        found: list[tuple[str, AsyncSession]] = []
        for known in self.places.names:
            owner, _, name = known.partition(" ")
            session = self.places.session(known)
            if owner == key and session is not None:
                found.append((name, session))
        return found

    async def _list_templates(
        self, ctx: _Context, params: types.PaginatedRequestParams | None
    ) -> types.ListResourceTemplatesResult:
        del ctx, params
        host = "{session}" if self._named else ""
        template = types.ResourceTemplate(
            uri_template=f"{SCHEME}://{host}/{{+path}}",
            name="workspace file",
            description="A file in the sandbox's workspace.",
        )
        return types.ListResourceTemplatesResult(resource_templates=[template])

    async def _read_resource(
        self, ctx: _Context, params: types.ReadResourceRequestParams
    ) -> types.ReadResourceResult:
        uri = str(params.uri)
        parts = urlsplit(uri)
        sessions = dict(self._sessions(ctx))
        if parts.scheme != SCHEME or parts.netloc not in sessions:
            raise MCPError(types.INVALID_PARAMS, f"no such resource: {brief(uri)}")
        path = unquote(parts.path).removeprefix("/")
        try:
            data = await _to_the_end(sessions[parts.netloc].read_file(path))
        except SandboxError as exc:
            raise MCPError(types.INVALID_PARAMS, str(exc)) from exc
        return types.ReadResourceResult(contents=[_contents(uri, data)])


def _contents(uri: str, data: bytes) -> types.TextResourceContents | types.BlobResourceContents:
    try:
        return types.TextResourceContents(uri=uri, text=data.decode())
    except UnicodeDecodeError:
        return types.BlobResourceContents(uri=uri, blob=base64.b64encode(data).decode())


def _answer(result: ToolResult) -> types.CallToolResult:
    return types.CallToolResult(
        content=[types.TextContent(text=result.text)],
        structured_content=result.data,
        is_error=result.is_error,
    )


def _said(text: str, *, error: bool = False) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(text=text)], is_error=error)


def _instructions(named: bool) -> str:
    text = "Tools that work in a sandbox: a container of its own, with a workspace for files."
    return f"{text} Begin with create_session." if named else text


async def _to_the_end(work: Coroutine[Any, Any, _T]) -> _T:
    """Await work in a task of its own, which is cancelled once and then waited for.

    The framework cancels a request's task again and again until it has ended; a command that is
    being killed needs the time of a few round trips.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        task.cancel()
        with anyio.CancelScope(shield=True):
            await asyncio.wait({task})
        raise


@contextlib.asynccontextmanager
async def sandbox_server(config: Config, key: KeyOf | None = None) -> AsyncGenerator[SandboxServer]:
    """Give a server with a sandbox of its own; its sessions end with the block."""
    async with AsyncDockerSandbox(**config.sandbox) as sandbox:
        yield SandboxServer(sandbox, config) if key is None else SandboxServer(sandbox, config, key)
