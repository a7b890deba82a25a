"""What commands do in memory: what a script says, and a few programs that need none."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from fumehood._wire.table import ErrorCode
from fumehood.errors import InvalidRequestError
from fumehood.testing.files import MemoryFiles, RefusedError
from fumehood.text import brief

_DIRECTORIES = ("/bin/", "/usr/bin/", "/usr/local/bin/")
Send = Callable[[bytes], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandReply:
    """How a scripted command ends."""

    stdout: str | bytes = ""
    stderr: str | bytes = ""
    exit_code: int = 0
    """0 to 255."""

    def __post_init__(self) -> None:
        if isinstance(self.exit_code, bool) or self.exit_code not in range(256):
            raise InvalidRequestError(
                f"exit_code must be a number from 0 to 255, not {brief(self.exit_code)}"
            )
        for value in (self.stdout, self.stderr):
            if not isinstance(value, str | bytes):
                raise InvalidRequestError(f"output must be str or bytes, not {brief(value)}")


Reply = CommandReply | str | bytes | int | None
"""``str`` and ``bytes`` are standard output, ``int`` is an exit code, ``None`` a plain success."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandCall:
    """A command that was asked for, as its script sees it."""

    argv: tuple[str, ...]
    stdin: bytes
    """All of it: a script begins once the input has ended."""
    env: Mapping[str, str]
    """The session's with the command's own on top."""
    cwd: str
    """Absolute."""
    user: str | None
    files: MemoryFiles
    """The session's files, to be read and written."""
    _stdout: Send = field(repr=False)
    _stderr: Send = field(repr=False)

    async def write(self, data: str | bytes) -> None:
        """Send standard output now; waits for a caller who takes it more slowly."""
        await self._stdout(as_bytes(data))

    async def write_error(self, data: str | bytes) -> None:
        """Send standard error now, likewise."""
        await self._stderr(as_bytes(data))


Handler = Callable[[CommandCall], Reply | Awaitable[Reply]]
"""A script; a plain function must not block, for it runs on the event loop."""

Commands = Mapping[str | tuple[str, ...], Reply | Handler] | Handler
"""By program (``"git"``) or by whole command line (``("git", "status")``, which wins); or one
function for all, which returns ``NotImplemented`` for what it leaves to the built-in ones."""


def as_bytes(data: str | bytes) -> bytes:
    """Return output as bytes."""
    return data.encode("utf-8", "surrogateescape") if isinstance(data, str) else bytes(data)


class Programs:
    """What is there to be run.

    Args:
        commands: the caller's.

    Raises:
        InvalidRequestError: they are no commands.
    """

    def __init__(self, commands: Commands | None) -> None:
        self._all: Handler | None = None
        self._named: dict[str | tuple[str, ...], Reply | Handler] = {}
        if callable(commands):
            self._all = commands
        elif isinstance(commands, Mapping):
            self._named = dict(commands)
        elif commands is not None:
            raise InvalidRequestError(f"commands must be a mapping or function: {brief(commands)}")
        for name, entry in self._named.items():
            line = (name,) if isinstance(name, str) else name
            if not isinstance(line, tuple) or not line or not all(isinstance(x, str) for x in line):
                raise InvalidRequestError(f"commands: {brief(name)} is no program and no argv")
            if not callable(entry):
                reply_of(entry)

    async def run(self, call: CommandCall) -> CommandReply:
        """Run a command to its end."""
        entry = self._entry(call.argv)
        value = entry(call) if callable(entry) else entry
        if inspect.isawaitable(value):
            value = await value
        if value is NotImplemented:
            return reply_of(_built_in(call.argv[0])(call))
        return reply_of(value)

    def _entry(self, argv: Sequence[str]) -> Reply | Handler:
        for name in (tuple(argv), argv[0], _plain(argv[0])):
            if name in self._named:
                return self._named[name]
        if self._all is not None:
            return self._all
        return _built_in(argv[0])


def reply_of(value: object) -> CommandReply:
    """Return a reply in its whole form."""
    if isinstance(value, CommandReply):
        return value
    if value is None:
        return CommandReply()
    if isinstance(value, str | bytes):
        return CommandReply(stdout=value)
    if isinstance(value, int):
        return CommandReply(exit_code=value)
    raise InvalidRequestError(f"a command replies with {brief(value)}, which is no reply")


def _plain(program: str) -> str:
    """Return a program's name without one of the directories that programs are in."""
    for directory in _DIRECTORIES:
        if program.startswith(directory):
            return program[len(directory) :]
    return program


def _not_found() -> RefusedError:
    return RefusedError(ErrorCode.PROGRAM_NOT_FOUND, 2, step="program")


def _built_in(program: str) -> Handler:
    found = _BUILT_IN.get(_plain(program))
    if found is None:
        raise _not_found()
    return found


def _echo(call: CommandCall) -> Reply:
    newline, words = ("", call.argv[2:]) if call.argv[1:2] == ("-n",) else ("\n", call.argv[1:])
    return " ".join(words) + newline


def _cat(call: CommandCall) -> Reply:
    output, errors = b"", ""
    for name in call.argv[1:] or ("-",):
        try:
            output += call.stdin if name == "-" else call.files.read(_beside(call, name))
        except OSError as exc:
            errors += f"cat: {name}: {exc.strerror}\n"
    return CommandReply(stdout=output, stderr=errors, exit_code=1 if errors else 0)


def _beside(call: CommandCall, name: str) -> str:
    return name if name.startswith("/") else f"{call.cwd}/{name}"


def _env(call: CommandCall) -> Reply:
    if len(call.argv) > 1:
        return CommandReply(stderr="env: in memory it only shows\n", exit_code=125)
    return "".join(f"{name}={value}\n" for name, value in call.env.items())


_BUILT_IN: dict[str, Handler] = {
    "true": lambda _: 0,
    "false": lambda _: 1,
    "echo": _echo,
    "cat": _cat,
    "pwd": lambda call: f"{call.cwd}\n",
    "env": _env,
}
