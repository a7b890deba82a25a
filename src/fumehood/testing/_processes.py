"""Managed processes in memory: scripts that outlive the channel that started them, with a log."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from fumehood._wire import table
from fumehood._wire.table import ErrorCode, ExecCode, Field, Frame
from fumehood.testing._changes import Changes
from fumehood.testing._input import ClosedError, Input
from fumehood.testing._talk import Place
from fumehood.testing.commands import CommandCall, as_bytes
from fumehood.testing.files import RefusedError

_log = logging.getLogger("fumehood.testing")

_SIGKILL, _SIGTERM = 9, 15
_FIRST_PID = 100
_PIECE = 1 << 15


@dataclass(slots=True)
class Piece:
    """Output of one stream."""

    offset: int
    frame: Frame
    data: bytearray


class Log:
    """The newest bytes that a process has written, each with its offset.

    Args:
        size: how many are kept.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._pieces: deque[Piece] = deque()
        self.end = 0
        self.totals = {Frame.STDOUT: 0, Frame.STDERR: 0}

    @property
    def first(self) -> int:
        """The offset of the oldest byte that is kept."""
        return self._pieces[0].offset if self._pieces else self.end

    def write(self, frame: Frame, data: bytes) -> None:
        """Add output; the oldest makes room for it."""
        self.totals[frame] += len(data)
        for at in range(0, len(data), _PIECE):
            part = data[at : at + _PIECE]
            last = self._pieces[-1] if self._pieces else None
            if last is not None and last.frame is frame and len(last.data) + len(part) <= _PIECE:
                last.data += part
            else:
                self._pieces.append(Piece(self.end, frame, bytearray(part)))
            self.end += len(part)
            self._forget(self.end - self._size)

    def _forget(self, before: int) -> None:
        while self._pieces and self._pieces[0].offset < before:
            piece = self._pieces[0]
            count = min(len(piece.data), before - piece.offset)
            del piece.data[:count]
            piece.offset += count
            if not piece.data:
                self._pieces.popleft()

    def read(self, offset: int) -> tuple[int, Frame, bytes] | None:
        """Return the next output at or behind an offset, and where it begins."""
        for piece in self._pieces:
            skip = max(0, offset - piece.offset)
            if skip < len(piece.data):
                return piece.offset + skip, piece.frame, bytes(piece.data[skip:])
        return None


class Process:
    """One of them.

    Args:
        number: from 1, never used again.
        name: by which it is found; may be empty.
        has_input: whether its standard input is open.
        log_bytes: how much of its output is kept.
    """

    def __init__(self, number: int, name: str, *, has_input: bool, log_bytes: int) -> None:
        self.number = number
        self.name = name
        self.log_bytes = log_bytes
        self.log = Log(log_bytes)
        self.input = Input(ended=not has_input)
        self.changed = Changes()
        self.started_ns = time.time_ns()
        self.ended: dict[Field, int] | None = None
        """What EXIT says, once there is one."""
        self.ended_ns = 0
        self.call: CommandCall | None = None
        self.writing = asyncio.Lock()
        self.stands = False
        """Whether a signal lets it stand still."""
        self._begun = time.monotonic()
        self._signal = 0
        self._stopping = False
        self._task: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        """A number, to be shown."""
        return _FIRST_PID + self.number

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self.ended is None

    async def stdout(self, data: bytes) -> None:
        """Take output of the script's: nobody is waited for."""
        self._write(Frame.STDOUT, data)

    async def stderr(self, data: bytes) -> None:
        """Take error output, likewise."""
        self._write(Frame.STDERR, data)

    def _write(self, frame: Frame, data: bytes) -> None:
        # A script that was killed and goes on nevertheless is heard no more.
        if self.running:
            self.log.write(frame, data)
            self.changed.tell()

    def begin(self, place: Place, call: CommandCall) -> None:
        """Let its script run."""
        self.call = call
        self._task = asyncio.create_task(self._run(place, call))
        self._task.add_done_callback(self._settle)

    async def _run(self, place: Place, call: CommandCall) -> None:
        try:
            reply = await place.pause.run(
                place.programs.run(call),
                killed=lambda: not self.running,
                stands=lambda: self.stands,
            )
        except Exception as exc:  # noqa: BLE001 - whatever it is, it was the program's end
            # A script is the test's own code: its fault is told where the test looks, and in the
            # log as that of a program which has crashed.
            _log.exception("the script of %r failed", call.argv[0])
            await self.stderr(f"script of {call.argv[0]}: {type(exc).__name__}: {exc}\n".encode())
            self._end(ExecCode.EXITED, 1, 0, killed=0)
            return
        await self.stdout(as_bytes(reply.stdout))
        await self.stderr(as_bytes(reply.stderr))
        self._end(ExecCode.EXITED, reply.exit_code, 0, killed=0)

    def _settle(self, task: asyncio.Task[None]) -> None:
        """Note the end of a script that a signal has cancelled, perhaps before it began."""
        if task.cancelled():
            number = self._signal or _SIGKILL
            self._end(ExecCode.SIGNALED, 128 + number, number, killed=0)

    def _end(self, reason: ExecCode, code: int, number: int, *, killed: int) -> None:
        if self.ended is not None:
            return
        self.ended_ns = time.time_ns()
        self.ended = {
            Field.REASON: int(reason),
            Field.EXIT_CODE: code,
            Field.SIGNAL: number,
            Field.DURATION_US: int((time.monotonic() - self._begun) * 1_000_000),
            Field.STDOUT_TOTAL: self.log.totals[Frame.STDOUT],
            Field.STDERR_TOTAL: self.log.totals[Frame.STDERR],
            Field.KILLED: killed,
            Field.LEFT_RUNNING: 0,
        }
        self.input.close()
        self.changed.tell()

    def signal(self, number: int) -> None:
        """Send a signal; one that ends programs cancels the script, which may catch that."""
        if number == _SIGKILL:
            self._end(ExecCode.SIGNALED, 128 + number, number, killed=0)
        self._signal = number
        self._cancel()

    def stop(self) -> None:
        """Ask it to end."""
        if self.running and not self._stopping:
            self._stopping = True
            self.signal(_SIGTERM)

    def kill(self) -> None:
        """End it, whatever its script does about it."""
        self._end(ExecCode.CANCELLED, 128 + _SIGKILL, _SIGKILL, killed=1)
        self._cancel()

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def write(self, data: bytes) -> None:
        """Write to its input.

        Raises:
            RefusedError: it has ended, or takes no input.
        """
        if not self.running:
            raise RefusedError(ErrorCode.PROCESS_ENDED)
        if not self.input.writable:
            raise RefusedError(ErrorCode.INPUT_CLOSED)
        try:
            await self.input.write(data)
        except ClosedError:
            raise RefusedError(ErrorCode.PROCESS_ENDED) from None


class Processes:
    """All of a session's."""

    def __init__(self) -> None:
        self._known: dict[int, Process] = {}
        self._numbers = 0

    def __iter__(self) -> Iterator[Process]:
        return iter(list(self._known.values()))

    @property
    def running(self) -> int:
        """How many have not ended."""
        return sum(process.running for process in self._known.values())

    def get(self, number: int) -> Process:
        """Return one.

        Raises:
            RefusedError: it is not known.
        """
        found = self._known.get(number)
        if found is None:
            raise RefusedError(ErrorCode.NO_PROCESS)
        return found

    def new(self, name: str, most: int, *, has_input: bool, log_bytes: int) -> Process:
        """Make one that is yet to begin.

        Raises:
            RefusedError: the name is taken, or as many run as may.
        """
        if name and any(item.running and item.name == name for item in self):
            raise RefusedError(ErrorCode.NAME_TAKEN)
        if self.running >= most:
            raise RefusedError(ErrorCode.TOO_MANY_PROCESSES)
        return Process(self._numbers + 1, name, has_input=has_input, log_bytes=log_bytes)

    def add(self, process: Process) -> None:
        """Know one that begins, and forget the oldest of those that have ended."""
        self._numbers = process.number
        self._known[process.number] = process
        over = [item for item in self if not item.running]
        for item in over[: max(0, len(over) - table.KEPT_PROCESSES)]:
            del self._known[item.number]

    def end(self) -> None:
        """End all of them."""
        for process in self:
            process.kill()
