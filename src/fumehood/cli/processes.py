"""``ps``, ``logs`` and ``stop``: the managed processes of a session, from any terminal."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from fumehood import AsyncProcess, AsyncSession, Exit, Gap, Stderr, Stdout
from fumehood.cli import flags, output, running, state, values
from fumehood.cli.commands import Command

_Id = Annotated[str, typer.Argument(metavar="ID", help="The session's id: see 'fumehood ls'.")]
_Process = Annotated[
    str, typer.Argument(metavar="PROC", help="The process's id or name: see 'fumehood ps'.")
]


async def start(session: AsyncSession, name: str | None, command: Command) -> int:
    """Start a managed process and say its id."""
    process = await session.start_process(
        command.argv, cwd=command.cwd, env=command.env, user=command.user, name=name
    )
    output.line(process.id)
    return 0


def ps(
    ctx: typer.Context,
    id: _Id,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, all that is known.")] = False,
) -> None:
    """List the managed processes of a session, those that have ended too.

    [bold]Examples[/bold]

      fumehood ps ID
    """

    async def work() -> int:
        async with running.common(ctx).sandbox() as sandbox, sandbox.connect(id) as session:
            found = await session.list_processes()
        if as_json:
            output.line(json.dumps([_data(process) for process in found]))
            return 0
        now = datetime.now(UTC)
        output.table(
            ("ID", "NAME", "STATUS", "AGE", "COMMAND"),
            [
                (
                    process.id,
                    process.name or "",
                    _status(process),
                    output.age((now - process.started_at).total_seconds()),
                    " ".join(process.argv),
                )
                for process in found
            ],
        )
        return 0

    running.finish(work)


def _status(process: AsyncProcess) -> str:
    if process.exit_signal is not None:
        return f"signal {process.exit_signal}"
    return str(process.status) if process.exit_code is None else f"exited {process.exit_code}"


def _data(process: AsyncProcess) -> dict[str, Any]:
    return {
        "id": process.id,
        "name": process.name,
        "status": process.status,
        "pid": process.pid,
        "exit_code": process.exit_code,
        "signal": process.exit_signal,
        "started_at": process.started_at.isoformat(),
        "ended_at": None if process.ended_at is None else process.ended_at.isoformat(),
        "argv": list(process.argv),
    }


def logs(
    ctx: typer.Context,
    id: _Id,
    process: _Process,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on as it writes, to its end.")
    ] = False,
    tail: Annotated[
        int | None, typer.Option("--tail", min=0, help="Begin with the last so many lines.")
    ] = None,
    since: Annotated[
        int, typer.Option("--since", min=0, help="Begin with this byte of all it has written.")
    ] = 0,
    raw: flags.Raw = False,
) -> None:
    """Show what a managed process has written.

    Both streams go where they belong. What the session no longer keeps is
    told. Ctrl-C ends the showing; the process goes on.

    [bold]Examples[/bold]

      fumehood logs ID web
      fumehood logs -f --tail 20 ID p3
    """

    async def work() -> int:
        async with running.common(ctx).sandbox() as sandbox, sandbox.connect(id) as session:
            found = await session.get_process(process)
            terminal = output.CommandOutput(raw=raw)
            kept = await found.logs(since=since, tail=tail)
            for event in kept.events:
                await _show(terminal, event)
            if not follow:
                return 0
            async for later in found.stream(since=kept.end):
                if not isinstance(later, Exit):
                    await _show(terminal, later)
        return 0

    running.finish(work)


async def _show(terminal: output.CommandOutput, event: Stdout | Stderr | Gap) -> None:
    if isinstance(event, Gap):
        output.note(f"{event.size} bytes from byte {event.offset} on are no longer kept")
    else:
        await terminal.show(event)


def stop(
    ctx: typer.Context,
    id: _Id,
    process: Annotated[
        str | None,
        typer.Argument(metavar="[PROCESS]", help="Of a managed process: its id or name."),
    ] = None,
    grace: Annotated[
        str,
        typer.Option(
            "--grace", metavar="TIME", help="How long the process may take to end; 0 kills it."
        ),
    ] = "10s",
    expires: Annotated[
        str,
        typer.Option(
            "--expires", metavar="TIME", help="How long a stopped session is kept; 0: for ever."
        ),
    ] = "7d",
) -> None:
    """Stop a session and keep its files; or end one managed process in it.

    A stopped session comes back with 'fumehood resume', and goes for good with
    'fumehood rm'. A process ends with all that it has started.

    [bold]Examples[/bold]

      fumehood stop ID
      fumehood stop --expires 30d ID
      fumehood stop ID web
      fumehood stop --grace 0 ID p3
    """
    patience = values.duration(grace, "--grace") or 0.0
    kept = values.duration(expires, "--expires")

    async def work() -> int:
        async with running.common(ctx).sandbox() as sandbox:
            if process is None:
                await state.stop(sandbox, id, kept)
                return 0
            async with sandbox.connect(id) as session:
                found = await session.get_process(process)
                await found.stop(grace=patience)
                output.line(found.id)
        return 0

    running.finish(work, after="The session ends the process by itself, or is as it was.")
