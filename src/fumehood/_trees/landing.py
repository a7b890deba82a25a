"""Where files that come from a session land: beneath one directory and nowhere else.

Whatever names a container makes up, and whatever else happens on this machine meanwhile. Everything
here blocks; one thread at a time uses a landing.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from contextlib import suppress

from fumehood._trees import local
from fumehood._trees.local import DIRECTORY_FLAGS, NEW_FILE_FLAGS, NOFOLLOW


class Landing:
    """A local directory that files of a session are written into, and nothing outside of it.

    Names are taken part by part from the directory's own descriptor, never through a link; a file
    is written under a temporary name and takes its place when it is whole. Modes are subject to the
    process's umask, as those of every other program's files are.

    Args:
        root: the directory, open; taken over.
    """

    def __init__(self, root: int) -> None:
        self._root = root
        self._parts: tuple[str, ...] = ()
        self._directory = -1
        self._prefix = f".fumehood-{secrets.token_hex(6)}"
        self._number = 0

    def folds_case(self) -> bool:
        """Whether names here that differ only in case are the same file (macOS)."""
        name = self._temporary()
        os.mkdir(name, mode=0o700, dir_fd=self._root)
        try:
            os.stat(name.upper(), dir_fd=self._root)
        except FileNotFoundError:
            return False
        finally:
            os.rmdir(name, dir_fd=self._root)
        return True

    def make_directory(self, parts: Sequence[str], mode: int = 0o755) -> None:
        """Make a directory, and those above it; one that is there stays as it is.

        Its owner can use it, whatever the mode: more is to go into it.
        """
        if not parts:
            return
        directory = self._enter(tuple(parts[:-1]))
        with suppress(FileExistsError):
            os.mkdir(parts[-1], mode=(mode & 0o777) | 0o700, dir_fd=directory)
        self._enter(tuple(parts))

    def link(self, parts: Sequence[str], text: str) -> None:
        """Make a symbolic link; a file or link of its name is replaced."""
        check_part(parts[-1])
        directory = self._enter(tuple(parts[:-1]))
        name = self._temporary()
        os.symlink(text, name, dir_fd=directory)
        try:
            os.rename(name, parts[-1], src_dir_fd=directory, dst_dir_fd=directory)
        except BaseException:
            os.unlink(name, dir_fd=directory)
            raise

    def start(self, parts: Sequence[str], mode: int, modified_ns: int) -> Draft:
        """Begin a file; its directories are made."""
        directory, name, opened = self._create(parts, mode)
        return Draft(os.dup(directory), name, parts[-1], opened, mode, modified_ns)

    def put(
        self, parts: Sequence[str], content: bytes | bytearray, mode: int, modified_ns: int
    ) -> None:
        """Write a file that is whole; its directories are made."""
        directory, name, opened = self._create(parts, mode)
        try:
            _write(opened, content)
            _dress(opened, mode, modified_ns)
            os.rename(name, parts[-1], src_dir_fd=directory, dst_dir_fd=directory)
        except BaseException:
            with suppress(OSError):
                os.unlink(name, dir_fd=directory)
            raise
        finally:
            os.close(opened)

    def another(self) -> Landing:
        """Return one for the same directory, which another thread may use meanwhile."""
        return Landing(os.dup(self._root))

    def _create(self, parts: Sequence[str], mode: int) -> tuple[int, str, int]:
        """Return a file's directory, its temporary name and itself, open."""
        check_part(parts[-1])
        directory = self._enter(tuple(parts[:-1]))
        name = self._temporary()
        opened = os.open(name, NEW_FILE_FLAGS, mode=mode & 0o777, dir_fd=directory)
        return directory, name, opened

    def holds(self, parts: Sequence[str]) -> os.stat_result | None:
        """Return what is there under a name, or None; nothing is made for it."""
        directory = os.dup(self._root)
        try:
            for part in parts[:-1]:
                check_part(part)
                inner = os.open(part, DIRECTORY_FLAGS | NOFOLLOW, dir_fd=directory)
                os.close(directory)
                directory = inner
            return os.stat(parts[-1], dir_fd=directory, follow_symlinks=False)
        except OSError:
            return None
        finally:
            os.close(directory)

    def _temporary(self) -> str:
        self._number += 1
        return f"{self._prefix}-{self._number}"

    def _enter(self, parts: tuple[str, ...]) -> int:
        """Return the open directory of that name; it stays open until the next one is entered."""
        if self._directory >= 0 and parts == self._parts:
            return self._directory
        directory = os.dup(self._root)
        try:
            for part in parts:
                check_part(part)
                inner = _step_down(directory, part)
                os.close(directory)
                directory = inner
        except BaseException:
            os.close(directory)
            raise
        self._leave()
        self._directory, self._parts = directory, parts
        return directory

    def _leave(self) -> None:
        if self._directory >= 0:
            os.close(self._directory)
        self._directory = -1

    def close(self) -> None:
        """Let go of the directory."""
        self._leave()
        os.close(self._root)


def _step_down(directory: int, name: str) -> int:
    flags = DIRECTORY_FLAGS | NOFOLLOW
    try:
        return os.open(name, flags, dir_fd=directory)
    except FileNotFoundError:
        with suppress(FileExistsError):
            os.mkdir(name, mode=0o755, dir_fd=directory)
        return os.open(name, flags, dir_fd=directory)


def check_part(part: str) -> None:
    """Refuse a name that is not one: what a container says must not lead anywhere else."""
    if part in ("", ".", "..") or "/" in part or "\0" in part:
        raise OSError(22, f"{part!r} is no name for a file")


class Draft:
    """A file under its temporary name. Exactly one of :meth:`keep` and :meth:`discard` ends it."""

    def __init__(
        self, directory: int, name: str, target: str, opened: int, mode: int, modified_ns: int
    ) -> None:
        self._directory = directory
        self._name = name
        self._target = target
        self._opened = opened
        self._mode = mode
        self._modified_ns = modified_ns

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append a piece."""
        _write(self._opened, data)

    def keep(self) -> None:
        """Put it in its place: a link of that name is replaced, not followed."""
        try:
            _dress(self._opened, self._mode, self._modified_ns)
            os.rename(
                self._name,
                self._target,
                src_dir_fd=self._directory,
                dst_dir_fd=self._directory,
            )
        except BaseException:
            self.discard()
            raise
        self._close()

    def discard(self) -> None:
        """Remove it."""
        with suppress(OSError):
            os.unlink(self._name, dir_fd=self._directory)
        self._close()

    def _close(self) -> None:
        os.close(self._opened)
        os.close(self._directory)


def _write(opened: int, data: bytes | bytearray | memoryview) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(opened, view) :]


def _dress(opened: int, mode: int, modified_ns: int) -> None:
    """Give a file its time, and the bits that it cannot be made with; the umask has had its say."""
    if special := mode & 0o7000:
        os.fchmod(opened, os.fstat(opened).st_mode & 0o777 | special)
    os.utime(opened, ns=(modified_ns, modified_ns))


def open_landing(path: str, op: str) -> Landing:
    """Open a directory that a caller has named.

    Raises:
        LocalFileError: it is not there, or is none.
    """
    with local.explained(path, "opened as a directory", op):
        return Landing(os.open(path, DIRECTORY_FLAGS))
