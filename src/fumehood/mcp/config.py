"""What a server is told to be: a TOML file's tables, checked by the values that they become."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

from fumehood.egress.rules import Allow
from fumehood.errors import InvalidRequestError
from fumehood.options import Lifecycle, Limits, Network, Security, Workspace
from fumehood.pool import Pool
from fumehood.text import brief
from fumehood.tools import TOOL_NAMES, CommandRules, Policy, ToolPolicy
from fumehood.volumes import Volume

_T = TypeVar("_T")
Sessions = Literal["connection", "named"]

_SANDBOX = ("image", "pull", "workdir", "env", "user", "labels", "platform", "docker_host")
_PARTS: dict[str, type[Any]] = {
    "lifecycle": Lifecycle,
    "network": Network,
    "limits": Limits,
    "security": Security,
    "pool": Pool,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A server's configuration."""

    sandbox: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """The options of the :class:`~fumehood.AsyncDockerSandbox`."""
    policy: Policy = field(default_factory=Policy)
    include: tuple[str, ...] | None = None
    """The tools that are offered; ``None`` for all."""
    sessions: Sessions = "connection"
    """``"connection"``: one session for each connection. ``"named"``: the model makes sessions by
    name, and every tool says which one it means."""
    max_sessions: int = 16

    def __post_init__(self) -> None:
        if self.sessions not in ("connection", "named"):
            raise InvalidRequestError(
                f"sessions must be 'connection' or 'named', not {brief(self.sessions)}"
            )
        most = self.max_sessions
        if isinstance(most, bool) or not isinstance(most, int) or not 1 <= most <= 10_000:
            raise InvalidRequestError(f"max_sessions must be from 1 to 10000, not {brief(most)}")
        for name in self.include or ():
            if name not in TOOL_NAMES:
                raise InvalidRequestError(
                    f"there is no tool {brief(name)}; there are {', '.join(TOOL_NAMES)}"
                )


def load(path: Path) -> Config:
    """Return the configuration in a TOML file.

    Raises:
        InvalidRequestError: it is no TOML, or holds what is not known.
        OSError: it cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
        return parse(tomllib.loads(text))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise InvalidRequestError(f"{path}: {exc}") from exc


def parse(tables: Mapping[str, Any]) -> Config:
    """Return the configuration that tables stand for."""
    _known(tables, ("sandbox", "policy", "server"), "the file")
    server = _table(tables.get("server", {}), "server")
    _known(server, ("include", "sessions", "max_sessions"), "[server]")
    include = server.get("include")
    if include is not None:
        include = _strings(include, "server.include")
    return Config(
        sandbox=sandbox_options(_table(tables.get("sandbox", {}), "sandbox")),
        policy=_policy(_table(tables.get("policy", {}), "policy")),
        include=include,
        sessions=server.get("sessions", "connection"),
        max_sessions=server.get("max_sessions", 16),
    )


def sandbox_options(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a sandbox for a table of the same names."""
    _known(table, (*_SANDBOX, *_PARTS, "volumes", "workspace"), "[sandbox]")
    options = {name: table[name] for name in _SANDBOX if name in table}
    for name, kind in _PARTS.items():
        if name in table:
            options[name] = _made(kind, _with_hosts(name, table[name]), f"sandbox.{name}")
    if "workspace" in table:
        options["workspace"] = _workspace(_table(table["workspace"], "sandbox.workspace"))
    if "volumes" in table:
        if not isinstance(table["volumes"], list):
            raise InvalidRequestError("sandbox.volumes must be an array of tables")
        rows = cast("list[object]", table["volumes"])
        options["volumes"] = [_made(Volume, row, "sandbox.volumes") for row in rows]
    return options


def _with_hosts(name: str, table: object) -> object:
    """Return a part's table, where it is a network's with the tables among its domains made."""
    if name != "network" or not isinstance(table, dict):
        return table
    values = cast("dict[str, Any]", table)
    domains = values.get("domains")
    if not isinstance(domains, list):
        return values
    rules = [
        _made(Allow, cast("object", item), "sandbox.network.domains")
        if isinstance(item, dict)
        else item
        for item in cast("list[object]", domains)
    ]
    return {**values, "domains": rules}


def _workspace(table: Mapping[str, Any]) -> Workspace:
    """Return the workspace of an id, which is kept unless the file says otherwise."""
    _known(table, ("id", "destroy_with_session"), "[sandbox.workspace]")
    if "id" not in table:
        raise InvalidRequestError("[sandbox.workspace] needs an id; without one leave it out")
    return Workspace.persistent(
        table["id"], destroy_with_session=table.get("destroy_with_session", False)
    )


def _policy(table: Mapping[str, Any]) -> Policy:
    values = dict(table)
    if "commands" in values:
        values["commands"] = _made(CommandRules, values["commands"], "policy.commands")
    if "tools" in values:
        values["tools"] = {
            name: _tool_policy(_table(row, f"policy.tools.{name}"), name)
            for name, row in _table(values["tools"], "policy.tools").items()
        }
    if "approve" in values:
        raise InvalidRequestError("policy.approve is a function: no file can hold one")
    return _made(Policy, values, "policy")


def _tool_policy(table: Mapping[str, Any], name: str) -> ToolPolicy:
    values = dict(table)
    if "commands" in values:
        values["commands"] = _made(
            CommandRules, values["commands"], f"policy.tools.{name}.commands"
        )
    return _made(ToolPolicy, values, f"policy.tools.{name}")


def _made(kind: type[_T], table: object, what: str) -> _T:
    """Return a value made of a table with its fields; it checks them itself."""
    values = _table(table, what)
    _known(values, [item.name for item in fields(cast("Any", kind))], f"[{what}]")
    return kind(
        **{
            name: tuple(cast("list[object]", value)) if isinstance(value, list) else value
            for name, value in values.items()
        }
    )


def _table(value: object, what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise InvalidRequestError(f"{what} must be a table, not {brief(value)}")
    return cast("Mapping[str, Any]", value)


def _strings(value: object, what: str) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise InvalidRequestError(f"{what} must be an array of strings, not {brief(value)}")
    found = cast("list[object]", value)
    if not all(isinstance(item, str) for item in found):
        raise InvalidRequestError(f"{what} must be an array of strings, not {brief(found)}")
    return tuple(cast("list[str]", found))


def _known(table: Mapping[str, Any], names: tuple[str, ...] | list[str], where: str) -> None:
    for name in table:
        if name not in names:
            raise InvalidRequestError(
                f"{where} has no {brief(name)}; it has {', '.join(sorted(names))}"
            )
