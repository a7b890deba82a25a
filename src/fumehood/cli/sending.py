"""Local files and trees into a session, as streams: memory does not grow with their size."""

from __future__ import annotations

import asyncio
import os
import posixpath
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from fumehood import AsyncSession
from fumehood.cli.local import LocalFile, Tree

_PIECE = 256 << 10
_AT_ONCE = 8

Root = Literal["/"] | None
Advance = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Target:
    """Where in a session files go."""

    session: AsyncSession
    root: Root = None
    """``"/"``: paths are on the container's whole file system."""

    async def file(self, opened: int, path: str, mode: int, advance: Advance) -> None:
        """Send what is in a descriptor as one file, and close the descriptor."""
        try:
            first = await asyncio.to_thread(os.read, opened, _PIECE)
            async with self.session.write_file_stream(path, mode=mode, root=self.root) as writer:
                piece = first
                while piece:
                    await writer.write(piece)
                    advance(len(piece))
                    piece = await asyncio.to_thread(os.read, opened, _PIECE)
        finally:
            os.close(opened)

    async def tree(self, tree: Tree, path: str, advance: Advance) -> None:
        """Send everything that a walk has found below ``path``, several files at a time."""
        for parts in tree.directories:
            await self.session.make_directory(posixpath.join(path, *parts), root=self.root)
        limit = asyncio.Semaphore(_AT_ONCE)

        async def send(file: LocalFile) -> None:
            async with limit:
                opened = await asyncio.to_thread(tree.open, file)
                await self.file(opened, posixpath.join(path, *file.parts), file.mode, advance)

        try:
            async with asyncio.TaskGroup() as group:
                for file in tree.files:
                    group.create_task(send(file))
        except BaseExceptionGroup as failures:
            # The user asked for a copy, not for tasks: the first thing that went wrong is the
            # error.
            raise failures.exceptions[0] from None
