"""One command in a session, as a terminal sees it: input in, output out, an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from fumehood import AsyncSession, ExecReason, ExecResult, Exit
from fumehood.cli import output
from fumehood.cli.running import TIMED_OUT
from fumehood.cli.threads import DaemonThread

_PIECE = 64 << 10
_OUT_OF_MEMORY = 137


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What is run, and how this process takes part in it."""

    argv: list[str]
    timeout: float | None
    cwd: str = "."
    env: dict[str, str] = field(default_factory=dict[str, str])
    user: str | None = None
    stdin: bool | None = None
    """Pass this process's input on; ``None``: unless it is a terminal."""
    raw: bool = False
    quiet: bool = False

    @property
    def passes_input(self) -> bool:
        """Whether this process's input goes to the command."""
        if sys.stdin is None:  # closed by whoever started this process
            return False
        return not sys.stdin.isatty() if self.stdin is None else self.stdin


async def run(session: AsyncSession, command: Command) -> int:
    """Run a command while its output goes to the terminal; return this process's exit code.

    When it is cancelled, the command is killed with everything that it has started.
    """
    terminal = output.CommandOutput(raw=command.raw)
    stream = session.exec_stream(
        command.argv,
        cwd=command.cwd,
        env=command.env,
        input=_input() if command.passes_input else None,
        user=command.user,
        timeout=command.timeout,
    )
    async with stream:
        async for event in stream:
            if isinstance(event, Exit):
                return exit_code(event.result, command.argv[0], quiet=command.quiet)
            await terminal.show(event)
    raise AssertionError("a stream of events ends with Exit")


async def _input() -> AsyncIterator[bytes]:
    """This process's standard input, read only as fast as the command takes it."""
    thread = DaemonThread("fumehood-input")
    while piece := await thread.call(os.read, 0, _PIECE):
        yield piece


def exit_code(result: ExecResult, program: str, *, quiet: bool) -> int:
    """Return the exit code for a command's end; say why where the code alone would not."""
    match result.reason:
        case ExecReason.TIMED_OUT:
            why = f"timed out after {result.duration:.1f} s and was killed"
            code = TIMED_OUT
        case ExecReason.OUT_OF_MEMORY:
            why = "used up the session's memory and was killed (run has --memory)"
            code = _OUT_OF_MEMORY
        case ExecReason.SIGNALED | ExecReason.CANCELLED:
            why = f"was ended by signal {result.signal}"
            code = result.exit_code
        case _:
            return result.exit_code
    if not quiet:
        killed = f", with {output.count(result.killed, 'process', 'processes')}"
        output.note(f"{program!r} {why}{killed if result.killed > 1 else ''}")
    return code
