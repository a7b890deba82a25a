"""OpenAI Agents SDK: the executor of its ``ShellTool``, whose commands run in a session.

::

    from agents import Agent, Runner, ShellTool
    from fumehood import AsyncDockerSandbox
    from fumehood.adapters.openai_shell import ShellExecutor
    from fumehood.tools import create_tools

    async with AsyncDockerSandbox() as sandbox, sandbox.create_session() as session:
        shell = ShellTool(executor=ShellExecutor(create_tools(session)))
        await Runner.run(Agent(name="coder", tools=[shell]), "Which Python is this?")
"""

from __future__ import annotations

from agents import ShellCallOutcome, ShellCommandOutput, ShellCommandRequest, ShellResult

from fumehood.tools import AsyncToolset, CommandOutcome, ToolResult

REFUSED = 126
"""The exit code of a command that was not run; its standard error says why."""


class ShellExecutor:
    """Runs what the model's shell calls ask for, under the policy of ``exec_command``.

    The commands of one call run one after the other, each in a process of its own: ``cd`` and
    variables do not last, files do. Of output beyond the policy's caps the beginning and the end
    are kept. Cancelling the run ends the command with all that it has started.

    Args:
        tools: the session's tools, ``exec_command`` among them.

    Raises:
        ValueError: ``exec_command`` is not among them.
        SessionEndedError: by a call, when the session is over: no other call will succeed.
    """

    def __init__(self, tools: AsyncToolset) -> None:
        if "exec_command" not in tools.names:
            raise ValueError("the tools have no exec_command")
        self._tools = tools

    async def __call__(self, request: ShellCommandRequest) -> ShellResult:
        """Run the commands of one call, and return what each came to."""
        action = request.data.action
        output: list[ShellCommandOutput] = []
        for command in action.commands:
            arguments: dict[str, object] = {"command": command}
            if action.timeout_ms is not None:
                # The model's number is a wish: the policy's longest holds.
                longest = self._tools.policy.rules("exec_command").max_timeout
                arguments["timeout"] = min(max(action.timeout_ms, 1) / 1000, longest)
            output.append(_told(command, await self._tools.dispatch("exec_command", arguments)))
        return ShellResult(output=output, max_output_length=action.max_output_length)


def _told(command: str, result: ToolResult) -> ShellCommandOutput:
    value = result.value
    if not isinstance(value, CommandOutcome):
        refused = ShellCallOutcome(type="exit", exit_code=REFUSED)
        return ShellCommandOutput(stderr=result.text, outcome=refused, command=command)
    if value.reason == "timed_out":
        outcome = ShellCallOutcome(type="timeout")
    else:
        outcome = ShellCallOutcome(type="exit", exit_code=value.exit_code)
    return ShellCommandOutput(
        stdout=value.stdout.text, stderr=value.stderr.text, outcome=outcome, command=command
    )
