"""Managed processes: commands that outlive the call, and the client, that started them."""

from __future__ import annotations

import asyncio
import math
import signal as signals
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from fumehood._checks import flag, optional_seconds, seconds, whole
from fumehood._command import Argument
from fumehood._core import CANCEL_PATIENCE, SessionCore, SessionPart
from fumehood._failures import process_failure
from fumehood._process_start import NUMBER, answer_of, start
from fumehood._run import result_of
from fumehood._tether.channel import Channel
from fumehood._wire.messages import Answer, Done, Fail
from fumehood._wire.messages import Exit as ExitMessage
from fumehood._wire.messages import Process as ProcessMessage
from fumehood._wire.requests import Request, process_request
from fumehood._wire.table import ErrorCode, Field, Operation
from fumehood.errors import (
    InvalidRequestError,
    OperationTimeoutError,
    ProcessNotFoundError,
    SandboxError,
)
from fumehood.options import Seconds
from fumehood.process_results import Gap, ProcessLogs, ProcessStatus
from fumehood.process_streams import LogReader, ProcessStream, last_lines
from fumehood.results import ExecResult, Stderr, Stdout
from fumehood.text import brief, encode

__all__ = ["AsyncProcess", "ProcessStream", "ProcessesPart"]

LOG_BYTES = 1 << 20
GRACE = 10.0
"""Seconds that a process gets to end by itself, by default."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class AsyncProcess:
    """A managed process of a session, whoever started it. Any number of them may stand for one.

    What its attributes say is what was last heard: :meth:`refresh`, :meth:`wait`, :meth:`stop` and
    the session's ``list_processes`` ask.

    Example::

        server = await session.start_process(["python", "-m", "http.server"], name="web")
        async for event in server.stream():
            print(event)
    """

    def __init__(self, core: SessionCore, message: ProcessMessage) -> None:
        self._core = core
        self._number = message.process
        self._message = message

    def __repr__(self) -> str:
        name = f" {self.name}" if self.name else ""
        return f"<{type(self).__name__} {self.id}{name} {self.status}>"

    # --- what it is ---------------------------------------------------------------------------

    @property
    def id(self) -> str:
        """Its id in the session: ``p1``, ``p2``, …, never used again."""
        return f"p{self._number}"

    @property
    def name(self) -> str | None:
        """What it was called at its start."""
        return self._message.name or None

    @property
    def argv(self) -> tuple[str, ...]:
        """The program and its arguments; to another client the first 64 of them, 1,024 bytes."""
        return tuple(item.decode("utf-8", "replace") for item in self._message.argv)

    @property
    def pid(self) -> int:
        """Its process id in the container."""
        return self._message.pid

    @property
    def status(self) -> ProcessStatus:
        """Whether it runs."""
        return ProcessStatus.RUNNING if self._message.end is None else ProcessStatus.EXITED

    @property
    def exit_code(self) -> int | None:
        """Its exit status, ``128 + signal`` when a signal ended it; None while it runs."""
        return None if self._message.end is None else self._message.end.exit_code

    @property
    def exit_signal(self) -> int | None:
        """The signal that ended it; None while it runs, and when none did."""
        return None if self._message.end is None else self._message.end.signal or None

    @property
    def started_at(self) -> datetime:
        """When it was started, by the clock of the engine's machine."""
        return _moment(self._message.started_ns)

    @property
    def ended_at(self) -> datetime | None:
        """When it ended, by the same clock; None while it runs."""
        return None if self._message.ended_ns is None else _moment(self._message.ended_ns)

    async def refresh(self) -> ProcessStatus:
        """Ask the session how it is, and return its status.

        Raises:
            ProcessNotFoundError: it has ended, and was forgotten since.
        """
        (self._message,) = await _described(self._core, "refresh", self._number)
        return self.status

    # --- its output ---------------------------------------------------------------------------

    async def logs(self, *, since: int = 0, tail: int | None = None) -> ProcessLogs:
        """Return what its log holds now: the newest ``log_bytes`` bytes of both streams.

        Args:
            since: an offset in all that it has written, such as the ``end`` of earlier logs.
            tail: only the last so many lines, both streams together.

        Raises:
            InvalidRequestError: at once, or for an offset that is not reached yet.
            ProcessNotFoundError: it has ended, and was forgotten since.
        """
        whole(since, "since", minimum=0, maximum=1 << 62)
        if tail is not None:
            whole(tail, "tail", minimum=0, maximum=1 << 31)
        reader = LogReader(since)
        events: list[Stdout | Stderr | Gap] = []
        channel = self._open(Operation.LOGS, offset=since)
        try:
            while (item := await channel.receive()) is not None:
                events += reader.piece(item)
            end = self._done(await channel.answer(), "logs", since=since).offset
        finally:
            await channel.aclose(CANCEL_PATIENCE)
        assert end is not None
        events += reader.gap(end)
        events += reader.rest()
        if tail is not None:
            events = last_lines(events, tail)
        first = next((event.offset for event in events if not isinstance(event, Gap)), None)
        return ProcessLogs(events=tuple(events), start=end if first is None else first, end=end)

    def stream(self, since: int | None = 0) -> ProcessStream:
        """Iterate over its output from a byte on, then as it comes, to its end.

        Both streams come in the one order in which they arrived in the session; each event says its
        ``offset``, so that another stream, of any client, goes on where this one was. What the log
        no longer holds is a ``Gap`` of known size: the process never waits for its readers. The
        last event is ``Exit``; its result keeps the first ``Limits.max_output_bytes`` of each
        stream. Leaving early, or cancelling, leaves the process alone.

        Args:
            since: an offset; 0 for all that the log holds, ``None`` for what comes from now on.

        Raises:
            InvalidRequestError: at once, or from the iteration for an offset that is not reached.
            ProcessNotFoundError: from the iteration: it has ended, and was forgotten since.
        """
        if since is not None:
            whole(since, "since", minimum=0, maximum=1 << 62)
        return ProcessStream(self._core, self._number, since)

    # --- its input ----------------------------------------------------------------------------

    async def write(self, data: bytes | bytearray | memoryview | str) -> None:
        """Write all of this to its standard input; returns when its pipe has taken it.

        What several write at once is not mixed. When it is cancelled, a part may have been written.

        Raises:
            ProcessEndedError: it ended first.
            ProcessInputClosedError: its input is closed, or was never open.
        """
        raw = encode(data, "data") if isinstance(data, str) else data
        if not isinstance(raw, (bytes, bytearray, memoryview)):
            raise InvalidRequestError(f"data must be bytes or str, not {type(data).__name__}")
        self._done(await self._send(bytes(raw), close=False), "write")

    async def close_stdin(self) -> None:
        """Close its standard input, behind all that was written. Idempotent."""
        answer = await self._send(b"", close=True)
        closed = (ErrorCode.INPUT_CLOSED, ErrorCode.PROCESS_ENDED)
        if not (isinstance(answer, Fail) and answer.error in closed):
            self._done(answer, "close_stdin")

    async def _send(self, data: bytes, *, close: bool) -> Answer:
        request = process_request(Operation.SEND, self._number, close=int(close))
        channel, sent = self._core.tether.open_with_input(request, data)
        try:
            if sent < len(data) and await channel.send(memoryview(data)[sent:]):
                channel.end_input()
            return await channel.answer()
        finally:
            await channel.aclose(CANCEL_PATIENCE)

    # --- its end ------------------------------------------------------------------------------

    async def signal(self, number: int, *, group: bool = False) -> None:
        """Send it a signal, such as ``signal.SIGINT``.

        Args:
            number: 1 to 64.
            group: to its whole process group, as Ctrl-C at a terminal does.

        Raises:
            ProcessEndedError: it has ended.
        """
        value = number.value if isinstance(number, signals.Signals) else number
        whole(value, "number", minimum=1, maximum=64)
        channel = self._open(Operation.SIGNAL, signal=value, group=int(flag(group, "group")))
        self._done(await answer_of(channel), "signal")

    async def stop(self, *, grace: Seconds = GRACE) -> ExecResult:
        """End it with everything that it has started, and return how it ended.

        Every process of its tree gets SIGTERM; what is left of it after the grace is killed. Also
        for one that has ended and left others running. Once begun it goes on, even when the caller
        is cancelled or the client dies.

        Args:
            grace: seconds; 0 kills at once.

        Raises:
            ProcessNotFoundError: it has ended, and was forgotten since.
        """
        patience = seconds(grace, "grace")
        channel = self._open(Operation.STOP, grace_ms=math.ceil(patience * 1000))
        answer = await answer_of(channel)
        if isinstance(answer, Fail):
            raise self._failure(answer, "stop")
        assert isinstance(answer, ExitMessage)
        self._ended(answer)
        try:
            return await self.wait()
        except ProcessNotFoundError:
            return result_of(answer, b"", b"")

    async def wait(self, timeout: Seconds | None = None) -> ExecResult:
        """Wait for its end and return how it ended, with what its log holds of its output.

        Args:
            timeout: seconds to wait at most; the process goes on.

        Raises:
            OperationTimeoutError: it still runs.
            ProcessNotFoundError: it has ended, and was forgotten since.
        """
        patience = optional_seconds(timeout, "timeout")
        output = (bytearray(), bytearray())
        channel = self._open(Operation.ATTACH, offset=0, at_end=1)
        try:
            async with asyncio.timeout(patience):
                while (item := await channel.receive()) is not None:
                    output[item.stream - 1].extend(item.data)
                answer = await channel.answer()
        except TimeoutError as exc:
            if isinstance(exc, SandboxError):
                raise
            raise OperationTimeoutError(
                f"process {self.id} still runs after {patience:g} s",
                op="wait",
                session_id=self._core.id,
            ) from exc
        finally:
            await channel.aclose(CANCEL_PATIENCE)
        if isinstance(answer, Fail):
            raise self._failure(answer, "wait")
        assert isinstance(answer, ExitMessage)
        self._ended(answer)
        return result_of(answer, bytes(output[0]), bytes(output[1]))

    def _ended(self, end: ExitMessage) -> None:
        started, took = self._message.started_ns, end.duration_us * 1000
        self._message = replace(self._message, end=end, ended_ns=started + took)

    # --- asking -------------------------------------------------------------------------------

    def _open(self, operation: Operation, **more: int) -> Channel:
        return self._core.tether.open(process_request(operation, self._number, **more))

    def _failure(self, fail: Fail, op: str, *, since: int | None = None) -> SandboxError:
        return process_failure(fail, op=op, process=self.id, session_id=self._core.id, since=since)

    def _done(self, answer: Answer, op: str, *, since: int | None = None) -> Done:
        if isinstance(answer, Fail):
            raise self._failure(answer, op, since=since)
        assert isinstance(answer, Done)
        return answer


class ProcessesPart(SessionPart):
    """The managed processes of a session."""

    async def start_process(
        self,
        argv: Sequence[Argument],
        cwd: str = ".",
        env: Mapping[str, str] | None = None,
        user: str | int | None = None,
        *,
        stdin: bool = False,
        name: str | None = None,
        log_bytes: int = LOG_BYTES,
    ) -> AsyncProcess:
        """Start a program that outlives this call, and return it once it has begun.

        It ends by itself, by :meth:`AsyncProcess.stop`, or with the session; its client may leave.
        It is no activity: with nothing else under way the session is idle. Cancelled before it
        returns, this leaves nothing running.

        Args:
            argv: the program and its arguments, as for ``exec``.
            cwd: working directory, relative to the workspace or absolute.
            env: added to the session's environment.
            user: as for ``exec``.
            stdin: keep its standard input open for :meth:`AsyncProcess.write`; otherwise it is
                empty.
            name: by which ``get_process`` finds it: a letter, then letters, digits and ``_.-``, 64
                at most. Of those that run, one may have it.
            log_bytes: how much of its newest output is kept, both streams together: 4096 to 16 MiB,
                taken from ``Limits.memory_mb`` as it is written. Less of it is kept of output that
                goes to and fro between the two streams more often than every 64 bytes.

        Raises:
            ResourceLimitError: ``Limits.max_processes`` run, or no process can be started.
            ProcessExistsError: one of this name runs.
            CommandNotFoundError, CommandNotExecutableError, WorkingDirectoryError,
            UserNotFoundError: as for ``exec``.
        """
        message = await start(self._core, argv, cwd, env, user, stdin, name, log_bytes)
        return AsyncProcess(self._core, message)

    async def list_processes(self) -> list[AsyncProcess]:
        """Return every managed process that the session knows, oldest first.

        Of those that have ended, 64 are kept, and of their logs 16 MiB in all (or a 32nd of the
        session's memory, if that is less); the oldest are forgotten first.
        """
        found = await _described(self._core, "list_processes", None)
        return [AsyncProcess(self._core, message) for message in found]

    async def get_process(self, id: str) -> AsyncProcess:
        """Return one process by its id or its name; of several with this name, the newest.

        Raises:
            ProcessNotFoundError: there is none.
        """
        if not isinstance(id, str):
            raise InvalidRequestError(f"id must be a process's id or name, not {brief(id)}")
        if (number := NUMBER.fullmatch(id)) and int(number[1]) < 1 << 63:
            (message,) = await _described(self._core, "get_process", int(number[1]))
            return AsyncProcess(self._core, message)
        found = await _described(self._core, "get_process", None)
        for message in reversed(found):
            if message.name == id:
                return AsyncProcess(self._core, message)
        raise ProcessNotFoundError(
            f"session {self._core.id} has no process {id!r}",
            op="get_process",
            session_id=self._core.id,
        )


async def _described(core: SessionCore, op: str, number: int | None) -> list[ProcessMessage]:
    """Ask for one process, or for all."""
    fields: dict[Field, int | bytes | str | tuple[bytes, ...]] = {}
    if number is not None:
        fields[Field.PROCESS] = number
    channel = core.tether.open(Request(Operation.PROCESSES, fields))
    answer = await answer_of(channel)
    if isinstance(answer, Fail):
        name = "" if number is None else f"p{number}"
        raise process_failure(answer, op=op, process=name, session_id=core.id)
    found = channel.described
    if number is not None and [message.process for message in found] != [number]:
        raise core.tether.broken(f"PROCESS: another one than process {number}")
    return found


def _moment(nanoseconds: int) -> datetime:
    # 64 bits of nanoseconds end in the year 2554, which a datetime can say; two of them in 3139.
    return _EPOCH + timedelta(microseconds=nanoseconds // 1000)
