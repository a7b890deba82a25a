"""A command under way: its channel, its input, its end, and who is told of them."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from fumehood import hooks
from fumehood._command import Command
from fumehood._core import CANCEL_PATIENCE, SessionCore
from fumehood._failures import exec_failure
from fumehood._feed import feed, feed_pieces
from fumehood._paused import paused_ms
from fumehood._tether.channel import Channel
from fumehood._tether.cleanup import stop, to_the_end
from fumehood._wire.events import Output
from fumehood._wire.messages import Answer, Fail
from fumehood._wire.messages import Exit as ExitMessage
from fumehood._wire.table import ExecCode
from fumehood.errors import SupervisorError
from fumehood.results import ExecReason, ExecResult

STDOUT = 1

REASONS: dict[ExecCode, ExecReason] = {
    ExecCode.EXITED: ExecReason.EXITED,
    ExecCode.SIGNALED: ExecReason.SIGNALED,
    ExecCode.TIMED_OUT: ExecReason.TIMED_OUT,
    ExecCode.OUT_OF_MEMORY: ExecReason.OUT_OF_MEMORY,
    ExecCode.CANCELLED: ExecReason.CANCELLED,
}
"""Why a command ended: the wire's name for it -> the caller's."""

_leaving: set[asyncio.Task[None]] = set()
"""Commands whose stream was dropped, until they are dead: a task needs somebody to hold it."""


def result_of(answer: ExitMessage, stdout: bytes, stderr: bytes) -> ExecResult:
    """Return how a command ended, with what is at hand of its output."""
    return ExecResult(
        stdout_bytes=stdout,
        stderr_bytes=stderr,
        exit_code=answer.exit_code,
        signal=answer.signal or None,
        duration=answer.duration_us / 1e6,
        reason=REASONS[answer.reason],
        stdout_dropped=max(0, answer.stdout_total - len(stdout)),
        stderr_dropped=max(0, answer.stderr_total - len(stderr)),
        killed=answer.killed,
        left_running=answer.left_running,
    )


async def run(core: SessionCore, command: Command) -> ExecResult:
    """Run a command to its end and return how it ended; when cancelled, kill it first."""
    running = Running(core, command)
    await running.announce()
    stdout, stderr = bytearray(), bytearray()
    try:
        running.open()
        async with running.backstop():
            while (item := await running.channel.receive()) is not None:
                (stdout if item.stream == STDOUT else stderr).extend(item.data)
        return await running.finish(bytes(stdout), bytes(stderr))
    except BaseException as exc:
        await running.end(exc, bytes(stdout), bytes(stderr))
        raise


class Running:
    """One command, from the hook that may refuse it to the hook that is told of its end."""

    def __init__(self, core: SessionCore, command: Command) -> None:
        self.core = core
        self.command = command
        self.announced = False
        self.over = False
        self._channel: Channel | None = None
        self._feeder: asyncio.Task[None] | None = None
        self._deadline = 0.0

    @property
    def channel(self) -> Channel:
        """Its conversation."""
        assert self._channel is not None
        return self._channel

    async def announce(self) -> None:
        """Ask the hook, which may refuse the command by raising: then nobody is told of its end."""
        core, command = self.core, self.command
        if core.hooks.on_exec_start is not None:
            event = hooks.ExecStarted(
                session_id=core.id, argv=command.argv, cwd=command.cwd, user=command.user
            )
            await hooks.ask(core.hooks.on_exec_start, event)
        self.announced = True

    def open(self) -> None:
        """Send the command, with the input that its first window takes.

        Raises:
            SessionEndedError: the session is over.
        """
        core, command = self.core, self.command
        if command.source is not None:
            self._channel = core.tether.open(command.request)
            self._feeder = asyncio.create_task(feed_pieces(self._channel, command.source))
        elif command.input is not None:
            self._channel, sent = core.tether.open_with_input(command.request, command.input)
            if sent < len(command.input):
                rest = memoryview(command.input)[sent:]
                self._feeder = asyncio.create_task(feed(self._channel, rest))
        else:
            self._channel = core.tether.open(command.request)
        if command.timeout is not None:
            self._deadline = asyncio.get_running_loop().time() + command.timeout + Backstop.SLACK

    async def receive(self) -> Output | None:
        """Return the next output for a caller that takes its time, or None at the end."""
        if self.channel.ready:
            return await self.channel.receive()
        async with self.backstop(grace=Backstop.SLACK):
            return await self.channel.receive()

    def backstop(self, *, grace: float = 0.0) -> Backstop:
        """Return a context that waits no longer than a good supervisor needs.

        Args:
            grace: seconds that it gets in any case: a caller that stalled has held it up.
        """
        if self.command.timeout is None:
            return Backstop(self, None)
        soon = asyncio.get_running_loop().time() + grace
        return Backstop(self, max(self._deadline, soon))

    async def finish(self, stdout: bytes, stderr: bytes) -> ExecResult:
        """Return the result once all output is taken; what went wrong with the input is raised."""
        answer = await self.channel.answer()
        feeder = self._feeder
        await stop(feeder)
        if feeder is not None and not feeder.cancelled() and (error := feeder.exception()):
            raise error
        result = self._result(answer, stdout, stderr)
        self.over = True
        await self._report(result, None)
        return result

    async def end(self, cause: BaseException | None, stdout: bytes, stderr: bytes) -> None:
        """Kill the command and wait for its end, also while being cancelled. Idempotent.

        Args:
            cause: what happened; None for a caller that has seen enough.
            stdout: what was received of it until now.
            stderr: likewise.
        """
        if self.over:
            return
        self.over = True
        result = None
        try:
            if self._channel is not None:
                await to_the_end(self._kill(self._channel))
                if cause is None and isinstance(self._channel.outcome, ExitMessage):
                    result = self._result(self._channel.outcome, stdout, stderr)
        finally:
            await self._report(result, cause)

    def leave(self, stdout: bytes, stderr: bytes) -> None:
        """End the command for a caller that is gone without a word."""
        if not self.over:
            task = asyncio.ensure_future(self.end(None, stdout, stderr))
            _leaving.add(task)
            task.add_done_callback(_leaving.discard)

    async def _kill(self, channel: Channel) -> None:
        channel.abandon()
        await stop(self._feeder)
        await channel.aclose(CANCEL_PATIENCE)

    def _result(self, answer: Answer, stdout: bytes, stderr: bytes) -> ExecResult:
        command = self.command
        if isinstance(answer, Fail):
            raise exec_failure(
                answer,
                argv=command.argv,
                cwd=command.cwd,
                user=command.user,
                session_id=self.core.id,
            )
        assert isinstance(answer, ExitMessage)
        return result_of(answer, stdout, stderr)

    async def _report(self, result: ExecResult | None, error: BaseException | None) -> None:
        if self.core.hooks.on_exec_end is not None:
            event = hooks.ExecEnded(
                session_id=self.core.id, argv=self.command.argv, result=result, error=error
            )
            await hooks.tell(self.core.hooks.on_exec_end, event)


class Backstop:
    """Give up on a supervisor that misses its own deadline, and end its session.

    The supervisor kills within 5 s of the timeout, or ends the session: its own bound for a kill.
    One that does neither is not to be trusted with anything; the lease and the sweep remove its
    container. Unless the session was paused, by any client: its commands' time does not run then.
    How long that was is asked when the time is over, and believed for :data:`BELIEF` seconds in
    all. So is the time for which there was no stream that could have carried an answer.
    """

    SLACK = 10.0
    BELIEF = 3600.0
    """What a supervisor that lies about a pause can gain."""

    def __init__(self, running: Running, deadline: float | None) -> None:
        self._running = running
        self._deadline = deadline
        self._away = running.core.tether.away
        self._timeout = asyncio.timeout(None)
        self._timer: asyncio.TimerHandle | None = None
        self._doubt: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Begin to count."""
        await self._timeout.__aenter__()
        if self._deadline is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(self._deadline, self._is_over)
        return self

    def _is_over(self) -> None:
        self._doubt = asyncio.create_task(self._ask())

    async def _ask(self) -> None:
        """Add the time for which the session was paused; without any, the time is over."""
        assert self._deadline is not None
        loop = asyncio.get_running_loop()
        tether = self._running.core.tether
        paused = 0 if tether.reconnecting else await paused_ms(self._running.core) / 1000
        away = tether.away - self._away
        deadline = self._deadline + min(paused + away, self.BELIEF)
        now = loop.time()
        if deadline > now:
            # No sooner than in a while: a pause that goes on moves the deadline along.
            self._timer = loop.call_at(max(deadline, now + 1.0), self._is_over)
        else:
            self._timeout.reschedule(now)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Raise if the time was over."""
        if self._timer is not None:
            self._timer.cancel()
        await stop(self._doubt)
        try:
            await self._timeout.__aexit__(kind, error, trace)
        except TimeoutError as exc:
            core, command = self._running.core, self._running.command
            core.tether.give_up("the supervisor missed the deadline of a command")
            raise SupervisorError(
                f"the supervisor did not end {command.argv[0]!r} within "
                f"{self.SLACK:g} s of its timeout; the session is given up",
                op="exec",
                session_id=core.id,
            ) from exc
