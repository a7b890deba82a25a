"""The start of a managed process: what is checked first, and what is taken back on the way."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from fumehood import hooks
from fumehood._checks import flag, whole
from fumehood._command import Argument, Command, check_command
from fumehood._core import CANCEL_PATIENCE, SessionCore
from fumehood._failures import exec_failure, process_failure
from fumehood._tether.channel import Channel
from fumehood._tether.cleanup import to_the_end
from fumehood._wire import table
from fumehood._wire.messages import Answer, Done, Fail, Process
from fumehood._wire.requests import Request, process_request
from fumehood._wire.table import ErrorCode, Field, Operation
from fumehood.errors import InvalidRequestError
from fumehood.text import brief

NUMBER = re.compile(r"p([0-9]{1,19})")
"""An id; no name may look like one."""
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")


async def start(
    core: SessionCore,
    argv: Sequence[Argument],
    cwd: str,
    env: Mapping[str, str] | None,
    user: str | int | None,
    stdin: bool,
    name: str | None,
    log_bytes: int,
) -> Process:
    """Check what a caller says of a process, start it, and return what is known of it."""
    command = check_command(core.limits, argv, cwd, env, None, user, None, None, capped=True)
    request = _start_request(command, stdin, name, log_bytes)
    if core.hooks.on_exec_start is not None:
        await hooks.ask(
            core.hooks.on_exec_start,
            hooks.ExecStarted(
                session_id=core.id,
                argv=command.argv,
                cwd=command.cwd,
                user=command.user,
                background=True,
            ),
        )
    try:
        done = await _begin(core, command, request, name)
    except BaseException as exc:
        if core.hooks.on_exec_end is not None:
            ended = hooks.ExecEnded(session_id=core.id, argv=command.argv, result=None, error=exc)
            await hooks.tell(core.hooks.on_exec_end, ended)
        raise
    assert done.process is not None
    return Process(
        process=done.process,
        name=name or "",
        argv=tuple(item.encode() for item in command.argv),
        argv_cut=False,
        pid=done.pid or 0,
        stdin=stdin,
        log_bytes=log_bytes,
        log_first=0,
        log_end=0,
        started_ns=done.started_ns or 0,
        ended_ns=None,
        end=None,
    )


def _start_request(command: Command, stdin: bool, name: str | None, log_bytes: int) -> Request:
    fields: dict[Field, int | bytes | str | tuple[bytes, ...]] = {
        field: value
        for field, value in command.request.fields.items()
        if field in (Field.ARGUMENT, Field.CWD, Field.ENV, Field.USER)
    }
    fields[Field.STDIN] = int(flag(stdin, "stdin"))
    fields[Field.LOG_BYTES] = whole(
        log_bytes, "log_bytes", minimum=table.MIN_LOG_BYTES, maximum=table.MAX_LOG_BYTES
    )
    if name is not None:
        fields[Field.PROCESS_NAME] = _check_name(name)
    return Request(Operation.START, fields)


def _check_name(name: str) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name) or NUMBER.fullmatch(name):
        raise InvalidRequestError(
            f"name must be a letter and then letters, digits, '_', '.' or '-', and no id "
            f"such as p1, not {brief(name)}"
        )
    if len(name) > table.MAX_PROCESS_NAME:
        raise InvalidRequestError(
            f"name must have at most {table.MAX_PROCESS_NAME} characters, not {brief(name)}"
        )
    return name


async def _begin(core: SessionCore, command: Command, request: Request, name: str | None) -> Done:
    """Start it and wait until it has begun; when cancelled, leave nothing of it."""
    channel = core.tether.open(request)
    try:
        answer = await channel.answer()
    except BaseException:
        await to_the_end(_undo(core, channel))
        raise
    if isinstance(answer, Fail):
        if answer.error is ErrorCode.NAME_TAKEN:
            raise process_failure(
                answer, op="start_process", process=repr(name), session_id=core.id
            )
        raise exec_failure(
            answer,
            argv=command.argv,
            cwd=command.cwd,
            user=command.user,
            session_id=core.id,
            op="start_process",
        )
    assert isinstance(answer, Done)
    if answer.process is None:
        raise core.tether.broken("DONE of a start: process is missing")
    return answer


async def _undo(core: SessionCore, channel: Channel) -> None:
    """Take a start back; one that has begun meanwhile is ended, since nobody knows of it."""
    await channel.aclose(CANCEL_PATIENCE)
    if isinstance(channel.outcome, Done) and channel.outcome.process is not None:
        request = process_request(Operation.STOP, channel.outcome.process, grace_ms=0)
        await answer_of(core.tether.open(request))


async def answer_of(channel: Channel) -> Answer:
    """Return the answer of a channel, which is over then, or on its way to be."""
    try:
        return await channel.answer()
    finally:
        await channel.aclose(CANCEL_PATIENCE)
