"""Sessions whose files are kept: stop and resume them, take snapshots, fork."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from fumehood import AsyncDockerSandbox, Lifecycle, Snapshot
from fumehood.cli import output, progress, running, values

_Id = Annotated[str, typer.Argument(metavar="ID", help="The session's id: see 'fumehood ls'.")]
_Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
_Ttl = Annotated[
    str,
    typer.Option(
        "--ttl", metavar="TIME", help="How long it may live; 0: as long as it is used (--idle)."
    ),
]
_Idle = Annotated[
    str | None, typer.Option("--idle", metavar="TIME", help="End it after so long without work.")
]


def lease(ttl: str, idle: str | None) -> Lifecycle:
    """Return the lease of a session that outlives this process."""
    return Lifecycle(
        ttl=values.duration(ttl, "--ttl"),
        idle_timeout=None if idle is None else values.duration(idle, "--idle"),
        detached=True,
    )


async def stop(sandbox: AsyncDockerSandbox, id: str, expires: float | None) -> None:
    """Stop a session."""
    async with sandbox.connect(id) as session:
        await session.stop(expires=expires)
    output.line(id)


def resume(ctx: typer.Context, id: _Id, ttl: _Ttl = "1h", idle: _Idle = None) -> None:
    """Bring a stopped session back with its files and its settings.

    It outlives this command: its lease is the one that is given here.

    [bold]Examples[/bold]

      fumehood resume ID
      fumehood resume --ttl 8h --idle 30m ID
    """
    lifecycle = lease(ttl, idle)

    async def work() -> int:
        async with running.common(ctx).sandbox() as sandbox:
            session = await sandbox.resume(id, lifecycle=lifecycle)
            await session.detach()
        output.line(id)
        return 0

    running.finish(work, after="The session is stopped as before, or resumed: see 'fumehood ls'.")


def snapshot(
    ctx: typer.Context,
    id: _Id,
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="What to call it.")
    ] = None,
    expires: Annotated[
        str, typer.Option("--expires", metavar="TIME", help="When a sweep may remove it; 0: never.")
    ] = "0",
) -> None:
    """Keep the files of a session as they are now; the session lives on.

    Its commands stand still meanwhile. Its name is printed.

    [bold]Examples[/bold]

      fumehood snapshot ID
      fumehood snapshot --name before-the-upgrade --expires 7d ID
    """
    seconds = values.duration(expires, "--expires")

    async def work() -> int:
        async with running.common(ctx).sandbox() as sandbox, sandbox.connect(id) as session:
            taken = await session.snapshot(name, expires=seconds)
        output.line(taken.name)
        return 0

    running.finish(work, after="Nothing is left of it.")


def fork(
    ctx: typer.Context,
    id: _Id,
    count: Annotated[int, typer.Option("-n", min=1, max=1000, help="How many.")] = 1,
    ttl: _Ttl = "1h",
    idle: _Idle = None,
) -> None:
    """Make sessions that begin with the files of one; print their ids.

    [bold]Examples[/bold]

      fumehood fork ID
      fumehood fork -n 3 --ttl 10m ID
    """
    lifecycle = lease(ttl, idle)

    async def work() -> int:
        async with running.common(ctx).sandbox() as sandbox, sandbox.connect(id) as session:
            for one in await session.fork(count, lifecycle=lifecycle):
                await one.detach()
                output.line(one.id)
        return 0

    running.finish(work, after="None of them is left.")


snapshots: typer.Typer = typer.Typer(
    help="Snapshots: the files of sessions at one moment.", no_args_is_help=True
)


@snapshots.command("ls")
def snapshots_ls(ctx: typer.Context, as_json: _Json = False) -> None:
    """List the snapshots of the engine.

    [bold]Examples[/bold]

      fumehood snapshots ls
    """

    async def work() -> int:
        async with running.common(ctx).sandbox() as sandbox:
            found = await sandbox.list_snapshots()
        if as_json:
            typer.echo(json.dumps([_data(item) for item in found], indent=2))
        else:
            output.table(
                ("NAME", "CREATED", "IMAGE", "LAYER", "WORKSPACE", "EXPIRES"),
                [
                    (
                        item.name,
                        item.created_at.isoformat(timespec="seconds"),
                        item.image,
                        str(item.layer_bytes),
                        str(item.workspace_bytes),
                        item.expires_at.isoformat(timespec="seconds") if item.expires_at else "",
                    )
                    for item in found
                ],
            )
        return 0

    running.finish(work)


@snapshots.command("rm")
def snapshots_rm(
    ctx: typer.Context,
    names: Annotated[list[str], typer.Argument(metavar="NAME", help="What to delete.")],
    force: Annotated[
        bool, typer.Option("--force", "-f", help="A name that is not there is no error.")
    ] = False,
) -> None:
    """Delete snapshots. Sessions that were made of them live on.

    [bold]Examples[/bold]

      fumehood snapshots rm before-the-upgrade
    """

    async def work() -> int:
        code = 0
        async with running.common(ctx).sandbox() as sandbox:
            there = {item.name for item in await sandbox.list_snapshots()}
            for name in dict.fromkeys(names):
                if name not in there and not force:
                    output.note(f"error: there is no snapshot {name!r}")
                    code = running.FAILED
                    continue
                await sandbox.delete_snapshot(name)
                output.line(name)
        return code

    running.finish(work)


@snapshots.command("export")
def snapshots_export(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="See 'fumehood snapshots ls'.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write it.")],
    quiet: _Quiet = False,
) -> None:
    """Write a snapshot to a file, for another engine or for later.

    It holds the container's whole file system and the workspace, is not compressed, and takes its
    name once it is whole.

    [bold]Examples[/bold]

      fumehood snapshots export before-the-upgrade point.snapshot
      DOCKER_HOST=ssh://other fumehood snapshots import point.snapshot
    """

    async def work() -> int:
        async with running.common(ctx).sandbox() as sandbox:
            with progress.CopyDisplay(quiet=quiet, total=None, name=name) as shown:
                done = await sandbox.export_snapshot(name, file, progress=shown)
        if not quiet:
            output.note(f"{done.size} bytes in {done.duration:.1f} s")
        output.line(done.path)
        return 0

    running.finish(work, after="No file is left of it.")


@snapshots.command("import")
def snapshots_import(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What 'export' has written.")],
    name: Annotated[
        str | None,
        typer.Option(
            "--name", metavar="NAME", help="What to call it; the name it had if not given."
        ),
    ] = None,
    expires: Annotated[
        str, typer.Option("--expires", metavar="TIME", help="When a sweep may remove it; 0: never.")
    ] = "0",
    quiet: _Quiet = False,
) -> None:
    """Take in a snapshot from a file. Its name is printed.

    The file may be anybody's: it is checked, and as little trusted as an image from a stranger.

    [bold]Examples[/bold]

      fumehood snapshots import point.snapshot
      fumehood snapshots import --name of-monday --expires 7d point.snapshot
    """
    seconds = values.duration(expires, "--expires")

    async def work() -> int:
        started = time.monotonic()
        async with running.common(ctx).sandbox() as sandbox:
            with progress.CopyDisplay(quiet=quiet, total=None, name=file.name) as shown:
                taken = await sandbox.import_snapshot(
                    file, name=name, expires=seconds, progress=shown
                )
        if not quiet:
            output.note(f"{taken.size} bytes in {time.monotonic() - started:.1f} s")
        output.line(taken.name)
        return 0

    running.finish(work, after="Nothing is left of it.")


def _data(item: Snapshot) -> dict[str, Any]:
    return {
        "id": item.id,
        "name": item.name,
        "image": item.image,
        "created_at": item.created_at.isoformat(),
        "layer_bytes": item.layer_bytes,
        "workspace_bytes": item.workspace_bytes,
        "duration": item.duration,
        "expires_at": None if item.expires_at is None else item.expires_at.isoformat(),
        "labels": dict(item.labels),
    }
