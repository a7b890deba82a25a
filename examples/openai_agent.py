"""An agent of the OpenAI Agents SDK whose sandbox is a session; a scripted model, so it is free.

Needs `pip install 'fumehood[openai-agents]'`. With a real model: `model="gpt-6"`, and its API key.
"""

from __future__ import annotations

import asyncio
import os

from agents import RunConfig, Runner
from agents.sandbox import Manifest, SandboxAgent, SandboxRunConfig
from agents.sandbox.capabilities import Shell
from agents.sandbox.entries import File
from agents.testing import ScriptedModel, assistant_message, function_call

from fumehood.adapters.openai_agents import FumehoodSandboxClient, FumehoodSandboxClientOptions

COUNT = "sort -u visitors.txt | wc -l"


async def main() -> None:
    """Ask something that only a look at a file can tell."""
    agent = SandboxAgent(
        name="Analyst",
        model=ScriptedModel(
            [
                [function_call("exec_command", {"cmd": COUNT}, call_id="1")],
                [assistant_message("There were three of them.")],
            ]
        ),
        instructions="Answer from the files of the workspace.",
        capabilities=[Shell()],
        default_manifest=Manifest(
            entries={"visitors.txt": File(content=b"ada\ngrace\nada\nbarbara\n")}
        ),
    )
    sandbox = SandboxRunConfig(
        client=FumehoodSandboxClient(),
        options=FumehoodSandboxClientOptions(
            image=os.environ.get("FUMEHOOD_IMAGE", "python:3.13-slim")
        ),
    )
    result = await Runner.run(
        agent,
        "How many different visitors were there?",
        run_config=RunConfig(sandbox=sandbox, tracing_disabled=True),
    )
    for item in result.new_items:
        if item.type == "tool_call_output_item":
            print(f"$ {COUNT}\n{item.output}")
    print(result.final_output)


if __name__ == "__main__":
    asyncio.run(main())
