"""An eval with Inspect whose samples each have a session; a mock model, so it costs nothing.

Needs `pip install 'fumehood[inspect]'`. With a real model: `inspect eval examples/inspect_eval.py`.
"""

from __future__ import annotations

import os
import tempfile

from inspect_ai import Task, task
from inspect_ai import eval as evaluate
from inspect_ai.dataset import Sample
from inspect_ai.model import ChatMessageTool, ModelOutput, ModelUsage, get_model
from inspect_ai.scorer import includes
from inspect_ai.solver import generate, use_tools
from inspect_ai.tool import bash
from inspect_ai.util import SandboxEnvironmentSpec

from fumehood.adapters.inspect_ai import FumehoodConfig

CONFIG = FumehoodConfig(image=os.environ.get("FUMEHOOD_IMAGE", "python:3.13-slim"))


@task
def sums() -> Task:
    """Ask for the sum of the numbers in a file, which only a command can tell."""
    return Task(
        dataset=[
            Sample(
                input=f"What is the sum of the numbers in numbers.txt? ({last})",
                target=str(sum(range(last + 1))),
                files={"numbers.txt": "\n".join(map(str, range(last + 1)))},
                setup="#!/bin/sh\ntest -s numbers.txt",
            )
            for last in (10, 100)
        ],
        solver=[use_tools(bash(timeout=30)), generate()],
        scorer=includes(),
        sandbox=SandboxEnvironmentSpec("fumehood", CONFIG),
    )


def answers() -> object:
    """Return a model that calls the tool and then says what the tool has said."""

    def reply(messages: list[object], *_: object) -> ModelOutput:
        last = messages[-1]
        if isinstance(last, ChatMessageTool):
            output = ModelOutput.from_content("mockllm/model", last.text)
        else:
            command = "python3 -c 'print(sum(map(int, open(\"numbers.txt\"))))'"
            output = ModelOutput.for_tool_call("mockllm/model", "bash", {"command": command})
        # Without it the mock counts tokens, and downloads a table of them for that.
        output.usage = ModelUsage()
        return output

    return get_model("mockllm/model", custom_outputs=reply)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as logs:
        [log] = evaluate(sums(), model=answers(), log_dir=logs, display="none")
        assert log.results is not None, log.error and log.error.message
        for score in log.results.scores:
            for name, metric in score.metrics.items():
                print(f"{score.name} {name}: {metric.value}")
