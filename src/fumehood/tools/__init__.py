"""Tools that a language model uses a session with: few, compact in what they say, held by a policy.

::

    from fumehood import DockerSandbox
    from fumehood.tools import create_tools

    with DockerSandbox() as sandbox, sandbox.create_session() as session:
        tools = create_tools(session)
        request = {"tools": tools.openai_responses()}
        print(tools.dispatch("exec_command", {"command": "echo hello"}).text)

Needs the extra ``tools`` (pydantic).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import overload

from fumehood._checks import names
from fumehood._sync.session import Session
from fumehood.errors import InvalidRequestError
from fumehood.session import AsyncSession
from fumehood.text import brief
from fumehood.tools.policy import (
    TOOL_NAMES,
    ApprovalRequest,
    Approve,
    CommandRules,
    Policy,
    ToolPolicy,
    Verdict,
)
from fumehood.tools.results import (
    CommandOutcome,
    Failure,
    FileChanged,
    FileList,
    FilePage,
    Hit,
    Listed,
    LogPart,
    Port,
    PortList,
    ProcessList,
    ProcessState,
    SearchHits,
    Shown,
    ToolResult,
    Value,
)
from fumehood.tools.toolset import TOOLS, AsyncToolset, Tool, Toolset

__all__ = [
    "TOOL_NAMES",
    "ApprovalRequest",
    "Approve",
    "AsyncToolset",
    "CommandOutcome",
    "CommandRules",
    "Failure",
    "FileChanged",
    "FileList",
    "FilePage",
    "Hit",
    "Listed",
    "LogPart",
    "Policy",
    "Port",
    "PortList",
    "ProcessList",
    "ProcessState",
    "SearchHits",
    "Shown",
    "Tool",
    "ToolPolicy",
    "ToolResult",
    "Toolset",
    "Value",
    "Verdict",
    "create_tools",
]


@overload
def create_tools(
    session: Session, *, include: Iterable[str] | None = None, policy: Policy | None = None
) -> Toolset: ...


@overload
def create_tools(
    session: AsyncSession, *, include: Iterable[str] | None = None, policy: Policy | None = None
) -> AsyncToolset: ...


def create_tools(
    session: Session | AsyncSession,
    *,
    include: Iterable[str] | None = None,
    policy: Policy | None = None,
) -> Toolset | AsyncToolset:
    """Return the tools of a session, with the calls of its own kind: awaited or blocking.

    Args:
        session: what they work in. It outlives them.
        include: their names; default: all that the policy has a use for.
        policy: what the model may do; by default all, with caps on what it is shown.

    Raises:
        InvalidRequestError: an unknown name, or a tool that a read-only policy takes away.
    """
    rules = Policy() if policy is None else policy
    if not isinstance(rules, Policy):
        raise InvalidRequestError(f"policy must be a Policy, not {brief(policy)}")
    wanted = TOOL_NAMES if include is None else names(include, "include")
    for name in wanted:
        if name not in TOOLS:
            raise InvalidRequestError(
                f"there is no tool {brief(name)}; there are {', '.join(TOOL_NAMES)}"
            )
        if include is not None and rules.read_only and TOOLS[name].changes:
            raise InvalidRequestError(f"{name} changes things, and the policy is read-only")
    chosen = {name: TOOLS[name] for name in wanted if not (rules.read_only and TOOLS[name].changes)}
    if isinstance(session, Session):
        inner = session._async  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
        return Toolset(AsyncToolset(inner, chosen, rules))
    if not isinstance(session, AsyncSession):
        raise InvalidRequestError(f"session must be a session, not {brief(session)}")
    return AsyncToolset(session, chosen, rules)
