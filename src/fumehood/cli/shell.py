"""``fumehood shell``: the terminal at hand, joined to one in a session."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import dataclass, field
from typing import Annotated, Literal

import typer

from fumehood import AsyncSession, AsyncTerminal, CommandError
from fumehood.cli import flags, output, running, values
from fumehood.cli.commands import exit_code
from fumehood.cli.local_terminal import LocalTerminal

_LEAVE = 0x1D  # Ctrl-]
_LEAVE_TIMES = 3
_LEAVE_WITHIN = 1.0

End = Literal["ended", "left", "gone"]
"""The program has; whoever sits here has left it; this terminal was hung up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shell:
    """What is run at the terminal; ``argv`` is None for the user's own shell."""

    argv: list[str] | None
    cwd: str = "."
    env: dict[str, str] = field(default_factory=dict[str, str])
    user: str | None = None
    quiet: bool = False


def shell(
    ctx: typer.Context,
    id: Annotated[str, typer.Argument(metavar="ID", help="The session's id: see 'fumehood ls'.")],
    command: flags.Words = None,
    workdir: flags.Directory = ".",
    env: flags.Env = None,
    env_file: flags.EnvFile = None,
    user: flags.CommandUser = None,
    quiet: flags.Quiet = False,
) -> None:
    """Open a shell, or CMD, at a terminal in a session that is there.

    Without CMD it is the user's own shell, as the container has it, otherwise
    bash or sh. All keys go to it: Ctrl-C, Ctrl-D and Ctrl-Z too, and the
    window's size. Pressing Ctrl-] three times within a second leaves: what
    runs there is hung up, and the session stays.

    Output passes as it is. A hostile program can do to this terminal whatever
    a program can do to a terminal; its modes are put right at the end.

    [bold]Examples[/bold]

      fumehood shell ID
      fumehood shell --user root ID -- bash -l
      fumehood shell ID -- vi main.py

    [bold]Exit codes[/bold]

      the shell's own; 128+N when signal N ended it; 0 after Ctrl-]
      125  fumehood failed: the session has ended, say
      126, 127, 69, 2 as of 'fumehood run'
    """
    check_terminal("shell")
    wanted = Shell(
        argv=values.command_line(command) or None,
        cwd=workdir,
        env=values.environment(env or (), env_file or ()),
        user=user,
        quiet=quiet,
    )

    async def work() -> int:
        async with running.common(ctx).sandbox() as sandbox, sandbox.connect(id) as session:
            return await attach(session, wanted)

    running.finish(work, failed=running.NOT_RUN, after="The session hangs the shell up by itself.")


def check_terminal(what: str) -> None:
    """Refuse to go on where nobody sits at a terminal."""
    if not LocalTerminal.is_there():
        raise typer.BadParameter(
            f"'{what}' is for a terminal, and standard input or output is none: "
            "'fumehood exec ID -- CMD' runs a command without one"
        )


async def attach(session: AsyncSession, wanted: Shell) -> int:
    """Join this process's terminal to a new one in the session; return this process's exit code.

    When it is cancelled, the other one is hung up and this one is as it was.
    """
    local = LocalTerminal()
    around = {"TERM": os.environ["TERM"]} if os.environ.get("TERM") else {}
    rows, cols = local.size()
    opening = session.open_terminal(
        wanted.argv, rows, cols, env={**around, **wanted.env}, user=wanted.user, cwd=wanted.cwd
    )
    async with opening as terminal:
        # Inside, so that this terminal does not wait for the other one to be hung up.
        with local:
            end = await _join(local, terminal)
        if end == "gone":
            return 128 + signal.SIGHUP
        if end == "left":
            if not wanted.quiet:
                output.note("left: what ran there is hung up")
            return 0
        result = await terminal.wait()
    return exit_code(result, (wanted.argv or ["the shell"])[0], quiet=wanted.quiet)


async def _join(local: LocalTerminal, terminal: AsyncTerminal) -> End:
    """Pass everything both ways until one of them is over."""
    changed = asyncio.Event()
    showing = asyncio.create_task(_show(local, terminal))
    typing = asyncio.create_task(_type(local, terminal))
    following = asyncio.create_task(_follow(local, terminal, changed))
    try:
        with local.watched(changed.set):
            # The window may have changed before anybody watched it.
            changed.set()
            await asyncio.wait({showing, typing}, return_when=asyncio.FIRST_COMPLETED)
            if typing.done() and (end := typing.result()) != "ended":
                return end
            # What the program's end leaves to be seen, or why it never began.
            await showing
            return "ended"
    finally:
        for task in (showing, typing, following):
            task.cancel()
        await asyncio.wait({showing, typing, following})


async def _show(local: LocalTerminal, terminal: AsyncTerminal) -> None:
    async for data in terminal:
        await local.show(data)


async def _type(local: LocalTerminal, terminal: AsyncTerminal) -> End:
    """Type what is typed here, until that or the program has an end."""
    leaving = Leaving()
    try:
        while keys := await local.keys():
            await terminal.write(keys)
            if leaving.seen(keys, asyncio.get_running_loop().time()):
                return "left"
    except CommandError:
        return "ended"  # or it could not begin: whoever shows it learns how
    return "gone"


async def _follow(local: LocalTerminal, terminal: AsyncTerminal, changed: asyncio.Event) -> None:
    """Give the other terminal this one's size, each time that it changes."""
    while await changed.wait():
        changed.clear()
        size = local.size()
        if size != (terminal.rows, terminal.cols):
            await terminal.resize(*size)


class Leaving:
    """Watches for the key that leaves: pressed three times within a second, nothing between.

    It reaches the program as well, like every key, so that none is lost to programs that use it.
    """

    def __init__(self) -> None:
        self._times: list[float] = []

    def seen(self, keys: bytes, now: float) -> bool:
        """Take what was typed now; return whether it ends with the wish to leave."""
        for key in keys:
            if key != _LEAVE:
                self._times.clear()
                continue
            self._times.append(now)
            del self._times[:-_LEAVE_TIMES]
            if len(self._times) == _LEAVE_TIMES and now - self._times[0] <= _LEAVE_WITHIN:
                return True
        return False
