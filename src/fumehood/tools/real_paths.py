"""Where a path in a container leads, links followed, seen from outside and without running there.

Between the look and the use, a program inside may change a link: what stands on this is a rule for
the model, and the supervisor's own checks are the wall.
"""

from __future__ import annotations

import posixpath

from fumehood.errors import FileMissingError, FileNotDirectoryError
from fumehood.results import FileEntry
from fumehood.session import AsyncSession

_MAX_LINKS = 40


class TooManyLinksError(Exception):
    """A path goes through more links than Linux follows."""


async def real_path(session: AsyncSession, path: str) -> tuple[str, FileEntry | None]:
    """Return an absolute path without links, and what is there; None where there is nothing.

    Raises:
        TooManyLinksError: it goes in a circle.
        FileError: a directory on the way may not be looked into.
    """
    pending = [part for part in reversed(path.split("/")) if part not in ("", ".")]
    at, links = "", 0
    entry: FileEntry | None = None
    missing = False
    while pending:
        part = pending.pop()
        if part == "..":
            at, entry, missing = posixpath.dirname(at).rstrip("/"), None, False
            continue
        at = f"{at}/{part}"
        if missing:
            continue
        try:
            entry = await session.stat(at, follow_symlinks=False, root="/")
        except (FileMissingError, FileNotDirectoryError):
            entry, missing = None, True
            continue
        if entry.type != "symlink" or entry.target is None:
            continue
        links += 1
        if links > _MAX_LINKS:
            raise TooManyLinksError(path)
        at = "" if entry.target.startswith("/") else posixpath.dirname(at).rstrip("/")
        pending += [item for item in reversed(entry.target.split("/")) if item not in ("", ".")]
        entry = None
    if entry is None and not missing:
        entry = await session.stat(at or "/", follow_symlinks=False, root="/")
    return at or "/", None if missing else entry


def beneath(path: str, directory: str) -> bool:
    """Return whether an absolute path is a directory itself or in it."""
    return directory == "/" or path == directory or path.startswith(directory + "/")
