"""Where files that come from a session land: beneath one directory and nowhere else.

Whatever names a container makes up, and whatever else happens on this machine meanwhile.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from fumehood.cli.local import DIRECTORY_FLAGS, LocalFileError, explained


class Landing:
    """A local directory that files of a session are written into, and nothing outside of it.

    Names are taken part by part from the directory's own descriptor, never through a link; a file
    is written under a temporary name and takes its place when it is whole. All methods block.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with explained(path, "opened as a directory"):
            self._root = os.open(path, DIRECTORY_FLAGS)

    def make_directory(self, parts: Sequence[str]) -> None:
        """Make a directory, and those above it."""
        os.close(self._enter(parts))

    def start(self, parts: Sequence[str], *, executable: bool) -> Draft:
        """Begin a file; its directories are made."""
        check_part(parts[-1])
        directory = self._enter(parts[:-1])
        shown = self.path.joinpath(*parts)
        name = f".fumehood-{secrets.token_hex(8)}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            with explained(shown, "written"):
                opened = os.open(name, flags, mode=0o755 if executable else 0o644, dir_fd=directory)
        except BaseException:
            os.close(directory)
            raise
        return Draft(shown, directory, name, parts[-1], opened)

    def folds_case(self) -> bool:
        """Whether names here that differ only in case are the same file (macOS)."""
        name = f".fumehood-case-{secrets.token_hex(8)}"
        with explained(self.path, "written to"):
            os.mkdir(name, mode=0o700, dir_fd=self._root)
            try:
                os.stat(name.upper(), dir_fd=self._root)
            except FileNotFoundError:
                return False
            finally:
                os.rmdir(name, dir_fd=self._root)
        return True

    def _enter(self, parts: Sequence[str]) -> int:
        directory = os.dup(self._root)
        try:
            for depth, part in enumerate(parts, start=1):
                check_part(part)
                with explained(self.path.joinpath(*parts[:depth]), "made"):
                    with suppress(FileExistsError):
                        os.mkdir(part, mode=0o755, dir_fd=directory)
                    inner = os.open(part, DIRECTORY_FLAGS | os.O_NOFOLLOW, dir_fd=directory)
                os.close(directory)
                directory = inner
        except BaseException:
            os.close(directory)
            raise
        return directory

    def close(self) -> None:
        """Let go of the directory."""
        os.close(self._root)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def check_part(part: str) -> None:
    """Refuse a name that is not one: what a container says must not lead anywhere else."""
    if part in ("", ".", "..") or "/" in part or "\0" in part:
        raise LocalFileError(f"{part!r} is no name for a file")


class Draft:
    """A file under its temporary name. Exactly one of :meth:`keep` and :meth:`discard` ends it."""

    def __init__(self, shown: Path, directory: int, name: str, target: str, opened: int) -> None:
        self._shown = shown
        self._directory = directory
        self._name = name
        self._target = target
        self._opened = opened

    def write(self, data: bytes) -> None:
        """Append a piece."""
        view = memoryview(data)
        with explained(self._shown, "written"):
            while view:
                view = view[os.write(self._opened, view) :]

    def keep(self) -> None:
        """Put it in its place: a link of that name is replaced, not followed."""
        try:
            with explained(self._shown, "written"):
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
