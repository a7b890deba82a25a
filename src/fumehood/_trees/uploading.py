"""One upload, from a caller's paths to its result."""

from __future__ import annotations

import os
import posixpath
import stat

from fumehood._core import CANCEL_PATIENCE, FileRoot, SessionCore, locate
from fumehood._failures import file_failure
from fumehood._progress import of_file
from fumehood._transfer import blame, done
from fumehood._trees.blocking import blocking
from fumehood._trees.local import FILE_FLAGS, is_same
from fumehood._trees.sending import OP, Report, Sending
from fumehood._trees.source import FileSource, Options, TreeSource
from fumehood._trees.tally import Tally
from fumehood._wire.codec import WireViolationError
from fumehood._wire.messages import Done, Fail
from fumehood._wire.packed import PackedReader, Record
from fumehood._wire.requests import file_request
from fumehood._wire.table import ErrorCode, FileCode, Operation, Root, Violation
from fumehood.errors import (
    FileMissingError,
    FileNotDirectoryError,
    FileTooLargeError,
    InvalidRequestError,
    LocalFileError,
    SandboxError,
)
from fumehood.files import FilesPart
from fumehood.results import FileEntry
from fumehood.text import brief
from fumehood.transfers import TransferResult

MAX_KNOWN = 1_000_000
"""Files of a target that ``skip_same`` remembers, in some 200 bytes each."""


async def upload(
    session: FilesPart,
    core: SessionCore,
    path: str,
    remote: str,
    *,
    root: FileRoot,
    options: Options,
    progress: Report | None,
) -> TransferResult:
    """Copy a file or a directory into the session."""
    opened = await blocking(OP, path, "read", os.open, path, FILE_FLAGS)
    try:
        mode = os.fstat(opened).st_mode
        is_tree = stat.S_ISDIR(mode)
        if not is_tree and not stat.S_ISREG(mode):
            raise LocalFileError(
                f"{OP}: {path!r} is not a regular file", path=path, op=OP, session_id=core.id
            )
        own = own_name(path)
        target, there = await _target(session, remote, own, root, contents=is_tree and not own)
        run = _Upload(core, path, target, root, options, progress)
        if is_tree:
            return await run.tree(opened)
        return await run.file(opened, there)
    finally:
        os.close(opened)


def own_name(path: str) -> str:
    """Return what something is called, ``""`` where the caller means what is in it.

    As with cp, that is so for ``.`` and ``..`` at the end of a path.
    """
    name = posixpath.basename(path.rstrip("/"))
    return "" if name in (".", "..") else name


async def _target(
    session: FilesPart, remote: str, own: str, root: FileRoot, *, contents: bool
) -> tuple[str, FileEntry | None]:
    """Return where something goes, and what is there.

    Under the name given, or under its own in the directory of that name.
    """
    if not isinstance(remote, str):
        raise InvalidRequestError(f"remote must be str, not {brief(remote)}")
    plain = remote.rstrip("/") or "/" if len(remote) > 1 else remote
    name, _, _ = locate(plain, root, allow_root=True)
    if contents:
        return name, None
    there = await _stat(session, plain, root)
    if plain != remote or (there is not None and there.type == "directory"):
        name = posixpath.join("" if name == "." else name, own or "root")
        there = None if there is None else await _stat(session, name, root)
    return name, there


async def _stat(session: FilesPart, path: str, root: FileRoot) -> FileEntry | None:
    try:
        return await session.stat(path, root=root)
    except (FileMissingError, FileNotDirectoryError):
        return None


class _Upload:
    def __init__(
        self,
        core: SessionCore,
        path: str,
        target: str,
        root: FileRoot,
        options: Options,
        progress: Report | None,
    ) -> None:
        self._core = core
        self._path = path
        self._target = target
        self._root: FileRoot = root
        self._options = options
        self._progress = progress
        self._tally = Tally()

    async def tree(self, opened: int) -> TransferResult:
        """Send what is in a directory."""
        name, raw, where = locate(self._target, self._root, allow_root=True)
        source = TreeSource(opened, self._options, self._tally)
        source.limit = self._core.limits.max_file_bytes
        if self._options.skip_same:
            source.same = await _existing(self._core, raw, where, name)
        await self._send(source, raw, where)
        return self._tally.result(name)

    async def file(self, opened: int, there: FileEntry | None) -> TransferResult:
        """Send one file, which is either there afterwards or an error."""
        name, raw, where = locate(self._target, self._root)
        info = os.fstat(opened)
        if self._options.skip_same and there is not None and is_same(there, info):
            self._tally.unchanged += 1
            return self._tally.result(name)
        if info.st_size > self._core.limits.max_file_bytes:
            raise FileTooLargeError(
                f"{name!r} is {info.st_size} bytes; Limits.max_file_bytes is "
                f"{self._core.limits.max_file_bytes}",
                path=name,
                op=OP,
                session_id=self._core.id,
            )
        base, own = posixpath.split(raw)
        source = FileSource(opened, os.fsdecode(own), self._options, self._tally)
        refused = await self._send(source, base or b".", where)
        if self._tally.skipped:
            raise self._failure(refused, name)
        return self._tally.result(name)

    async def _send(self, source: TreeSource, base: bytes, where: Root) -> Fail | None:
        if self._progress is not None:
            await blocking(OP, self._path, "read", source.count)
        sending = Sending(
            self._core,
            source,
            self._tally,
            local=self._path,
            name=self._target,
            progress=self._progress,
        )
        limit = self._core.limits.max_file_bytes
        await sending.run(file_request(Operation.PUT_TREE, base, where, limit=limit))
        return sending.refused

    def _failure(self, refused: Fail | None, name: str) -> SandboxError:
        if refused is not None:
            return file_failure(refused, op=OP, path=name, session_id=self._core.id)
        text = f"{OP}: {self._path!r} cannot be read: {self._tally.skipped[0].reason}"
        return LocalFileError(text, path=self._path, op=OP, session_id=self._core.id)


async def _existing(
    core: SessionCore, raw: bytes, where: Root, name: str
) -> dict[bytes, tuple[int, int]]:
    """Return size and time of the files below a directory; nothing where there is none."""
    found: dict[bytes, tuple[int, int]] = {}
    reader = PackedReader(content=False)
    channel = core.tether.open(file_request(Operation.SCAN_TREE, raw, where, limit=MAX_KNOWN))
    try:
        with of_file(core, channel, OP, name):
            while (item := await channel.receive()) is not None:
                for record in reader.feed(item.data):
                    if isinstance(record, Record) and record.type == FileCode.FILE:
                        found[record.path] = (record.size, record.modified_ns)
                if len(found) > MAX_KNOWN:
                    raise WireViolationError(Violation.BAD_VALUE, "more entries than asked for")
            answer = await channel.answer()
        if isinstance(answer, Fail) and answer.error is ErrorCode.NOT_FOUND:
            return {}
        assert isinstance(done(core, answer, OP, name), Done)
        reader.finish()
    except WireViolationError as violation:
        raise blame(core, violation) from None
    finally:
        await channel.aclose(CANCEL_PATIENCE)
    return found
