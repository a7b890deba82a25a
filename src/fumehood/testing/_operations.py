"""The inside of a session in memory: which part of it carries out which request."""

from __future__ import annotations

import posixpath

from fumehood._wire.table import ErrorCode, Field, Frame, Operation
from fumehood.testing._commands import CommandOperations
from fumehood.testing._file_operations import FileOperations
from fumehood.testing._incoming_operations import IncomingOperations
from fumehood.testing._port_operations import PortOperations
from fumehood.testing._process_operations import ProcessOperations
from fumehood.testing._state_operations import StateOperations
from fumehood.testing._talk import Place, Serve, Talk
from fumehood.testing._terminal_operations import TerminalOperations
from fumehood.testing._tree_operations import TreeOperations
from fumehood.testing.commands import Programs
from fumehood.testing.files import MemoryFiles, RefusedError
from fumehood.text import printable

_STARTS = frozenset({Operation.EXEC, Operation.START, Operation.TERMINAL})
"""What begins a command."""


class Inside:
    """The inside of one session.

    Args:
        files: its files.
        programs: what can be run in it.
    """

    def __init__(self, files: MemoryFiles, programs: Programs) -> None:
        self.place = Place(files=files, programs=programs)
        self._processes = ProcessOperations(self.place)
        self._ports = PortOperations(self.place)
        self._operations: dict[Operation, Serve] = {
            **CommandOperations(self.place).table,
            **FileOperations(self.place).table,
            **IncomingOperations(self.place).table,
            **self._processes.table,
            **self._ports.table,
            **StateOperations(self.place).table,
            **TerminalOperations(self.place).table,
            **TreeOperations(self.place).table,
        }

    @property
    def trees(self) -> int:
        """How many processes run."""
        return self._processes.running

    def begin(self, env: dict[str, str], max_processes: int) -> None:
        """Become the inside of a session, with all that can be run by now."""
        self.place.env = env
        self.place.max_processes = max_processes
        # Programs are files too: rules for commands look for them on the PATH.
        for name in self.place.programs.names:
            if name.startswith("/") or "/" not in name:
                self.place.files.write(posixpath.join("/usr/bin", name), b"", mode=0o755)

    def left(self, connection: int) -> None:
        """Note that a connection is gone, and with it what was tied to it."""
        self.place.pause.release(connection)

    def end(self) -> None:
        """End all that runs."""
        self.place.pause.end()
        self._processes.end()
        self._ports.end()

    async def serve(self, talk: Talk) -> None:
        """Carry out a request; every one is answered, also those that nothing here can do."""
        try:
            operation = self._operations.get(talk.operation)
            if operation is None:
                name = talk.operation.name.lower()
                raise RefusedError(
                    ErrorCode.UNSUPPORTED, message=f"a session in memory has no {name}"
                )
            if talk.operation in _STARTS and self.place.pause.active:
                raise RefusedError(ErrorCode.PAUSED, step="open")
            await operation(talk)
        except RefusedError as refusal:
            fields: dict[Field, int | str] = {
                Field.ERROR: int(refusal.code),
                Field.ERRNO: refusal.number,
                Field.STEP: refusal.step,
            }
            if refusal.message:
                fields[Field.MESSAGE] = printable(refusal.message)[:200]
            if refusal.size >= 0:
                fields[Field.SIZE] = refusal.size
            talk.finish(Frame.FAIL, fields)
