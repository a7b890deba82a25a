"""Whole agents: Anthropic's own SDK against an API with prepared answers, tools in a session."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from anthropic import AsyncAnthropic
from anthropic.lib.tools import BetaAsyncBuiltinFunctionTool, ToolError
from messages_api import events, message, text, use
from ours import IMAGE
from scripted_api import Api, scripted

from fumehood import AsyncSession, SessionEndedError
from fumehood.tools import Policy, ToolResult, create_tools
from fumehood.tools.anthropic_tools import BASH, EDITOR, AsyncAnthropicTools, tool_result

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "anthropic_agent.py"
PATIENCE = 30.0
REQUEST: dict[str, Any] = {"model": "scripted", "max_tokens": 1000}
QUESTION = {"role": "user", "content": "go"}
STREAMED = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])

Dispatch = Callable[[str, Mapping[str, object]], Awaitable[ToolResult]]
pytest_plugins = ["ours"]
pytestmark = pytest.mark.anyio


def client_of(api: Api) -> AsyncAnthropic:
    return AsyncAnthropic(base_url=api.url, api_key="none", max_retries=0)


async def converse(
    api: Api, tools: list[dict[str, Any]], dispatch: Dispatch, *, stream: bool
) -> str:
    """The loop of an agent, as everybody writes it; return the model's last words."""
    messages: list[Any] = [QUESTION]
    async with client_of(api) as client:
        while True:
            request = {**REQUEST, "tools": tools, "messages": messages}
            if stream:
                async with client.messages.stream(**request) as coming:
                    answer = await coming.get_final_message()
            else:
                answer = await client.messages.create(**request)
            messages.append({"role": "assistant", "content": answer.content})
            if answer.stop_reason != "tool_use":
                return str(answer.content[0].text)
            results = [
                tool_result(block.id, await dispatch(block.name, block.input))
                for block in answer.content
                if block.type == "tool_use"
            ]
            messages.append({"role": "user", "content": results})


def told(api: Api) -> list[list[tuple[bool, str]]]:
    """What the API was told of each turn's calls: whether they failed, and the text."""
    return [
        [
            (block.get("is_error", False), block["content"])
            for block in body["messages"][-1]["content"]
        ]
        for body in api.asked[1:]
    ]


def answered(api: Api) -> list[list[str]]:
    """The ids of the calls that were answered, turn by turn."""
    return [
        [block["tool_use_id"] for block in body["messages"][-1]["content"]]
        for body in api.asked[1:]
    ]


@STREAMED
async def test_a_model_works_with_the_tools_that_it_knows_by_heart(
    session: AsyncSession, stream: bool
) -> None:
    turns = [
        message(
            text("I look."), use(BASH, command="mkdir work; cd work; export COLOUR='deep blue'")
        ),
        message(
            use(EDITOR, command="create", path="work/a.py", file_text="total = 1\nprint(total)\n"),
            use(EDITOR, command="view", path="work/a.py"),
        ),
        message(use(EDITOR, command="str_replace", path="work/a.py", old_str="= 2", new_str="= 3")),
        message(use(EDITOR, command="str_replace", path="work/a.py", old_str="= 1", new_str="= 7")),
        message(
            use(EDITOR, command="insert", path="work/a.py", insert_line=0, insert_text="# n\n")
        ),
        message(use(BASH, command='pwd; echo "$COLOUR"; python3 a.py; exit 3')),
        message(use(BASH, restart=True), use(BASH, command="pwd")),
        message(text("done")),
    ]
    tools = AsyncAnthropicTools(session)
    with scripted(turns, events) as api:
        assert await converse(api, tools.definitions(), tools.dispatch, stream=stream) == "done"
    assert api.answers == []
    assert set(api.paths) == {"/v1/messages"}
    assert all(body["tools"] == tools.definitions() for body in api.asked)
    assert answered(api) == [
        [block["id"] for block in turn["content"] if block["type"] == "tool_use"]
        for turn in turns[:-1]
    ]
    first, made, missed, replaced, inserted, ran, restarted = told(api)
    assert not any(failed for turn in (first, made, replaced, inserted, ran) for failed, _ in turn)
    assert made[1][1] == "     1\ttotal = 1\n     2\tprint(total)"
    [(failed, why)] = missed
    assert failed
    assert "work/a.py" in why
    [(_, output)] = ran
    assert output.startswith("exit code 3 ")
    assert output.endswith("--- stdout\n/workspace/work\ndeep blue\n7")
    assert restarted[1][1].endswith("--- stdout\n/workspace")
    assert await session.read_text_file("work/a.py") == "# n\ntotal = 7\nprint(total)\n"


@STREAMED
@pytest.mark.parametrize("strict", [False, True], ids=["plain", "strict"])
async def test_a_model_works_with_our_tools(
    session: AsyncSession, stream: bool, strict: bool
) -> None:
    # In strict tool use all arguments are there, and null is what is left out.
    none: dict[str, object] = {"start_line": None, "max_lines": None} if strict else {}
    turns = [
        message(use("write_file", path="a.txt", content="one\ntwo\n")),
        message(use("read_file", path="a.txt", **none)),
        message(use("read_file", path="missing", **none), use("fly")),
        message(text("done")),
    ]
    tools = create_tools(session)
    schemas = tools.anthropic(strict=strict)
    with scripted(turns, events) as api:
        assert await converse(api, schemas, tools.dispatch, stream=stream) == "done"
    assert all(body["tools"] == schemas for body in api.asked)
    _, read, wrong = told(api)
    assert "one\ntwo" in read[0][1]
    assert [failed for failed, _ in wrong] == [True, True]
    assert "exec_command" in wrong[1][1]


class Known(BetaAsyncBuiltinFunctionTool):
    """One of Anthropic's tools as the SDK's tool runner calls it."""

    def __init__(self, definition: dict[str, Any], dispatch: Dispatch) -> None:
        self._definition = definition
        self._dispatch = dispatch

    def to_dict(self) -> Any:
        return self._definition

    async def call(self, input: Any) -> str:
        result = await self._dispatch(self._definition["name"], input)
        if result.is_error:
            raise ToolError(result.text)
        return result.text


@STREAMED
async def test_the_sdks_tool_runner_runs_our_tools_and_those_that_its_models_know(
    session: AsyncSession, stream: bool
) -> None:
    turns = [
        message(
            use(BASH, command="echo one > a.txt"),
            use("edit_file", path="a.txt", old_text="one", new_text="two"),
        ),
        message(use(EDITOR, command="view", path="missing")),
        message(use("exec_command", command="cat a.txt")),
        message(text("done")),
    ]
    known, ours = AsyncAnthropicTools(session), create_tools(session)
    tools = [Known(definition, known.dispatch) for definition in known.definitions()]
    tools += [Known(schema, ours.dispatch) for schema in ours.anthropic()]
    with scripted(turns, events) as api:
        async with client_of(api) as client:
            runner = client.beta.messages.tool_runner(
                **REQUEST, messages=[QUESTION], tools=tools, stream=stream
            )
            last = await runner.until_done()
    assert last.content[0].text == "done"
    assert api.answers == []
    assert api.asked[0]["tools"] == [*known.definitions(), *ours.anthropic()]
    assert [[failed for failed, _ in turn] for turn in told(api)] == [[False] * 2, [True], [False]]
    assert "two" in str(told(api)[2])


async def test_what_the_policy_refuses_is_told_to_the_model(session: AsyncSession) -> None:
    turns = [
        message(use(BASH, command="id"), use(EDITOR, command="create", path="a", file_text="")),
        message(text("I may only look")),
    ]
    tools = AsyncAnthropicTools(session, policy=Policy(read_only=True))
    with scripted(turns, events) as api:
        await converse(api, tools.definitions(), tools.dispatch, stream=False)
    assert [tool["name"] for tool in api.asked[0]["tools"]] == [EDITOR]
    assert [failed for failed, _ in told(api)[0]] == [True, True]
    assert await session.list_files() == []


async def test_an_agent_that_is_cancelled_has_killed_its_command(session: AsyncSession) -> None:
    tools = AsyncAnthropicTools(session)
    turns = [message(use(BASH, command="echo $$ > begun; exec sleep 1000"))]
    with scripted(turns, events) as api:
        async with asyncio.timeout(PATIENCE), session.watch(".") as changes:
            loop = converse(api, tools.definitions(), tools.dispatch, stream=True)
            agent = asyncio.create_task(loop)
            async for change in changes:
                if change.path == "begun":
                    break
        agent.cancel()
        with pytest.raises(asyncio.CancelledError):
            await agent
    left = await session.exec(["ps", "-eo", "args"])
    assert "sleep 1000" not in left.stdout


async def test_the_end_of_the_session_ends_the_agent(session: AsyncSession) -> None:
    tools = AsyncAnthropicTools(session)
    await session.destroy()
    turns = [message(use(BASH, command="id"))]
    with scripted(turns, events) as api, pytest.raises(SessionEndedError):
        await converse(api, tools.definitions(), tools.dispatch, stream=False)


def test_the_example_is_an_agent_that_finds_what_it_is_asked_for() -> None:
    done = subprocess.run(
        [sys.executable, EXAMPLE],
        env={**os.environ, "FUMEHOOD_IMAGE": IMAGE},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "There were three of them." in done.stdout
