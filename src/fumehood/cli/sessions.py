"""Sessions that are there: list them, run something in one, end them, sweep what is left."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from fumehood import SessionInfo, SweepReport, Workspace, WorkspaceBusyError
from fumehood.cli import commands, flags, output, processes, running, values

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def ls(ctx: typer.Context, as_json: Json = False) -> None:
    """List the sessions of the engine, whoever made them.

    LEFT is what remains of the time to live that a session was given when it
    was made, and of a stopped one until a sweep may remove it; IDLE is how long
    it may go without work.

    [bold]Examples[/bold]

      fumehood ls
      fumehood ls --json
    """

    async def work() -> int:
        async with running.common(ctx).sandbox() as sandbox:
            found = await sandbox.list_sessions()
        if as_json:
            typer.echo(json.dumps([_data(info) for info in found], indent=2))
        else:
            now = datetime.now(UTC)
            output.table(
                ("ID", "STATE", "AGE", "LEFT", "IDLE", "IMAGE", "WORKSPACE", "OWNER", "METADATA"),
                [_row(info, now) for info in found],
            )
        return 0

    running.finish(work)


def _row(info: SessionInfo, now: datetime) -> tuple[str, ...]:
    passed = (now - info.created_at).total_seconds()
    left, idle = None if info.ttl is None else info.ttl - passed, info.idle_timeout
    if info.state == "stopped":
        # Its lease stands still, and begins anew when it is resumed.
        until = info.expires_at
        left, idle = None if until is None else (until - now).total_seconds(), None
    return (
        info.id,
        info.state + (", detached" if info.detached else ""),
        output.age(passed),
        "" if left is None else output.age(left),
        "" if idle is None else output.age(idle),
        info.image,
        info.workspace_id or "",
        info.owner,
        " ".join(f"{key}={value}" for key, value in sorted(info.metadata.items())),
    )


def _data(info: SessionInfo) -> dict[str, Any]:
    return {
        "id": info.id,
        "state": info.state,
        "image": info.image,
        "created_at": info.created_at.isoformat(),
        "ttl": info.ttl,
        "idle_timeout": info.idle_timeout,
        "detached": info.detached,
        "workspace_id": info.workspace_id,
        "owner": info.owner,
        "metadata": dict(info.metadata),
        "expires_at": None if info.expires_at is None else info.expires_at.isoformat(),
    }


def exec_(
    ctx: typer.Context,
    id: Annotated[str, typer.Argument(metavar="ID", help="The session's id: see 'fumehood ls'.")],
    command: flags.Words = None,
    workdir: flags.Directory = ".",
    env: flags.Env = None,
    env_file: flags.EnvFile = None,
    user: flags.CommandUser = None,
    timeout: flags.Timeout = "30s",
    stdin: flags.Stdin = None,
    raw: flags.Raw = False,
    quiet: flags.Quiet = False,
    background: Annotated[
        bool,
        typer.Option("--background", help="Start it, print its id and leave: see 'fumehood ps'."),
    ] = False,
    name: Annotated[
        str | None,
        typer.Option("--name", metavar="NAME", help="With --background: what to call it."),
    ] = None,
) -> None:
    """Run a command in a session that is there.

    It runs beside whatever else does. Ctrl-C kills it with all that it has
    started; the session stays.

    [bold]Examples[/bold]

      fumehood exec ID -- ls -l
      fumehood exec --user 1000 --env DEBUG=1 ID -- python3 main.py
      fumehood exec --timeout 0 --raw ID -- tar c . > workspace.tar
      fumehood exec --background --name web ID -- python3 -m http.server

    Exit codes are those of 'fumehood run'.
    """
    argv = values.command_line(command)
    if not argv:
        raise typer.BadParameter("there is no command to run", param_hint="CMD")
    if name is not None and not background:
        raise typer.BadParameter("a name is for --background", param_hint="--name")
    if background and stdin:
        raise typer.BadParameter("with --background there is no input", param_hint="--stdin")
    wanted = commands.Command(
        argv=argv,
        timeout=values.duration(timeout, "--timeout"),
        cwd=workdir,
        env=values.environment(env or (), env_file or ()),
        user=user,
        stdin=stdin,
        raw=raw,
        quiet=quiet,
    )

    async def work() -> int:
        async with running.common(ctx).sandbox() as sandbox, sandbox.connect(id) as session:
            if background:
                return await processes.start(session, name, wanted)
            return await commands.run(session, wanted)

    running.finish(work, failed=running.NOT_RUN, after="The session kills the command by itself.")


def rm(
    ctx: typer.Context,
    ids: Annotated[list[str], typer.Argument(metavar="ID", help="What to end.")],
    workspace: Annotated[
        bool, typer.Option("--workspace", help="Delete their persistent workspaces too.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", "-f", help="An id that is not there is no error.")
    ] = False,
) -> None:
    """End sessions: kill all that runs in them, and remove them.

    A persistent workspace stays, unless --workspace is given.

    [bold]Examples[/bold]

      fumehood rm ID
      fumehood rm --workspace ID ID
    """

    async def work() -> int:
        code = 0
        async with running.common(ctx).sandbox() as sandbox:
            there = {info.id: info for info in await sandbox.list_sessions()}
            for id in dict.fromkeys(ids):
                if id not in there:
                    if not force:
                        output.note(f"error: there is no session {id!r} ('fumehood ls')")
                        code = running.FAILED
                    continue
                await sandbox.destroy_session(id)
                kept = there[id].workspace_id
                if workspace and kept is not None:
                    await sandbox.remove_workspace(kept)
                output.line(id)
        return code

    running.finish(work, after="'fumehood rm' again goes on from there.")


def pause(
    ctx: typer.Context, id: Annotated[str, typer.Argument(metavar="ID", help="Which session.")]
) -> None:
    """Let all commands of a session stand still; its files can be used, and its time runs on.

    [bold]Examples[/bold]

      fumehood pause ID
      fumehood unpause ID
    """

    async def work() -> int:
        async with running.common(ctx).sandbox() as sandbox, sandbox.connect(id) as session:
            stopped = await session.pause()
        output.note(f"{id}: {stopped} process{'es' if stopped != 1 else ''} stopped")
        return 0

    running.finish(work, after="'fumehood unpause' lets the commands go on.")


def unpause(
    ctx: typer.Context, id: Annotated[str, typer.Argument(metavar="ID", help="Which session.")]
) -> None:
    """Let the commands of a paused session go on.

    [bold]Examples[/bold]

      fumehood unpause ID
    """

    async def work() -> int:
        async with running.common(ctx).sandbox() as sandbox, sandbox.connect(id) as session:
            await session.unpause()
        return 0

    running.finish(work)


def gc(
    ctx: typer.Context,
    supervisors: Annotated[
        bool,
        typer.Option("--supervisors", help="Also supervisors of other versions that nothing uses."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Remove what crashed clients and engines left behind.

    Sessions end by themselves; this finds the rest: containers that were
    created and never started, volumes of sessions that are gone, sessions past
    their time. Never a live session, and never a persistent workspace. Every
    client does the same once, when it makes its first session.

    [bold]Examples[/bold]

      fumehood gc
      fumehood gc --supervisors
    """

    async def work() -> int:
        async with running.common(ctx).sandbox() as sandbox:
            report = await sandbox.gc(supervisors=supervisors)
        if as_json:
            typer.echo(json.dumps(_report(report), indent=2))
        else:
            removed = (
                *report.containers,
                *report.volumes,
                *report.supervisors,
                *report.images,
            )
            for name in removed:
                output.line(f"removed {name}")
            for name, reason in report.failed.items():
                output.note(f"error: {name} is still there: {reason}")
            output.line(f"{len(removed)} removed, {len(report.kept)} in use")
        return running.FAILED if report.failed else 0

    running.finish(work)


def _report(report: SweepReport) -> dict[str, Any]:
    return {
        "containers": list(report.containers),
        "volumes": list(report.volumes),
        "supervisors": list(report.supervisors),
        "images": list(report.images),
        "kept": list(report.kept),
        "failed": dict(report.failed),
    }


workspaces: typer.Typer = typer.Typer(
    help="Persistent workspaces: files that outlive their sessions.", no_args_is_help=True
)


@workspaces.command("ls")
def workspace_ls(ctx: typer.Context, as_json: Json = False) -> None:
    """List the persistent workspaces of the engine, and who holds each.

    [bold]Examples[/bold]

      fumehood workspace ls
    """

    async def work() -> int:
        async with running.common(ctx).sandbox() as sandbox:
            found = await sandbox.list_workspaces()
            holders = {info.workspace_id: info.id for info in await sandbox.list_sessions()}
        if as_json:
            data = [{"id": id, "session": holders.get(id)} for id in found]
            typer.echo(json.dumps(data, indent=2))
        else:
            output.table(("ID", "SESSION"), [(id, holders.get(id, "")) for id in found])
        return 0

    running.finish(work)


@workspaces.command("rm")
def workspace_rm(
    ctx: typer.Context,
    ids: Annotated[list[str], typer.Argument(metavar="ID", help="What to delete.")],
    force: Annotated[
        bool, typer.Option("--force", "-f", help="An id that is not there is no error.")
    ] = False,
) -> None:
    """Delete persistent workspaces with all their files.

    One that a session holds stays, and is an error.

    [bold]Examples[/bold]

      fumehood workspace rm user-42
    """

    async def work() -> int:
        code = 0
        async with running.common(ctx).sandbox() as sandbox:
            there = set(await sandbox.list_workspaces())
            for id in dict.fromkeys(ids):
                # Also the spelling of an id that is not there is checked.
                Workspace.persistent(id)
                if id not in there:
                    if not force:
                        output.note(f"error: there is no workspace {id!r}")
                        code = running.FAILED
                    continue
                try:
                    await sandbox.remove_workspace(id)
                except WorkspaceBusyError as exc:
                    output.note(f"error: {exc}")
                    code = running.FAILED
                else:
                    output.line(id)
        return code

    running.finish(work)
