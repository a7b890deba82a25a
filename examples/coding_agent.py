"""A coding agent that fixes a failing test: the loop of any agent, with a script for a model.

Put a real model's API in the place of ``Scripted`` and the rest stays as it is.

    python examples/coding_agent.py
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass

from fumehood import DockerSandbox, Manifest
from fumehood.tools import CommandRules, Policy, create_tools

IMAGE = os.environ.get("FUMEHOOD_IMAGE", "python:3.13-slim")

PROJECT = Manifest(
    files={
        "src/prices.py": "def total(prices):\n    return sum(prices) - 1\n",
        "tests/test_prices.py": (
            "import unittest\n"
            "from src.prices import total\n\n\n"
            "class Prices(unittest.TestCase):\n"
            "    def test_total(self):\n"
            "        self.assertEqual(total([1, 2]), 3)\n"
        ),
    }
)
RUN_TESTS = {"argv": ["python3", "-m", "unittest", "tests/test_prices.py"]}


@dataclass(frozen=True)
class Call:
    """What a model's answer asks for: arguments come as JSON text, as they do from an API."""

    name: str
    arguments: str


class Scripted:
    """Stands in for a model: it reads what came back and says what it would do next."""

    def __init__(self, tools: list[dict[str, object]]) -> None:
        print(f"the model is offered {len(tools)} tools")

    def answers(self, seen: list[str]) -> Iterator[Call | str]:
        """Yield the next call each time its result has been seen; a text ends the work."""
        yield Call("exec_command", json.dumps(RUN_TESTS))
        assert "AssertionError: 2 != 3" in seen[-1]
        yield Call("read_file", json.dumps({"path": "src/prices.py"}))
        edit = {"path": "src/prices.py", "old_text": "sum(prices) - 1", "new_text": "sum(prices)"}
        # A model forgets what it may do now and then; the answer tells it.
        yield Call("write_file", json.dumps({"path": "tests/test_prices.py", "content": ""}))
        assert "writable: src" in seen[-1]
        yield Call("edit_file", json.dumps(edit))
        yield Call("exec_command", json.dumps(RUN_TESTS))
        yield "fixed" if seen[-1].startswith("exit code 0") else "not fixed"


def main() -> None:
    """Let the agent work in a session, within what its task needs."""
    policy = Policy(commands=CommandRules(allow=("python3",)), writable=("src",))
    with (
        DockerSandbox(image=IMAGE) as sandbox,
        sandbox.create_session(manifest=PROJECT) as session,
    ):
        tools = create_tools(session, policy=policy)
        model, seen = Scripted(tools.openai_responses(strict=True)), list[str]()
        for answer in model.answers(seen):
            if isinstance(answer, str):
                print(f"the model is done: {answer}")
                break
            result = tools.dispatch(answer.name, answer.arguments)
            seen.append(result.text)
            print(f"\n> {answer.name} {answer.arguments}\n{result.text}")


if __name__ == "__main__":
    main()
