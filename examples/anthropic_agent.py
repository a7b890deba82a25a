"""An agent of Anthropic's SDK with the tools that its models know; a scripted model, so it is free.

Needs `pip install 'fumehood[tools]' anthropic`. With a real model: `AsyncAnthropic()`, and its key.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

import httpx2
from anthropic import AsyncAnthropic
from anthropic.lib.tools import BetaAsyncBuiltinFunctionTool, ToolError

from fumehood import AsyncDockerSandbox, Manifest
from fumehood.tools.anthropic_tools import AsyncAnthropicTools

IMAGE = os.environ.get("FUMEHOOD_IMAGE", "python:3.13-slim")
FILES = Manifest(files={"visitors.txt": "ada\ngrace\nada\nbarbara\n"})
EDITOR = "str_replace_based_edit_tool"
ANSWERS: list[list[dict[str, Any]]] = [
    [{"name": "bash", "input": {"command": "sort -u visitors.txt > names; wc -l < names"}}],
    [{"name": EDITOR, "input": {"command": "view", "path": "names"}}],
    [],
]


def scripted(request: httpx2.Request) -> httpx2.Response:
    """Stand in for the API: the next call of a tool, or the last words."""
    calls = ANSWERS.pop(0)
    uses = [{"type": "tool_use", "id": f"toolu_{len(ANSWERS)}", **call} for call in calls]
    answer = {
        "id": "msg",
        "type": "message",
        "role": "assistant",
        "model": "scripted",
        "content": uses or [{"type": "text", "text": "There were three of them."}],
        "stop_reason": "tool_use" if uses else "end_turn",
        "usage": {"input_tokens": 0, "output_tokens": 0},
    }
    return httpx2.Response(200, json=answer, request=request)


class InSession(BetaAsyncBuiltinFunctionTool):
    """A tool as the SDK's runner calls it."""

    def __init__(self, tools: AsyncAnthropicTools, definition: dict[str, Any]) -> None:
        self.tools = tools
        self.definition = definition

    def to_dict(self) -> dict[str, Any]:
        """Return what a request says of it."""
        return self.definition

    async def call(self, input: dict[str, object]) -> str:
        """Do what the model asks for."""
        result = await self.tools.dispatch(self.definition["name"], input)
        print(f"\n> {input}\n{result.text}")
        if result.is_error:
            raise ToolError(result.text)
        return result.text


async def main() -> None:
    """Ask something that only a look at a file can tell."""
    client = AsyncAnthropic(
        api_key="none",
        http_client=httpx2.AsyncClient(transport=httpx2.MockTransport(scripted)),
    )
    async with (
        client,
        AsyncDockerSandbox(image=IMAGE) as sandbox,
        sandbox.create_session(manifest=FILES) as session,
    ):
        tools = AsyncAnthropicTools(session)
        runner = client.beta.messages.tool_runner(
            model="claude-opus-5-5",
            max_tokens=1000,
            tools=[InSession(tools, definition) for definition in tools.definitions()],
            messages=[{"role": "user", "content": "How many different visitors were there?"}],
        )
        last = await runner.until_done()
    print(f"\n{last.content[0].text}")


if __name__ == "__main__":
    asyncio.run(main())
