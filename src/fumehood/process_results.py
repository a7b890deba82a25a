"""What a caller gets of managed processes: frozen values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from fumehood.results import Exit, Stderr, Stdout
from fumehood.text import decode


class ProcessStatus(StrEnum):
    """Where a managed process is."""

    RUNNING = "running"
    EXITED = "exited"
    """It has ended, in whatever way: the exit code, the signal and the reason say more."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Output that the log no longer held when it was this reader's turn."""

    offset: int
    """Where it begins, in all that the process has written."""
    size: int
    """How many bytes are missing, exactly."""


ProcessEvent = Stdout | Stderr | Gap | Exit
"""What :meth:`Process.stream` yields; ``Exit`` is always the last."""


@dataclass(frozen=True, kw_only=True)
class ProcessLogs:
    """What was in the log of a process when it was asked for."""

    events: tuple[Stdout | Stderr | Gap, ...]
    """Both streams in their one order, and what is missing between them."""
    start: int
    """The offset of the first byte that is here; ``end`` when there is none."""
    end: int
    """Where the log ended: ``since=logs.end`` goes on there, without a byte lost or repeated."""

    @property
    def dropped(self) -> int:
        """Bytes that were asked for and no longer in the log."""
        return sum(event.size for event in self.events if isinstance(event, Gap))

    @cached_property
    def stdout_bytes(self) -> bytes:
        """What is here of standard output."""
        return b"".join(event.data for event in self.events if isinstance(event, Stdout))

    @cached_property
    def stderr_bytes(self) -> bytes:
        """What is here of standard error."""
        return b"".join(event.data for event in self.events if isinstance(event, Stderr))

    @cached_property
    def stdout(self) -> str:
        """Standard output as text, invalid bytes replaced."""
        return decode(self.stdout_bytes)

    @cached_property
    def stderr(self) -> str:
        """Standard error as text, invalid bytes replaced."""
        return decode(self.stderr_bytes)

    @cached_property
    def text(self) -> str:
        """Both streams as text, as a terminal would have shown them."""
        return "".join(event.text for event in self.events if not isinstance(event, Gap))
