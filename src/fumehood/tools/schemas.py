"""JSON schemas of the tools, in the dialects of those who consume them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

Schema = dict[str, Any]
"""A JSON schema, or a tool's description that holds one."""

# What strict modes refuse: the checks that they stand for are made when the call comes.
_NOT_STRICT = {"default", "minLength", "maxLength", "minimum", "maximum", "exclusiveMinimum"}


def json_schema(arguments: type[BaseModel]) -> Schema:
    """Return the schema of a tool's arguments: an object, optional ones with their defaults."""
    schema = arguments.model_json_schema()
    properties = {
        name: {key: value for key, value in spec.items() if key != "title"}
        for name, spec in schema.get("properties", {}).items()
    }
    return {
        "type": "object",
        "properties": properties,
        "required": schema.get("required", []),
        "additionalProperties": False,
    }


def strict_schema(arguments: type[BaseModel]) -> Schema:
    """Return the same for strict modes: all required, and null for what is left out."""
    plain = json_schema(arguments)
    properties = {
        name: _strict(spec, optional=name not in plain["required"])
        for name, spec in plain["properties"].items()
    }
    return {**plain, "properties": properties, "required": list(properties)}


def sparing_schema(arguments: type[BaseModel]) -> Schema:
    """Return the same for an API that counts what is null and what is left out (Anthropic's).

    More than 16 arguments with null, or more than 24 that may be left out, in all tools of a
    request together are refused. So null stands only where it is the default, and what has another
    default is left out.
    """
    plain = json_schema(arguments)
    properties = {name: _strict(spec, optional=False) for name, spec in plain["properties"].items()}
    required = [
        name for name, spec in properties.items() if name in plain["required"] or "anyOf" in spec
    ]
    return {**plain, "properties": properties, "required": required}


def _strict(spec: Mapping[str, Any], *, optional: bool) -> Schema:
    bare = {key: value for key, value in spec.items() if key not in _NOT_STRICT}
    if "anyOf" in bare:
        bare["anyOf"] = [_strict(choice, optional=False) for choice in bare["anyOf"]]
    elif optional:
        bare["type"] = [bare["type"], "null"]
    return bare
