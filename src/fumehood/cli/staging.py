"""What ``run`` puts into the workspace before its command: looked at before there is a session."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fumehood import AsyncSession, LocalFileError, Manifest, Skipped, TransferResult
from fumehood.cli import output
from fumehood.cli.progress import CopyDisplay
from fumehood.cli.values import Staged

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Load:
    """Local files and trees, within the limits, and where they go."""

    files: tuple[Staged, ...]
    trees: tuple[Staged, ...]
    size: int
    """Bytes of all of it."""

    @classmethod
    def look(cls, files: Sequence[Staged], directories: Sequence[Staged], largest: int) -> Load:
        """Look at files and directories; blocks.

        Raises:
            LocalFileError: one cannot be read, is no regular file, or is larger than ``largest``.
            InvalidPathError: a place in the workspace is not one.
        """
        # A manifest checks its paths when it is made.
        Manifest(
            files={item.remote: b"" for item in files},
            directories=tuple(item.remote for item in directories if item.remote != "."),
        )
        size = sum(_file_size(item.local, largest) for item in files)
        size += sum(_tree_size(item.local, largest) for item in directories)
        return cls(tuple(files), tuple(directories), size)

    async def send(self, session: AsyncSession, shown: CopyDisplay) -> None:
        """Put all of it into the workspace, and say what was left out."""
        for item in self.files:
            await session.upload(item.local, item.remote, progress=shown)
            shown.next()
        for item in self.trees:
            result = await session.upload(
                f"{item.local}/.", item.remote, symlinks="skip", progress=shown
            )
            shown.next()
            if not shown.quiet:
                tell_skipped(result)


def _file_size(path: Path, largest: int) -> int:
    try:
        info = path.stat()
    except OSError as exc:
        raise _unreadable(path, exc) from exc
    if not stat.S_ISREG(info.st_mode):
        raise LocalFileError(f"{str(path)!r} is not a regular file", path=str(path))
    _check_size(path, info.st_size, largest)
    return info.st_size


def _tree_size(path: Path, largest: int) -> int:
    def failed(error: OSError) -> None:
        raise _unreadable(Path(os.fsdecode(error.filename or path)), error) from error

    size = 0
    for directory, _, names in os.walk(path, onerror=failed):
        for name in names:
            file = Path(directory, name)
            try:
                info = file.lstat()
            except FileNotFoundError:
                continue  # it went meanwhile
            if stat.S_ISREG(info.st_mode):
                _check_size(file, info.st_size, largest)
                size += info.st_size
    return size


def _unreadable(path: Path, error: OSError) -> LocalFileError:
    text = f"{str(path)!r} cannot be read: {error.strerror or error}"
    return LocalFileError(text, path=str(path))


def _check_size(path: Path, size: int, largest: int) -> None:
    if size > largest:
        raise LocalFileError(
            f"{str(path)!r} is {output.bytes_text(size)}; --max-file is "
            f"{output.bytes_text(largest)}",
            path=str(path),
        )


def tell_skipped(result: TransferResult) -> None:
    """Say what was not copied and why, the first few by name."""
    shown: Sequence[Skipped] = result.skipped[:_SHOWN]
    for item in shown:
        output.note(f"not copied: {item.path} ({item.reason})")
    if result.skipped_count > len(shown):
        output.note(f"not copied: {result.skipped_count - len(shown)} more")
