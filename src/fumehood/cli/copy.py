"""``fumehood cp``: files and trees between this machine and a session."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Literal, cast

import typer

from fumehood import (
    AsyncDockerSandbox,
    AsyncSession,
    FileTooLargeError,
    Limits,
    LocalFileError,
    TransferResult,
)
from fumehood.cli import flags, output, running, values
from fumehood.cli.progress import CopyDisplay
from fumehood.cli.staging import tell_skipped
from fumehood.cli.values import Place

# The session's own limit is what holds; this client's would only come before it.
_NO_LIMIT = Limits(max_file_bytes=1 << 50)

_Policy = Literal["keep", "follow", "skip"]


def cp(
    ctx: typer.Context,
    source: Annotated[str, typer.Argument(metavar="SRC", help="ID:PATH or a local path.")],
    target: Annotated[str, typer.Argument(metavar="DST", help="ID:PATH or a local path.")],
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Copy a directory with all that is in it.")
    ] = False,
    symlinks: Annotated[
        str,
        typer.Option(
            metavar="POLICY", help="Links that stay in the tree: keep them, follow them, or skip."
        ),
    ] = "skip",
    ignore: Annotated[
        list[str] | None,
        typer.Option(metavar="PATTERN", help="Leave out, as in a .gitignore. Can be repeated."),
    ] = None,
    update: Annotated[
        bool, typer.Option("--update", "-u", help="Leave out files of the same size and time.")
    ] = False,
    verify: Annotated[bool, typer.Option(help="Compare a checksum of each file.")] = False,
    max_size: Annotated[
        str,
        typer.Option(metavar="SIZE", help="The most that may come out of a session: 64m, 4g."),
    ] = "4g",
    quiet: flags.Quiet = False,
) -> None:
    """Copy files into a session or out of it.

    PATH is relative to the workspace, or absolute; a local name with a colon is
    written ./a:b. A DST that is a directory, or ends with a slash, gets the
    file or directory under its own name; SRC/. means what is in it. Modes and
    times are kept. Special files, and links unless --symlinks says otherwise,
    are left out and named. Nothing is ever written outside of DST.

    A file that goes into a session is bound by the session's own limit, 64 MiB
    by default: 'fumehood run --max-file' sets it.

    [bold]Examples[/bold]

      fumehood cp main.py ID:
      fumehood cp ID:out/result.json .
      fumehood cp -r --ignore .git/ --ignore '*.pyc' project ID:
      fumehood cp -r ID:/etc/apt apt
    """
    source_place, target_place = values.place(source), values.place(target)
    if (source_place.session is None) == (target_place.session is None):
        raise typer.BadParameter(
            "one of SRC and DST is ID:PATH, the other a local path", param_hint="DST"
        )
    copy = _Copy(
        source_place,
        target_place,
        recursive=recursive,
        symlinks=symlinks,
        ignore=tuple(ignore or ()),
        update=update,
        verify=verify,
        largest=values.size(max_size, "--max-size"),
        quiet=quiet,
    )

    async def work() -> int:
        async with (
            AsyncDockerSandbox(
                limits=_NO_LIMIT, docker_host=running.common(ctx).docker_host
            ) as sandbox,
            sandbox.connect(source_place.session or target_place.session or "") as session,
        ):
            await copy.run(session)
        return 0

    running.finish(work, after="A file that was under way was not put in its place.")


class _Copy:
    """One copy, either way."""

    def __init__(
        self,
        source: Place,
        target: Place,
        *,
        recursive: bool,
        symlinks: str,
        ignore: tuple[str, ...],
        update: bool,
        verify: bool,
        largest: int,
        quiet: bool,
    ) -> None:
        self._source = source
        self._target = target
        self._recursive = recursive
        # The call's own check names the three.
        self._symlinks: _Policy = cast("_Policy", symlinks)
        self._ignore = ignore
        self._update = update
        self._verify = verify
        self._largest = largest
        self._quiet = quiet

    async def run(self, session: AsyncSession) -> None:
        """Copy, and say what was copied and what was not."""
        inwards = self._source.session is None
        is_tree = await self._is_tree(session)
        if is_tree and not self._recursive:
            path = self._source.path
            raise LocalFileError(f"{path!r} is a directory: use cp -r", path=path)
        with CopyDisplay(quiet=self._quiet, total=None, name=self._source.path) as shown:
            result = await (self._in(session, shown) if inwards else self._out(session, shown))
        if is_tree and not self._quiet:
            tell_skipped(result)
            unchanged = f", {result.unchanged} were the same" if result.unchanged else ""
            output.note(
                f"copied {output.count(result.files, 'file')}, "
                f"{output.bytes_text(result.bytes)}{unchanged}"
            )

    async def _is_tree(self, session: AsyncSession) -> bool:
        if self._source.session is None:
            return await asyncio.to_thread(Path(self._source.path).is_dir)
        path = self._source.path.removesuffix("/.").rstrip("/") or "/"
        entry = await session.stat(path, root="/" if self._source.absolute else None)
        return entry.type == "directory"

    async def _in(self, session: AsyncSession, shown: CopyDisplay) -> TransferResult:
        return await session.upload(
            self._source.path,
            self._target.path,
            root="/" if self._target.absolute else None,
            symlinks=self._symlinks,
            ignore=self._ignore,
            skip_same=self._update,
            verify=self._verify,
            progress=shown,
        )

    async def _out(self, session: AsyncSession, shown: CopyDisplay) -> TransferResult:
        try:
            return await session.download(
                self._source.path,
                self._target.path,
                root="/" if self._source.absolute else None,
                symlinks=self._symlinks,
                ignore=self._ignore,
                skip_same=self._update,
                verify=self._verify,
                max_bytes=self._largest,
                progress=shown,
            )
        except FileTooLargeError as exc:
            raise FileTooLargeError(
                f"{self._source.path!r} holds more than --max-size, "
                f"{output.bytes_text(self._largest)}",
                path=exc.path,
            ) from exc
