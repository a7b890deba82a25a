"""What ``run`` puts into the workspace before its command: looked at before there is a session."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from fumehood import AsyncSession, Manifest
from fumehood.cli import output
from fumehood.cli.local import LocalFileError, Skipped, Tree, open_named
from fumehood.cli.sending import Advance, Target
from fumehood.cli.values import Staged

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Load:
    """Local files and trees, open and within the limits, and where they go."""

    files: tuple[tuple[int, str], ...]
    trees: tuple[tuple[Tree, str], ...]

    @classmethod
    def look(
        cls,
        stack: ExitStack,
        files: Sequence[Staged],
        directories: Sequence[Staged],
        largest: int,
    ) -> Load:
        """Open files and walk directories; blocks. They are closed with ``stack``.

        Raises:
            LocalFileError: one cannot be read, is no regular file, or is larger than ``largest``.
            InvalidPathError: a place in the workspace is not one.
        """
        # A manifest checks its paths when it is made.
        Manifest(
            files={item.remote: b"" for item in files},
            directories=tuple(item.remote for item in directories if item.remote != "."),
        )
        opened: list[tuple[int, str]] = []
        for item in files:
            descriptor = open_named(item.local)
            stack.callback(os.close, descriptor)
            _check_size(item.local, os.fstat(descriptor).st_size, largest)
            opened.append((descriptor, item.remote))
        trees: list[tuple[Tree, str]] = []
        for item in directories:
            tree = stack.enter_context(Tree.walk(item.local))
            for file in tree.files:
                _check_size(item.local.joinpath(*file.parts), file.size, largest)
            trees.append((tree, item.remote))
        return cls(tuple(opened), tuple(trees))

    @property
    def size(self) -> int:
        """Bytes of all of it."""
        single = sum(os.fstat(descriptor).st_size for descriptor, _ in self.files)
        return single + sum(tree.size for tree, _ in self.trees)

    def tell_skipped(self) -> None:
        """Say what is left out."""
        tell_skipped([item for tree, _ in self.trees for item in tree.skipped])

    async def send(self, session: AsyncSession, advance: Advance) -> None:
        """Put all of it into the workspace."""
        target = Target(session)
        for descriptor, remote in self.files:
            mode = 0o755 if os.fstat(descriptor).st_mode & 0o111 else 0o644
            await target.file(os.dup(descriptor), remote, mode, advance)
        for tree, remote in self.trees:
            await target.tree(tree, remote, advance)


def _check_size(path: Path, size: int, largest: int) -> None:
    if size > largest:
        raise LocalFileError(
            f"{str(path)!r} is {output.bytes_text(size)}; --max-file is "
            f"{output.bytes_text(largest)}"
        )


def tell_skipped(skipped: Sequence[Skipped]) -> None:
    """Say what is not copied and why, the first few by name."""
    for item in skipped[:_SHOWN]:
        output.note(f"not copied: {item.path} ({item.reason})")
    if len(skipped) > _SHOWN:
        output.note(f"not copied: {len(skipped) - _SHOWN} more")
