"""Which program a command would run, and whether the rules let it.

What is decided on is the file that would run, and that very file is then run by its absolute path:
no second look at ``PATH`` can find another. Names that lead to one binary for many programs
(busybox) are told apart by the name, as the binary itself does it.
"""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from fumehood.errors import CommandNotFoundError, FileError
from fumehood.tools.call import Call
from fumehood.tools.policy import CommandRules
from fumehood.tools.real_paths import TooManyLinksError, real_path
from fumehood.tools.results import Refused

_PATH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
_MANY_IN_ONE = frozenset({"busybox", "toybox", "coreutils", "box"})
_SHELLS = frozenset({"sh", "bash", "dash", "ash", "zsh", "ksh", "mksh", "hush"})
_SHELL = "/bin/sh"
_BUILT_IN = frozenset(
    {".", ":", "alias", "bg", "break", "cd", "command", "continue", "eval", "exec", "exit"}
    | {"export", "fg", "getopts", "hash", "jobs", "local", "read", "readonly", "return", "set"}
    | {"shift", "source", "times", "trap", "type", "ulimit", "umask", "unalias", "unset", "wait"}
)
"""What a shell does itself, and no file does instead."""
_NEEDS_SHELL = frozenset("|&;<>()$`\\\"'*?[]#~=%{}!\n")
_BETWEEN = frozenset("|&;()\n{}`")
_MAX_NESTING = 4
_SHELL_FILES = frozenset({"--rcfile", "--init-file"})
"""Options of a shell whose value is a word of its own, as that of each ``o`` is."""
_SHELL_HINT = " (this line needs a shell: give one program and plain arguments as argv instead)"


@dataclass(frozen=True, slots=True)
class Program:
    """A program that was found."""

    path: str
    """As it was named, made absolute."""
    real: str
    """The file that it leads to."""

    @property
    def name(self) -> str:
        """By what it was called."""
        return posixpath.basename(self.path)

    @property
    def many(self) -> bool:
        """Whether its file is many programs, told apart by the name."""
        return posixpath.basename(self.real) in _MANY_IN_ONE


async def permitted(call: Call, command: str | None, argv: list[str] | None, cwd: str) -> list[str]:
    """Return what to run for a line of shell or a program with arguments.

    Raises:
        Refused: the rules are against it, or it is neither or both.
    """
    if (command is None) == (argv is None):
        raise Refused("arguments", "give either command (a line for /bin/sh) or argv, not both")
    rules = call.rules.commands
    if rules.unrestricted:
        return [_SHELL, "-c", command] if command is not None else _words(argv)
    checker = _Checker(call, rules, cwd)
    if command is not None:
        return await checker.line(command)
    return await checker.command(_words(argv), 0)


def _words(argv: Sequence[str] | None) -> list[str]:
    if not argv or not argv[0]:
        raise Refused("arguments", "argv needs at least the name of a program")
    return list(argv)


class _Checker:
    """Holds one command against the rules."""

    def __init__(self, call: Call, rules: CommandRules, cwd: str) -> None:
        self._call = call
        self._rules = rules
        self._cwd = cwd

    async def line(self, text: str) -> list[str]:
        """Return what to run for a line: the program itself where the line is nothing more."""
        words = text.split()
        if words and words[0] not in _BUILT_IN and not _NEEDS_SHELL & set(text):
            return await self.command(words, 0)
        self._named_in(text)
        await self._check(await self._found(_SHELL), _SHELL_HINT)
        return [_SHELL, "-c", text]

    async def command(self, argv: list[str], depth: int) -> list[str]:
        """Return a command with its program's absolute path, after a look at what it wraps."""
        program = await self._found(argv[0])
        await self._inspect(program, argv, depth)
        return [program.path, *argv[1:]]

    async def _inspect(self, program: Program, argv: list[str], depth: int) -> None:
        if depth >= _MAX_NESTING:
            raise Refused("policy", "a program that runs one that runs one: name it directly")
        await self._check(program)
        if program.name in _MANY_IN_ONE and program.many:
            if len(argv) > 1 and not argv[1].startswith("-"):
                applet = Program(f"/{posixpath.basename(argv[1])}", program.real)
                await self._inspect(applet, argv[1:], depth + 1)
        elif (inner := _wrapped(program.name, argv)) is not None:
            await self.command(inner, depth + 1)
        elif program.name in _SHELLS and (script := _script(argv)) is not None:
            self._named_in(script)

    async def _found(self, name: str) -> Program:
        """Return the program that a name stands for."""
        program = await self._look_up(name)
        if program is None:
            text = f"{name}: there is no such program in the sandbox"
            raise Refused("failed", text + self._allowed_text())
        return program

    async def _look_up(self, name: str) -> Program | None:
        path = await self._path()
        if "/" in name:
            base = posixpath.join(self._call.session.workdir, self._cwd)
            candidates = [posixpath.join(base, name)]
        else:
            candidates = [posixpath.join(item, name) for item in path]
        for candidate in candidates:
            try:
                real, entry = await real_path(self._call.session, candidate)
            except (FileError, TooManyLinksError):
                continue  # not for the session's user to look at, so not for it to run
            if entry is not None and entry.type == "file" and entry.mode & 0o111:
                return Program(posixpath.normpath(candidate), real)
        return None

    async def _path(self) -> tuple[str, ...]:
        bench = self._call.bench
        async with bench.looking:
            if bench.path is None:
                bench.path = await _session_path(self._call)
        return bench.path

    async def _check(self, program: Program, hint: str = "") -> None:
        for rule in self._rules.block:
            if _meets(program, rule) or await self._same_file(program, rule):
                raise Refused("policy", f"{program.name} is blocked here ({rule}){hint}")
        if self._rules.allow is not None and not any(
            _meets(program, rule) and self._is(program, rule) for rule in self._rules.allow
        ):
            raise Refused(
                "policy", f"{program.name} is not allowed here{hint}{self._allowed_text()}"
            )

    async def _same_file(self, program: Program, rule: str) -> bool:
        """Return whether it is a blocked program under another name."""
        if program.many:
            return False
        if posixpath.basename(program.real) == rule:
            return True
        blocked = await self._look_up(rule)
        return blocked is not None and not blocked.many and blocked.real == program.real

    def _is(self, program: Program, rule: str) -> bool:
        """Return whether it is what the rule's name leads to, and not another file of that name."""
        path = self._call.bench.path or ()
        if rule.startswith("/") or posixpath.dirname(program.path) in path:
            return True
        return program.many and posixpath.dirname(program.real) in path

    def _allowed_text(self) -> str:
        allow = self._rules.allow
        return "" if allow is None else f"; allowed: {', '.join(allow) or 'nothing'}"

    def _named_in(self, text: str) -> None:
        """Look for blocked names where a line of shell would run them: no more than its words."""
        for name in _command_words(text):
            base = posixpath.basename(name)
            for rule in self._rules.block:
                if base == posixpath.basename(rule):
                    raise Refused("policy", f"{base} is blocked here, also in a line of shell")


def _meets(program: Program, rule: str) -> bool:
    """Return whether a program is called as a rule calls it."""
    if rule.startswith("/"):
        return program.path == rule or (program.real == rule and not program.many)
    return program.name == rule


def _command_words(text: str) -> list[str]:
    """Return every word of a line of shell, quotes taken off, operators taken as its ends."""
    spaced = "".join(f" {letter} " if letter in _BETWEEN else letter for letter in text)
    spaced = spaced.replace("$ (", " ( ")
    lexer = shlex.shlex(spaced, posix=True, punctuation_chars=False)
    lexer.whitespace_split = True
    lexer.commenters = ""
    try:
        return list(lexer)
    except ValueError:  # a quote without its end: the shell will say so
        return spaced.replace('"', " ").replace("'", " ").split()


def _script(argv: list[str]) -> str | None:
    """Return what a shell is given to run by ``-c``: the first word behind all of its options."""
    asked = False
    words = iter(argv[1:])
    for word in words:
        if word in ("-", "--"):
            return next(words, None) if asked else None
        if not word.startswith(("-", "+")):
            return word if asked else None
        if word in _SHELL_FILES:
            next(words, None)
        elif not word.startswith("--"):
            asked |= word.startswith("-") and "c" in word
            for _ in range(word.count("o") + word.count("O")):
                next(words, None)
    return None


def _wrapped(name: str, argv: list[str]) -> list[str] | None:
    """Return the command that a well-known wrapper runs; None for what is no wrapper.

    Raises:
        Refused: a wrapper's options that nothing here understands.
    """
    takes = _WRAPPERS.get(name)
    if takes is None:
        return None
    rest = list(argv[1:])
    while rest:
        word = rest[0]
        if word == "--":
            rest = rest[1:]
            break
        if name == "env" and "=" in word and not word.startswith("-"):
            rest = rest[1:]
        elif not word.startswith("-") or word == "-":
            if word != "-":
                break
            rest = rest[1:]
        elif word in takes.alone or (word.startswith("--") and "=" in word):
            rest = rest[1:]
        elif word in takes.with_value:
            rest = rest[2:]
        else:
            raise Refused(
                "policy", f"{name} {word}: not understood here; run the program without {name}"
            )
    if name == "timeout":
        rest = rest[1:]
    while name == "env" and rest and "=" in rest[0]:
        rest = rest[1:]
    return rest or None


@dataclass(frozen=True, slots=True)
class _Options:
    alone: frozenset[str] = frozenset()
    with_value: frozenset[str] = frozenset()


_WRAPPERS: dict[str, _Options] = {
    "env": _Options(
        frozenset({"-i", "-0", "--ignore-environment", "--null"}),
        frozenset({"-u", "-C", "--unset", "--chdir"}),
    ),
    "nohup": _Options(),
    "setsid": _Options(
        frozenset({"-c", "-f", "-w", "--ctty", "--fork", "--wait"}),
    ),
    "nice": _Options(with_value=frozenset({"-n", "--adjustment"})),
    "timeout": _Options(
        frozenset({"-v", "--verbose", "--foreground", "--preserve-status"}),
        frozenset({"-k", "-s", "--kill-after", "--signal"}),
    ),
    "stdbuf": _Options(with_value=frozenset({"-i", "-o", "-e", "--input", "--output", "--error"})),
}


async def _session_path(call: Call) -> tuple[str, ...]:
    """Ask the session for its own PATH; one whose image has no ``env`` has the usual."""
    try:
        told = await call.session.exec(["env"], timeout=10)
    except CommandNotFoundError:
        return _PATH
    for line in told.stdout.splitlines():
        if line.startswith("PATH="):
            return tuple(item for item in line[5:].split(":") if item.startswith("/"))
    return _PATH
