"""The Messages API's words: what a model says, whole and as the events of a stream."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import count
from typing import Any

from scripted_api import event, pieces

Block = dict[str, Any]
_numbers = count(1)


def use(name: str, **given: object) -> Block:
    """A call of a tool."""
    return {"type": "tool_use", "id": f"toolu_{next(_numbers)}", "name": name, "input": given}


def text(said: str) -> Block:
    return {"type": "text", "text": said}


def message(*content: Block) -> dict[str, Any]:
    """One turn of the model: with calls it awaits their results, without any it is done."""
    calls = any(block["type"] == "tool_use" for block in content)
    return {
        "id": f"msg_{next(_numbers)}",
        "type": "message",
        "role": "assistant",
        "model": "scripted",
        "content": list(content),
        "stop_reason": "tool_use" if calls else "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }


def events(answer: dict[str, Any]) -> Iterator[str]:
    """The same turn as it is streamed: the input of a call is JSON in pieces."""
    yield event("message_start", message={**answer, "content": [], "stop_reason": None})
    for index, block in enumerate(answer["content"]):
        if block["type"] == "tool_use":
            empty, key, whole = {**block, "input": {}}, "partial_json", json.dumps(block["input"])
        else:
            empty, key, whole = {**block, "text": ""}, "text", block["text"]
        kind = "input_json_delta" if key == "partial_json" else "text_delta"
        yield event("content_block_start", index=index, content_block=empty)
        for piece in pieces(whole):
            yield event("content_block_delta", index=index, delta={"type": kind, key: piece})
        yield event("content_block_stop", index=index)
    ending = {"stop_reason": answer["stop_reason"], "stop_sequence": None}
    yield event("message_delta", delta=ending, usage={"output_tokens": 1})
    yield event("message_stop")
