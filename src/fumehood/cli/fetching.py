"""Files out of a session: what comes is hostile, names and sizes included."""

from __future__ import annotations

import asyncio
import posixpath
import re
import unicodedata
from pathlib import Path

from fumehood import AsyncSession, FileEntry
from fumehood.cli import output
from fumehood.cli.landing import Landing
from fumehood.cli.local import MAX_DEPTH, LocalFileError, Skipped
from fumehood.cli.progress import CopyDisplay
from fumehood.cli.sending import Root
from fumehood.cli.staging import tell_skipped
from fumehood.cli.values import Place

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
# /proc and its like say that their files are empty.
_UNKNOWN_SIZE = 64 << 20


class Fetch:
    """One copy out of a session.

    Args:
        session: where from.
        source: what.
        largest: bytes that may come in all; more is an error.
        quiet: say nothing but errors.
    """

    def __init__(self, session: AsyncSession, source: Place, *, largest: int, quiet: bool) -> None:
        self._session = session
        self._path = source.path
        self._root: Root = "/" if source.absolute else None
        self._left = largest
        self._quiet = quiet

    async def run(self, target: str, *, recursive: bool) -> None:
        """Copy to a local path."""
        entry = await self._session.stat(self._path, root=self._root)
        if entry.type == "directory":
            if not recursive:
                raise LocalFileError(f"{self._path!r} is a directory: use cp -r")
            await self._tree(target)
        else:
            await self._single(entry, target)

    async def _single(self, entry: FileEntry, target: str) -> None:
        """Copy one file; asking for its content is what refuses anything but a regular file."""
        directory, name = await self._landing_place(target)
        with (
            await asyncio.to_thread(Landing, directory) as landing,
            CopyDisplay(quiet=self._quiet, total=entry.size, name=name or "") as shown,
        ):
            await self._file(landing, (name or "",), self._path, entry, shown)

    async def _tree(self, target: str) -> None:
        entries = await self._session.list_files(self._path, recursive=True, root=self._root)
        directory, name = await self._landing_place(target)
        prefix = () if name is None else (name,)
        copied = 0
        with await asyncio.to_thread(Landing, directory) as landing:
            plan, skipped = plan_tree(
                entries, self._path, folds_case=await asyncio.to_thread(landing.folds_case)
            )
            if not self._quiet:
                tell_skipped(skipped)
            total = sum(entry.size for _, entry in plan if entry.type == "file")
            if total > self._left:
                raise LocalFileError(
                    f"{self._path!r} holds {output.bytes_text(total)}; --max-size is "
                    f"{output.bytes_text(self._left)}"
                )
            await asyncio.to_thread(landing.make_directory, prefix)
            with CopyDisplay(quiet=self._quiet, total=total, name=self._path) as shown:
                for parts, entry in plan:
                    if entry.type == "directory":
                        await asyncio.to_thread(landing.make_directory, (*prefix, *parts))
                    else:
                        await self._file(landing, (*prefix, *parts), entry.path, entry, shown)
                        copied += 1
        if not self._quiet:
            output.note(f"copied {output.count(copied, 'file')}, {output.bytes_text(shown.done)}")

    async def _landing_place(self, target: str) -> tuple[Path, str | None]:
        """Return an existing directory that the user has named, and the name to make in it.

        No name: the whole workspace (or file system) goes into a directory that is there.
        """
        where = Path(target)
        if not target.endswith("/") and not await asyncio.to_thread(where.is_dir):
            return where.parent, where.name
        own = posixpath.basename(posixpath.normpath(self._path))
        return where, None if own in ("", ".") else own

    async def _file(
        self,
        landing: Landing,
        parts: tuple[str, ...],
        path: str,
        entry: FileEntry,
        shown: CopyDisplay,
    ) -> None:
        """Copy the bytes that the file had when it was looked at; a growing one is cut there."""
        limit = entry.size or _UNKNOWN_SIZE
        if entry.size > self._left:
            raise LocalFileError(
                f"{path!r} is {output.bytes_text(entry.size)}; --max-size leaves "
                f"{output.bytes_text(self._left)}"
            )
        draft = await asyncio.to_thread(landing.start, parts, executable=bool(entry.mode & 0o111))
        try:
            async with self._session.read_file_stream(path, root=self._root) as pieces:
                async for piece in pieces:
                    kept = piece[: min(limit, self._left)]
                    await asyncio.to_thread(draft.write, kept)
                    limit -= len(kept)
                    self._left -= len(kept)
                    shown.advance(len(kept))
                    if len(kept) < len(piece):
                        self._cut(path, entry)
                        break
        except BaseException:
            draft.discard()
            raise
        await asyncio.to_thread(draft.keep)

    def _cut(self, path: str, entry: FileEntry) -> None:
        if not entry.size or not self._left:
            raise LocalFileError(f"{path!r} does not end: it was not copied")
        if not self._quiet:
            output.note(f"{path} grew meanwhile: its first {entry.size} bytes were copied")


def plan_tree(
    entries: list[FileEntry], source: str, *, folds_case: bool
) -> tuple[list[tuple[tuple[str, ...], FileEntry]], list[Skipped]]:
    """Return what is copied, with its parts below the target, and what is left out."""
    base = posixpath.normpath(source)
    plan: list[tuple[tuple[str, ...], FileEntry]] = []
    skipped: list[Skipped] = []
    seen: set[str] = set()
    for entry in entries:
        inner = entry.path if base == "." else posixpath.relpath(entry.path, base)
        folded = unicodedata.normalize("NFC", inner).casefold()
        reason = _reason(entry, inner)
        if reason is None and folds_case and folded in seen:
            reason = "its name differs from another's only in case"
        if reason is None:
            plan.append((tuple(inner.split("/")), entry))
            seen.add(folded)
        else:
            skipped.append(Skipped(entry.path, reason))
    return plan, skipped


def _reason(entry: FileEntry, inner: str) -> str | None:
    """Say why something is not copied, or None."""
    if entry.type == "symlink":
        return "a symbolic link"
    if entry.type not in ("file", "directory"):
        return "no regular file"
    if inner.count("/") >= MAX_DEPTH:
        return f"more than {MAX_DEPTH} directories deep"
    if "\\" in inner or _CONTROL.search(inner):
        # A backslash is another system's separator; a terminal obeys the others.
        return "a name with a backslash or a control character"
    return None
