"""Files of this machine: opened by descriptors, never through a link that was not asked for."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta

from fumehood._trees.names import link_target
from fumehood.errors import InvalidRequestError, LocalFileError
from fumehood.results import FileEntry
from fumehood.text import brief

# Missing on Windows, where names cannot be held by descriptors: `local_path` says so.
_DIRECTORY = getattr(os, "O_DIRECTORY", 0)
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
_CLOEXEC = getattr(os, "O_CLOEXEC", 0)

DIRECTORY_FLAGS = os.O_RDONLY | _DIRECTORY | _CLOEXEC
# Without O_NONBLOCK, opening a FIFO that has taken a file's place would wait for its writer.
FILE_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | _CLOEXEC
NEW_FILE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NOFOLLOW | _CLOEXEC
NOFOLLOW = _NOFOLLOW

MAX_LINKS = 40
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FATAL = frozenset(
    {
        errno.ENOSPC,
        getattr(errno, "EDQUOT", errno.ENOSPC),
        errno.EROFS,
        errno.EIO,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOMEM,
    }
)
"""What is no fault of one file: everything that follows would meet it too."""


def is_fatal(error: OSError) -> bool:
    """Whether a transfer ends with an error, rather than going on with the next file."""
    return error.errno in _FATAL


def why(error: OSError) -> str:
    """Return an operating system's word for what went wrong."""
    return error.strerror or str(error)


@contextmanager
def explained(path: str, doing: str, op: str) -> Generator[None]:
    """Turn an operating system's error into ours, which names the file."""
    try:
        yield
    except OSError as exc:
        raise local_error(exc, path, doing, op) from exc


def local_error(error: OSError, path: str, doing: str, op: str) -> LocalFileError:
    """Return the error of a file of this machine."""
    text = f"{op}: {path!r} cannot be {doing}: {why(error)}"
    return LocalFileError(text, path=path, op=op)


def local_path(local: str | os.PathLike[str]) -> str:
    """Return a caller's path of this machine as text.

    Raises:
        InvalidRequestError: it is none, or this is a system whose files cannot be held safely.
    """
    if os.open not in os.supports_dir_fd or not _NOFOLLOW:
        raise InvalidRequestError(
            "upload and download need a system whose directories can be held open (Linux, macOS); "
            "write_file and read_file work everywhere"
        )
    path = os.fspath(local) if isinstance(local, (str, os.PathLike)) else None
    if not isinstance(path, str) or not path or "\0" in path:
        raise InvalidRequestError(f"a local path must be a str or PathLike, not {brief(local)}")
    return path


def open_beneath(root: int, parts: Sequence[str], *, links: int = 0) -> int:
    """Open a file by its names from an open directory; at most ``links`` links are followed.

    Every name is opened in the directory before it and never through a link: what one says is put
    in its place, by the rule for links of a tree. So nothing outside is reached, whoever changes
    names meanwhile.

    Raises:
        OSError: EXDEV for a link that leads out; otherwise as open does.
    """
    directory = os.dup(root)
    try:
        at = 0
        while at < len(parts):
            last = at == len(parts) - 1
            flags = FILE_FLAGS if last else DIRECTORY_FLAGS
            try:
                inner = os.open(parts[at], flags | NOFOLLOW, dir_fd=directory)
            except OSError as exc:
                if not links or exc.errno not in (errno.ELOOP, errno.ENOTDIR, errno.EMLINK):
                    raise
                parts = _resolved(directory, parts, at, exc)
                links -= 1
                os.close(directory)
                directory = -1
                directory = os.dup(root)
                at = 0
                continue
            os.close(directory)
            directory = inner
            at += 1
    except BaseException:
        if directory >= 0:
            os.close(directory)
        raise
    return directory


def _resolved(directory: int, parts: Sequence[str], at: int, error: OSError) -> tuple[str, ...]:
    text = None
    with suppress(OSError):
        text = os.readlink(parts[at], dir_fd=directory)
    if text is None:
        raise error
    target = link_target(parts[: at + 1], text)
    if target is None:
        raise OSError(errno.EXDEV, "it leads out of the tree")
    return (*target, *parts[at + 1 :])


def is_same(entry: FileEntry, info: os.stat_result) -> bool:
    """Whether a session's file and one of this machine have the same size and time.

    To the microsecond, which is what an entry tells.
    """
    modified = _EPOCH + timedelta(microseconds=info.st_mtime_ns // 1000)
    return (entry.type, entry.size, entry.modified) == ("file", info.st_size, modified)


def is_regular(info: os.stat_result) -> bool:
    """Whether it is a file with content."""
    return stat.S_ISREG(info.st_mode)
