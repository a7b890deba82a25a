"""What the Messages API is told of our tools, as the types of its own SDK read it."""

from __future__ import annotations

from typing import Any

import pytest
from anthropic.types import (
    ToolBash20250124Param,
    ToolParam,
    ToolResultBlockParam,
    ToolTextEditor20250728Param,
)
from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config

from fumehood.tools.anthropic_tools import BASH, BASH_TYPE, EDITOR, EDITOR_TYPE, tool_result
from fumehood.tools.results import Failure, ToolResult
from fumehood.tools.toolset import TOOLS, Catalog


def read(kind: Any, value: object) -> Any:
    """Return a value as one of the SDK's types has it; a key that it does not know is an error."""
    return TypeAdapter(with_config(ConfigDict(extra="forbid"))(kind)).validate_python(value)


@pytest.mark.parametrize("strict", [False, True])
def test_the_sdk_takes_every_tool(strict: bool) -> None:
    tools = Catalog(TOOLS).anthropic(strict=strict)
    assert len(tools) == len(TOOLS)
    for tool in tools:
        assert read(ToolParam, tool)["name"] == tool["name"]


def test_the_sdk_takes_the_tools_that_its_models_know() -> None:
    assert read(ToolBash20250124Param, {"type": BASH_TYPE, "name": BASH})
    assert read(ToolTextEditor20250728Param, {"type": EDITOR_TYPE, "name": EDITOR})


def test_the_sdk_takes_an_answer() -> None:
    failure = Failure(kind="failed", message="no")
    block = tool_result("toolu_1", ToolResult(tool=BASH, text="error: no", value=failure))
    answer = read(ToolResultBlockParam, block)
    assert (answer["tool_use_id"], answer["is_error"]) == ("toolu_1", True)


def test_another_shape_would_be_seen() -> None:
    for kind, wrong in (
        (ToolParam, {"name": "x", "parameters": {}}),
        (ToolBash20250124Param, {"type": "bash", "name": "bash"}),
        (ToolTextEditor20250728Param, {"type": EDITOR_TYPE, "name": "editor"}),
    ):
        with pytest.raises(ValidationError):
            read(kind, wrong)
