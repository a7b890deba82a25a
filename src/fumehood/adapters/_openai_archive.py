"""A session's workspace as a tar archive, out and in: what the framework's snapshots are made of.

The image's ``tar`` reads and writes it, with the rights of the session's user. What comes out is
hostile: it is rewritten member by member before it is kept, and checked again before it goes in.
"""

from __future__ import annotations

import asyncio
import io
import tarfile
import tempfile
from collections.abc import AsyncIterator, Iterable
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from agents.sandbox.errors import WorkspaceArchiveReadError, WorkspaceArchiveWriteError
from agents.sandbox.util.tar_utils import (
    UnsafeTarMemberError,
    strip_tar_member_prefix,
    validate_tarfile,
)

from fumehood.errors import SandboxError
from fumehood.results import Exit, Stdout
from fumehood.session import AsyncSession

MAX_ARCHIVE_BYTES = 4 << 30
"""A workspace can hold files of any size that take none of its disk."""
PIECE = 256 * 1024


async def pack(session: AsyncSession, root: Path, skip: Iterable[Path]) -> io.IOBase:
    """Return the workspace as an archive whose members are relative to it, on this disk.

    Args:
        session: whose.
        root: the workspace.
        skip: what is left out, relative to it.

    Raises:
        WorkspaceArchiveReadError: it cannot be read, changes meanwhile, or is over 4 GiB.
    """
    where = PurePosixPath(root)
    archive = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes what this returns
    try:
        await _take(
            session, ["tar", "-C", str(where.parent), "-cf", "-", where.name], archive, root
        )
        return await asyncio.to_thread(_portable, archive, where, frozenset(map(str, skip)))
    except (SandboxError, tarfile.TarError, UnsafeTarMemberError) as exc:
        raise WorkspaceArchiveReadError(path=root, cause=exc) from exc
    finally:
        archive.close()


async def _take(session: AsyncSession, argv: list[str], archive: IO[bytes], root: Path) -> None:
    taken = 0
    async with session.exec_stream(argv, timeout=None) as events:
        async for event in events:
            if isinstance(event, Exit):
                if not event.result.ok:
                    raise WorkspaceArchiveReadError(
                        path=root, context={"reason": event.result.stderr[-500:]}
                    )
            elif isinstance(event, Stdout):
                taken += len(event.data)
                if taken > MAX_ARCHIVE_BYTES:
                    raise WorkspaceArchiveReadError(
                        path=root, context={"reason": f"over {MAX_ARCHIVE_BYTES} bytes"}
                    )
                await asyncio.to_thread(archive.write, event.data)


def _portable(archive: IO[bytes], root: PurePosixPath, skip: frozenset[str]) -> io.IOBase:
    """Return it as the framework keeps it: no prefix, no devices, links within it relative."""
    archive.seek(0)
    with tempfile.TemporaryFile() as kept:
        with (
            tarfile.open(fileobj=archive, mode="r:") as source,
            tarfile.open(fileobj=kept, mode="w", format=tarfile.PAX_FORMAT) as target,
        ):
            for member in source:
                below = member.name.removeprefix(f"{root.name}/")
                if any(below == name or below.startswith(f"{name}/") for name in skip):
                    continue
                target.addfile(member, source.extractfile(member) if member.isreg() else None)
        kept.seek(0)
        return strip_tar_member_prefix(
            cast("io.IOBase", kept), prefix=root.name, relativize_symlinks_under=root
        )


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
