"""What a model says in the words of OpenAI's two APIs, whole and as the events of a stream."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import count
from typing import Any

from scripted_api import data, event, pieces

Item = dict[str, Any]
_numbers = count(1)


# --- Responses --------------------------------------------------------------------------------


def call(name: str, **arguments: object) -> Item:
    """A call of a function."""
    number = next(_numbers)
    return {
        "type": "function_call",
        "id": f"fc_{number}",
        "call_id": f"call_{number}",
        "name": name,
        "arguments": json.dumps(arguments),
        "status": "completed",
    }


def shell(*commands: str) -> Item:
    """A call of the shell that the client has."""
    number = next(_numbers)
    return {
        "type": "shell_call",
        "id": f"sh_{number}",
        "call_id": f"call_{number}",
        "status": "completed",
        "action": {"commands": list(commands), "timeout_ms": 20_000, "max_output_length": None},
    }


def said(text: str) -> Item:
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    return {
        "type": "message",
        "id": f"msg_{next(_numbers)}",
        "role": "assistant",
        "status": "completed",
        "content": [part],
    }


def response(*output: Item) -> dict[str, Any]:
    """One turn of the model."""
    return {
        "id": f"resp_{next(_numbers)}",
        "object": "response",
        "created_at": 0,
        "model": "scripted",
        "status": "completed",
        "output": list(output),
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
    }


def response_events(answer: dict[str, Any]) -> Iterator[str]:
    """The same turn as it is streamed: a call's arguments and a text come in pieces."""
    order = count()

    def one(name: str, /, **fields: object) -> str:
        return event(f"response.{name}", sequence_number=next(order), **fields)

    yield one("created", response={**answer, "status": "in_progress", "output": []})
    for index, item in enumerate(answer["output"]):
        at = {"output_index": index, "item_id": item["id"]}
        if item["type"] == "function_call":
            begun = {**item, "arguments": "", "status": "in_progress"}
            yield one("output_item.added", output_index=index, item=begun)
            for piece in pieces(item["arguments"]):
                yield one("function_call_arguments.delta", **at, delta=piece)
            whole = {"arguments": item["arguments"], "name": item["name"]}
            yield one("function_call_arguments.done", **at, **whole)
        elif item["type"] == "message":
            begun = {**item, "content": [], "status": "in_progress"}
            yield one("output_item.added", output_index=index, item=begun)
            [part] = item["content"]
            at = {**at, "content_index": 0}
            yield one("content_part.added", **at, part={**part, "text": ""})
            for piece in pieces(part["text"]):
                yield one("output_text.delta", **at, delta=piece, logprobs=[])
            yield one("output_text.done", **at, text=part["text"], logprobs=[])
            yield one("content_part.done", **at, part=part)
        else:
            yield one("output_item.added", output_index=index, item=item)
        yield one("output_item.done", output_index=index, item=item)
    yield one("completed", response=answer)


# --- Chat Completions -------------------------------------------------------------------------


def completion(*output: Item) -> dict[str, Any]:
    """The same turn, of calls or of a text, as Chat Completions has it."""
    calls = [
        {
            "id": item["call_id"],
            "type": "function",
            "function": {"name": item["name"], "arguments": item["arguments"]},
        }
        for item in output
        if item["type"] == "function_call"
    ]
    texts = [item["content"][0]["text"] for item in output if item["type"] == "message"]
    message = {"role": "assistant", "content": "".join(texts) or None, "refusal": None}
    return {
        "id": f"chatcmpl_{next(_numbers)}",
        "object": "chat.completion",
        "created": 0,
        "model": "scripted",
        "choices": [
            {
                "index": 0,
                "message": {**message, "tool_calls": calls} if calls else message,
                "finish_reason": "tool_calls" if calls else "stop",
                "logprobs": None,
            }
        ],
    }


def completion_events(answer: dict[str, Any]) -> Iterator[str]:
    [choice] = answer["choices"]

    def chunk(delta: dict[str, object], finish: str | None = None) -> str:
        change = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
        return data({**answer, "object": "chat.completion.chunk", "choices": [change]})

    yield chunk({"role": "assistant", "content": None})
    for piece in pieces(choice["message"]["content"] or ""):
        yield chunk({"content": piece})
    for index, made in enumerate(choice["message"].get("tool_calls", [])):
        function = made["function"]
        begun = {**made, "index": index, "function": {"name": function["name"], "arguments": ""}}
        yield chunk({"tool_calls": [begun]})
        for piece in pieces(function["arguments"]):
            yield chunk({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
    yield chunk({}, choice["finish_reason"])
    yield "data: [DONE]\n\n"
