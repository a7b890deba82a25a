"""What a session in memory does with requests about managed processes."""

from __future__ import annotations

import asyncio

from fumehood._wire.requests import FROM_NOW_ON
from fumehood._wire.table import ErrorCode, Field, Frame, Operation
from fumehood.testing._commands import call_of
from fumehood.testing._processes import Process, Processes
from fumehood.testing._talk import Place, Serve, Talk, number
from fumehood.testing.files import RefusedError

_SHOWN_ARGUMENTS = 64
_SHOWN_BYTES = 1024
_SIGCONT, _SIGSTOP = 18, 19
_IGNORED = frozenset({17, 20, 21, 22, 23, 28})
"""SIGCHLD, SIGURG, SIGWINCH do nothing to a program that does not ask for them; SIGTSTP, SIGTTIN,
SIGTTOU nothing to one that has a session for itself: the kernel knows nobody who would continue it.
"""


class ProcessOperations:
    """Those on managed processes.

    Args:
        place: the session's.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self._processes = Processes()
        self.table: dict[Operation, Serve] = {
            Operation.START: self._start,
            Operation.ATTACH: self._attach,
            Operation.LOGS: self._logs,
            Operation.SEND: self._send,
            Operation.PROCESSES: self._list,
            Operation.SIGNAL: self._signal,
            Operation.STOP: self._stop,
        }

    @property
    def running(self) -> int:
        """How many run."""
        return self._processes.running

    def end(self) -> None:
        """End all of them."""
        self._processes.end()

    async def _start(self, talk: Talk) -> None:
        raw = talk.fields.get(Field.PROCESS_NAME)
        process = self._processes.new(
            str(raw or ""),
            self._place.max_processes,
            has_input=bool(talk.fields[Field.STDIN]),
            log_bytes=number(talk, Field.LOG_BYTES),
        )
        call = call_of(self._place, talk, process.input, process.stdout, process.stderr)
        self._processes.add(process)
        process.begin(self._place, call)
        talk.finish(
            Frame.DONE,
            {
                Field.PROCESS: process.number,
                Field.PID: process.pid,
                Field.STARTED_NS: process.started_ns,
            },
        )

    def _asked(self, talk: Talk) -> Process:
        return self._processes.get(number(talk, Field.PROCESS))

    async def _attach(self, talk: Talk) -> None:
        process = self._asked(talk)
        offset = _offset(process, talk)
        while talk.fields[Field.AT_END] and process.running:
            await process.changed.wait()
        reader = _Reader(talk, process, offset)
        while await reader.step() or process.running:
            if process.running and reader.caught_up:
                await process.changed.wait()
        assert process.ended is not None
        talk.finish(Frame.EXIT, {**process.ended, Field.OFFSET: process.log.end})

    async def _logs(self, talk: Talk) -> None:
        process = self._asked(talk)
        end = process.log.end
        reader = _Reader(talk, process, _offset(process, talk), until=end)
        while await reader.step():
            pass
        talk.finish(Frame.DONE, {Field.OFFSET: end})

    async def _send(self, talk: Talk) -> None:
        process = self._asked(talk)
        data = await talk.whole_input()
        async with process.writing:
            await process.write(data)
            if talk.fields[Field.CLOSE]:
                process.input.end()
        talk.finish(Frame.DONE, {Field.SIZE: len(data)})

    async def _list(self, talk: Talk) -> None:
        asked = Field.PROCESS in talk.fields
        for process in [self._asked(talk)] if asked else self._processes:
            talk.tell(Frame.PROCESS, _described(process))
        talk.finish(Frame.DONE, {})

    async def _signal(self, talk: Talk) -> None:
        process, value = self._asked(talk), number(talk, Field.SIGNAL)
        if not process.running:
            raise RefusedError(ErrorCode.PROCESS_ENDED)
        if value == _SIGCONT and self._place.pause.active:
            raise RefusedError(ErrorCode.PAUSED, step="signal")
        if value in (_SIGCONT, _SIGSTOP):
            process.stands = value == _SIGSTOP
            self._place.pause.tell()
        elif value not in _IGNORED:
            process.signal(value)
        talk.finish(Frame.DONE, {})

    async def _stop(self, talk: Talk) -> None:
        process = self._asked(talk)
        grace = number(talk, Field.GRACE_MS)
        if grace == 0:
            process.kill()
        else:
            process.stop()
            # It goes on whatever becomes of this channel.
            asyncio.get_running_loop().call_later(grace / 1000, process.kill)
        while process.running:
            await process.changed.wait()
        assert process.ended is not None
        talk.finish(Frame.EXIT, {**process.ended, Field.OFFSET: process.log.end})


class _Reader:
    """One who reads a log, and is told where it does not go on.

    Args:
        talk: the channel.
        process: whose log it is.
        offset: where to begin; None for its end, wherever that is.
        until: where to end; None for no end.
    """

    def __init__(
        self, talk: Talk, process: Process, offset: int | None, *, until: int | None = None
    ) -> None:
        self._talk = talk
        self._log = process.log
        self._told = offset
        self._at = process.log.end if offset is None else offset
        self._until = until

    @property
    def caught_up(self) -> bool:
        """Whether there is nothing more for now."""
        return self._at >= self._log.end

    async def step(self) -> bool:
        """Send the next piece; False when there is none."""
        found = self._log.read(self._at)
        if found is None:
            return False
        offset, frame, data = found
        if self._until is not None:
            data = data[: max(0, self._until - offset)]
        if not data:
            return False
        if offset != self._told:
            self._talk.tell(Frame.POSITION, {Field.OFFSET: offset})
        self._at = self._told = offset + len(data)
        await self._talk.output(frame, data)
        return True


def _offset(process: Process, talk: Talk) -> int | None:
    offset = number(talk, Field.OFFSET)
    if offset == FROM_NOW_ON:
        return None
    if offset > process.log.end:
        raise RefusedError(ErrorCode.INVALID, step="offset")
    return offset


def _described(process: Process) -> dict[Field, int | bytes | str | list[bytes]]:
    assert process.call is not None
    every = [item.encode("utf-8", "surrogateescape") for item in process.call.argv]
    shown, left = list[bytes](), _SHOWN_BYTES
    for item in every[:_SHOWN_ARGUMENTS]:
        if left <= 0:
            break
        shown.append(item[:left])
        left -= len(item)
    fields: dict[Field, int | bytes | str | list[bytes]] = {
        Field.PROCESS: process.number,
        Field.ARGUMENT: shown,
        Field.ARGV_CUT: int(shown != every),
        Field.LOG_BYTES: process.log_bytes,
        Field.STDIN: int(process.running and process.input.writable),
        Field.PID: process.pid,
        Field.STARTED_NS: process.started_ns,
        Field.LOG_FIRST: process.log.first,
        Field.LOG_END: process.log.end,
    }
    if process.name:
        fields[Field.PROCESS_NAME] = process.name
    if process.ended is not None:
        fields |= process.ended
        fields[Field.ENDED_NS] = process.ended_ns
    return fields
