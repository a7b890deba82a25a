"""The configuration of a server: what a file may say."""

from __future__ import annotations

from inspect import signature
from typing import Any

import pytest

from fumehood import (
    Allow,
    AsyncDockerSandbox,
    InvalidRequestError,
    Limits,
    Network,
    Pool,
    Workspace,
)
from fumehood.mcp.config import parse
from fumehood.mcp.http import check_access
from fumehood.tools import CommandRules


def test_every_option_of_a_sandbox_that_a_file_can_hold_is_one_of_its_table() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        parse({"sandbox": {"?": 0}})
    _, _, known = caught.value.message.partition("it has ")
    # Functions, which no file can hold.
    assert set(known.split(", ")) == set(signature(AsyncDockerSandbox).parameters) - {
        "hooks",
        "progress",
    }


def test_a_pool_and_rules_for_hosts_are_tables_too() -> None:
    config = parse(
        {
            "sandbox": {
                "pool": {"min_idle": 2},
                "network": {
                    "mode": "allow",
                    "domains": ["pypi.org", {"host": "db.example", "ports": [5432]}],
                },
            }
        }
    )
    assert config.sandbox == {
        "pool": Pool(min_idle=2),
        "network": Network.allow("pypi.org", Allow("db.example", ports=(5432,))),
    }


def test_tables_become_the_values_of_their_names() -> None:
    config = parse(
        {
            "sandbox": {
                "image": "python:3.13-slim",
                "limits": {"memory_mb": 256},
                "network": {"mode": "allow", "domains": ["pypi.org"]},
                "workspace": {"id": "kept"},
            },
            "policy": {
                "writable": ["src"],
                "commands": {"allow": ["ls"]},
                "tools": {"exec_command": {"max_timeout": 5, "commands": {"block": ["rm"]}}},
            },
            "server": {"include": ["read_file"], "sessions": "named"},
        }
    )
    assert config.sandbox == {
        "image": "python:3.13-slim",
        "limits": Limits(memory_mb=256),
        "network": Network.allow("pypi.org"),
        "workspace": Workspace.persistent("kept"),
    }
    assert config.policy.writable == ("src",)
    assert config.policy.commands == CommandRules(allow=("ls",))
    assert config.policy.rules("exec_command").commands == CommandRules(block=("rm",))
    assert (config.include, config.sessions) == (("read_file",), "named")


@pytest.mark.parametrize(
    "wrong",
    [
        {"sandboxes": {}},
        {"sandbox": 3},
        {"sandbox": {"imag": "x"}},
        {"sandbox": {"limits": {"memory": 3}}},
        {"sandbox": {"limits": {"memory_mb": -3}}},
        {"sandbox": {"volumes": {}}},
        {"sandbox": {"pool": 3}},
        {"sandbox": {"network": {"mode": "allow", "domains": [{"name": "a.example"}]}}},
        {"sandbox": {"workspace": {}}},
        {"policy": {"approve": "x"}},
        {"policy": {"tools": {"exec": {}}}},
        {"server": {"sessions": "many"}},
        {"server": {"include": "read_file"}},
        {"server": {"include": ["run"]}},
        {"server": {"max_sessions": 0}},
    ],
    ids=str,
)
def test_what_is_not_known_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError):
        parse(wrong)


@pytest.mark.parametrize(
    "host, token", [("0.0.0.0", None), ("192.0.2.1", None), ("127.0.0.1", "short")]
)
def test_a_server_that_anybody_could_use_is_refused(host: str, token: str | None) -> None:
    with pytest.raises(InvalidRequestError):
        check_access(host, token)
    check_access("127.0.0.1", None)
    check_access("0.0.0.0", "long enough to be one")
