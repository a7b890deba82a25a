"""Search in a session's files, by what they hold and by their names: inside, whatever the image."""

from __future__ import annotations

import math
import posixpath
from collections.abc import Iterable

from fumehood import _globs
from fumehood._checks import Seconds, flag, optional_seconds, whole
from fumehood._core import CANCEL_PATIENCE, FileRoot, SessionCore, SessionPart, locate
from fumehood._found import Found
from fumehood._pattern import MAX_PATTERN, literal, parse
from fumehood._program import encode_program
from fumehood._progress import of_file
from fumehood._transfer import blame, done, listing, records
from fumehood._wire.codec import WireViolationError
from fumehood._wire.records import EventReader
from fumehood._wire.requests import Request, file_request
from fumehood._wire.table import Operation
from fumehood.errors import (
    FileMissingError,
    FileNotDirectoryError,
    FilePermissionError,
    InvalidRequestError,
)
from fumehood.files import MAX_ENTRIES
from fumehood.results import FileEntries
from fumehood.search_results import SearchResult
from fumehood.text import brief, encode

MAX_MATCHES = 1000
MAX_FILE_BYTES = 64 << 20
EXCLUDE = (".git",)
TIMEOUT = 30.0
_MOST_MATCHES = 100_000
_MOST_CONTEXT = 100
_FOR_EVER_MS = 1 << 52


class SearchPart(SessionPart):
    """Searching the files of a session."""

    async def search(
        self,
        pattern: str,
        path: str = ".",
        *,
        regex: bool = True,
        ignore_case: bool = False,
        context: int = 0,
        before: int | None = None,
        after: int | None = None,
        max_matches: int = MAX_MATCHES,
        max_file_bytes: int = MAX_FILE_BYTES,
        include: Iterable[str] = (),
        exclude: Iterable[str] = EXCLUDE,
        timeout: Seconds | None = TIMEOUT,
        root: FileRoot = None,
    ) -> SearchResult:
        r"""Return the lines of text files that match a pattern.

        The supervisor searches by itself, with the rights of the session's user: nothing of the
        image is needed, and only what is found crosses the wire. No link is followed, nothing but
        regular files is opened. A pattern means what it means to ``re.compile(pattern, re.ASCII)``
        on each line without its end; what cannot be searched for in bounded time (look-around,
        references to groups, possessive and atomic parts) is refused. The time for a line is
        bounded by its length times the pattern's, whatever both are.

        Args:
            pattern: 1 to 4096 characters.
            path: a directory, or one file.
            regex: ``False`` searches for the pattern as it stands.
            ignore_case: ASCII letters in either case are the same.
            context: lines before and after each match, at most 100.
            before: the same for those before alone, like ``after``.
            after: lines behind each match.
            max_matches: lines; the search ends when there are more (at most 100,000).
            max_file_bytes: larger files are counted and not searched.
            include: globs of the files to search; without a slash at any depth (``"*.py"``),
                otherwise of the path below ``path`` (``"src/**/*.{ts,tsx}"``). Empty: all.
            exclude: globs of files, and of directories with all that is in them. ``.gitignore`` is
                not read: what is searched must not depend on what a session has written.
            timeout: seconds; what was found until then is the result. ``None``: no limit.
            root: ``"/"`` for a path on the container's whole file system.

        Example::

            found = await session.search(r"class \w+Error", "src", include=["*.py"])
            for match in found.matches:
                print(f"{match.path}:{match.line_number}: {match.line}")

        Raises:
            InvalidRequestError: the pattern is none, or not one of this dialect; with the place.
            FileMissingError, FilePermissionError, PathEscapesError: as they say, of ``path``.
            NotRegularFileError: ``path`` is neither a directory nor a regular file.
        """
        name, raw, where = locate(path, root, allow_root=True)
        around = whole(context, "context", minimum=0, maximum=_MOST_CONTEXT)
        patience = optional_seconds(timeout, "timeout")
        limit = whole(max_matches, "max_matches", minimum=1, maximum=_MOST_MATCHES)
        behind = _lines(after, "after", around)
        request = file_request(
            Operation.SEARCH,
            raw,
            where,
            limit=limit,
            max_file_bytes=whole(max_file_bytes, "max_file_bytes", minimum=0, maximum=1 << 62),
            timeout_ms=_FOR_EVER_MS if patience is None else math.ceil(patience * 1000),
            program=_program(pattern, regex=regex, ignore_case=ignore_case),
            before=_lines(before, "before", around),
            after=behind,
            include=_globs.programs(include, "include"),
            exclude=_globs.programs(exclude, "exclude"),
        )
        return await _search(
            self._core, request, name, Found("" if name == "." else name, limit, behind)
        )

    async def glob(
        self,
        pattern: str,
        path: str = ".",
        *,
        exclude: Iterable[str] = (),
        root: FileRoot = None,
    ) -> FileEntries:
        """Return what has a path that a glob matches, sorted by path.

        ``*`` and ``?`` stop at a slash, ``**`` is any number of directories, ``[a-z]`` and
        ``[!a-z]`` one character, ``{a,b}`` one of several. Names that begin with a dot are like any
        others. No link is followed. Where the glob begins with directories that do not exist,
        there is nothing. What the session's user may not read is passed by and counted, as in
        :meth:`SearchPart.search`: in ``skipped_unreadable`` of what is returned.

        Args:
            pattern: the glob, relative to ``path``.
            path: the directory to look in.
            exclude: as for :meth:`SearchPart.search`.
            root: ``"/"`` for a path on the container's whole file system.

        Example::

            entries = await session.glob("src/**/*.py")
            for entry in entries:
                print(entry.path, entry.size)
            if entries.skipped_unreadable:
                print("there may be more")

        Raises:
            InvalidRequestError: it is no glob.
            FileMissingError, FileNotDirectoryError, FilePermissionError: of ``path``.
            FileError: more than 100,000 entries match.
        """
        front, rest = _globs.split_glob(pattern)
        locate(path, root, allow_root=True)
        base = posixpath.join(path, front) if front else path
        name, raw, where = locate(base, root, allow_root=True)
        request = file_request(
            Operation.LIST,
            raw,
            where,
            limit=MAX_ENTRIES,
            recursive=int("/" in rest or "**" in rest),
            include=(_globs.program(rest),),
            exclude=_globs.programs(exclude, "exclude"),
        )
        try:
            return await listing(
                self._core, request, "glob", name, most=MAX_ENTRIES, recursive=True
            )
        except (FileMissingError, FileNotDirectoryError, FilePermissionError) as exc:
            if not front:
                raise
            await _check_directory(self._core, path, root)
            # Plain names are resolved and not looked for; what comes of it is the same.
            return FileEntries(skipped_unreadable=int(isinstance(exc, FilePermissionError)))


async def _check_directory(core: SessionCore, path: str, root: FileRoot) -> None:
    """Raise what is wrong with a directory, if anything is."""
    name, raw, where = locate(path, root, allow_root=True)
    nothing = _globs.programs(("*",), "exclude")
    request = file_request(Operation.LIST, raw, where, limit=1, recursive=0, exclude=nothing)
    await records(core, request, "glob", name, most=0)


def _lines(value: int | None, name: str, otherwise: int) -> int:
    if value is None:
        return otherwise
    return whole(value, name, minimum=0, maximum=_MOST_CONTEXT)


def _program(pattern: str, *, regex: bool, ignore_case: bool) -> bytes:
    if not isinstance(pattern, str) or not 1 <= len(pattern) <= MAX_PATTERN:
        raise InvalidRequestError(
            f"pattern must be a string of 1 to {MAX_PATTERN} characters, not {brief(pattern)}"
        )
    encode(pattern, "pattern")
    fold = flag(ignore_case, "ignore_case")
    if flag(regex, "regex"):
        return encode_program(parse(pattern, ignore_case=fold))
    if "\n" in pattern:
        raise InvalidRequestError(
            f"pattern {brief(pattern)} holds a line end; lines are searched one by one"
        )
    return encode_program(literal(pattern, fold=fold))


async def _search(core: SessionCore, request: Request, name: str, found: Found) -> SearchResult:
    reader = EventReader()
    channel = core.tether.open(request)
    watch = of_file(core, channel, "search", name)
    try:
        while (item := await channel.receive()) is not None:
            for event in reader.feed(item.data):
                found.take(event)
        done(core, await channel.answer(), "search", name)
        reader.finish()
        return found.result()
    except WireViolationError as violation:
        raise blame(core, violation) from None
    finally:
        watch.stop()
        await channel.aclose(CANCEL_PATIENCE)
