"""From a coroutine to an exit code: signals, errors, and what the user is told of them."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import NoReturn

import typer

from fumehood import (
    AsyncDockerSandbox,
    CommandNotExecutableError,
    CommandNotFoundError,
    EngineUnavailableError,
    InvalidRequestError,
    SandboxError,
    __version__,
)
from fumehood.cli import output
from fumehood.text import printable

FAILED = 1
USAGE = 2
UNAVAILABLE = 69
"""No engine answers: EX_UNAVAILABLE of <sysexits.h>."""
TIMED_OUT = 124
NOT_RUN = 125
"""``run`` and ``exec``: fumehood failed, not the command; as coreutils' ``timeout`` has it."""
NOT_EXECUTABLE = 126
NOT_FOUND = 127
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PIPE_CLOSED = 128 + signal.SIGPIPE
before_leaving: list[Callable[[], None]] = []
"""What has to be done even where there is no time for clean-up, such as giving a terminal back."""


@dataclass(frozen=True, slots=True)
class Common:
    """The options that stand before the command's name."""

    docker_host: str | None = None

    def sandbox(self) -> AsyncDockerSandbox:
        """Return a sandbox for whatever creates nothing."""
        return AsyncDockerSandbox(docker_host=self.docker_host)


def common(ctx: typer.Context) -> Common:
    """Return the options that stand before the command's name."""
    found: object = ctx.obj
    return found if isinstance(found, Common) else Common()


def finish(
    work: Callable[[], Awaitable[int]], *, failed: int = FAILED, after: str = ""
) -> NoReturn:
    """Run ``work`` and exit with the code that it returns, or with that of what went wrong.

    The first Ctrl-C (or SIGTERM, SIGHUP) cancels the work, whose clean-up then runs to its end. A
    second one ends this process at once.

    Args:
        work: what to do, in a new event loop.
        failed: the exit code for errors that have none of their own.
        after: what a second Ctrl-C leaves to whom, to be told then.
    """
    try:
        code = asyncio.run(_interruptible(work, after))
    except SandboxError as exc:
        code = _report(exc, failed)
    except BrokenPipeError:
        # What is left in Python's own buffer would fail again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), output.STDOUT)
        code = _PIPE_CLOSED
    raise typer.Exit(code)


async def _interruptible(work: Callable[[], Awaitable[int]], after: str) -> int:
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None
    caught: list[signal.Signals] = []

    def interrupt(number: signal.Signals) -> None:
        if caught:
            output.note(f"{number.name} again: clean-up was cut short. {after}".rstrip())
            for action in before_leaving:
                action()
            os._exit(128 + number)
        caught.append(number)
        # First: where the terminal has gone, nothing can be said.
        task.cancel()
        output.note(f"{number.name}: cleaning up (once more to leave at once)")

    for number in _SIGNALS:
        # A shell or nohup has a signal ignored that is not meant for this process.
        if signal.getsignal(number) is not signal.SIG_IGN:
            loop.add_signal_handler(number, interrupt, number)
    try:
        return await work()
    except asyncio.CancelledError:
        if not caught:
            raise
        return 128 + caught[0]
    except SandboxError as exc:
        if not caught:
            raise
        _report(exc, FAILED)
        return 128 + caught[0]


def _report(error: SandboxError, failed: int) -> int:
    """Tell of an error in one line and return its exit code."""
    if os.environ.get("FUMEHOOD_DEBUG", "") not in ("", "0"):
        logging.getLogger("fumehood.cli").error("the command failed", exc_info=error)
    output.note(f"error: {error}")
    match error:
        case InvalidRequestError():
            return USAGE
        case EngineUnavailableError():
            return UNAVAILABLE
        case CommandNotFoundError() if failed == NOT_RUN:
            return NOT_FOUND
        case CommandNotExecutableError() if failed == NOT_RUN:
            return NOT_EXECUTABLE
        case _:
            return failed


class _Escaped(logging.Formatter):
    """Log records hold what engines and containers say."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


def log_to_stderr(level: str | None) -> None:
    """Show the library's log, or with ``None`` only what is needed to see an error's traceback."""
    debug = os.environ.get("FUMEHOOD_DEBUG", "") not in ("", "0")
    if level is None and not debug:
        return
    handler: logging.Handler
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.highlighter import NullHighlighter
        from rich.logging import RichHandler

        handler = RichHandler(
            console=Console(stderr=True),
            show_path=False,
            markup=False,
            highlighter=NullHighlighter(),
        )
        handler.setFormatter(_Escaped("%(name)s: %(message)s"))
    else:
        handler = logging.StreamHandler()
        handler.setFormatter(_Escaped("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logger = logging.getLogger("fumehood")
    logger.addHandler(handler)
    logger.setLevel((level or "error").upper())
    logger.debug("fumehood %s, Python %s", __version__, sys.version.partition(" ")[0])
