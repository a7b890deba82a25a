"""One call of a tool while it is under way: the session, what holds for it, whom to ask."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from fumehood.session import AsyncSession
from fumehood.text import brief
from fumehood.tools.policy import ApprovalRequest, Policy, Rules
from fumehood.tools.results import Refused

OnOutput = Callable[[str], Awaitable[None]]
"""Told of a command's output while it runs, piece by piece."""

_PATIENCE = 60.0


@dataclass(slots=True)
class Bench:
    """What the calls of one toolset share."""

    session: AsyncSession
    policy: Policy
    path: tuple[str, ...] | None = None
    """The session's PATH, once it was looked up."""
    looking: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call."""

    bench: Bench
    tool: str
    arguments: Mapping[str, object]
    on_output: OnOutput | None = None

    @property
    def session(self) -> AsyncSession:
        """The session that the tools belong to."""
        return self.bench.session

    @property
    def policy(self) -> Policy:
        """The policy of the toolset."""
        return self.bench.policy

    @property
    def rules(self) -> Rules:
        """What the policy says of this tool."""
        return self.bench.policy.rules(self.tool)

    def patience(self, asked: float | None = None) -> float:
        """Return how long the call may wait.

        Args:
            asked: for how long the model asks.

        Raises:
            Refused: longer than the policy lets it.
        """
        rules = self.rules
        if asked is None:
            return self._usual() if rules.timeout is None else rules.timeout
        if asked > rules.max_timeout:
            raise Refused(
                "policy",
                f"timeout {asked:g} is more than the {rules.max_timeout:g} seconds that "
                f"{self.tool} may take",
            )
        return asked

    def _usual(self) -> float:
        """Return how long it may wait where neither the model nor the policy says."""
        runs = self.tool == "exec_command"
        usual = self.session.effective_limits.timeout if runs else None
        return min(_PATIENCE if usual is None else usual, self.rules.max_timeout)

    def place(self, path: str) -> str:
        """Return a path as the session takes it: one below the workspace may be absolute."""
        workdir = self.session.workdir
        if self.policy.root is None and path.startswith("/"):
            if path.rstrip("/") == workdir:
                return "."
            if path.startswith(workdir + "/"):
                return path[len(workdir) + 1 :]
        return path.rstrip("/") or path

    async def approve(self, summary: str) -> None:
        """Ask whoever is to be asked before this tool.

        Raises:
            Refused: the answer is no.
        """
        ask = self.policy.approve
        if ask is None or not self.rules.approval:
            return
        request = ApprovalRequest(
            tool=self.tool, arguments=dict(self.arguments), summary=brief(summary)
        )
        if inspect.iscoroutinefunction(ask):
            verdict = await ask(request)
        else:
            answer = await asyncio.to_thread(partial(ask, request))
            verdict = await answer if inspect.isawaitable(answer) else answer
        # Nothing but True is a yes: a function that forgets its return must not open the door.
        if verdict is True:
            return
        reason = f": {verdict}" if isinstance(verdict, str) and verdict else ""
        raise Refused("denied", f"the person or program that was asked refused this call{reason}")
