"""Whole agents over HTTP: OpenAI's SDKs against APIs with prepared answers, tools in a session."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from agents import (
    Agent,
    FunctionTool,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    RunConfig,
    Runner,
    ShellTool,
)
from openai import AsyncOpenAI
from openai_api import (
    call,
    completion,
    completion_events,
    response,
    response_events,
    said,
    shell,
)
from scripted_api import Api, scripted

from fumehood import AsyncSession
from fumehood.adapters.openai_shell import ShellExecutor
from fumehood.tools import AsyncToolset, create_tools

QUESTION = {"role": "user", "content": "go"}
BOTH = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
QUIET = RunConfig(tracing_disabled=True)

pytest_plugins = ["ours"]
pytestmark = pytest.mark.anyio


def client_of(api: Api) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=api.url, api_key="none", max_retries=0)


def work(strict: bool) -> list[list[dict[str, Any]]]:
    """What the model does in each of its turns."""
    # In strict mode every argument is there, and null stands for one that is left out.
    none: dict[str, None] = dict.fromkeys(("start_line", "max_lines")) if strict else {}
    return [
        [call("write_file", path="a.txt", content="one\ntwo\n")],
        [call("read_file", path="a.txt", **none), call("read_file", path="missing", **none)],
        [call("fly")],
        [said("done")],
    ]


def check(told: list[list[str]]) -> None:
    """See that the model was told of each of these calls what it had come to."""
    written, read, unknown = told
    assert written[0].startswith("wrote ")
    assert "one\ntwo" in read[0]
    assert read[1].startswith("error: ")
    assert unknown[0].startswith("error: there is no tool 'fly'")


@BOTH
async def test_a_loop_over_responses_works_with_our_tools(
    session: AsyncSession, stream: bool
) -> None:
    tools = create_tools(session)
    schemas = tools.openai_responses(strict=stream)
    turns = [response(*turn) for turn in work(strict=stream)]
    with scripted(turns, response_events) as api:
        async with client_of(api) as client:
            assert await over_responses(client, tools, schemas, stream=stream) == "done"
    assert api.answers == []
    assert set(api.paths) == {"/responses"}
    assert all(body["tools"] == schemas for body in api.asked)
    outputs = [
        [item["output"] for item in body["input"] if item.get("type") == "function_call_output"]
        for body in api.asked
    ]
    check([after[len(before) :] for before, after in pairwise(outputs)])


async def over_responses(
    client: AsyncOpenAI, tools: AsyncToolset, schemas: list[Any], *, stream: bool
) -> str:
    """The loop of an agent, as everybody writes it; return the model's last words."""
    history: list[Any] = [QUESTION]
    while True:
        request = {"model": "scripted", "tools": schemas, "input": history}
        if stream:
            async with client.responses.stream(**request) as coming:
                answer = await coming.get_final_response()
        else:
            answer = await client.responses.create(**request)
        calls = [item for item in answer.output if item.type == "function_call"]
        if not calls:
            return str(answer.output_text)
        for item in calls:
            result = await tools.dispatch(item.name, item.arguments)
            own = {"call_id": item.call_id, "name": item.name, "arguments": item.arguments}
            history += [
                {"type": "function_call", **own},
                {"type": "function_call_output", "call_id": item.call_id, "output": result.text},
            ]


@BOTH
async def test_a_loop_over_chat_completions_works_with_our_tools(
    session: AsyncSession, stream: bool
) -> None:
    tools = create_tools(session)
    schemas = tools.openai_chat(strict=stream)
    turns = [completion(*turn) for turn in work(strict=stream)]
    with scripted(turns, completion_events) as api:
        async with client_of(api) as client:
            assert await over_chat(client, tools, schemas, stream=stream) == "done"
    assert api.answers == []
    assert set(api.paths) == {"/chat/completions"}
    assert all(body["tools"] == schemas for body in api.asked)
    outputs = [
        [item["content"] for item in body["messages"] if item["role"] == "tool"]
        for body in api.asked
    ]
    check([after[len(before) :] for before, after in pairwise(outputs)])


async def over_chat(
    client: AsyncOpenAI, tools: AsyncToolset, schemas: list[Any], *, stream: bool
) -> str:
    """The same loop; the SDK's own helper for streams takes strict functions alone."""
    messages: list[Any] = [QUESTION]
    while True:
        request = {"model": "scripted", "tools": schemas, "messages": messages}
        if stream:
            async with client.chat.completions.stream(**request) as coming:
                answer = await coming.get_final_completion()
        else:
            answer = await client.chat.completions.create(**request)
        message = answer.choices[0].message
        if not message.tool_calls:
            return str(message.content)
        messages.append(
            {
                "role": "assistant",
                "tool_calls": [
                    {
                        "id": made.id,
                        "type": "function",
                        "function": {
                            "name": made.function.name,
                            "arguments": made.function.arguments,
                        },
                    }
                    for made in message.tool_calls
                ],
            }
        )
        for made in message.tool_calls:
            result = await tools.dispatch(made.function.name, made.function.arguments)
            messages.append({"role": "tool", "tool_call_id": made.id, "content": result.text})


def functions(tools: AsyncToolset) -> list[FunctionTool]:
    """Our tools as the Agents SDK calls them, with their schemas as they are."""

    def made(schema: dict[str, Any]) -> FunctionTool:
        async def invoke(_: object, arguments: str) -> str:
            return (await tools.dispatch(schema["name"], arguments)).text

        return FunctionTool(
            name=schema["name"],
            description=schema["description"],
            params_json_schema=schema["parameters"],
            on_invoke_tool=invoke,
            strict_json_schema=schema["strict"],
        )

    return [made(schema) for schema in tools.openai_responses(strict=True)]


async def ran(agent: Agent[Any], *, stream: bool) -> str:
    if not stream:
        return str((await Runner.run(agent, "go", run_config=QUIET)).final_output)
    running = Runner.run_streamed(agent, "go", run_config=QUIET)
    async for _ in running.stream_events():
        pass
    return str(running.final_output)


@BOTH
async def test_the_agents_sdk_runs_its_shell_and_our_functions_over_responses(
    session: AsyncSession, stream: bool
) -> None:
    tools = create_tools(session, include=("write_file", "read_file"))
    turns = [
        response(call("write_file", path="a.txt", content="one\n")),
        response(shell("cat a.txt; exit 3", "echo more >> a.txt")),
        response(call("read_file", path="a.txt", start_line=None, max_lines=None)),
        response(said("done")),
    ]
    with scripted(turns, response_events) as api:
        async with client_of(api) as client:
            agent = Agent(
                name="coder",
                model=OpenAIResponsesModel(model="scripted", openai_client=client),
                tools=[
                    ShellTool(executor=ShellExecutor(create_tools(session))),
                    *functions(tools),
                ],
            )
            assert await ran(agent, stream=stream) == "done"
    assert api.answers == []
    sent = api.asked[0]["tools"]
    assert [tool["type"] for tool in sent] == ["shell", "function", "function"]
    for tool, schema in zip(sent[1:], tools.openai_responses(strict=True), strict=True):
        assert {key: tool[key] for key in schema} == schema
    told = {item["type"]: item["output"] for item in api.asked[-1]["input"] if "output" in item}
    first, second = told["shell_call_output"]
    assert (first["stdout"], first["outcome"]) == ("one\n", {"type": "exit", "exit_code": 3})
    assert second["outcome"] == {"type": "exit", "exit_code": 0}
    assert "one\nmore" in told["function_call_output"]


@BOTH
async def test_the_agents_sdk_runs_our_functions_over_chat_completions(
    session: AsyncSession, stream: bool
) -> None:
    tools = create_tools(session, include=("write_file", "read_file"))
    turns = [
        completion(call("write_file", path="a.txt", content="one\n")),
        completion(call("read_file", path="a.txt", start_line=None, max_lines=None)),
        completion(said("done")),
    ]
    with scripted(turns, completion_events) as api:
        async with client_of(api) as client:
            model = OpenAIChatCompletionsModel(model="scripted", openai_client=client)
            agent = Agent(name="coder", model=model, tools=functions(tools))
            assert await ran(agent, stream=stream) == "done"
    assert [tool["function"] for tool in api.asked[0]["tools"]] == [
        schema["function"] for schema in tools.openai_chat(strict=True)
    ]
    told = [item["content"] for item in api.asked[-1]["messages"] if item["role"] == "tool"]
    assert "one" in str(told[1])
    assert await session.read_text_file("a.txt") == "one\n"
