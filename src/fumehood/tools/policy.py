"""What a model may do with its tools: frozen values, checked when they are made."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeVar

from fumehood._checks import Seconds, flag, names, seconds, whole
from fumehood._core import FileRoot
from fumehood.errors import InvalidRequestError
from fumehood.text import brief

_T = TypeVar("_T")
TOOL_NAMES = (
    "exec_command",
    "read_file",
    "write_file",
    "edit_file",
    "list_files",
    "search_files",
    "start_process",
    "list_processes",
    "read_process_logs",
    "write_process_stdin",
    "stop_process",
    "list_ports",
    "wait_for_port",
)
"""Every tool there is."""

_MAX_BYTES = 64 << 20
_MAX_LINES = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalRequest:
    """A call that waits for somebody's word. The policy has found nothing against it."""

    tool: str
    arguments: Mapping[str, object]
    """As the model gave them, checked; what it left out has its default."""
    summary: str
    """One line for a person: the command, or the file and how much of it."""


Verdict = bool | str
"""True lets the call go on. False, or a reason that the model is told, refuses it."""
Approve = Callable[[ApprovalRequest], Verdict | Awaitable[Verdict]]
"""A plain function runs in a thread of its own, so that it may wait for a person; a coroutine
function runs on the session's loop. What it raises is raised by ``dispatch``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandRules:
    """Which programs may be run, by name (``"git"``) or absolute path (``"/usr/bin/git"``).

    With rules, a program is looked up on the session's ``PATH`` before it is run, links are
    followed, and what was found is what runs: another spelling, ``./git`` or a link called ``git``,
    is not the ``git`` of a rule. What a permitted program does then is its own affair: an
    interpreter or a shell runs anything. ``docs/tools.md`` says what a list can hold and what not.
    """

    allow: tuple[str, ...] | None = None
    """Only these; ``None`` for all."""
    block: tuple[str, ...] = ()
    """None of these, not even as what ``env`` or a line of shell names: a guard against mistakes,
    no wall."""

    def __post_init__(self) -> None:
        if self.allow is not None:
            object.__setattr__(self, "allow", _programs(self.allow, "allow"))
        object.__setattr__(self, "block", _programs(self.block, "block"))

    @property
    def unrestricted(self) -> bool:
        """Whether there is no rule at all."""
        return self.allow is None and not self.block


def _programs(value: tuple[str, ...], what: str) -> tuple[str, ...]:
    found = names(value, f"CommandRules.{what}")
    for name in found:
        if not isinstance(name, str) or not name or "\0" in name:
            raise InvalidRequestError(f"CommandRules.{what}: {brief(name)} is not a program")
        if "/" in name and not name.startswith("/"):
            raise InvalidRequestError(
                f"CommandRules.{what}: {brief(name)} must be a name or an absolute path"
            )
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolPolicy:
    """What differs for one tool; ``None`` leaves it as the :class:`Policy` has it."""

    commands: CommandRules | None = None
    timeout: Seconds | None = None
    max_timeout: Seconds | None = None
    max_bytes: int | None = None
    max_lines: int | None = None
    approval: bool | None = None

    def __post_init__(self) -> None:
        if self.commands is not None and not isinstance(self.commands, CommandRules):
            raise InvalidRequestError(f"commands must be CommandRules, not {brief(self.commands)}")
        _check_times(self.timeout, self.max_timeout)
        _check_caps(self.max_bytes, self.max_lines)
        if self.approval is not None:
            flag(self.approval, "approval")


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What a model may do, and how much of a result it is shown.

    Example::

        policy = Policy(
            commands=CommandRules(allow=("python3", "git", "ls")),
            writable=("src", "tests"),
            tools={"exec_command": ToolPolicy(max_timeout=120)},
        )
    """

    commands: CommandRules = field(default_factory=CommandRules)
    """For ``exec_command`` and ``start_process``."""
    timeout: Seconds | None = None
    """Seconds that a call may wait when the model does not say. ``None``: for a command the
    session's ``Limits.timeout``; 60 where it has none, and for everything else."""
    max_timeout: Seconds = 600.0
    """The most that it can ask for."""
    max_bytes: int = 24_000
    """The most bytes of a result's text: of each stream of a command, of a page of a file."""
    max_lines: int = 500
    """The most lines of the same."""
    max_write_bytes: int = 1 << 20
    """The largest file that the model may write."""
    writable: tuple[str, ...] | None = None
    """Files may be written beneath these only, links followed; ``None`` for everywhere. It binds
    the file tools: what a command writes, no list of paths can tell."""
    read_only: bool = False
    """Offer only tools that change nothing; running a program is not one of them."""
    approve: Approve | None = None
    """Asked before the tools in ``approval``."""
    approval: tuple[str, ...] = (
        "exec_command",
        "start_process",
        "write_process_stdin",
        "write_file",
        "edit_file",
    )
    tools: Mapping[str, ToolPolicy] = field(default_factory=dict[str, ToolPolicy])
    """What differs for single tools, by their names."""
    root: FileRoot = None
    """``None``: paths are those of the workspace. ``"/"``: of the container's whole file system."""

    def __post_init__(self) -> None:
        if not isinstance(self.commands, CommandRules):
            raise InvalidRequestError(f"commands must be CommandRules, not {brief(self.commands)}")
        _check_times(self.timeout, self.max_timeout)
        _check_caps(self.max_bytes, self.max_lines)
        whole(self.max_write_bytes, "max_write_bytes", minimum=0, maximum=1 << 40)
        flag(self.read_only, "read_only")
        if self.writable is not None:
            object.__setattr__(self, "writable", names(self.writable, "writable"))
        if self.approve is not None and not callable(self.approve):
            raise InvalidRequestError(f"approve must be a function, not {brief(self.approve)}")
        object.__setattr__(self, "approval", names(self.approval, "approval"))
        if not isinstance(self.tools, Mapping):
            raise InvalidRequestError(f"tools must be a mapping, not {brief(self.tools)}")
        for name in (*self.approval, *self.tools):
            if name not in TOOL_NAMES:
                raise InvalidRequestError(
                    f"there is no tool {brief(name)}; there are {', '.join(TOOL_NAMES)}"
                )
        for name, value in self.tools.items():
            if not isinstance(value, ToolPolicy):
                raise InvalidRequestError(f"tools[{name!r}] must be a ToolPolicy")
        if self.root not in (None, "/"):
            raise InvalidRequestError(f"root must be None or '/', not {brief(self.root)}")
        object.__setattr__(self, "tools", MappingProxyType(dict(self.tools)))
        for name in TOOL_NAMES:
            rules = self.rules(name)
            _check_times(rules.timeout, rules.max_timeout)

    def rules(self, tool: str) -> Rules:
        """Return what holds for one tool."""
        own = self.tools.get(tool, ToolPolicy())
        longest = seconds(_chosen(own.max_timeout, self.max_timeout), "max_timeout")
        usual = _chosen(own.timeout, self.timeout)
        usual = None if usual is None else seconds(usual, "timeout")
        return Rules(
            commands=_chosen(own.commands, self.commands),
            # A tool whose longest is short needs no second number.
            timeout=usual if usual is None or own.timeout is not None else min(usual, longest),
            max_timeout=longest,
            max_bytes=_chosen(own.max_bytes, self.max_bytes),
            max_lines=_chosen(own.max_lines, self.max_lines),
            approval=_chosen(own.approval, tool in self.approval),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What holds for one tool, nothing left open."""

    commands: CommandRules
    timeout: float | None
    """``None``: nothing is said of it."""
    max_timeout: float
    max_bytes: int
    max_lines: int
    approval: bool


def _chosen(own: _T | None, general: _T) -> _T:
    return general if own is None else own


def _check_times(usual: Seconds | None, longest: Seconds | None) -> None:
    first = None if usual is None else seconds(usual, "timeout", minimum=0.001)
    last = None if longest is None else seconds(longest, "max_timeout", minimum=0.001)
    if first is not None and last is not None and first > last:
        raise InvalidRequestError(f"timeout ({first:g} s) is longer than max_timeout ({last:g} s)")


def _check_caps(size: int | None, lines: int | None) -> None:
    if size is not None:
        whole(size, "max_bytes", minimum=256, maximum=_MAX_BYTES)
    if lines is not None:
        whole(lines, "max_lines", minimum=2, maximum=_MAX_LINES)
