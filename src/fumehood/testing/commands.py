"""What commands do in memory: what a script says, and a few programs that need none."""

from __future__ import annotations

import asyncio
import errno
import inspect
import shlex
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import cast

from fumehood._wire.table import ErrorCode
from fumehood.adapters._joined import SCRIPT
from fumehood.errors import InvalidRequestError
from fumehood.ports import check_port
from fumehood.testing._input import Input
from fumehood.testing._terminal import Terminal
from fumehood.testing.files import MemoryFiles, RefusedError
from fumehood.testing.ports import Connection, Ports, Server
from fumehood.text import brief

SHELLS = frozenset({"sh", "bash"})
_SHELL_SIGNS = frozenset("|&;<>()$`\\*?[]{}~#!\n")
_SHELL_WORDS = frozenset({".", "case", "cd", "eval", "exec", "exit", "export", "for", "if", "set"})
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
    """All of it: a command's script begins once the input has ended. Of a process empty: what is
    written to it while it runs comes by :meth:`read`."""
    env: Mapping[str, str]
    """The session's with the command's own on top."""
    cwd: str
    """Absolute."""
    user: str | None
    files: MemoryFiles
    """The session's files, to be read and written."""
    _input: Input = field(repr=False)
    _ports: Ports = field(repr=False)
    _stdout: Send = field(repr=False)
    _stderr: Send = field(repr=False)
    _terminal: Terminal | None = field(default=None, repr=False)

    @property
    def size(self) -> tuple[int, int] | None:
        """Rows and columns of its terminal; ``None`` where it has none."""
        return None if self._terminal is None else self._terminal.size

    async def resized(self) -> tuple[int, int]:
        """Wait for another size of its terminal than this has last returned; return the new one.

        Raises:
            OSError: it has no terminal.
        """
        if self._terminal is None:
            raise OSError(errno.ENOTTY, "not a terminal")
        return await self._terminal.resized()

    def serve(self, port: int, server: Server) -> AbstractContextManager[None]:
        """Listen at a port of the session for as long as the block runs.

        Args:
            port: 1 to 65535.
            server: a coroutine function that serves one :class:`Connection`, which is over when it
                returns. It is cancelled when its peer breaks off.

        Raises:
            OSError: as the block is entered: somebody listens there.
            InvalidRequestError: it is no port.
        """
        return self._ports.listening(check_port(port), server)

    def connect(self, port: int) -> AbstractAsyncContextManager[Connection]:
        """Connect to a port of the session for as long as the block runs, from within.

        Another script may serve it, or a client: with ``Network.allow`` the proxy, at the port that
        ``env["http_proxy"]`` names. The other end sees the end of the block as the end of what was
        sent; what it still sends then is refused.

        Args:
            port: 1 to 65535.

        Raises:
            ConnectionRefusedError: as the block is entered: nobody listens there.
            InvalidRequestError: it is no port.
        """
        return self._ports.connected(check_port(port))

    async def read(self) -> bytes:
        """Return what comes next from standard input; ``b""`` when it has ended.

        At a terminal that is one line, and ``b""`` only the end that Ctrl-D has typed.
        """
        return await self._input.read()

    async def read_line(self) -> str:
        r"""Return the next line of standard input with its ``\n``; ``""`` when it has ended."""
        return (await self._input.read_line()).decode("utf-8", "surrogateescape")

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
            _check(name, entry)

    def add(self, command: str | tuple[str, ...], entry: Reply | Handler) -> None:
        """Say what a command does from now on.

        Raises:
            InvalidRequestError: it is none, or the reply is none.
        """
        _check(command, entry)
        self._named[command] = entry

    @property
    def names(self) -> set[str]:
        """The programs that are known by name."""
        return {name if isinstance(name, str) else name[0] for name in self._named} | set(BUILT_IN)

    def check(self, argv: Sequence[str]) -> None:
        """Find out whether a command can be begun.

        Raises:
            RefusedError: there is no such program.
        """
        self._entry(argv)

    def shell(self) -> str:
        """Return the shell that somebody gets who names no program: one that is scripted.

        Raises:
            RefusedError: none is.
        """
        if self._all is not None:
            return "/bin/sh"
        for shell in ("/bin/bash", "/bin/sh"):
            if not {(shell,), shell, _plain(shell)}.isdisjoint(self._named):
                return shell
        raise RefusedError(ErrorCode.PROGRAM_NOT_FOUND, errno.ENOENT, step="program")

    async def run(self, call: CommandCall) -> CommandReply:
        """Run a command to its end."""
        value = await _value(self._entry(call.argv), call)
        if value is NotImplemented:
            value = await _value(self._built_in(call.argv), call)
        return reply_of(value)

    def _entry(self, argv: Sequence[str]) -> Reply | Handler:
        for name in (tuple(argv), argv[0], _plain(argv[0])):
            if name in self._named:
                return self._named[name]
        if self._all is not None:
            return self._all
        return self._built_in(argv)

    def _built_in(self, argv: Sequence[str]) -> Handler:
        if _plain(argv[0]) in SHELLS:
            if tuple(argv[1:4]) == ("-c", SCRIPT, "sh") and len(argv) == 5:
                self._entry(inner := ("/bin/sh", "-c", argv[4]))
                return lambda call: self._joined(call, inner)
            line = plain_line(argv)
            return lambda call: self._shell(call, line)
        found = BUILT_IN.get(_plain(argv[0]))
        if found is None:
            raise RefusedError(ErrorCode.PROGRAM_NOT_FOUND, errno.ENOENT, step="program")
        return found

    async def _joined(self, call: CommandCall, argv: tuple[str, ...]) -> CommandReply:
        """Run a line as an adapter does that wants both streams as one."""
        reply = await self.run(replace(call, argv=argv, _stderr=call.write))
        out = as_bytes(reply.stdout) + as_bytes(reply.stderr)
        return CommandReply(stdout=out, exit_code=reply.exit_code)

    async def _shell(self, call: CommandCall, line: Sequence[str]) -> CommandReply:
        """Run the one command of a line, as the shell that it was given to would."""
        try:
            return await self.run(replace(call, argv=tuple(line)))
        except RefusedError as refusal:
            if refusal.code is not ErrorCode.PROGRAM_NOT_FOUND:
                raise
            return CommandReply(stderr=f"sh: 1: {line[0]}: not found\n", exit_code=127)


def _check(name: object, entry: Reply | Handler) -> None:
    if not _is_command(name):
        raise InvalidRequestError(f"commands: {brief(name)} is no program and no argv")
    if not callable(entry):
        reply_of(entry)


def _is_command(name: object) -> bool:
    if isinstance(name, tuple):
        words = cast("tuple[object, ...]", name)
        return bool(words) and all(isinstance(word, str) for word in words)
    return isinstance(name, str) and name != ""


async def _value(entry: Reply | Handler, call: CommandCall) -> object:
    value = entry(call) if callable(entry) else entry
    return await value if inspect.isawaitable(value) else value


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


def plain_line(argv: Sequence[str]) -> list[str]:
    """Return the words of ``sh -c LINE`` where a shell would do nothing but run them.

    Raises:
        RefusedError: it is more than that: there is no shell in memory.
    """
    refusal = RefusedError(
        ErrorCode.UNSUPPORTED,
        step="program",
        message="in memory a shell runs plain command lines only: script this one by its argv",
    )
    if len(argv) != 3 or argv[1] != "-c":
        raise refusal
    try:
        words = shlex.split(argv[2])
    except ValueError:
        raise refusal from None
    if not words or _SHELL_SIGNS & set(argv[2]) or "=" in words[0] or words[0] in _SHELL_WORDS:
        raise refusal
    return words


async def _cat(call: CommandCall) -> Reply:
    errors = ""
    for name in call.argv[1:] or ("-",):
        if name == "-":
            while data := await call.read():
                await call.write(data)
            continue
        try:
            await call.write(call.files.read(_beside(call, name)))
        except OSError as exc:
            errors += f"cat: {name}: {exc.strerror}\n"
    return CommandReply(stderr=errors, exit_code=1 if errors else 0)


async def _sleep(call: CommandCall) -> Reply:
    try:
        seconds = float(call.argv[1])
    except (IndexError, ValueError):
        return CommandReply(stderr="sleep: in memory it takes one number\n", exit_code=1)
    await asyncio.sleep(seconds)
    return None


def _echo(call: CommandCall) -> Reply:
    newline, words = ("", call.argv[2:]) if call.argv[1:2] == ("-n",) else ("\n", call.argv[1:])
    return " ".join(words) + newline


def _beside(call: CommandCall, name: str) -> str:
    return name if name.startswith("/") else f"{call.cwd}/{name}"


def _env(call: CommandCall) -> Reply:
    if len(call.argv) > 1:
        return CommandReply(stderr="env: in memory it only shows\n", exit_code=125)
    return "".join(f"{name}={value}\n" for name, value in call.env.items())


BUILT_IN: dict[str, Handler] = {
    "true": lambda _: 0,
    "false": lambda _: 1,
    "echo": _echo,
    "cat": _cat,
    "pwd": lambda call: f"{call.cwd}\n",
    "env": _env,
    "sleep": _sleep,
}
