"""Commands that go on while an agent does something else: ``exec_command`` and ``write_stdin``.

A command with ``tty`` is at a terminal of its session, another one is a stream of events. Each is
read by a task of its own, which stops when nobody has asked for 4 MiB of output: the command then
waits, and nothing is lost.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field

from agents.sandbox.errors import ExecTransportError, PtySessionNotFoundError
from agents.sandbox.session.pty_output import collect_pty_output
from agents.sandbox.session.pty_types import (
    PTY_PROCESSES_MAX,
    PtyExecUpdate,
    allocate_pty_process_id,
    clamp_pty_yield_time_ms,
    process_id_to_prune_from_meta,
    resolve_pty_write_yield_time_ms,
)

from fumehood.errors import CommandError, CommandNotFoundError, SandboxError
from fumehood.exec import ExecStream
from fumehood.results import Exit
from fumehood.session import AsyncSession
from fumehood.terminals import AsyncTerminal

MAX_UNREAD_BYTES = 4 << 20
ROWS, COLUMNS = 24, 120
FIRST_YIELD_MS, LATER_YIELD_MS = 10_000, 250
NOT_STARTED, NOT_FOUND = 126, 127


@dataclass(slots=True)
class _Running:
    """A command, and what it has written that nobody has asked for."""

    source: AsyncTerminal | ExecStream
    command: tuple[str, ...]
    chunks: deque[bytes] = field(default_factory=deque)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    room: asyncio.Event = field(default_factory=asyncio.Event)
    over: bool = False
    exit_code: int | None = None
    error: SandboxError | None = None
    last_used: float = field(default_factory=time.monotonic)
    reader: asyncio.Task[None] | None = None

    async def read(self) -> None:
        """Take what it writes until it is over."""
        try:
            if isinstance(self.source, AsyncTerminal):
                async for data in self.source:
                    await self._keep(data)
                self.exit_code = (await self.source.wait()).exit_code
            else:
                async for event in self.source:
                    if isinstance(event, Exit):
                        self.exit_code = event.result.exit_code
                    else:
                        await self._keep(event.data)
        except CommandError as exc:
            # A shell would say it so as well.
            self.exit_code = NOT_FOUND if isinstance(exc, CommandNotFoundError) else NOT_STARTED
            self.chunks.append(f"{exc}\n".encode())
        except SandboxError as exc:
            self.error = exc
        finally:
            self.over = True
            self.news.set()

    async def _keep(self, data: bytes) -> None:
        while sum(map(len, self.chunks)) >= MAX_UNREAD_BYTES:
            self.room.clear()
            await self.room.wait()
        async with self.lock:
            self.chunks.append(data)
        self.news.set()

    async def end(self) -> None:
        """Kill it, if it still runs, with everything it has started."""
        if self.reader is not None:
            self.reader.cancel()
            await asyncio.wait([self.reader])
        await self.source.aclose()


class Ptys:
    """The commands of one session that were started and not waited for, by number."""

    def __init__(self) -> None:
        self._running: dict[int, _Running] = {}

    async def start(
        self,
        session: AsyncSession,
        argv: list[str],
        *,
        tty: bool,
        user: str | None,
        yield_time_s: float | None,
        max_output_tokens: int | None,
    ) -> PtyExecUpdate:
        """Start a command and return what it writes within the first seconds.

        Raises:
            ExecTransportError: the session is over.
        """
        command = tuple(argv)
        try:
            source: AsyncTerminal | ExecStream
            if tty:
                source = await session.open_terminal(argv, rows=ROWS, cols=COLUMNS, user=user)
            else:
                source = session.exec_stream(argv, user=user, timeout=None)
        except SandboxError as exc:
            raise ExecTransportError(command=command, cause=exc, message=str(exc)) from exc
        running = _Running(source, command)
        running.reader = asyncio.create_task(running.read())
        number = allocate_pty_process_id(set(self._running))
        self._running[number] = running
        try:
            await self._make_room()
            wait_ms = FIRST_YIELD_MS if yield_time_s is None else int(yield_time_s * 1000)
            return await self._update(number, clamp_pty_yield_time_ms(wait_ms), max_output_tokens)
        except asyncio.CancelledError:
            # Nobody has its number.
            self._running.pop(number, None)
            await running.end()
            raise

    async def write(
        self,
        number: int,
        chars: str,
        *,
        yield_time_s: float | None,
        max_output_tokens: int | None,
    ) -> PtyExecUpdate:
        """Type something to a command at a terminal, and return what it writes then.

        Raises:
            PtySessionNotFoundError: there is no such command, or its end was told.
            RuntimeError: it is at no terminal; in the words that the framework's tool looks for.
            ExecTransportError: the session is over.
        """
        running = self._running.get(number)
        if running is None:
            raise PtySessionNotFoundError(session_id=number)
        if chars:
            if not isinstance(running.source, AsyncTerminal):
                raise RuntimeError("stdin is not available for this process")
            try:
                await running.source.write(chars)
            except CommandError:
                pass  # it has ended, and the update says so
            except SandboxError as exc:
                raise ExecTransportError(
                    command=running.command, cause=exc, message=str(exc)
                ) from exc
        wait_ms = LATER_YIELD_MS if yield_time_s is None else int(yield_time_s * 1000)
        running.last_used = time.monotonic()
        return await self._update(
            number,
            resolve_pty_write_yield_time_ms(yield_time_ms=wait_ms, input_empty=not chars),
            max_output_tokens,
        )

    async def end_all(self) -> None:
        """Kill them all."""
        running, self._running = list(self._running.values()), {}
        for one in running:
            await one.end()

    async def _update(
        self, number: int, wait_ms: int, max_output_tokens: int | None
    ) -> PtyExecUpdate:
        running = self._running[number]
        running.room.set()
        output, tokens, over = await collect_pty_output(
            output_chunks=running.chunks,
            output_lock=running.lock,
            output_notify=running.news,
            is_done=lambda: running.over,
            yield_time_ms=wait_ms,
            max_output_tokens=max_output_tokens,
        )
        running.room.set()
        if over:
            self._running.pop(number, None)
            await running.end()
            if running.error is not None:
                error = running.error
                raise ExecTransportError(
                    command=running.command, cause=error, message=str(error)
                ) from error
        return PtyExecUpdate(
            process_id=None if over else number,
            output=output,
            exit_code=running.exit_code if over else None,
            original_token_count=tokens,
        )

    async def _make_room(self) -> None:
        """End the one that was used least lately when there are too many."""
        if len(self._running) <= PTY_PROCESSES_MAX:
            return
        number = process_id_to_prune_from_meta(
            [(number, one.last_used, one.over) for number, one in self._running.items()]
        )
        if number is not None:
            await self._running.pop(number).end()
