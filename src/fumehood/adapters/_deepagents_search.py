"""What Deep Agents means by its ``grep`` and ``glob``, asked of a session's own search.

The session searches inside the container. Where its globs say more than the framework's (a name
that begins with a dot is like any other), the framework's own rule decides about what comes back.
"""

from __future__ import annotations

import posixpath
import re

from deepagents.backends.protocol import GrepMatch, GrepResult
from deepagents.backends.utils import compile_grep_include_glob

from fumehood.errors import FileError
from fumehood.results import FileEntry
from fumehood.session import AsyncSession

MAX_MATCHES = 10_000
PSEUDO = ("proc/**", "sys/**", "dev/**")
"""Without end, and no place for anybody's files: a search of everything leaves them out."""


async def grep(
    session: AsyncSession,
    text: str,
    path: str,
    glob: str | None,
    *,
    max_count: int | None,
    exclude: tuple[str, ...],
) -> GrepResult:
    """Search for a string; each line of it is one that may be there, as ``grep -F`` has it.

    Raises:
        SandboxError: of the path, the string or the glob.
        InvalidGlobPatternError: the framework refuses the glob.
    """
    included = None if glob is None else compile_grep_include_glob(glob)
    own = posixpath.basename(path)
    wanted = MAX_MATCHES if max_count is None else min(max_count, MAX_MATCHES)
    lines = text.split("\n")
    found = await session.search(
        text if len(lines) == 1 else "|".join(map(re.escape, lines)),
        path,
        regex=len(lines) > 1,
        # One more tells whether there are more; how many the glob's rule takes away is not known.
        max_matches=wanted + 1 if included is None else 10 * MAX_MATCHES,
        include=() if glob is None else (_plain(glob),),
        exclude=(*(name for name in exclude if name != own), *_pseudo(path)),
        root="/",
    )
    matches = [
        GrepMatch(path=match.path, line=match.line_number, text=match.line)
        for match in found.matches
        if included is None or included(_below(match.path, path))
    ]
    return GrepResult(matches=matches[:wanted], truncated=found.truncated or len(matches) > wanted)


async def glob(session: AsyncSession, pattern: str, path: str) -> tuple[list[FileEntry], bool]:
    """Return regular files, and links to such, by path; and whether all could be looked at.

    Raises:
        SandboxError: of the path or the pattern.
        InvalidGlobPatternError: the framework refuses the pattern.
    """
    included = compile_grep_include_glob(pattern)
    plain = _plain(pattern)
    entries = await session.glob(
        plain if "/" in pattern else f"**/{plain}", path, exclude=_pseudo(path), root="/"
    )
    found = [
        entry
        for entry in entries
        if included(_below(entry.path, path)) and await _is_file(session, entry)
    ]
    return found, not entries.skipped_unreadable


async def _is_file(session: AsyncSession, entry: FileEntry) -> bool:
    if entry.type != "symlink":
        return entry.type == "file"
    try:
        return (await session.stat(entry.path, root="/")).type == "file"
    except FileError:
        return False


def _plain(glob: str) -> str:
    """Return a glob as a session takes it: relative, without empty parts."""
    return "/".join(part for part in glob.split("/") if part not in ("", "."))


def _below(path: str, base: str) -> str:
    return posixpath.basename(path) if path == base else posixpath.relpath(path, base)


def _pseudo(path: str) -> tuple[str, ...]:
    return PSEUDO if path == "/" else ()
