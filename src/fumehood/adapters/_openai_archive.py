"""A session's workspace as a tar archive, out and in: what the framework's snapshots are made of.

On the way out the session's files are listed and read, and the archive is written here: no program
of the container, which may be anybody's, has a word in what this machine parses or stores. On the
way in the image's ``tar`` unpacks it, with the rights of the session's user.
"""

from __future__ import annotations

import asyncio
import io
import posixpath
import tarfile
import tempfile
from collections.abc import AsyncIterator, Iterable
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from agents.sandbox.errors import WorkspaceArchiveReadError, WorkspaceArchiveWriteError
from agents.sandbox.util.tar_utils import UnsafeTarMemberError, validate_tarfile

from fumehood.errors import SandboxError
from fumehood.results import FileEntry
from fumehood.session import AsyncSession

MAX_ARCHIVE_BYTES = 4 << 30
"""A workspace can hold files of any size that take none of its disk."""
PIECE = 256 * 1024
_TYPES = {"file": tarfile.REGTYPE, "directory": tarfile.DIRTYPE, "symlink": tarfile.SYMTYPE}


async def pack(session: AsyncSession, root: Path, skip: Iterable[Path]) -> io.IOBase:
    """Return the workspace as an archive whose members are relative to it, on this disk.

    Regular files, directories and links are in it; absolute links to what is in the workspace
    become relative ones.

    Args:
        session: whose.
        root: the workspace.
        skip: what is left out, relative to it.

    Raises:
        WorkspaceArchiveReadError: something cannot be read, or shrinks meanwhile; or it is all more
            than 4 GiB, or 100,000 entries.
    """
    where = root.as_posix()
    left_out = {path.as_posix() for path in skip}
    archive = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes what this returns
    try:
        writer = _Writer(archive, where)
        entries = await session.list_files(where, recursive=True, root="/")
        if entries.skipped_unreadable:
            raise writer.refused(f"{entries.skipped_unreadable} entries may not be read")
        for entry in entries:
            below = entry.path.removeprefix(f"{where}/")
            if not any(below == name or below.startswith(f"{name}/") for name in left_out):
                await writer.add(session, entry, below)
        await writer.end()
    except SandboxError as exc:
        archive.close()
        raise WorkspaceArchiveReadError(path=root, cause=exc) from exc
    except BaseException:
        archive.close()
        raise
    return cast("io.IOBase", archive)


class _Writer:
    """Writes members one after the other, with no more of them in memory than a piece."""

    def __init__(self, archive: IO[bytes], root: str) -> None:
        self._archive = archive
        self._root = root
        self._pending = bytearray()
        self._taken = 0

    async def add(self, session: AsyncSession, entry: FileEntry, name: str) -> None:
        """Write a member; what is neither file nor directory nor link is left out."""
        kind = _TYPES.get(entry.type)
        if kind is None:
            return
        member = tarfile.TarInfo(name)
        member.type, member.mode = kind, entry.mode & 0o777
        member.mtime = int(entry.modified.timestamp())
        if entry.type == "symlink":
            member.linkname = self._link(entry)
        if entry.type != "file":
            await self._write(self._header(member))
            return
        member.size = entry.size
        self._taken += entry.size
        if self._taken > MAX_ARCHIVE_BYTES:
            raise self.refused(f"more than {MAX_ARCHIVE_BYTES} bytes")
        await self._write(self._header(member))
        await self._content(session, entry)
        await self._write(bytes(-entry.size % tarfile.BLOCKSIZE))

    async def _content(self, session: AsyncSession, entry: FileEntry) -> None:
        missing = entry.size
        async with session.read_file_stream(entry.path, root="/") as reader:
            async for piece in reader:
                await self._write(piece[:missing])
                missing -= min(missing, len(piece))
                if not missing:
                    break
        if missing:
            raise self.refused(f"{entry.path} has become shorter meanwhile")

    def _link(self, entry: FileEntry) -> str:
        """Return where a link leads; from inside the workspace to inside it, relatively."""
        target = entry.target or ""
        parts = PurePosixPath(target).parts
        if ".." in parts or not target.startswith(f"{self._root}/"):
            return target
        return posixpath.relpath(target, posixpath.dirname(entry.path))

    @staticmethod
    def _header(member: tarfile.TarInfo) -> bytes:
        return member.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")

    async def _write(self, data: bytes) -> None:
        self._pending += data
        if len(self._pending) >= PIECE:
            await self._flush()

    async def _flush(self) -> None:
        data, self._pending = bytes(self._pending), bytearray()
        await asyncio.to_thread(self._archive.write, data)

    async def end(self) -> None:
        """Write the archive's end, and go to its beginning."""
        self._pending += bytes(2 * tarfile.BLOCKSIZE)
        await self._flush()
        self._archive.seek(0)

    def refused(self, reason: str) -> WorkspaceArchiveReadError:
        """Return the error that says why there is no archive."""
        return WorkspaceArchiveReadError(path=Path(self._root), context={"reason": reason})


async def unpack(session: AsyncSession, root: Path, data: io.IOBase) -> None:
    """Put an archive's files into the workspace; they belong to the session's user.

    Raises:
        WorkspaceArchiveWriteError: it is none, a member or a link leads out of the workspace, or
            it could not be written.
    """
    with tempfile.TemporaryFile() as archive:
        try:
            await asyncio.to_thread(_check, data, archive)
            done = await session.exec(
                ["tar", "-C", str(PurePosixPath(root)), "-xpof", "-"],
                input=_pieces(archive),
                timeout=None,
            )
        except UnsafeTarMemberError as exc:
            raise WorkspaceArchiveWriteError(
                path=root, context={"reason": exc.reason, "member": exc.member}, cause=exc
            ) from exc
        except (SandboxError, tarfile.TarError, OSError) as exc:
            raise WorkspaceArchiveWriteError(path=root, cause=exc) from exc
    if not done.ok:
        raise WorkspaceArchiveWriteError(path=root, context={"reason": done.stderr[-500:]})


def _check(data: io.IOBase, archive: IO[bytes]) -> None:
    """Copy it, so that what is checked is what goes in."""
    while piece := cast("Any", data).read(PIECE):
        archive.write(piece)
    archive.seek(0)
    with tarfile.open(fileobj=archive, mode="r:*") as tar:
        validate_tarfile(tar, allow_external_symlink_targets=False)
    archive.seek(0)


async def _pieces(archive: IO[bytes]) -> AsyncIterator[bytes]:
    while piece := await asyncio.to_thread(archive.read, PIECE):
        yield piece
