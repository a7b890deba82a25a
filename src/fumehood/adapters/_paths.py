"""Absolute paths, as frameworks speak of them, on the file system of a session."""

from __future__ import annotations

import errno
import os
import posixpath

from fumehood.errors import (
    DiskFullError,
    FileError,
    FileMissingError,
    FileNotDirectoryError,
    FilePermissionError,
    FileTooLargeError,
    NotRegularFileError,
)
from fumehood.session import AsyncSession

MAX_LINKS = 40
"""As many symbolic links as Linux follows in one path."""


def on_root(workdir: str, path: str) -> str:
    """Return a path of the whole file system: a relative one begins in the workspace.

    ``..`` is taken out as text, which a session's own rules refuse.
    """
    return posixpath.normpath(posixpath.join("/", workdir, path))


def builtin(error: FileError, path: str) -> OSError | None:
    """Return the error of the standard library that says the same of a path, with its errno.

    None: most errors of files are one of those already.
    """
    if isinstance(error, OSError):
        return None
    number = errno.EIO
    if isinstance(error, NotRegularFileError):
        number = errno.EINVAL
    elif isinstance(error, FileTooLargeError):
        number = errno.EFBIG
    elif isinstance(error, DiskFullError):
        number = errno.ENOSPC
    return OSError(number, str(error), path)


async def realpath(session: AsyncSession, path: str) -> str:
    """Resolve links as ``os.path.realpath(path, strict=False)`` does, inside the session.

    What is missing, or may not be looked at, is kept as it is written.

    Raises:
        OSError: with ``ELOOP``, after :data:`MAX_LINKS` links.
    """
    pending = [part for part in reversed(path.split("/")) if part]
    resolved: list[str] = []
    links = 0
    while pending:
        part = pending.pop()
        if part == ".":
            continue
        if part == "..":
            if resolved:
                resolved.pop()
            continue
        here = "/" + "/".join((*resolved, part))
        target = await _target(session, here)
        if target is None:
            resolved.append(part)
            continue
        links += 1
        if links > MAX_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        if target.startswith("/"):
            resolved.clear()
        pending.extend(piece for piece in reversed(target.split("/")) if piece)
    return "/" + "/".join(resolved)


async def _target(session: AsyncSession, path: str) -> str | None:
    try:
        entry = await session.stat(path, follow_symlinks=False, root="/")
    except (FileMissingError, FileNotDirectoryError, FilePermissionError):
        return None
    return entry.target if entry.type == "symlink" else None
