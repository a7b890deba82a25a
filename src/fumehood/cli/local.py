"""Local files that are sent: regular files only, and never through a symbolic link of a tree."""

from __future__ import annotations

import os
import stat
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

MAX_ENTRIES = 100_000
MAX_DEPTH = 64
DIRECTORY_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# Without O_NONBLOCK, opening a FIFO that has taken a file's place would wait for its writer.
_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class LocalFileError(Exception):
    """A file of this machine cannot be read or written; the message says which and why."""


@contextmanager
def explained(path: str | Path, doing: str) -> Generator[None]:
    """Turn an operating system's error into one that names the file."""
    try:
        yield
    except OSError as exc:
        raise LocalFileError(f"{str(path)!r} cannot be {doing}: {exc.strerror or exc}") from exc


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A regular file of a tree, as it was when the tree was walked."""

    parts: tuple[str, ...]
    size: int
    executable: bool

    @property
    def mode(self) -> int:
        """The permission bits that it gets in a session."""
        return 0o755 if self.executable else 0o644


@dataclass(frozen=True, slots=True)
class Skipped:
    """What was left out, and why."""

    path: str
    reason: str


@dataclass(slots=True)
class Tree:
    """A local directory, held open: names below it are resolved from here and never through links.

    Use it as a context manager.
    """

    path: Path
    root: int
    files: list[LocalFile] = field(default_factory=list[LocalFile])
    directories: list[tuple[str, ...]] = field(default_factory=list[tuple[str, ...]])
    """Empty ones: the others come with what they hold."""
    skipped: list[Skipped] = field(default_factory=list[Skipped])

    @classmethod
    def walk(cls, path: Path) -> Tree:
        """Look at everything below a directory; blocks.

        Raises:
            LocalFileError: it or a directory in it cannot be read, or there is too much in it.
        """
        with explained(path, "opened as a directory"):
            root = os.open(path, DIRECTORY_FLAGS)
        tree = cls(path, root)
        try:
            tree._visit(root, ())
        except BaseException:
            os.close(root)
            raise
        return tree

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    def open(self, file: LocalFile) -> int:
        """Open one of the files for reading and return the descriptor; blocks.

        Raises:
            LocalFileError: it is not there any more, or no regular file reached without a link.
        """
        shown = self.path.joinpath(*file.parts)
        with explained(shown, "read"):
            directory = os.dup(self.root)
            try:
                for part in file.parts[:-1]:
                    inner = os.open(part, DIRECTORY_FLAGS | os.O_NOFOLLOW, dir_fd=directory)
                    os.close(directory)
                    directory = inner
                opened = os.open(file.parts[-1], _FILE | os.O_NOFOLLOW, dir_fd=directory)
            finally:
                os.close(directory)
        return _regular(opened, shown)

    def _visit(self, directory: int, parts: tuple[str, ...]) -> None:
        with explained(self.path.joinpath(*parts), "read"), os.scandir(directory) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
        for entry in found:
            name = (*parts, entry.name)
            if len(self.files) + len(self.directories) + len(self.skipped) >= MAX_ENTRIES:
                raise LocalFileError(f"{str(self.path)!r} holds more than {MAX_ENTRIES} entries")
            with explained(self.path.joinpath(*name), "read"):
                info = os.stat(entry.name, dir_fd=directory, follow_symlinks=False)
            reason = _reason(entry.name, info.st_mode, len(name))
            if reason is not None:
                self.skipped.append(Skipped("/".join(name), reason))
            elif stat.S_ISDIR(info.st_mode):
                self._descend(directory, name)
            else:
                self.files.append(LocalFile(name, info.st_size, bool(info.st_mode & 0o111)))

    def _descend(self, directory: int, name: tuple[str, ...]) -> None:
        before = len(self.files) + len(self.directories)
        with explained(self.path.joinpath(*name), "opened"):
            inner = os.open(name[-1], DIRECTORY_FLAGS | os.O_NOFOLLOW, dir_fd=directory)
        try:
            self._visit(inner, name)
        finally:
            os.close(inner)
        if len(self.files) + len(self.directories) == before:
            self.directories.append(name)

    def close(self) -> None:
        """Let go of the directory."""
        os.close(self.root)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _reason(name: str, mode: int, depth: int) -> str | None:
    """Say why something is not sent, or None."""
    if stat.S_ISLNK(mode):
        return "a symbolic link"
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        return "no regular file"
    if "\\" in name:
        return "a name with a backslash"
    if depth > MAX_DEPTH:
        return f"more than {MAX_DEPTH} directories deep"
    return None


def open_named(path: Path) -> int:
    """Open a file that the user has named, through links if it is one; blocks.

    Raises:
        LocalFileError: it cannot be read, or is no regular file.
    """
    with explained(path, "read"):
        opened = os.open(path, _FILE)
    return _regular(opened, path)


def _regular(opened: int, shown: Path) -> int:
    mode = os.fstat(opened).st_mode
    if stat.S_ISREG(mode):
        return opened
    os.close(opened)
    what = "is a directory" if stat.S_ISDIR(mode) else "is not a regular file"
    raise LocalFileError(f"{str(shown)!r} {what}")
