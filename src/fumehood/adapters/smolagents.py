"""smolagents: an executor that runs an agent's code in a session.

::

    from fumehood import DockerSandbox
    from fumehood.adapters.smolagents import FumehoodExecutor
    from smolagents import CodeAgent, InferenceClientModel

    with DockerSandbox(image="python:3.13-slim") as sandbox, sandbox.create_session() as session:
        with CodeAgent([], InferenceClientModel(), executor=FumehoodExecutor(session)) as agent:
            agent.run("What is the 118th Fibonacci number?")

The code runs in a Python interpreter of the image that keeps its variables from step to step. The
image needs nothing besides: no Jupyter, no port.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from types import EllipsisType
from typing import Any

from smolagents import AgentLogger, LogLevel, Tool
from smolagents.local_python_executor import CodeOutput
from smolagents.remote_executors import RemotePythonExecutor
from smolagents.utils import AgentError

from fumehood import _portal
from fumehood._checks import Seconds, optional_seconds
from fumehood._sync.session import Session
from fumehood.adapters._both_ways import BothWays
from fumehood.adapters._smolagents_kernel import Answer, InterpreterEndedError, Kernel
from fumehood.errors import InvalidRequestError
from fumehood.text import brief

OPTIONAL = frozenset({"numpy", "PIL"})
"""What the framework's final answer uses where it is there and does without where it is not. It is
listed as required all the same, and most sessions have no network to install it from."""
# What the framework's reader raises for values that no code but a hostile one sends.
_UNREADABLE = (
    ArithmeticError,
    AttributeError,
    LookupError,
    OSError,
    RecursionError,
    TypeError,
    ValueError,
)


class FumehoodExecutor(RemotePythonExecutor):
    """A Python executor for a ``CodeAgent``. The session is the caller's, and outlives it.

    Code that runs out of time, ends the interpreter or is interrupted costs the variables: the next
    step gets a new interpreter, with the agent's tools and the variables that it was started with.

    Args:
        session: where the code runs. Its network decides whether packages can be installed.
        additional_imports: packages that pip installs at once.
        logger: where the framework's messages go; nowhere by default.
        allow_pickle: unpickle what the code gives back. That runs code of the sandbox *here*: leave
            it off.
        timeout: seconds for one step; by default ``Limits.timeout``, ``None`` for no limit.
        python: the image's Python, 3.8 or newer.
    """

    def __init__(
        self,
        session: Session,
        *,
        additional_imports: Sequence[str] = (),
        logger: AgentLogger | None = None,
        allow_pickle: bool = False,
        timeout: Seconds | EllipsisType | None = ...,
        python: str = "python3",
    ) -> None:
        if not isinstance(session, Session):
            raise InvalidRequestError(
                f"not a Session, which is what this framework can call: {brief(session)}"
            )
        super().__init__(
            list(additional_imports),
            logger if logger is not None else AgentLogger(level=LogLevel.OFF),
            allow_pickle,
        )
        self._ways = BothWays(session)
        self._python = python
        self._kernel = Kernel(self._ways.session, python)
        if isinstance(timeout, EllipsisType):
            timeout = session.effective_limits.timeout
        self._timeout = optional_seconds(timeout, "timeout")
        self._prepared: dict[str, list[str]] = {}
        self._preparing: str | None = None
        self._optional: frozenset[str] = frozenset()
        _portal.get().on_exit(self._kernel)
        self.installed_packages = self.install_packages(self.additional_imports)

    def send_tools(self, tools: dict[str, Tool]) -> None:
        """Define the agent's tools, now and in every interpreter that follows."""
        needed = {
            package
            for name, tool in tools.items()
            if name != "final_answer"
            for package in tool.to_dict()["requirements"]
        }
        self._optional = OPTIONAL - needed
        known = self.installed_packages
        self.installed_packages = [*known, *self._optional]
        self._prepare("tools")
        try:
            super().send_tools(tools)
        finally:
            self._preparing = None
            self._optional = frozenset()
            self.installed_packages = [*known, *(needed & set(self.installed_packages))]

    def send_variables(self, variables: dict[str, Any]) -> None:
        """Set variables, now and in every interpreter that follows."""
        self._prepare("variables")
        try:
            super().send_variables(variables)
        finally:
            self._preparing = None

    def _prepare(self, kind: str) -> None:
        self._preparing = kind
        self._prepared[kind] = []

    def run_code_raise_errors(self, code: str) -> CodeOutput:
        """Run code and return its last line's value as text, or its final answer, and its output.

        Raises:
            AgentError: the code's exception, with what it wrote before; or the interpreter's end.
            fumehood.SandboxError: the session is over, or has no such Python.
        """
        for name in self._optional:
            line = f"import {name}\n"
            tried = f"try: {line}except ImportError: pass\n"
            code = re.sub(f"^{line}", tried, code, flags=re.MULTILINE)
        if self._preparing is not None:
            self._prepared[self._preparing].append(code)
        try:
            answer = self._ways.wait(lambda: self._run(code))
        except InterpreterEndedError as exc:
            raise AgentError(str(exc), self.logger) from exc
        failure = answer.failure
        if failure is None:
            return CodeOutput(output=answer.result, logs=answer.logs, is_final_answer=False)
        if failure.name == self.FINAL_ANSWER_EXCEPTION:
            return CodeOutput(
                output=self._final(failure.value), logs=answer.logs, is_final_answer=True
            )
        raise AgentError(f"{answer.logs}{failure.traceback}", self.logger)

    def _final(self, value: str) -> Any:  # noqa: ANN401 - whatever the agent answers
        try:
            return self._deserialize_final_answer(value, self.allow_pickle)
        except _UNREADABLE as exc:
            raise AgentError(f"the final answer cannot be read: {exc}", self.logger) from exc

    async def _run(self, code: str) -> Answer:
        async with self._kernel.turn:
            if not self._kernel.started:
                for earlier in self._prepared.get("tools", []) + self._prepared.get(
                    "variables", []
                ):
                    if earlier is not code:
                        await self._kernel.run(earlier, self._timeout)
            return await self._kernel.run(code, self._timeout)

    def install_packages(self, additional_imports: list[str]) -> list[str]:
        """Install packages with the image's pip.

        Raises:
            AgentError: pip could not; in a session without a network it never can.
        """
        if additional_imports:
            argv = [self._python, "-m", "pip", "install", "--", *additional_imports]
            done = self._ways.wait(lambda: self._ways.session.exec(argv, timeout=None))
            if not done.ok:
                raise AgentError(f"pip install: {done.stderr[-2000:]}", self.logger)
            self.logger.log(done.stdout)
        return additional_imports

    def cleanup(self) -> None:
        """End the interpreter; the session stays."""
        self._ways.wait(self._kernel.close)
