"""Running commands in a session: ``exec``, ``shell`` and ``exec_stream``."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import EllipsisType, TracebackType
from typing import Self

from fumehood import hooks, options, paths
from fumehood._core import CANCEL_PATIENCE, SessionCore, SessionPart
from fumehood._failures import exec_failure
from fumehood._tether.channel import Channel
from fumehood._wire.messages import Answer, Fail, Request, exec_request
from fumehood._wire.messages import Exit as ExitMessage
from fumehood._wire.table import ExecCode
from fumehood.errors import InvalidRequestError, SupervisorError
from fumehood.options import Seconds
from fumehood.results import ExecEvent, ExecReason, ExecResult, Exit, Stderr, Stdout
from fumehood.text import StreamDecoder

Argument = str | bytes | os.PathLike[str]
Pieces = Iterable[bytes] | AsyncIterable[bytes]
Input = str | bytes | Pieces
"""Standard input: whole, or in pieces that are asked for as fast as the command takes them."""

_UNLIMITED = (1 << 64) - 1
_STDOUT = 1

_REASONS: dict[ExecCode, ExecReason] = {
    ExecCode.EXITED: ExecReason.EXITED,
    ExecCode.SIGNALED: ExecReason.SIGNALED,
    ExecCode.TIMED_OUT: ExecReason.TIMED_OUT,
    ExecCode.OUT_OF_MEMORY: ExecReason.OUT_OF_MEMORY,
    ExecCode.CANCELLED: ExecReason.CANCELLED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Command:
    """A checked command: everything that the caller said, in the form that the wire takes."""

    argv: tuple[str, ...]
    cwd: str
    user: str | None
    timeout: float | None
    keep: int
    input: bytes | None
    source: Pieces | None
    request: Request


class ExecPart(SessionPart):
    """The commands of a session."""

    async def exec(
        self,
        argv: Sequence[Argument],
        *,
        cwd: str = ".",
        env: Mapping[str, str] | None = None,
        input: Input | None = None,
        user: str | int | None = None,
        timeout: Seconds | EllipsisType | None = ...,
        check: bool = False,
        max_output_bytes: int | None = None,
    ) -> ExecResult:
        """Run a program and return how it ended.

        The program is found through the ``PATH`` of its own environment; no shell is involved. A
        non-zero status and a timeout are results. On a timeout, and when the caller is cancelled,
        the command is killed with everything it has started before this returns.

        Args:
            argv: the program and its arguments. A ``str`` is refused: see :meth:`shell`.
            cwd: working directory, relative to the workspace or absolute.
            env: added to the session's environment.
            input: standard input; ``None`` is an empty one. The pieces of an iterable are sent as
                fast as the command reads (a plain one is stepped in a thread); what it raises kills
                the command and is raised here.
            user: ``name``, ``uid``, ``name:group`` or ``uid:gid`` instead of the session's user.
            timeout: seconds; default ``Limits.timeout``, ``None`` for no limit.
            check: raise for a result that is not ``ok``.
            max_output_bytes: instead of ``Limits.max_output_bytes``, of each stream.

        Raises:
            CommandNotFoundError: no such program (exit code 127 is a program's own).
            CommandNotExecutableError: it is there and cannot be executed.
            WorkingDirectoryError: ``cwd`` cannot be entered.
            UserNotFoundError: ``user`` is not known, or refused.
            ResourceLimitError: no process can be started within ``Limits.pids``.
            CommandFailedError: with ``check``; :class:`CommandTimeoutError` and
                :class:`CommandOutOfMemoryError` where that is why.
            SessionEndedError: the session was over, or ended first.
        """
        command = _command(
            self._core, argv, cwd, env, input, user, timeout, max_output_bytes, capped=True
        )
        result = await _run(self._core, command)
        return result.check() if check else result

    async def shell(
        self,
        command: str,
        *,
        cwd: str = ".",
        env: Mapping[str, str] | None = None,
        input: Input | None = None,
        user: str | int | None = None,
        timeout: Seconds | EllipsisType | None = ...,
        check: bool = False,
        max_output_bytes: int | None = None,
    ) -> ExecResult:
        """Run a line of shell with the image's ``/bin/sh``; otherwise as :meth:`exec`.

        Never put text from elsewhere into ``command``: pass it as ``env`` or ``input``.

        Raises:
            CommandNotFoundError: the image has no ``/bin/sh``.
        """
        if not isinstance(command, str):
            raise InvalidRequestError(f"a shell command is a string, not {command!r}")
        return await self.exec(
            ["/bin/sh", "-c", command],
            cwd=cwd,
            env=env,
            input=input,
            user=user,
            timeout=timeout,
            check=check,
            max_output_bytes=max_output_bytes,
        )

    def exec_stream(
        self,
        argv: Sequence[Argument],
        *,
        cwd: str = ".",
        env: Mapping[str, str] | None = None,
        input: Input | None = None,
        user: str | int | None = None,
        timeout: Seconds | EllipsisType | None = ...,
        max_output_bytes: int | None = None,
    ) -> ExecStream:
        """Run a program and iterate over its output while it runs; the last event is ``Exit``.

        The command is started by the first step of the iteration and goes only as fast as its
        output is taken. Leaving the loop early kills it, with everything it has started.

        Args:
            argv: the program and its arguments, as for :meth:`exec`.
            cwd: as for :meth:`exec`.
            env: as for :meth:`exec`.
            input: as for :meth:`exec`.
            user: as for :meth:`exec`.
            timeout: as for :meth:`exec`.
            max_output_bytes: how much of each stream is delivered; everything by default. The
                ``Exit`` event's result keeps the first ``Limits.max_output_bytes`` either way.

        Example::

            async for event in session.exec_stream(["make", "test"]):
                if isinstance(event, (Stdout, Stderr)):
                    print(event.text, end="")
                else:
                    print("exit code", event.result.exit_code)

        Raises:
            InvalidRequestError: at once; all else as :meth:`exec`, from the iteration.
        """
        command = _command(
            self._core, argv, cwd, env, input, user, timeout, max_output_bytes, capped=False
        )
        return ExecStream(self._core, command)


class ExecStream:
    """The events of a running command. Iterate it once; it is a context manager too."""

    def __init__(self, core: SessionCore, command: _Command) -> None:
        self._core = core
        self._command = command
        self._channel: Channel | None = None
        self._feeder: asyncio.Task[None] | None = None
        self._kept = (bytearray(), bytearray())
        self._decoders = (StreamDecoder(), StreamDecoder())
        self._pending: list[ExecEvent] = []
        self._over = False

    def __aiter__(self) -> ExecStream:
        """Return itself."""
        return self

    async def __anext__(self) -> ExecEvent:
        """Return the next event.

        When it is cancelled, the command is killed before this returns.
        """
        if self._pending:
            return self._pending.pop(0)
        if self._over:
            raise StopAsyncIteration
        try:
            return await self._next()
        except BaseException as exc:
            if not isinstance(exc, StopAsyncIteration):
                await self._end(exc)
            raise

    async def _next(self) -> ExecEvent:
        if self._channel is None:
            await _announce(self._core, self._command)
            self._channel, self._feeder = _open(self._core, self._command)
        item = await self._channel.receive()
        if item is None:
            answer = await self._channel.answer()
            return await self._finish(answer)
        index = item.stream - _STDOUT
        kept = self._kept[index]
        if len(kept) < self._command.keep:
            kept += item.data[: self._command.keep - len(kept)]
        text = self._decoders[index].feed(item.data)
        return (Stdout if item.stream == _STDOUT else Stderr)(item.data, text)

    async def _finish(self, answer: Answer) -> ExecEvent:
        self._over = True
        failure = await _stop_feeder(self._feeder)
        if failure is not None:
            await _report(self._core, self._command, None, failure)
            raise failure
        result = _result(
            self._core, self._command, bytes(self._kept[0]), bytes(self._kept[1]), answer
        )
        await _report(self._core, self._command, result, None)
        rest = [decoder.finish() for decoder in self._decoders]
        if rest[0]:
            self._pending.append(Stdout(b"", rest[0]))
        if rest[1]:
            self._pending.append(Stderr(b"", rest[1]))
        self._pending.append(Exit(result))
        return self._pending.pop(0)

    async def _end(self, cause: BaseException | None) -> None:
        """Kill the command and wait for it, also while being cancelled."""
        if self._over:
            return
        self._over = True
        await _stop_feeder(self._feeder)
        if self._channel is not None:
            await _kill(self._channel)
        await _report(self._core, self._command, None, cause)

    async def aclose(self) -> None:
        """Kill the command if it still runs, and wait until it is dead. Idempotent."""
        await self._end(None)

    async def __aenter__(self) -> Self:
        """Return itself."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Kill the command if it still runs."""
        await self.aclose()

    def __del__(self) -> None:
        # `break` out of `async for` drops the iterator without a word: asyncio calls aclose() for
        # generators only. The kill is one small write, so it can be sent from here.
        channel = getattr(self, "_channel", None)
        if channel is not None and not self._over:
            self._core.tether.call_soon(channel.abandon)


def _command(
    core: SessionCore,
    argv: Sequence[Argument],
    cwd: str,
    env: Mapping[str, str] | None,
    input: Input | None,
    user: str | int | None,
    timeout: Seconds | EllipsisType | None,
    max_output_bytes: int | None,
    *,
    capped: bool,
) -> _Command:
    """Check everything that a caller can say of a command."""
    raw = _arguments(argv)
    limit = core.limits.max_output_bytes
    if max_output_bytes is not None:
        limit = options.whole(max_output_bytes, "max_output_bytes", minimum=0, maximum=1 << 40)
    deadline = core.limits.timeout if isinstance(timeout, EllipsisType) else timeout
    checked = options.optional_seconds(deadline, "timeout", minimum=0.001)
    data, source = _input(input)
    directory = paths.working_directory(cwd)
    name = options.check_user(user)
    wire_limit = limit if capped or max_output_bytes is not None else _UNLIMITED
    variables = tuple(
        f"{key}={value}".encode("utf-8", "surrogateescape")
        for key, value in options.check_env(env).items()
    )
    _check_size(raw, variables)
    request = exec_request(
        raw,
        cwd=directory.encode("utf-8", "surrogateescape"),
        env=variables,
        user=name,
        timeout_ms=0 if checked is None else max(1, math.ceil(checked * 1000)),
        stdout_limit=wire_limit,
        stderr_limit=wire_limit,
        stdin=input is not None,
    )
    return _Command(
        argv=tuple(item.decode("utf-8", "replace") for item in raw),
        cwd=cwd,
        user=name,
        timeout=checked,
        keep=min(limit, core.limits.max_output_bytes) if not capped else limit,
        input=data,
        source=source,
        request=request,
    )


def _input(value: Input | None) -> tuple[bytes | None, Pieces | None]:
    """Return a command's input as it is to be sent: whole, or where its pieces come from."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape"), None
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value), None
    if value is not None and not hasattr(value, "__iter__") and not hasattr(value, "__aiter__"):
        raise InvalidRequestError(
            f"input must be str, bytes, pieces of bytes or None, not {type(value).__name__}"
        )
    return None, value


MAX_ARGUMENT_BYTES = 2 << 20
"""All arguments and variables together, as Linux takes them with its default stack limit."""


def _arguments(argv: Sequence[Argument]) -> tuple[bytes, ...]:
    if isinstance(argv, (str, bytes)):
        raise InvalidRequestError(
            f"argv must be a list of arguments, not the string {argv!r}: "
            'use session.shell("…") for a line of shell'
        )
    result: list[bytes] = []
    for item in argv:
        if not isinstance(item, (str, bytes, os.PathLike)):
            raise InvalidRequestError(f"argv holds {item!r}, which is not a string")
        raw = os.fsencode(item)
        if b"\0" in raw:
            raise InvalidRequestError(f"argv holds {item!r}, which contains a NUL character")
        result.append(raw)
    if not result or not result[0]:
        raise InvalidRequestError("argv must begin with the program to run")
    return tuple(result)


def _check_size(arguments: tuple[bytes, ...], variables: tuple[bytes, ...]) -> None:
    """Refuse what no program can be given: each string costs its bytes, a NUL and a pointer."""
    count = len(arguments) + len(variables)
    total = sum(map(len, arguments)) + sum(map(len, variables)) + 9 * count
    if total > MAX_ARGUMENT_BYTES:
        raise InvalidRequestError(
            f"argv and env hold {count} strings of {total} bytes in all: more than Linux takes "
            f"({MAX_ARGUMENT_BYTES}); send the data as input or as a file"
        )


async def _run(core: SessionCore, command: _Command) -> ExecResult:
    await _announce(core, command)
    result: ExecResult | None = None
    error: BaseException | None = None
    try:
        result = await _collect(core, command)
        return result
    except BaseException as exc:
        error = exc
        raise
    finally:
        await _report(core, command, result, error)


async def _collect(core: SessionCore, command: _Command) -> ExecResult:
    channel, feeder = _open(core, command)
    stdout: list[bytes] = []
    stderr: list[bytes] = []
    try:
        async with _backstop(core, command):
            while (item := await channel.receive()) is not None:
                (stdout if item.stream == _STDOUT else stderr).append(item.data)
            answer = await channel.answer()
    except BaseException:
        await _kill(channel)
        raise
    finally:
        failure = await _stop_feeder(feeder)
    if failure is not None:
        raise failure
    return _result(core, command, b"".join(stdout), b"".join(stderr), answer)


class _backstop:  # noqa: N801 - used like a function
    """Give up on a supervisor that misses its own deadline, and end its session.

    The supervisor kills within a second of the timeout, or ends the session. One that does neither
    is not to be trusted with anything; the lease and the sweep remove its container.
    """

    SLACK = 10.0

    def __init__(self, core: SessionCore, command: _Command) -> None:
        self._core = core
        self._command = command
        limit = None if command.timeout is None else command.timeout + self.SLACK
        self._timeout = asyncio.timeout(limit)

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            await self._timeout.__aexit__(kind, error, trace)
        except TimeoutError as exc:
            self._core.tether.give_up("the supervisor missed the deadline of a command")
            raise SupervisorError(
                f"the supervisor did not end {self._command.argv[0]!r} within "
                f"{self.SLACK:g} s of its timeout; the session is given up",
                op="exec",
                session_id=self._core.id,
            ) from exc


def _open(core: SessionCore, command: _Command) -> tuple[Channel, asyncio.Task[None] | None]:
    """Open the channel; start a task for input that does not fit the first window."""
    if command.source is not None:
        channel = core.tether.open(command.request)
        return channel, asyncio.create_task(_feed_pieces(channel, command.source))
    if command.input is None:
        return core.tether.open(command.request), None
    channel, sent = core.tether.open_with_input(command.request, command.input)
    if sent == len(command.input):
        return channel, None
    return channel, asyncio.create_task(_feed(channel, memoryview(command.input)[sent:]))


async def _feed(channel: Channel, rest: memoryview) -> None:
    if await channel.send(rest):
        channel.end_input()


async def _feed_pieces(channel: Channel, source: Pieces) -> None:
    try:
        async for piece in source if isinstance(source, AsyncIterable) else _in_thread(source):
            if not isinstance(piece, (bytes, bytearray, memoryview)):
                raise InvalidRequestError(f"input holds {type(piece).__name__}, which is not bytes")
            if not await channel.send(piece):
                return
        channel.end_input()
    except Exception:
        # Its input will never end, so the command might not either.
        channel.abandon()
        raise


async def _in_thread(source: Iterable[bytes]) -> AsyncIterator[bytes]:
    """Step an iterable that may block: a file, a pipe."""
    iterator = iter(source)
    while (piece := await asyncio.to_thread(next, iterator, None)) is not None:
        yield piece


async def _stop_feeder(feeder: asyncio.Task[None] | None) -> BaseException | None:
    """End the task that gives input; return what had gone wrong in it."""
    if feeder is None:
        return None
    feeder.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.wait({feeder})
    return feeder.exception() if feeder.done() and not feeder.cancelled() else None


async def _kill(channel: Channel) -> None:
    """End a channel and wait for the supervisor's word, also while being cancelled."""
    if channel.finished:
        return
    channel.abandon()
    closing = asyncio.ensure_future(channel.aclose(CANCEL_PATIENCE))
    while not closing.done():
        # A second cancellation must not leave the command's end unobserved: it is bounded.
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.shield(closing)


def _result(
    core: SessionCore, command: _Command, stdout: bytes, stderr: bytes, answer: Answer
) -> ExecResult:
    if isinstance(answer, Fail):
        raise exec_failure(
            answer, argv=command.argv, cwd=command.cwd, user=command.user, session_id=core.id
        )
    assert isinstance(answer, ExitMessage)
    return ExecResult(
        stdout_bytes=stdout,
        stderr_bytes=stderr,
        exit_code=answer.exit_code,
        signal=answer.signal or None,
        duration=answer.duration_us / 1e6,
        reason=_REASONS[answer.reason],
        stdout_dropped=max(0, answer.stdout_total - len(stdout)),
        stderr_dropped=max(0, answer.stderr_total - len(stderr)),
        killed=answer.killed,
        left_running=answer.left_running,
    )


async def _announce(core: SessionCore, command: _Command) -> None:
    if core.hooks.on_exec_start is not None:
        await hooks.ask(
            core.hooks.on_exec_start,
            hooks.ExecStarted(
                session_id=core.id, argv=command.argv, cwd=command.cwd, user=command.user
            ),
        )


async def _report(
    core: SessionCore,
    command: _Command,
    result: ExecResult | None,
    error: BaseException | None,
) -> None:
    if core.hooks.on_exec_end is not None:
        await hooks.tell(
            core.hooks.on_exec_end,
            hooks.ExecEnded(session_id=core.id, argv=command.argv, result=result, error=error),
        )
