"""One download, from a caller's paths to its result."""

from __future__ import annotations

import asyncio
import os
import posixpath
import stat
from pathlib import Path

from fumehood._core import FileRoot, SessionCore, locate
from fumehood._failures import file_failure
from fumehood._trees.blocking import blocking
from fumehood._trees.fetching import OP, Fetching, Report
from fumehood._trees.landing import Landing
from fumehood._trees.local import DIRECTORY_FLAGS, is_same
from fumehood._trees.plan import Plan, Wanted
from fumehood._trees.source import Options
from fumehood._trees.tally import Tally
from fumehood._trees.unpack import Unpacker
from fumehood._wire.messages import Fail
from fumehood._wire.packed import CHECKED, Record
from fumehood._wire.table import FileCode
from fumehood.errors import InvalidRequestError, LocalFileError, SandboxError
from fumehood.files import look_at
from fumehood.results import FileEntry
from fumehood.text import brief
from fumehood.transfers import TransferResult


async def download(
    core: SessionCore,
    remote: str,
    path: str,
    *,
    root: FileRoot,
    options: Options,
    max_bytes: int,
    progress: Report | None,
) -> TransferResult:
    """Copy a file or a directory of the session to this machine."""
    plain, contents = _remote(remote)
    entry = await look_at(core, plain, root, op=OP, follow=True)
    is_tree = entry.type == "directory"
    name, raw, _ = locate(plain, root, allow_root=is_tree)
    own = "" if contents or raw == b"." else posixpath.basename(name)
    directory, prefix = await blocking(OP, path, "looked at", _place, path, own)
    landing = Landing(
        await blocking(OP, directory, "opened as a directory", os.open, directory, DIRECTORY_FLAGS)
    )
    try:
        run = _Download(core, path, plain, root, options, max_bytes, progress, landing, prefix)
        if is_tree:
            await run.tree()
        else:
            await run.file(entry)
    finally:
        landing.close()
    return run.tally.result(str(Path(directory, *prefix)))


def _remote(remote: str) -> tuple[str, bool]:
    """Return a path, and whether it ends with what stands for "what is in it", taken off."""
    if not isinstance(remote, str):
        raise InvalidRequestError(f"remote must be str, not {brief(remote)}")
    if remote == "." or remote.endswith("/."):
        return remote.removesuffix("/.") or "/", True
    return remote.rstrip("/") or remote[:1], False


def _place(path: str, own: str) -> tuple[str, tuple[str, ...]]:
    """Return a directory that is there, and the names to make in it.

    Into a directory that is there, under its own name; otherwise under the name given.
    """
    if path.endswith("/") or Path(path).is_dir():
        return path, (own,) if own else ()
    above, name = os.path.split(path)
    return above or ".", (name,)


class _Download:
    def __init__(
        self,
        core: SessionCore,
        path: str,
        remote: str,
        root: FileRoot,
        options: Options,
        max_bytes: int,
        progress: Report | None,
        landing: Landing,
        prefix: tuple[str, ...],
    ) -> None:
        self._core = core
        self._path = path
        self._root: FileRoot = root
        self._remote = remote
        self._options = options
        self._max_bytes = max_bytes
        self._progress = progress
        self._landing = landing
        self._prefix = prefix
        self.tally = Tally()

    async def tree(self) -> None:
        """Fetch what is in a directory."""
        name, raw, where = locate(self._remote, self._root, allow_root=True)
        plan = self._plan(
            folds_case=await blocking(OP, self._path, "written to", self._landing.folds_case)
        )
        follow = self._options.symlinks == "follow"
        fetching, _ = self._fetching(plan, name, self._prefix)
        await fetching.tree(raw, where, plan, follow=follow)
        # One that is empty too; and what is in its way ends in an error.
        await blocking(OP, self._path, "made", self._landing.make_directory, self._prefix)

    async def file(self, entry: FileEntry) -> None:
        """Fetch one file, which is either here afterwards or an error."""
        name, raw, where = locate(self._remote, self._root)
        if self._options.skip_same:
            here = await asyncio.to_thread(self._landing.holds, self._prefix)
            if here is not None and is_same(entry, here) and stat.S_ISREG(here.st_mode):
                self.tally.unchanged += 1
                return
        plan = self._plan(folds_case=False)
        plan.wanted.append(Wanted(raw, self._prefix, FileCode.FILE))
        fetching, unpacker = self._fetching(plan, name, (), alone=True)
        flags = CHECKED if self._options.verify else 0
        await fetching.file(Record(FileCode.FILE, flags, 0, 0, 0, raw).encode(), where)
        if self.tally.skipped:
            raise self._failure(unpacker, name)

    def _plan(self, *, folds_case: bool) -> Plan:
        return Plan(
            self._options,
            self.tally,
            existing=self._landing if self._options.skip_same else None,
            prefix=self._prefix,
            folds_case=folds_case,
            max_bytes=self._max_bytes,
        )

    def _fetching(
        self, plan: Plan, name: str, prefix: tuple[str, ...], *, alone: bool = False
    ) -> tuple[Fetching, Unpacker]:
        unpacker = Unpacker(
            self._landing,
            prefix,
            plan.wanted,
            self._options,
            self.tally,
            self._max_bytes,
            alone=alone,
        )
        fetching = Fetching(
            self._core,
            unpacker,
            self.tally,
            local=self._path,
            name=name,
            progress=self._progress,
        )
        return fetching, unpacker

    def _failure(self, unpacker: Unpacker, name: str) -> SandboxError:
        if unpacker.failed is not None:
            error, number = unpacker.failed
            fail = Fail(error=error, errno=number, step="", message="", size=None)
            return file_failure(fail, op=OP, path=name, session_id=self._core.id)
        text = f"{OP}: {self._path!r} cannot be written: {self.tally.skipped[0].reason}"
        return LocalFileError(text, path=self._path, op=OP, session_id=self._core.id)
