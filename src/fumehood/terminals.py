"""Terminals of a session: programs that talk to a person, or to what stands in for one."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from fumehood import _checks, hooks, paths
from fumehood._command import Argument, check_arguments, check_variables
from fumehood._core import CANCEL_PATIENCE, SessionCore, SessionPart
from fumehood._failures import exec_failure
from fumehood._opening import Opening
from fumehood._run import REASONS
from fumehood._tether.channel import Channel
from fumehood._tether.cleanup import to_the_end
from fumehood._wire import table
from fumehood._wire.messages import Exit, Fail
from fumehood._wire.requests import Request, terminal_request
from fumehood.errors import CommandError, InvalidRequestError, OperationTimeoutError
from fumehood.options import Seconds, optional_seconds
from fumehood.results import ExecResult
from fumehood.text import encode

END_OF_FILE = b"\x04"


class TerminalsPart(SessionPart):
    """The terminals of a session."""

    def open_terminal(
        self,
        argv: Sequence[Argument] | None = None,
        rows: int = 24,
        cols: int = 80,
        env: Mapping[str, str] | None = None,
        user: str | int | None = None,
        *,
        cwd: str = ".",
    ) -> Opening[AsyncTerminal]:
        r"""Run a program at a terminal of its own: ``await`` it or ``async with``.

        The program finds a real terminal: it controls its session, has a size, turns Ctrl-C into a
        signal, and belongs to the user alone. ``TERM`` is ``xterm-256color`` unless ``env`` or the
        session's environment says otherwise. ``Limits.timeout`` does not hold for it, and while
        it is open the session is not idle.

        What keeps the program from starting is raised by the first use that waits for it:
        ``read``, the iteration, ``wait``, or ``write``.

        Args:
            argv: the program and its arguments; ``None`` for the user's own shell, otherwise
                ``/bin/bash`` or ``/bin/sh``.
            rows: height in characters, 1 to 65,535.
            cols: width, likewise.
            env: added to the session's environment.
            user: as for :meth:`exec`.
            cwd: working directory, relative to the workspace or absolute.

        Example::

            async with session.open_terminal(["python3", "-q"], rows=24, cols=80) as terminal:
                await terminal.write("6 * 7\n")
                await terminal.send_eof()
                async for data in terminal:
                    print(data.decode(), end="")
                print((await terminal.wait()).exit_code)

        Raises:
            InvalidRequestError: at once, for a size, a program or a user that cannot be.
            SessionEndedError: the session is over.
        """
        raw = () if argv is None else check_arguments(argv)
        variables = check_variables(raw, env)
        height, width = check_size(rows, cols)
        name = _checks.check_user(user)
        request = terminal_request(
            raw,
            cwd=paths.working_directory(cwd).encode("utf-8", "surrogateescape"),
            env=variables,
            user=name,
            rows=height,
            columns=width,
        )
        shown = tuple(item.decode("utf-8", "replace") for item in raw)
        started = hooks.ExecStarted(session_id=self._core.id, argv=shown, cwd=cwd, user=name)
        return Opening(lambda: _open(self._core, request, started, (height, width)))


def check_size(rows: int, cols: int) -> tuple[int, int]:
    """Return a size that a terminal can have."""
    most = table.MAX_TERMINAL_SIDE
    return (
        _checks.whole(rows, "rows", minimum=1, maximum=most),
        _checks.whole(cols, "cols", minimum=1, maximum=most),
    )


async def _open(
    core: SessionCore, request: Request, started: hooks.ExecStarted, size: tuple[int, int]
) -> AsyncTerminal:
    if core.hooks.on_exec_start is not None:
        # The same hook as for other commands: who may refuse those may refuse these.
        await hooks.ask(core.hooks.on_exec_start, started)
    return AsyncTerminal(core, core.tether.open(request), started, size)


class AsyncTerminal:
    """A program at a terminal. Made by a session's ``open_terminal``, never by hand.

    One task reads, any number of others write. Leaving the block, or :meth:`aclose`, hangs it up.
    """

    def __init__(
        self,
        core: SessionCore,
        channel: Channel,
        started: hooks.ExecStarted,
        size: tuple[int, int],
    ) -> None:
        self._core = core
        self._channel = channel
        self._started = started
        self._size = size
        self._writing = asyncio.Lock()
        self._result: ExecResult | None = None
        self._told = False
        self._closed = False

    def __repr__(self) -> str:
        state = "open" if not self._channel.finished else "ended"
        rows, cols = self._size
        return f"<AsyncTerminal {self._core.id} {self._started.argv!r} {rows}x{cols} {state}>"

    @property
    def rows(self) -> int:
        """Its height, as last set from here."""
        return self._size[0]

    @property
    def cols(self) -> int:
        """Its width, as last set from here."""
        return self._size[1]

    # --- what it shows ------------------------------------------------------------------------

    async def read(self) -> bytes:
        """Return what the terminal shows next, some bytes of it; ``b""`` once it is over.

        The program goes only as fast as this is called, 512 KiB ahead of it at most. Bytes, since
        a character may be split between two of them, and they hold what a terminal obeys: never
        print them where a person's own terminal would.

        Cancelling it loses nothing.

        Raises:
            CommandNotFoundError, CommandNotExecutableError, WorkingDirectoryError: as for ``exec``.
            UserNotFoundError: ``user`` is not known, or refused.
            ResourceLimitError: no process, or no terminal, is left.
            SessionEndedError: the session ended first.
        """
        if self._closed:
            return b""
        item = await self._channel.receive()
        if item is not None:
            return item.data
        await self._conclude()
        return b""

    def __aiter__(self) -> Self:
        """Return itself."""
        return self

    async def __anext__(self) -> bytes:
        """Return what :meth:`read` does, until it is over."""
        data = await self.read()
        if not data:
            raise StopAsyncIteration
        return data

    # --- what is typed ------------------------------------------------------------------------

    async def write(self, data: bytes | bytearray | memoryview | str) -> None:
        r"""Type something; returns when it is on its way, which is as fast as the program reads.

        The terminal acts on it as on a person's keys: ``"\x03"`` interrupts, ``"\r"`` ends a line.
        When it is cancelled, a part may have been typed.

        Raises:
            CommandError: the program has ended, or could not be started.
            SessionEndedError: the session ended first.
        """
        if isinstance(data, str):
            data = encode(data, "data")
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise InvalidRequestError(f"data must be bytes or str, not {type(data).__name__}")
        self._check_open()
        async with self._writing:
            # A copy: the caller's own may change before all of it has been sent.
            if await self._channel.send(bytes(data)) or not data:
                return
        await self._gone()

    async def send_eof(self) -> None:
        """Type the character for the end of a file (Ctrl-D): whoever reads lines sees an end.

        The terminal stays open, and more can be typed to whoever reads next.

        Raises:
            CommandError: as :meth:`write`.
            SessionEndedError: as :meth:`write`.
        """
        await self.write(END_OF_FILE)

    async def resize(self, rows: int, cols: int) -> None:
        """Give it another size; the programs in its foreground are told (SIGWINCH).

        Harmless after the end of the program.

        Raises:
            InvalidRequestError: a side is not from 1 to 65,535, or it has been closed.
        """
        size = check_size(rows, cols)
        self._check_open()
        self._size = size
        self._channel.resize(*size)

    # --- its end ------------------------------------------------------------------------------

    @property
    def result(self) -> ExecResult | None:
        """How the program ended, once that is known: see :meth:`wait`."""
        return self._result

    async def wait(self, timeout: Seconds | None = None) -> ExecResult:
        """Wait until the program has ended and return how: an ``ExecResult`` without output.

        It takes nothing from :meth:`read`, before or after. A program that shows more than 512 KiB
        waits for somebody to read, and so would this.

        Args:
            timeout: seconds; the program goes on when they are over. ``None`` for no limit.

        Raises:
            OperationTimeoutError: it still runs.
            CommandNotFoundError: and whatever else :meth:`read` raises.
        """
        seconds = optional_seconds(timeout, "timeout")
        try:
            async with asyncio.timeout(seconds):
                await self._channel.wait_finished()
        except TimeoutError as exc:
            raise OperationTimeoutError(
                f"the program at the terminal still runs after {seconds:g} s",
                op="wait",
                session_id=self._core.id,
            ) from exc
        return await self._conclude()

    async def aclose(self) -> None:
        """Hang up: the program gets SIGHUP, a second to end, and is killed with its whole tree.

        One that has ended already keeps its background processes. Idempotent; once begun it goes
        on to its end even when the caller is cancelled.
        """
        self._closed = True
        await to_the_end(self._channel.aclose(CANCEL_PATIENCE))
        if isinstance(self._channel.outcome, Exit):
            await self._conclude()
        else:
            await self._tell(None, None)

    async def __aenter__(self) -> Self:
        """Return itself."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Hang up."""
        await self.aclose()

    def __del__(self) -> None:
        channel = getattr(self, "_channel", None)
        if channel is not None and not channel.finished:
            self._core.tether.call_soon(channel.abandon)

    # --- within -------------------------------------------------------------------------------

    def _check_open(self) -> None:
        if self._closed:
            raise InvalidRequestError("the terminal has been closed")

    async def _gone(self) -> None:
        """Raise what became of a program that nothing can be typed to."""
        if self._channel.finished:
            await self._conclude()
        raise CommandError(
            "the program at the terminal has ended: nobody reads what is typed",
            op="write",
            session_id=self._core.id,
        )

    async def _conclude(self) -> ExecResult:
        """Return the result of a channel that is finished, or raise why there is none."""
        if self._result is not None:
            return self._result
        try:
            result = self._outcome()
        except BaseException as exc:
            await self._tell(None, exc)
            raise
        self._result = result
        await self._tell(result, None)
        return result

    def _outcome(self) -> ExecResult:
        answer = self._channel.outcome
        if isinstance(answer, Fail):
            raise exec_failure(
                answer,
                argv=self._started.argv,
                cwd=self._started.cwd,
                user=self._started.user,
                session_id=self._core.id,
                op="open_terminal",
            )
        if not isinstance(answer, Exit):
            raise self._channel.lost()
        return ExecResult(
            stdout_bytes=b"",
            stderr_bytes=b"",
            exit_code=answer.exit_code,
            signal=answer.signal or None,
            duration=answer.duration_us / 1e6,
            reason=REASONS[answer.reason],
            killed=answer.killed,
            left_running=answer.left_running,
        )

    async def _tell(self, result: ExecResult | None, error: BaseException | None) -> None:
        if self._told:
            return
        self._told = True
        if self._core.hooks.on_exec_end is not None:
            event = hooks.ExecEnded(
                session_id=self._core.id, argv=self._started.argv, result=result, error=error
            )
            await hooks.tell(self._core.hooks.on_exec_end, event)
