"""The executor of ``ShellTool`` in real runs, and our schemas as the SDK's own types read them."""

from __future__ import annotations

import pytest
from agents import Agent, Runner, ShellTool
from agents.testing import ScriptedModel, assistant_message
from agents.tool import ShellActionRequest, ShellCallData, ShellCommandRequest
from openai.lib._parsing._completions import validate_input_tools
from openai.types.responses import FunctionTool, ResponseFunctionShellToolCall
from openai.types.shared import FunctionDefinition

from fumehood import AsyncSession, SessionEndedError
from fumehood.adapters.openai_shell import REFUSED, ShellExecutor
from fumehood.tools import CommandRules, Policy, create_tools

pytest_plugins = ["ours"]
pytestmark = pytest.mark.anyio


def request(*commands: str, timeout_ms: int | None = None) -> ShellCommandRequest:
    action = ShellActionRequest(commands=list(commands), timeout_ms=timeout_ms)
    return ShellCommandRequest(
        ctx_wrapper=None,  # the executor has no use for it
        data=ShellCallData(call_id="c", action=action),
    )


async def test_each_command_of_a_call_has_its_streams_and_its_end(session: AsyncSession) -> None:
    execute = ShellExecutor(create_tools(session))
    result = await execute(request("echo out; echo err >&2; exit 3", "kill -9 $$"))
    first, second = result.output
    assert (first.stdout, first.stderr, first.exit_code) == ("out\n", "err\n", 3)
    assert (second.status, second.exit_code) == ("completed", 137)


async def test_a_command_that_runs_out_of_time_is_told_with_what_it_wrote(
    session: AsyncSession,
) -> None:
    execute = ShellExecutor(create_tools(session))
    [told] = (await execute(request("echo begun; sleep 100", timeout_ms=500))).output
    assert (told.status, told.exit_code, told.stdout) == ("timeout", None, "begun\n")


async def test_a_timeout_beyond_the_policys_is_the_policys(session: AsyncSession) -> None:
    execute = ShellExecutor(create_tools(session, policy=Policy(timeout=0.5, max_timeout=0.5)))
    [told] = (await execute(request("sleep 100", timeout_ms=10_000_000))).output
    assert told.status == "timeout"


async def test_what_the_policy_refuses_is_told_and_the_next_command_runs(
    session: AsyncSession,
) -> None:
    policy = Policy(commands=CommandRules(allow=("echo",)))
    result = await ShellExecutor(create_tools(session, policy=policy))(request("ls", "echo yes"))
    refused, done = result.output
    assert refused.exit_code == REFUSED
    assert "echo" in refused.stderr
    assert done.stdout == "yes\n"


async def test_a_whole_run_reaches_the_session_and_the_model(session: AsyncSession) -> None:
    call = ResponseFunctionShellToolCall.model_validate(
        {
            "id": "sh_1",
            "call_id": "call_1",
            "type": "shell_call",
            "status": "completed",
            "action": {"commands": ["echo from inside | tee kept"], "timeout_ms": 5000},
        }
    )
    model = ScriptedModel([[call], [assistant_message("done")]])
    agent = Agent(
        name="coder",
        model=model,
        tools=[ShellTool(executor=ShellExecutor(create_tools(session)))],
    )
    result = await Runner.run(agent, "go")
    assert result.final_output == "done"
    assert "from inside" in str([item.raw_item for item in result.new_items])
    assert await session.read_text_file("kept") == "from inside\n"


async def test_the_end_of_the_session_is_raised(session: AsyncSession) -> None:
    execute = ShellExecutor(create_tools(session))
    await session.destroy()
    with pytest.raises(SessionEndedError):
        await execute(request("true"))


async def test_tools_that_run_nothing_are_no_shell(session: AsyncSession) -> None:
    with pytest.raises(ValueError, match="exec_command"):
        ShellExecutor(create_tools(session, include=("read_file",)))


@pytest.mark.parametrize("strict", [False, True])
async def test_the_sdk_takes_every_schema(session: AsyncSession, strict: bool) -> None:
    tools = create_tools(session)
    for schema in tools.openai_responses(strict=strict):
        read = FunctionTool.model_validate(schema, strict=True, extra="forbid")
        assert read.to_dict() == schema
    for schema in tools.openai_chat(strict=strict):
        definition = FunctionDefinition.model_validate(
            schema["function"], strict=True, extra="forbid"
        )
        assert definition.to_dict() == schema["function"]
    if strict:
        # What its helpers for parsed answers insist on: strict functions.
        assert len(list(validate_input_tools(tools.openai_chat(strict=True)))) == 13
