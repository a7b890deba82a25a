"""What a session in memory does with terminals: scripts that see keys, a size and a hang-up."""

from __future__ import annotations

import asyncio
import time

from fumehood._wire.table import ExecCode, Field, Frame, Operation
from fumehood.testing._commands import call_of, run_script
from fumehood.testing._talk import Place, Serve, Talk, number
from fumehood.testing._terminal import Terminal
from fumehood.testing.commands import as_bytes

_SIGHUP, _SIGINT, _SIGKILL = 1, 2, 9
_PATIENCE = 1.0
"""Seconds that a script has after a hang-up."""


class TerminalOperations:
    """``terminal``.

    Args:
        place: the session's.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self.table: dict[Operation, Serve] = {Operation.TERMINAL: self._open}

    async def _open(self, talk: Talk) -> None:
        program = _Program(self._place, talk)
        try:
            await program.run()
        finally:
            program.end()
        talk.finish(Frame.EXIT, program.exit())


class _Program:
    """A script at a terminal.

    Args:
        place: the session's.
        talk: its channel.

    Raises:
        RefusedError: it cannot be started.
    """

    def __init__(self, place: Place, talk: Talk) -> None:
        self._talk = talk
        self._begun = time.monotonic()
        self._signal = 0
        self._shown = 0
        size = number(talk, Field.ROWS), number(talk, Field.COLUMNS)
        self._terminal = Terminal(size, self._show, self._interrupt)
        talk.resized = self._terminal.resize
        output = self._terminal.shown
        call = call_of(place, talk, self._terminal, output, output, terminal=self._terminal)
        running = place.pause.run(run_script(place, call), killed=lambda: talk.dropped)
        self._script = asyncio.create_task(running)

    async def run(self) -> None:
        """Wait for its end, or for the caller's wish that it end.

        Raises:
            RefusedError: its script has failed.
        """
        keys = asyncio.create_task(self._type())
        try:
            await asyncio.wait({self._script})
            if not self._script.cancelled():
                # It may fail, and what it replies with is shown like what it has written.
                reply = self._script.result()
                await self._terminal.shown(as_bytes(reply.stdout))
                await self._terminal.shown(as_bytes(reply.stderr))
        except asyncio.CancelledError:
            if not self._talk.cancelled:
                raise
            keys.cancel()
            await self._hang_up()
        finally:
            keys.cancel()

    async def _type(self) -> None:
        while data := await self._talk.piece():
            await self._terminal.type(data)

    async def _show(self, data: bytes) -> None:
        self._shown += len(data)
        await self._talk.output(Frame.STDOUT, data)

    def _interrupt(self) -> None:
        self._signal = _SIGINT
        self._script.cancel()

    async def _hang_up(self) -> None:
        self._terminal.hang_up()
        if not self._script.done():
            self._signal = _SIGHUP
            self._script.cancel()
            await asyncio.wait({self._script}, timeout=_PATIENCE)

    def end(self) -> None:
        """End it, whatever its script does about it."""
        self._terminal.hang_up()
        self._script.cancel()

    def exit(self) -> dict[Field, int]:
        """Return what EXIT says."""
        reason, code, signal = ExecCode.EXITED, 0, 0
        if not self._script.done():
            reason, code, signal = ExecCode.CANCELLED, 128 + _SIGKILL, _SIGKILL
        elif self._script.cancelled():
            signal = self._signal or _SIGKILL
            reason, code = ExecCode.SIGNALED, 128 + signal
        else:
            code = self._script.result().exit_code
        return {
            Field.REASON: int(reason),
            Field.EXIT_CODE: code,
            Field.SIGNAL: signal,
            Field.DURATION_US: int((time.monotonic() - self._begun) * 1_000_000),
            Field.STDOUT_TOTAL: self._shown,
            Field.STDERR_TOTAL: 0,
            Field.KILLED: int(reason is ExecCode.CANCELLED),
            Field.LEFT_RUNNING: 0,
        }
