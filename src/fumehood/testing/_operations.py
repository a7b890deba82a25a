"""What a session in memory does with each request: files, and the commands of a script."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import posixpath
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol, cast

from fumehood._wire import codec, table
from fumehood._wire.codec import Value
from fumehood._wire.table import ErrorCode, ExecCode, Field, FileCode, Frame, Operation, Root
from fumehood.testing.commands import CommandCall, CommandReply, Programs, as_bytes
from fumehood.testing.files import Directory, File, MemoryFiles, Node, RefusedError
from fumehood.text import printable

_log = logging.getLogger("fumehood.testing")

_SIGKILL = 9
_ABSENT = (1 << 64) - 1
"""As a time that a file must have: that it must not be there."""


class Talk(Protocol):
    """One channel, as an operation uses it."""

    operation: Operation
    fields: Mapping[Field, Value]
    input: bytearray
    cancelled: bool

    async def whole_input(self, limit: int | None = None) -> bytes:
        """Wait for the end of the input and return all of it."""
        ...

    async def output(self, frame: Frame, data: bytes) -> None:
        """Send output as far and as fast as the windows allow."""
        ...

    def finish(self, frame: Frame, fields: Mapping[Field, int | str]) -> None:
        """Send the last frame."""
        ...


class Inside:
    """The inside of one session.

    Args:
        files: its files.
        programs: what can be run in it.
    """

    def __init__(self, files: MemoryFiles, programs: Programs) -> None:
        self.files = files
        self._programs = programs
        self.env: dict[str, str] = {}
        self._operations: dict[Operation, Callable[[Talk], Awaitable[None]]] = {
            Operation.EXEC: self._exec,
            Operation.READ: self._read,
            Operation.WRITE: self._write,
            Operation.LIST: self._list,
            Operation.STAT: self._stat,
            Operation.MAKE_DIRECTORY: self._make_directory,
            Operation.REMOVE: self._remove,
            Operation.RENAME: self._rename,
        }

    async def serve(self, talk: Talk) -> None:
        """Carry out a request; every one is answered, also those that nothing here can do."""
        try:
            operation = self._operations.get(talk.operation)
            if operation is None:
                name = talk.operation.name.lower()
                raise RefusedError(
                    ErrorCode.UNSUPPORTED, message=f"a session in memory has no {name}"
                )
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

    # --- commands ---

    async def _exec(self, talk: Talk) -> None:
        begun = time.monotonic()
        command = _Output(talk)
        call = self._call(talk, command)
        milliseconds = _number(talk, Field.TIMEOUT_MS)
        timeout = asyncio.timeout(milliseconds / 1000 if milliseconds else None)
        try:
            async with timeout:
                if talk.fields[Field.STDIN]:
                    call = dataclasses.replace(call, stdin=await talk.whole_input())
                reply = await self._reply(call)
                # What a script has sent itself came before.
                await command.stdout(as_bytes(reply.stdout))
                await command.stderr(as_bytes(reply.stderr))
            reason, code = ExecCode.EXITED, reply.exit_code
        except TimeoutError:
            if not timeout.expired():
                raise
            reason, code = ExecCode.TIMED_OUT, 128 + _SIGKILL
        except asyncio.CancelledError:
            if not talk.cancelled:
                raise
            reason, code = ExecCode.CANCELLED, 128 + _SIGKILL
        killed = reason is not ExecCode.EXITED
        talk.finish(
            Frame.EXIT,
            {
                Field.REASON: int(reason),
                Field.EXIT_CODE: code,
                Field.SIGNAL: _SIGKILL if killed else 0,
                Field.DURATION_US: int((time.monotonic() - begun) * 1_000_000),
                Field.STDOUT_TOTAL: command.totals[Frame.STDOUT],
                Field.STDERR_TOTAL: command.totals[Frame.STDERR],
                Field.KILLED: int(killed),
                Field.LEFT_RUNNING: 0,
            },
        )

    def _call(self, talk: Talk, command: _Output) -> CommandCall:
        env = dict(self.env)
        env.update(variables(talk.fields.get(Field.ENV)))
        cwd = self.files.absolute(_text(talk, Field.CWD))
        try:
            self.files.directory(cwd)
        except RefusedError as refusal:
            raise RefusedError(ErrorCode.CWD, refusal.number, step="cwd") from None
        user = cast("str | None", talk.fields.get(Field.USER))
        check_user(user)
        arguments = cast("list[bytes]", talk.fields[Field.ARGUMENT])
        return CommandCall(
            argv=tuple(item.decode("utf-8", "surrogateescape") for item in arguments),
            stdin=b"",
            env=env,
            cwd=cwd,
            user=user,
            files=self.files,
            _stdout=command.stdout,
            _stderr=command.stderr,
        )

    async def _reply(self, call: CommandCall) -> CommandReply:
        try:
            return await self._programs.run(call)
        except RefusedError:
            raise
        except Exception as exc:
            # A script is the test's own code: its fault is told where the test looks.
            _log.exception("the script of %r failed", call.argv[0])
            raise RefusedError(
                ErrorCode.IO, step="script", message=f"{type(exc).__name__}: {exc}"
            ) from exc

    # --- files ---

    async def _read(self, talk: Talk) -> None:
        data = self.files.file(self._path(talk)).data[_number(talk, Field.OFFSET) :]
        if len(data) > _number(talk, Field.LIMIT):
            raise RefusedError(ErrorCode.TOO_LARGE, size=len(data))
        await talk.output(Frame.STDOUT, data)
        talk.finish(Frame.DONE, {Field.SIZE: len(data)})

    async def _write(self, talk: Talk) -> None:
        path, limit = self._path(talk), _number(talk, Field.LIMIT)
        data = await talk.whole_input(limit)
        if Field.MODIFIED_NS in talk.fields:
            self._check_unchanged(talk, path)
        parents = bool(talk.fields[Field.PARENTS])
        self.files.put(path, data, _number(talk, Field.MODE), parents=parents)
        talk.finish(Frame.DONE, {Field.SIZE: len(data)})

    def _check_unchanged(self, talk: Talk, path: str) -> None:
        wanted = _number(talk, Field.MODIFIED_NS)
        if not self.files.exists(path):
            if wanted != _ABSENT:
                raise RefusedError(ErrorCode.CHANGED)
            return
        node = self.files.find(path)
        if not isinstance(node, File) or (node.modified_ns, len(node.data)) != (
            wanted,
            talk.fields.get(Field.SIZE),
        ):
            raise RefusedError(ErrorCode.CHANGED)

    async def _list(self, talk: Talk) -> None:
        if Field.INCLUDE in talk.fields or Field.EXCLUDE in talk.fields:
            raise RefusedError(ErrorCode.UNSUPPORTED, message="a session in memory has no patterns")
        path, limit = self._path(talk), _number(talk, Field.LIMIT)
        if talk.fields[Field.RECURSIVE]:
            found = list(self.files.walk(path))
        else:
            found = list(self.files.directory(path).entries.items())
        if len(found) > limit:
            raise RefusedError(ErrorCode.TOO_MANY_ENTRIES)
        await talk.output(Frame.STDOUT, b"".join(_record(name, node) for name, node in found))
        talk.finish(Frame.DONE, {Field.ENTRIES: len(found)})

    async def _stat(self, talk: Talk) -> None:
        path = self._path(talk)
        node = self.files.find(path)
        await talk.output(Frame.STDOUT, _record(posixpath.basename(path) or ".", node))
        talk.finish(Frame.DONE, {})

    async def _make_directory(self, talk: Talk) -> None:
        parents = bool(talk.fields[Field.PARENTS])
        self.files.make_directory(self._path(talk), _number(talk, Field.MODE), parents=parents)
        talk.finish(Frame.DONE, {})

    async def _remove(self, talk: Talk) -> None:
        self.files.unlink(self._path(talk), recursive=bool(talk.fields[Field.RECURSIVE]))
        talk.finish(Frame.DONE, {})

    async def _rename(self, talk: Talk) -> None:
        parents = bool(talk.fields[Field.PARENTS])
        target = self._rooted(talk, _text(talk, Field.TARGET))
        self.files.rename(self._path(talk), target, parents=parents)
        talk.finish(Frame.DONE, {})

    def _path(self, talk: Talk) -> str:
        return self._rooted(talk, _text(talk, Field.PATH))

    def _rooted(self, talk: Talk, path: str) -> str:
        if talk.fields[Field.ROOT] == Root.FILESYSTEM:
            return "/" + path.lstrip("/")
        inside = self.files.absolute(".")
        found = self.files.absolute(path)
        if not f"{found}/".startswith(f"{inside}/"):
            raise RefusedError(ErrorCode.ESCAPES)
        return found


class _Output:
    """What a command writes: counted whole, sent up to the caller's limits."""

    def __init__(self, talk: Talk) -> None:
        self._talk = talk
        self.totals = {Frame.STDOUT: 0, Frame.STDERR: 0}
        self._left = {
            Frame.STDOUT: _number(talk, Field.STDOUT_LIMIT),
            Frame.STDERR: _number(talk, Field.STDERR_LIMIT),
        }

    async def stdout(self, data: bytes) -> None:
        await self._send(Frame.STDOUT, data)

    async def stderr(self, data: bytes) -> None:
        await self._send(Frame.STDERR, data)

    async def _send(self, frame: Frame, data: bytes) -> None:
        self.totals[frame] += len(data)
        kept = data[: self._left[frame]]
        self._left[frame] -= len(kept)
        await self._talk.output(frame, kept)


def variables(values: Value | None) -> dict[str, str]:
    """Return an environment from the wire's ``NAME=value`` strings."""
    pairs = (item.decode("utf-8", "surrogateescape") for item in cast("list[bytes]", values or []))
    return {name: value for name, _, value in (pair.partition("=") for pair in pairs)}


def check_user(user: str | None) -> None:
    """Refuse a user whom nobody knows: in memory there are root and numbers."""
    if user and not all(part in ("root", "") or part.isdecimal() for part in user.split(":")):
        raise RefusedError(ErrorCode.USER_NOT_FOUND, step="user")


def _number(talk: Talk, field: Field) -> int:
    return cast("int", talk.fields[field])


def _text(talk: Talk, field: Field) -> str:
    return cast("bytes", talk.fields[field]).decode("utf-8", "surrogateescape")


def _record(name: str, node: Node) -> bytes:
    directory = isinstance(node, Directory)
    body = codec.encode_fields(
        {
            Field.TYPE: int(FileCode.DIRECTORY if directory else FileCode.FILE),
            Field.SIZE: 4096 if isinstance(node, Directory) else len(node.data),
            Field.MODE: node.mode,
            Field.MODIFIED_NS: node.modified_ns,
            Field.UID: 0,
            Field.GID: 0,
            Field.NAME: name.encode("utf-8", "surrogateescape"),
        }
    )
    assert len(body) <= table.MAX_RECORD
    return len(body).to_bytes(4, "big") + body
