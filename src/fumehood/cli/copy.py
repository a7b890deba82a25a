"""``fumehood cp``: files between this machine and a session, as streams of any length."""

from __future__ import annotations

import asyncio
import os
import posixpath
from pathlib import Path
from typing import Annotated

import typer

from fumehood import AsyncDockerSandbox, AsyncSession, FileMissingError, Limits
from fumehood.cli import flags, output, running, values
from fumehood.cli.fetching import Fetch
from fumehood.cli.local import LocalFileError, Tree, open_named
from fumehood.cli.progress import CopyDisplay
from fumehood.cli.sending import Root, Target
from fumehood.cli.staging import tell_skipped
from fumehood.cli.values import Place

# The session's own limit is what holds; this client's would only come before it.
_NO_LIMIT = Limits(max_file_bytes=1 << 50)


def cp(
    ctx: typer.Context,
    source: Annotated[str, typer.Argument(metavar="SRC", help="ID:PATH or a local path.")],
    target: Annotated[str, typer.Argument(metavar="DST", help="ID:PATH or a local path.")],
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Copy a directory with all that is in it.")
    ] = False,
    max_size: Annotated[
        str,
        typer.Option(metavar="SIZE", help="The most that may come out of a session: 64m, 4g."),
    ] = "4g",
    quiet: flags.Quiet = False,
) -> None:
    """Copy files into a session or out of it.

    PATH is relative to the workspace, or absolute; a local name with a colon is
    written ./a:b. A DST that is a directory, or ends with a slash, gets the
    file under its own name. Only regular files and directories are copied, with
    modes 0644 and 0755: links and special files are left out and named. Nothing
    is ever written outside of DST.

    A file that goes into a session is bound by the session's own limit, 64 MiB
    by default: 'fumehood run --max-file' sets it.

    [bold]Examples[/bold]

      fumehood cp main.py ID:
      fumehood cp ID:out/result.json .
      fumehood cp -r ID:/etc/apt apt
    """
    source_place, target_place = values.place(source), values.place(target)
    if (source_place.session is None) == (target_place.session is None):
        raise typer.BadParameter(
            "one of SRC and DST is ID:PATH, the other a local path", param_hint="DST"
        )
    largest = values.size(max_size, "--max-size")

    async def work() -> int:
        async with AsyncDockerSandbox(
            limits=_NO_LIMIT, docker_host=running.common(ctx).docker_host
        ) as sandbox:
            if target_place.session is not None:
                async with sandbox.connect(target_place.session) as session:
                    await _send(session, Path(source_place.path), target_place, recursive, quiet)
            else:
                assert source_place.session is not None
                async with sandbox.connect(source_place.session) as session:
                    fetch = Fetch(session, source_place, largest=largest, quiet=quiet)
                    await fetch.run(target_place.path, recursive=recursive)
        return 0

    running.finish(work, after="A file that was under way was not put in its place.")


async def _send(
    session: AsyncSession, source: Path, target: Place, recursive: bool, quiet: bool
) -> None:
    root: Root = "/" if target.absolute else None
    destination = Target(session, root)
    if await asyncio.to_thread(source.is_dir):
        if not recursive:
            raise LocalFileError(f"{str(source)!r} is a directory: use cp -r")
        with await asyncio.to_thread(Tree.walk, source) as tree:
            if not quiet:
                tell_skipped(tree.skipped)
            # As with cp, `.` and `..` stand for what they hold.
            name = "" if source.name == ".." else source.name
            path = await _resolve(session, target, name, root)
            with CopyDisplay(quiet=quiet, total=tree.size, name=source.name) as shown:
                if path != "." and path != "/":
                    await session.make_directory(path, root=root)
                await destination.tree(tree, path, shown.advance)
            if not quiet:
                output.note(
                    f"copied {output.count(len(tree.files), 'file')}, "
                    f"{output.bytes_text(shown.done)}"
                )
        return
    opened = await asyncio.to_thread(open_named, source)
    info = os.fstat(opened)
    try:
        path = await _resolve(session, target, source.name, root)
    except BaseException:
        os.close(opened)
        raise
    with CopyDisplay(quiet=quiet, total=info.st_size, name=source.name) as shown:
        mode = 0o755 if info.st_mode & 0o111 else 0o644
        await destination.file(opened, path, mode, shown.advance)


async def _resolve(session: AsyncSession, target: Place, name: str, root: Root) -> str:
    """Return where in the session something goes: into a directory, or under the name given."""
    path = target.path
    if path.endswith("/") and path != "/":
        return posixpath.join(path.rstrip("/"), name)
    try:
        is_directory = (await session.stat(path, root=root)).type == "directory"
    except FileMissingError:
        is_directory = False
    return posixpath.normpath(posixpath.join(path, name)) if is_directory else path
