"""How far a long wait is, on standard error, and only where somebody looks at it."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Self

from fumehood import PullProgress, TransferProgress
from fumehood.cli import output

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class _Display:
    """A display of progress that comes up at the first thing to show."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._shown: Progress | None = None

    def _show(self) -> Progress | None:
        if self._shown is None and not self._quiet and sys.stderr.isatty():
            # Here, because most commands never show it and rich takes its time to load.
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                DownloadColumn,
                Progress,
                TextColumn,
                TimeRemainingColumn,
                TransferSpeedColumn,
            )

            self._shown = Progress(
                # Names come from registries and file systems: they are text, never markup.
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                DownloadColumn(binary_units=True),
                TransferSpeedColumn(),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._shown.start()
        return self._shown

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._shown is not None:
            self._shown.stop()
            self._shown = None


class PullDisplay(_Display):
    """The layers of an image that is pulled; what a sandbox's ``progress=`` calls."""

    def __init__(self, *, quiet: bool) -> None:
        super().__init__(quiet=quiet)
        self._layers: dict[str, TaskID] = {}
        self._said = False

    def __call__(self, step: PullProgress) -> None:
        """Take one step of the pull."""
        if not self._said and not self._quiet:
            self._said = True
            output.note(f"pulling {step.image}")
        display = self._show()
        if display is None or not step.layer or not step.total:
            return
        name = f"{output.one_line(step.layer)[:20]} {output.one_line(step.status)[:20]}"
        if step.layer not in self._layers:
            self._layers[step.layer] = display.add_task(name, total=step.total)
        display.update(
            self._layers[step.layer],
            description=name,
            completed=step.current,
            total=step.total,
        )


class CopyDisplay(_Display):
    """Bytes of files that are copied; what a transfer's ``progress=`` calls.

    Args:
        quiet: show nothing.
        total: bytes of all transfers together; None: each transfer says it, once it knows.
        name: what is copied.
    """

    def __init__(self, *, quiet: bool, total: int | None, name: str) -> None:
        super().__init__(quiet=quiet)
        self.quiet: bool = quiet
        self._total = total
        self._name = output.one_line(name)[-40:]
        self._task: TaskID | None = None
        self._before = self._now = 0

    def next(self) -> None:
        """Count what comes from here on as another transfer's."""
        self._before += self._now
        self._now = 0

    def __call__(self, step: TransferProgress) -> None:
        """Take one step of a transfer."""
        self._now = step.bytes
        display = self._show()
        if display is None:
            return
        total = step.total_bytes if self._total is None else self._total
        if self._task is None:
            self._task = display.add_task(self._name, total=total)
        display.update(self._task, completed=self._before + self._now, total=total)
