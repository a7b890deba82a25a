"""What a session in memory does with commands: it runs their scripts."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import logging
import time
from typing import cast

from fumehood._wire.table import ErrorCode, ExecCode, Field, Frame, Operation
from fumehood.testing._input import Input
from fumehood.testing._talk import Place, Serve, Talk, check_user, number, text, variables
from fumehood.testing._terminal import Terminal
from fumehood.testing.commands import CommandCall, CommandReply, Send, as_bytes
from fumehood.testing.files import RefusedError

_log = logging.getLogger("fumehood.testing")

_SIGKILL = 9


def call_of(
    place: Place,
    talk: Talk,
    source: Input,
    stdout: Send,
    stderr: Send,
    *,
    terminal: Terminal | None = None,
) -> CommandCall:
    """Return what a script is told of its command.

    Raises:
        RefusedError: there is no such directory, user or program.
    """
    env = dict(place.env)
    env.update(variables(talk.fields.get(Field.ENV)))
    cwd = place.files.absolute(text(talk, Field.CWD))
    try:
        place.files.directory(cwd)
    except RefusedError as refusal:
        raise RefusedError(ErrorCode.CWD, refusal.number, step="cwd") from None
    user = cast("str | None", talk.fields.get(Field.USER))
    check_user(user)
    arguments = cast("list[bytes]", talk.fields.get(Field.ARGUMENT) or [])
    argv = tuple(item.decode("utf-8", "surrogateescape") for item in arguments)
    if argv:
        place.programs.check(argv)
    else:
        argv = (place.programs.shell(),)
    if terminal is not None:
        env.setdefault("TERM", "xterm-256color")
    return CommandCall(
        argv=argv,
        stdin=b"",
        env=env,
        cwd=cwd,
        user=user,
        files=place.files,
        _input=source,
        _ports=place.ports,
        _stdout=stdout,
        _stderr=stderr,
        _terminal=terminal,
    )


async def run_script(place: Place, call: CommandCall) -> CommandReply:
    """Run a script to its end.

    Raises:
        RefusedError: it has failed, or it asked for what is not there.
    """
    try:
        return await place.programs.run(call)
    except RefusedError:
        raise
    except Exception as exc:
        # A script is the test's own code: its fault is told where the test looks.
        _log.exception("the script of %r failed", call.argv[0])
        raise RefusedError(
            ErrorCode.IO, step="script", message=f"{type(exc).__name__}: {exc}"
        ) from exc


class CommandOperations:
    """``exec``.

    Args:
        place: the session's.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self.table: dict[Operation, Serve] = {Operation.EXEC: self._exec}

    async def _exec(self, talk: Talk) -> None:
        begun = time.monotonic()
        command = _Output(talk)
        call = call_of(self._place, talk, Input(), command.stdout, command.stderr)
        milliseconds = number(talk, Field.TIMEOUT_MS)
        pause = self._place.pause
        try:
            async with pause.limited(milliseconds / 1000 if milliseconds else None) as limit:
                code = await pause.run(
                    self._whole(talk, call, command),
                    killed=functools.partial(_killed, talk, limit),
                )
            reason = ExecCode.EXITED
        except TimeoutError:
            # Its own: a script's has become a refusal.
            reason, code = ExecCode.TIMED_OUT, 128 + _SIGKILL
        except asyncio.CancelledError:
            if not talk.cancelled:
                raise
            reason, code = ExecCode.CANCELLED, 128 + _SIGKILL
        killed = reason is not ExecCode.EXITED
        talk.finish(
            Frame.EXIT,
            {
                Field.REASON: int(reason),
                Field.EXIT_CODE: code,
                Field.SIGNAL: _SIGKILL if killed else 0,
                Field.DURATION_US: int((time.monotonic() - begun) * 1_000_000),
                Field.STDOUT_TOTAL: command.totals[Frame.STDOUT],
                Field.STDERR_TOTAL: command.totals[Frame.STDERR],
                Field.KILLED: int(killed),
                Field.LEFT_RUNNING: 0,
            },
        )

    async def _whole(self, talk: Talk, call: CommandCall, command: _Output) -> int:
        """Run a command with its input, send what it replies with, and return its exit code."""
        if talk.fields[Field.STDIN]:
            data = await talk.whole_input()
            call = dataclasses.replace(call, stdin=data, _input=Input(data))
        reply = await run_script(self._place, call)
        # What a script has sent itself came before.
        await command.stdout(as_bytes(reply.stdout))
        await command.stderr(as_bytes(reply.stderr))
        return reply.exit_code


def _killed(talk: Talk, limit: asyncio.Timeout) -> bool:
    return talk.dropped or limit.expired()


class _Output:
    """What a command writes: counted whole, sent up to the caller's limits."""

    def __init__(self, talk: Talk) -> None:
        self._talk = talk
        self.totals = {Frame.STDOUT: 0, Frame.STDERR: 0}
        self._left = {
            Frame.STDOUT: number(talk, Field.STDOUT_LIMIT),
            Frame.STDERR: number(talk, Field.STDERR_LIMIT),
        }

    async def stdout(self, data: bytes) -> None:
        await self._send(Frame.STDOUT, data)

    async def stderr(self, data: bytes) -> None:
        await self._send(Frame.STDERR, data)

    async def _send(self, frame: Frame, data: bytes) -> None:
        self.totals[frame] += len(data)
        kept = data[: self._left[frame]]
        self._left[frame] -= len(kept)
        await self._talk.output(frame, kept)
