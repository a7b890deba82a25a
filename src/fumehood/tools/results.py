"""What a tool gives back: a text for the model, and the same as values for the program."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

FailureKind = Literal["unknown_tool", "arguments", "policy", "denied", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A text that may have been cut in its middle."""

    text: str
    bytes: int
    """Of the whole."""
    left_out_bytes: int = 0
    left_out_lines: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandOutcome:
    """How a command ended."""

    type: ClassVar[str] = "command"
    exit_code: int
    reason: str
    """``exited``, ``signaled``, ``timed_out``, ``out_of_memory`` or ``cancelled``."""
    signal: int | None
    duration: float
    stdout: Shown
    stderr: Shown
    left_running: int
    killed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FilePage:
    """Some lines of a file."""

    type: ClassVar[str] = "page"
    path: str
    text: str
    start_line: int
    end_line: int
    next_start_line: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FileChanged:
    """A file was written."""

    type: ClassVar[str] = "changed"
    path: str
    bytes: int
    replaced: int = 0
    """Occurrences that an edit has replaced."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One entry of a directory."""

    path: str
    type: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FileList:
    """What is in a directory."""

    type: ClassVar[str] = "files"
    path: str
    entries: tuple[Listed, ...]
    left_out: int
    """Entries that the caps of the policy did not let through."""
    skipped_unreadable: int = 0
    """What lies deeper and the session's user may not read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """One line that matches."""

    path: str
    line_number: int
    line: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchHits:
    """What a search has found."""

    type: ClassVar[str] = "hits"
    hits: tuple[Hit, ...]
    """Those that are shown."""
    more: bool
    """Whether there are more, or may be."""
    files_searched: int
    files_skipped: int
    """Binary, too large, or not readable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessState:
    """A managed process."""

    type: ClassVar[str] = "process"
    id: str
    name: str | None
    argv: tuple[str, ...]
    status: str
    exit_code: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessList:
    """The managed processes of a session."""

    type: ClassVar[str] = "processes"
    processes: tuple[ProcessState, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPart:
    """A part of what a process has written."""

    type: ClassVar[str] = "logs"
    process: ProcessState
    text: str
    start: int
    next_offset: int
    dropped: int
    """Bytes that the log no longer held."""
    more: bool
    """Whether there was more than the caps allow: ``next_offset`` goes on there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """Somebody listens here."""

    port: int
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PortList:
    """The ports that somebody listens at."""

    type: ClassVar[str] = "ports"
    ports: tuple[Port, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a call did nothing, or not what it was to do."""

    type: ClassVar[str] = "failure"
    kind: FailureKind
    message: str
    code: str | None = None
    """The :class:`~fumehood.ErrorCode` of a ``failed`` one."""


Value = (
    CommandOutcome
    | FilePage
    | FileChanged
    | FileList
    | SearchHits
    | ProcessState
    | ProcessList
    | LogPart
    | PortList
    | Failure
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolResult:
    """What came of a call: ``text`` goes to the model, ``value`` is for the program."""

    tool: str
    text: str
    value: Value

    @property
    def is_error(self) -> bool:
        """Whether the call failed. A command that ends with another status than 0 did not."""
        return isinstance(self.value, Failure)

    @property
    def data(self) -> dict[str, Any]:
        """``value`` as JSON can carry it, with its ``type``."""
        return {"type": self.value.type, **dataclasses.asdict(self.value)}

    def __str__(self) -> str:
        return self.text


class Refused(Exception):  # noqa: N818 - no error of a program: what the model is told
    """A call that is answered instead of done. It never leaves ``dispatch``."""

    def __init__(self, kind: FailureKind, message: str) -> None:
        super().__init__(message)
        self.kind: FailureKind = kind
        self.message = message
