"""The tools that Anthropic's models were trained with, ``bash`` and the text editor, in a session.

Their names and inputs are Anthropic's; what they do stands under the same policy as our own tools.
"""

from __future__ import annotations

import contextlib
import dataclasses
import secrets
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, StrictBool, TypeAdapter

from fumehood._sync.base import Blocking
from fumehood._sync.session import Session
from fumehood.errors import ErrorCode, FileMissingError, InvalidRequestError
from fumehood.session import AsyncSession
from fumehood.text import brief
from fumehood.tools.arguments import Arguments
from fumehood.tools.commands import run_command
from fumehood.tools.insert_text import insert_text
from fumehood.tools.policy import Policy
from fumehood.tools.results import Failure, FilePage, Refused, ToolResult, Value
from fumehood.tools.schemas import Schema
from fumehood.tools.toolset import TOOLS, AsyncToolset, answered, checked

BASH = "bash"
EDITOR = "str_replace_based_edit_tool"
BASH_TYPE = "bash_20250124"
EDITOR_TYPE = "text_editor_20250728"


class Bash(Arguments):
    """What the model says to ``bash``: a command, or that it wants a new shell."""

    command: str | None = None
    restart: StrictBool = False


class View(Arguments):
    """Show a file with the numbers of its lines, or what is in a directory."""

    command: Literal["view"]
    path: str
    view_range: Annotated[list[int] | None, Field(min_length=2, max_length=2)] = None


class Create(Arguments):
    """Write a whole file."""

    command: Literal["create"]
    path: str
    file_text: str


class StrReplace(Arguments):
    """Replace a text that is in a file exactly once."""

    command: Literal["str_replace"]
    path: str
    old_str: Annotated[str, Field(min_length=1)]
    new_str: str = ""


class Insert(Arguments):
    """Insert a text behind a line; 0 is the beginning of the file."""

    command: Literal["insert"]
    path: str
    insert_line: Annotated[int, Field(ge=0)]
    insert_text: str


Edit = View | Create | StrReplace | Insert
_EDITS: TypeAdapter[Edit] = TypeAdapter(Annotated[Edit, Field(discriminator="command")])
_BASH: TypeAdapter[Bash] = TypeAdapter(Bash)


class AsyncAnthropicTools:
    """Anthropic's ``bash`` and text editor for an :class:`~fumehood.AsyncSession`.

    Example::

        tools = AsyncAnthropicTools(session)
        answer = await client.messages.create(tools=tools.definitions(), …)
        for block in answer.content:
            if block.type == "tool_use":
                result = await tools.dispatch(block.name, block.input)
                reply.append(tool_result(block.id, result))

    Each command is a process of its own, so that it can be ended whole; the working directory and
    the exported variables last from one to the next, functions and aliases do not. A command that
    is killed, or that replaces the shell's own ``EXIT`` trap, leaves them as they were before it.

    Args:
        session: what they work in. It outlives them.
        policy: what the model may do: ``exec_command`` stands for ``bash`` there, ``read_file``,
            ``write_file`` and ``edit_file`` for the editor. A shell runs anything, so with rules
            for commands there is no ``bash``; read-only, there is none either, and the editor
            only shows.
    """

    def __init__(self, session: AsyncSession, *, policy: Policy | None = None) -> None:
        if not isinstance(session, AsyncSession):
            raise InvalidRequestError(f"session must be an AsyncSession, not {brief(session)}")
        rules = Policy() if policy is None else policy
        if not isinstance(rules, Policy):
            raise InvalidRequestError(f"policy must be a Policy, not {brief(policy)}")
        names = ("exec_command", "read_file", "list_files", "write_file", "edit_file")
        kept = [name for name in names if not (rules.read_only and TOOLS[name].changes)]
        self._tools = AsyncToolset(session, {name: TOOLS[name] for name in kept}, rules)
        self._bash = "exec_command" in kept and rules.rules("exec_command").commands.unrestricted
        self._state = f"/tmp/.fumehood-bash-{secrets.token_hex(8)}"  # noqa: S108 - of the container

    @property
    def policy(self) -> Policy:
        """What the model may do."""
        return self._tools.policy

    def definitions(self) -> list[Schema]:
        """Return the tools as the Messages API takes them."""
        editor = {"type": EDITOR_TYPE, "name": EDITOR}
        return [{"type": BASH_TYPE, "name": BASH}, editor] if self._bash else [editor]

    async def dispatch(self, name: str, given: Mapping[str, object]) -> ToolResult:
        """Do what a ``tool_use`` block asks for; what is wrong with it is a result as well.

        Cancelling ends the command that runs, with all that it has started.

        Args:
            name: of the block.
            given: its ``input``.

        Raises:
            SessionEndedError: the session is over; no other call will succeed either.
            EngineError, SupervisorError, ProtocolError: the same, of what it stands on.
        """

        async def run() -> ToolResult:
            if name == BASH and self._bash:
                value, text = await self._run(checked(_BASH, given))
                return ToolResult(tool=BASH, text=text, value=value)
            if name == EDITOR:
                return await self._edit(checked(_EDITS, given))
            offered = ", ".join(str(tool["name"]) for tool in self.definitions())
            raise Refused("unknown_tool", f"there is no tool {brief(name)}; there are {offered}")

        result = await answered(name, run)
        return dataclasses.replace(result, tool=str(name))

    async def _run(self, asked: Bash) -> tuple[Value, str]:
        call = self._tools.call("exec_command", asked.model_dump())
        if asked.restart:
            with contextlib.suppress(FileMissingError):  # nothing was kept yet
                await call.session.remove(self._state, root="/")
        command = ":" if asked.command is None and asked.restart else asked.command
        if command is None:
            raise Refused("arguments", "give a command, or restart")
        await call.approve(command)
        argv = ["/bin/sh", "-c", _script(self._state, command)]
        return await run_command(call, argv, timeout=call.patience())

    async def _edit(self, asked: Edit) -> ToolResult:
        tools = self._tools
        if isinstance(asked, View):
            return await self._view(asked)
        if isinstance(asked, Create):
            return await tools.dispatch(
                "write_file", {"path": asked.path, "content": asked.file_text}
            )
        if isinstance(asked, StrReplace):
            return await tools.dispatch(
                "edit_file",
                {"path": asked.path, "old_text": asked.old_str, "new_text": asked.new_str},
            )
        if self.policy.read_only:
            raise Refused("policy", "nothing is changed here: this sandbox may only be looked at")
        call = tools.call("edit_file", asked.model_dump())
        value, text = await insert_text(call, asked.path, asked.insert_line, asked.insert_text)
        return ToolResult(tool=EDITOR, text=text, value=value)

    async def _view(self, asked: View) -> ToolResult:
        first, last = asked.view_range or (1, -1)
        if first < 1 or (last != -1 and last < first):
            raise Refused(
                "arguments", f"view_range must be [first, last] from 1, not {[first, last]}"
            )
        arguments: dict[str, object] = {"path": asked.path, "start_line": first}
        if last != -1:
            arguments["max_lines"] = last - first + 1
        result = await self._tools.dispatch("read_file", arguments)
        value = result.value
        if isinstance(value, FilePage):
            return dataclasses.replace(result, text=_numbered(value, last))
        if isinstance(value, Failure) and value.code == ErrorCode.FILE_IS_DIRECTORY:
            return await self._tools.dispatch("list_files", {"path": asked.path})
        return result


class AnthropicTools(Blocking[AsyncAnthropicTools]):
    """The same for a :class:`~fumehood.Session`, with calls that block.

    Example::

        tools = AnthropicTools(session)
        print(tools.dispatch("bash", {"command": "cd /tmp; pwd"}).text)
    """

    _instead = "AsyncAnthropicTools with the AsyncSession"

    def __init__(self, session: Session, *, policy: Policy | None = None) -> None:
        if not isinstance(session, Session):
            raise InvalidRequestError(f"session must be a Session, not {brief(session)}")
        inner = session._async  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
        super().__init__(AsyncAnthropicTools(inner, policy=policy))

    @property
    def policy(self) -> Policy:
        """What the model may do."""
        return self._async.policy

    def definitions(self) -> list[Schema]:
        """Return the tools as the Messages API takes them."""
        return self._async.definitions()

    def dispatch(self, name: str, given: Mapping[str, object]) -> ToolResult:
        """Do what a ``tool_use`` block asks for, as :meth:`AsyncAnthropicTools.dispatch` does.

        Raises:
            SessionEndedError: the session is over; no other call will succeed either.
            EngineError, SupervisorError, ProtocolError: the same, of what it stands on.
        """
        return self._call(lambda: self._async.dispatch(name, given))


def tool_result(tool_use_id: str, result: ToolResult) -> dict[str, Any]:
    """Return the block that answers a ``tool_use`` block, of these tools or of a toolset's."""
    return {
        "type": "tool_result",
        "tool_use_id": tool_use_id,
        "content": result.text,
        "is_error": result.is_error,
    }


def _script(state: str, command: str) -> str:
    """Return a command with what gives it the last one's directory and variables, and keeps its.

    The file holds the environment, and is run: only its owner may read it, and one that another
    user inside has put there is not looked at.
    """
    return (
        f'if [ -f {state} ] && [ -O {state} ]; then . {state}; cd -- "$PWD"; fi\n'
        f"trap 'export PWD; (umask 077; export -p >{state})' EXIT\n"
        f"{command}"
    )


def _numbered(page: FilePage, last: int) -> str:
    if page.end_line < page.start_line:
        empty = page.start_line == 1
        return f"{page.path} is empty" if empty else f"{page.path} has no line {page.start_line}"
    lines = page.text.removesuffix("\n").split("\n")
    shown = [f"{number:6}\t{line}" for number, line in enumerate(lines, page.start_line)]
    more = page.next_start_line
    if more is not None and (last == -1 or more <= last):
        shown.append(f"[… more: view_range=[{more}, -1] …]")
    return "\n".join(shown)
