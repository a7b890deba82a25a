"""What the tools are without a session: policies, schemas, and the texts of long output."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fumehood import InvalidRequestError
from fumehood.tools import TOOL_NAMES, CommandRules, Policy, ToolPolicy
from fumehood.tools.process_tools import listening
from fumehood.tools.results import Port
from fumehood.tools.shown import HeadTail
from fumehood.tools.toolset import TOOLS, Catalog

CATALOG = Catalog(TOOLS)

CALLS: dict[str, dict[str, object]] = {
    "exec_command": {"command": "ls"},
    "read_file": {"path": "a", "start_line": 3},
    "write_file": {"path": "a", "content": ""},
    "edit_file": {"path": "a", "old_text": "x", "new_text": ""},
    "list_files": {},
    "search_files": {"pattern": "x"},
    "start_process": {"argv": ["ls"]},
    "list_processes": {},
    "read_process_logs": {"process": "p1"},
    "write_process_stdin": {"process": "p1", "text": "x"},
    "stop_process": {"process": "p1"},
    "list_ports": {},
    "wait_for_port": {"port": 80},
}


@pytest.mark.parametrize(
    "wrong",
    [
        {"timeout": 0},
        {"timeout": 601},
        {"max_bytes": 1},
        {"max_lines": 1},
        {"writable": "src"},
        {"read_only": "no"},
        {"approve": 3},
        {"approval": ("exec",)},
        {"tools": {"exec": ToolPolicy()}},
        {"tools": {"exec_command": 3}},
        {"tools": {"exec_command": ToolPolicy(timeout=601)}},
        {"commands": ("ls",)},
        {"root": "/etc"},
    ],
    ids=str,
)
def test_a_policy_is_checked_when_it_is_made(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError):
        Policy(**wrong)


@pytest.mark.parametrize("wrong", ["ls", ("./ls",), ("",), (3,)], ids=str)
def test_a_rule_is_a_name_or_an_absolute_path(wrong: Any) -> None:
    with pytest.raises(InvalidRequestError):
        CommandRules(allow=wrong)


def test_a_tools_own_policy_goes_before_the_general_one() -> None:
    policy = Policy(timeout=5, tools={"exec_command": ToolPolicy(max_timeout=2, max_lines=9)})
    own = policy.rules("exec_command")
    assert (own.timeout, own.max_timeout, own.max_lines) == (2.0, 2.0, 9)
    assert policy.rules("wait_for_port").timeout == 5.0


@pytest.mark.parametrize("name", TOOL_NAMES)
def test_a_schema_is_one_and_takes_what_the_tool_takes(name: str) -> None:
    schema = CATALOG.json_schema()[name]
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(CALLS[name], schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**CALLS[name], "surplus": 1}, schema)
    TOOLS[name].arguments.model_validate(CALLS[name])


@pytest.mark.parametrize("name", TOOL_NAMES)
def test_a_strict_schema_has_every_argument_and_null_for_what_is_left_out(name: str) -> None:
    (tool,) = [t for t in CATALOG.openai_responses(strict=True) if t["name"] == name]
    schema = tool["parameters"]
    jsonschema.Draft202012Validator.check_schema(schema)
    assert tool["strict"] is True
    assert schema["required"] == list(schema["properties"])
    assert schema["additionalProperties"] is False
    jsonschema.validate({key: CALLS[name].get(key) for key in schema["properties"]}, schema)
    assert not {"default", "minimum", "minLength", "title"} & set(str(schema).split("'"))


def test_anthropics_api_takes_all_strict_tools_in_one_request() -> None:
    tools = CATALOG.anthropic(strict=True)
    schemas = {tool["name"]: tool["input_schema"] for tool in tools}
    properties = [spec for schema in schemas.values() for spec in schema["properties"].values()]
    unions = [spec for spec in properties if "anyOf" in spec or isinstance(spec["type"], list)]
    required = sum(len(schema["required"]) for schema in schemas.values())
    # What the API refuses a request for, over all of its strict tools: more than 20 tools, 24
    # arguments that may be left out, 16 that may be of more than one type. A caller has own ones.
    assert len(tools) <= 20 - 5
    assert len(properties) - required <= 24 - 5
    assert len(unions) <= 16 - 5
    for name, schema in schemas.items():
        jsonschema.Draft202012Validator.check_schema(schema)
        assert schema["additionalProperties"] is False
        assert not {"default", "minimum", "minLength", "title"} & set(str(schema).split("'"))
        given = {key: CALLS[name].get(key) for key in schema["required"]}
        jsonschema.validate(given, schema)
        jsonschema.validate({**given, **CALLS[name]}, schema)


def test_each_api_finds_its_own_names() -> None:
    responses, chat = CATALOG.openai_responses()[0], CATALOG.openai_chat()[0]
    assert set(responses) == {"type", "name", "description", "parameters", "strict"}
    assert chat == {"type": "function", "function": {k: responses[k] for k in list(responses)[1:]}}
    assert set(CATALOG.anthropic()[0]) == {"name", "description", "input_schema"}
    assert CATALOG.anthropic(strict=True)[0]["strict"] is True


# --- long output ------------------------------------------------------------------------------


@given(st.lists(st.binary(max_size=400), max_size=30), st.integers(256, 900), st.integers(2, 20))
def test_what_is_shown_and_what_is_left_out_are_the_whole(
    pieces: list[bytes], size: int, lines: int
) -> None:
    kept = HeadTail(size, lines)
    for piece in pieces:
        kept.feed(piece)
    shown = kept.shown()
    whole = b"".join(pieces)
    assert shown.bytes == len(whole)
    if not shown.left_out_bytes:
        assert shown.text == whole.decode("utf-8", "replace")
    else:
        assert len(whole) > size or len(whole.splitlines()) > lines
        assert f"[… {shown.left_out_bytes} bytes, " in shown.text


@given(st.text(alphabet="aé€😀\n", min_size=400), st.integers(256, 300))
def test_a_cut_is_never_inside_a_character(text: str, size: int) -> None:
    kept = HeadTail(size, 1000)
    kept.feed(text.encode())
    assert "\ufffd" not in kept.shown().text


def test_the_caps_hold_for_a_stream_of_any_length() -> None:
    kept = HeadTail(256, 5)
    for number in range(10_000):
        kept.feed(f"{number}\n".encode())
    shown = kept.shown(dropped=7)
    assert shown.text.splitlines() == [
        "0",
        "1",
        "[… 48871 bytes, 9995 lines left out …]",
        "9997",
        "9998",
        "9999",
        "[… 7 bytes more were written and not kept …]",
    ]


# --- ports ------------------------------------------------------------------------------------

TABLE = """\
  sl  local_address rem_address   st tx_queue rx_queue
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000
   1: 00000000:0050 00000000:0000 0A 00000000:00000000
   2: 0100007F:1F90 0100007F:9999 01 00000000:00000000
   3: nonsense:XX 0 0A
   4: 00000000000000000000000001000000:0051 0 0A
"""


def test_listening_sockets_are_read_from_the_kernels_table() -> None:
    assert listening(TABLE) == [
        Port(port=8080, address="127.0.0.1"),
        Port(port=80, address="0.0.0.0"),
        Port(port=81, address="::1"),
    ]


def test_without_the_extra_it_says_what_to_install() -> None:
    hidden = "import sys; sys.modules['pydantic'] = None; import fumehood.tools"
    ended = subprocess.run(
        [sys.executable, "-c", hidden], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.stderr.splitlines()[-1] == (
        "ModuleNotFoundError: fumehood.tools needs pydantic, which is not installed: "
        "run pip install 'fumehood[tools]'"
    )
