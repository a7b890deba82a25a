"""The tools of a session, put together: what there is, how a model is told of it, and calls."""

from __future__ import annotations

import inspect
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, cast

try:
    from pydantic import BaseModel, TypeAdapter, ValidationError
except ModuleNotFoundError as _missing:
    raise ModuleNotFoundError(
        "fumehood.tools needs pydantic, which is not installed: run pip install 'fumehood[tools]'",
        name="pydantic",
    ) from _missing

from fumehood._sync.base import Blocking
from fumehood.errors import (
    EngineError,
    LocalProtocolError,
    ProtocolError,
    SandboxError,
    SessionEndedError,
    SupervisorError,
)
from fumehood.session import AsyncSession
from fumehood.text import brief
from fumehood.tools import arguments, commands, file_tools, process_tools, search_tool
from fumehood.tools.call import Bench, Call, OnOutput
from fumehood.tools.policy import TOOL_NAMES, Policy
from fumehood.tools.results import Failure, Refused, ToolResult, Value
from fumehood.tools.schemas import Schema, json_schema, sparing_schema, strict_schema

_A = TypeVar("_A", bound=BaseModel)
_T = TypeVar("_T")
_Run = Callable[[Call, Any], Awaitable[tuple[Value, str]]]

_SESSION_LOST = (
    SessionEndedError,
    EngineError,
    SupervisorError,
    ProtocolError,
    LocalProtocolError,
)
"""What no other call of the model can mend: the loop around it has to know."""


@dataclass(frozen=True, slots=True)
class Tool:
    """One tool: a name, what the model reads of it, what it may say to it."""

    name: str
    arguments: type[BaseModel]
    run: _Run
    changes: bool
    """Whether a call can change anything in the session."""

    @property
    def description(self) -> str:
        """What the model reads of it."""
        return " ".join((inspect.getdoc(self.arguments) or "").split())

    @property
    def input_schema(self) -> Schema:
        """The JSON schema of its arguments."""
        return json_schema(self.arguments)


def _tool(
    name: str,
    kind: type[_A],
    run: Callable[[Call, _A], Awaitable[tuple[Value, str]]],
    *,
    changes: bool,
) -> Tool:
    return Tool(name, kind, cast("_Run", run), changes)


TOOLS: dict[str, Tool] = {
    tool.name: tool
    for tool in (
        _tool("exec_command", arguments.ExecCommand, commands.exec_command, changes=True),
        _tool("read_file", arguments.ReadFile, file_tools.read_file, changes=False),
        _tool("write_file", arguments.WriteFile, file_tools.write_file, changes=True),
        _tool("edit_file", arguments.EditFile, file_tools.edit_file, changes=True),
        _tool("list_files", arguments.ListFiles, file_tools.list_files, changes=False),
        _tool("search_files", arguments.SearchFiles, search_tool.search_files, changes=False),
        _tool("start_process", arguments.StartProcess, process_tools.start_process, changes=True),
        _tool(
            "list_processes", arguments.ListProcesses, process_tools.list_processes, changes=False
        ),
        _tool(
            "read_process_logs",
            arguments.ReadProcessLogs,
            process_tools.read_process_logs,
            changes=False,
        ),
        _tool(
            "write_process_stdin",
            arguments.WriteProcessStdin,
            process_tools.write_process_stdin,
            changes=True,
        ),
        _tool("stop_process", arguments.StopProcess, process_tools.stop_process, changes=True),
        _tool("list_ports", arguments.ListPorts, process_tools.list_ports, changes=False),
        _tool("wait_for_port", arguments.WaitForPort, process_tools.wait_for_port, changes=False),
    )
}
assert tuple(TOOLS) == TOOL_NAMES


class Catalog:
    """What tools there are, in the words of each API that a model is reached by."""

    def __init__(self, tools: Mapping[str, Tool]) -> None:
        self._tools = dict(tools)

    def __iter__(self) -> Iterator[Tool]:
        return iter(self._tools.values())

    def __len__(self) -> int:
        return len(self._tools)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {', '.join(self._tools)}>"

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the tools."""
        return tuple(self._tools)

    def json_schema(self) -> dict[str, Schema]:
        """Return the JSON schema of each tool's arguments, by its name."""
        return {tool.name: tool.input_schema for tool in self}

    def openai_responses(self, *, strict: bool = False) -> list[Schema]:
        """Return the tools as OpenAI's Responses API takes them.

        Args:
            strict: in its strict mode, where every argument is required and may be null.
        """
        return [{"type": "function", **_openai(tool, strict)} for tool in self]

    def openai_chat(self, *, strict: bool = False) -> list[Schema]:
        """Return the tools as OpenAI's Chat Completions API takes them; ``strict`` as above."""
        return [{"type": "function", "function": _openai(tool, strict)} for tool in self]

    def anthropic(self, *, strict: bool = False) -> list[Schema]:
        """Return the tools as Anthropic's Messages API takes them.

        Args:
            strict: with the schemas of strict tool use, all of which fit into one request with
                room for five tools, and as many arguments with null or left out, of your own.
        """
        return [
            {
                "name": tool.name,
                "description": tool.description,
                "input_schema": sparing_schema(tool.arguments) if strict else tool.input_schema,
                **({"strict": True} if strict else {}),
            }
            for tool in self
        ]


def _openai(tool: Tool, strict: bool) -> Schema:
    return {
        "name": tool.name,
        "description": tool.description,
        "parameters": strict_schema(tool.arguments) if strict else tool.input_schema,
        "strict": strict,
    }


class AsyncToolset(Catalog):
    """The tools of an :class:`~fumehood.AsyncSession`; made by :func:`create_tools`.

    Example::

        tools = create_tools(session)
        result = await tools.dispatch("exec_command", {"command": "make test"})
        print(result.text)
    """

    def __init__(self, session: AsyncSession, tools: Mapping[str, Tool], policy: Policy) -> None:
        super().__init__(tools)
        self._bench = Bench(session, policy)

    @property
    def policy(self) -> Policy:
        """What the model may do."""
        return self._bench.policy

    async def dispatch(
        self,
        name: str,
        arguments: Mapping[str, object] | str,
        *,
        on_output: OnOutput | None = None,
    ) -> ToolResult:
        """Do what a model asks for, and return what it is to be told.

        A tool that does not exist, bad arguments, what the policy is against, a refusal of whoever
        was asked, a missing file: all of it is a result with ``is_error``, which says what is
        right. Cancelling ends the command that runs.

        Args:
            name: the tool.
            arguments: as the model's API gives them: an object, or its JSON text.
            on_output: told of ``exec_command``'s output while it runs.

        Raises:
            SessionEndedError: the session is over; no other call will succeed either.
            EngineError, SupervisorError, ProtocolError: the same, of what it stands on.
        """
        tool = self._tools.get(name) if isinstance(name, str) else None

        async def run() -> ToolResult:
            if tool is None:
                raise Refused("unknown_tool", self._no_such_tool(name))
            asked = _parsed(tool, arguments)
            call = self.call(tool.name, asked.model_dump(), on_output=on_output)
            value, text = await tool.run(call, asked)
            return ToolResult(tool=tool.name, text=text, value=value)

        return await answered(name, run)

    def call(
        self,
        tool: str,
        arguments: Mapping[str, object],
        *,
        on_output: OnOutput | None = None,
    ) -> Call:
        """Return one call under this toolset's policy, for tools of another shape than ours."""
        return Call(bench=self._bench, tool=tool, arguments=arguments, on_output=on_output)

    def _no_such_tool(self, name: object) -> str:
        text = f"there is no tool {brief(name)}; there are {', '.join(self.names)}"
        if name in TOOLS and self.policy.read_only:
            text += " (this sandbox may only be looked at)"
        return text


async def answered(name: object, run: Callable[[], Awaitable[ToolResult]]) -> ToolResult:
    """Return what a call comes to; what a model can mend is a result that says what is right.

    Raises:
        SessionEndedError, EngineError, SupervisorError, ProtocolError: no call can mend it.
    """
    try:
        return await run()
    except Refused as exc:
        return _failed(name, Failure(kind=exc.kind, message=exc.message))
    except _SESSION_LOST:
        raise
    except SandboxError as exc:
        return _failed(name, Failure(kind="failed", message=exc.message, code=str(exc.code)))


def checked(kind: TypeAdapter[_T], given: Mapping[str, object]) -> _T:
    """Return what a model has said, checked.

    Raises:
        Refused: it is not what the tool takes.
    """
    if not isinstance(given, Mapping):
        raise Refused("arguments", "the arguments must be a JSON object")
    try:
        return kind.validate_python(dict(given))
    except ValidationError as exc:
        raise Refused("arguments", _faults(exc)) from None


def _faults(error: ValidationError) -> str:
    return "; ".join(
        f"{'.'.join(map(str, item['loc'])) or 'arguments'}: {item['msg']}"
        for item in error.errors(include_url=False, include_context=False, include_input=False)
    )


def _failed(name: object, failure: Failure) -> ToolResult:
    return ToolResult(tool=str(name), text=f"error: {failure.message}", value=failure)


def _parsed(tool: Tool, given: Mapping[str, object] | str) -> BaseModel:
    """Return a tool's arguments, checked.

    Raises:
        Refused: they are not what the tool takes.
    """
    if isinstance(given, str):
        try:
            given = json.loads(given) if given.strip() else {}
        except (ValueError, RecursionError) as exc:
            raise Refused("arguments", f"the arguments are no JSON: {exc}") from None
    if not isinstance(given, Mapping):
        raise Refused("arguments", "the arguments must be a JSON object")
    # Strict modes send null for what is left out.
    present = {key: value for key, value in given.items() if value is not None}
    try:
        return tool.arguments.model_validate(present)
    except ValidationError as exc:
        takes = ", ".join(tool.arguments.model_fields) or "none"
        raise Refused("arguments", f"{_faults(exc)} ({tool.name} takes: {takes})") from None


class Toolset(Catalog, Blocking[AsyncToolset]):
    """The tools of a :class:`~fumehood.Session`, which block; made by :func:`create_tools`.

    Example::

        tools = create_tools(session)
        print(tools.dispatch("read_file", {"path": "main.py"}).text)
    """

    _instead = "create_tools with the AsyncSession"

    def __init__(self, inner: AsyncToolset) -> None:
        Catalog.__init__(self, {tool.name: tool for tool in inner})
        Blocking.__init__(self, inner)

    @property
    def policy(self) -> Policy:
        """What the model may do."""
        return self._async.policy

    def dispatch(self, name: str, arguments: Mapping[str, object] | str) -> ToolResult:
        """Do what a model asks for, and return what it is to be told.

        What is wrong with the call is a result with ``is_error``, as for
        :meth:`AsyncToolset.dispatch`. Interrupting it ends the command that runs.

        Raises:
            SessionEndedError: the session is over; no other call will succeed either.
            EngineError, SupervisorError, ProtocolError: the same, of what it stands on.
        """
        return self._call(lambda: self._async.dispatch(name, arguments))
