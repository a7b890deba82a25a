"""Running commands in a session: ``exec``, ``shell`` and ``exec_stream``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import EllipsisType, TracebackType
from typing import Literal, Self, overload

from fumehood._checks import flag
from fumehood._command import Argument, Command, Input, check_command
from fumehood._core import SessionCore, SessionPart
from fumehood._process_start import start
from fumehood._run import STDOUT, Running, run
from fumehood.errors import CommandFailedError, InvalidRequestError
from fumehood.options import Seconds
from fumehood.processes import LOG_BYTES, AsyncProcess
from fumehood.results import ExecEvent, ExecResult, Exit, Stderr, Stdout
from fumehood.text import StreamDecoder, brief

__all__ = ["Argument", "ExecPart", "ExecStream", "Input"]


class ExecPart(SessionPart):
    """The commands of a session."""

    @overload
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
        background: Literal[False] = False,
    ) -> ExecResult: ...

    @overload
    async def exec(
        self,
        argv: Sequence[Argument],
        *,
        cwd: str = ".",
        env: Mapping[str, str] | None = None,
        user: str | int | None = None,
        background: Literal[True],
    ) -> AsyncProcess: ...

    @overload
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
        background: bool,
    ) -> ExecResult | AsyncProcess: ...

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
        background: bool = False,
    ) -> ExecResult | AsyncProcess:
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
            background: start it as a managed process and return that; see ``start_process``.

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
        if flag(background, "background"):
            waiting = (input, timeout, check, max_output_bytes) != (None, ..., False, None)
            if waiting:
                raise InvalidRequestError(
                    "input, timeout, check and max_output_bytes are for a command that is waited "
                    "for: with background=True, use the process that it returns"
                )
            message = await start(self._core, argv, cwd, env, user, False, None, LOG_BYTES)
            return AsyncProcess(self._core, message)
        command = check_command(
            self._core.limits, argv, cwd, env, input, user, timeout, max_output_bytes, capped=True
        )
        result = await run(self._core, command)
        if not check:
            return result
        try:
            return result.check()
        except CommandFailedError as error:
            # A result does not know whose it is.
            error.session_id = self._core.id
            raise

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
            raise InvalidRequestError(f"a shell command is a string, not {brief(command)}")
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
        command = check_command(
            self._core.limits, argv, cwd, env, input, user, timeout, max_output_bytes, capped=False
        )
        return ExecStream(self._core, command)


class ExecStream:
    """The events of a running command. Iterate it once; it is a context manager too."""

    def __init__(self, core: SessionCore, command: Command) -> None:
        self._running = Running(core, command)
        self._kept = (bytearray(), bytearray())
        self._taken = [0, 0]
        self._decoders = (StreamDecoder(), StreamDecoder())
        self._pending: list[ExecEvent] = []
        self._busy = False

    def __aiter__(self) -> ExecStream:
        """Return itself."""
        return self

    async def __anext__(self) -> ExecEvent:
        """Return the next event.

        When it is cancelled, the command is killed before this returns.
        """
        if self._busy:
            raise InvalidRequestError("another task iterates over this command already")
        if self._pending:
            return self._pending.pop(0)
        if self._running.over:
            raise StopAsyncIteration
        self._busy = True
        try:
            event = await self._next()
        except BaseException as exc:
            await self._end(exc)
            raise
        finally:
            self._busy = False
        if event is None:
            raise StopAsyncIteration
        return event

    async def _next(self) -> ExecEvent | None:
        if not self._running.announced:
            await self._running.announce()
            self._running.open()
        item = await self._running.receive()
        if item is None:
            return await self._finish()
        index = item.stream - STDOUT
        kept = self._kept[index]
        keep = self._running.command.keep
        if len(kept) < keep:
            kept += item.data[: keep - len(kept)]
        self._taken[index] += len(item.data)
        text = self._decoders[index].feed(item.data)
        return (Stdout if item.stream == STDOUT else Stderr)(item.data, text)

    async def _finish(self) -> ExecEvent | None:
        if self._running.over:
            return None  # closed from elsewhere while this waited
        result = await self._running.finish(bytes(self._kept[0]), bytes(self._kept[1]))
        if rest := self._rest(0, result.stdout_dropped):
            self._pending.append(Stdout(b"", rest))
        if rest := self._rest(1, result.stderr_dropped):
            self._pending.append(Stderr(b"", rest))
        self._pending.append(Exit(result))
        return self._pending.pop(0)

    def _rest(self, index: int, dropped: int) -> str:
        """Return the text of a character that never ended, unless it was the cap that cut it."""
        rest = self._decoders[index].finish()
        return rest if self._taken[index] >= len(self._kept[index]) + dropped else ""

    async def _end(self, cause: BaseException | None) -> None:
        if self._running.announced:
            await self._running.end(cause, bytes(self._kept[0]), bytes(self._kept[1]))
        else:
            self._running.over = True

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
        # generators only. The command is ended on the tether's loop, whatever thread this is.
        running = getattr(self, "_running", None)
        if running is not None and running.announced and not running.over:
            kept = bytes(self._kept[0]), bytes(self._kept[1])
            running.core.tether.call_soon(lambda: running.leave(*kept))
