"""``exec_command``: a command, its end, and the beginning and end of what it wrote."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from fumehood.results import ExecReason, ExecResult, Exit, Stdout
from fumehood.tools.arguments import ExecCommand
from fumehood.tools.call import Call
from fumehood.tools.programs import permitted
from fumehood.tools.results import CommandOutcome, Refused, Shown
from fumehood.tools.shown import HeadTail

_DELIVERED = 64 << 20
"""Of each stream; a flood behind it is counted by the session and stays there."""


async def exec_command(call: Call, asked: ExecCommand) -> tuple[CommandOutcome, str]:
    """Run a command."""
    cwd = call.place(asked.cwd)
    timeout = call.patience(asked.timeout)
    argv = await permitted(call, asked.command, asked.argv, cwd)
    await call.approve(described(asked.command, asked.argv))
    return await run_command(call, argv, cwd=cwd, stdin=asked.stdin, timeout=timeout)


async def run_command(
    call: Call, argv: Sequence[str], *, cwd: str = ".", stdin: str | None = None, timeout: float
) -> tuple[CommandOutcome, str]:
    """Run what the policy lets be run, and keep of its output what the caps let be shown."""
    rules = call.rules
    kept = HeadTail(rules.max_bytes, rules.max_lines), HeadTail(rules.max_bytes, rules.max_lines)
    result: ExecResult | None = None
    async with call.session.exec_stream(
        argv, cwd=cwd, input=stdin, timeout=timeout, max_output_bytes=_DELIVERED
    ) as stream:
        async for event in stream:
            if isinstance(event, Exit):
                result = event.result
                continue
            kept[0 if isinstance(event, Stdout) else 1].feed(event.data)
            if call.on_output is not None and event.text:
                await call.on_output(event.text)
    assert result is not None, "a stream that is not left ends with its result"
    written = (
        len(result.stdout_bytes) + result.stdout_dropped,
        len(result.stderr_bytes) + result.stderr_dropped,
    )
    outcome = CommandOutcome(
        exit_code=result.exit_code,
        reason=str(result.reason),
        signal=result.signal,
        duration=round(result.duration, 3),
        # What a result does not keep has been seen here all the same, up to what is delivered.
        stdout=kept[0].shown(dropped=max(0, written[0] - kept[0].total)),
        stderr=kept[1].shown(dropped=max(0, written[1] - kept[1].total)),
        left_running=result.left_running,
        killed=result.killed,
    )
    return outcome, _text(outcome, timeout)


def described(command: str | None, argv: list[str] | None) -> str:
    """Return a command in one line, for a person."""
    if command is not None:
        return command
    if argv is None:
        raise Refused("arguments", "give either command or argv")
    return shlex.join(argv)


def _text(outcome: CommandOutcome, timeout: float) -> str:
    lines = [f"{_status(outcome, timeout)} · {outcome.duration:.2f} s"]
    if outcome.left_running:
        lines.append(f"{outcome.left_running} background processes of it still run")
    for name, part in (("stdout", outcome.stdout), ("stderr", outcome.stderr)):
        if part.bytes:
            lines += [_head(name, part), part.text.removesuffix("\n")]
    if not outcome.stdout.bytes and not outcome.stderr.bytes:
        lines.append("(no output)")
    return "\n".join(lines)


def _status(outcome: CommandOutcome, timeout: float) -> str:
    if outcome.reason == ExecReason.TIMED_OUT:
        return (
            f"timed out after {timeout:g} s: killed with all it had started; "
            "what it wrote until then follows"
        )
    if outcome.reason == ExecReason.OUT_OF_MEMORY:
        return "killed: the sandbox's memory was used up"
    if outcome.signal is not None:
        return f"ended by signal {outcome.signal} (exit code {outcome.exit_code})"
    return f"exit code {outcome.exit_code}"


def _head(name: str, part: Shown) -> str:
    if not part.left_out_bytes:
        return f"--- {name}"
    return f"--- {name} ({part.bytes} bytes, beginning and end)"
