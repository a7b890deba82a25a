"""A snapshot's file that is read: in a thread, piece by piece, and vetted on the way."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from contextlib import aclosing
from typing import BinaryIO, TypeVar

from fumehood._moving import head as heads
from fumehood._moving.file import SnapshotReader
from fumehood._moving.outgoing import Tell, step
from fumehood._moving.vetting import Vetting
from fumehood._tether.cleanup import to_the_end
from fumehood._trees.local import explained
from fumehood.errors import SnapshotFileError

_OP = "import_snapshot"
_T = TypeVar("_T")


class Incoming:
    """A file under way into an engine: its head, its two parts, its end, in this order.

    Args:
        path: for messages.
        file: the file; :meth:`aclose` closes it.
        size: its bytes, where that is known.
        progress: told of each piece.
    """

    def __init__(self, path: str, file: BinaryIO, size: int | None, progress: Tell | None) -> None:
        self._path = path
        self._size = size
        self._progress = progress
        self._reader = SnapshotReader(file)
        self._workspace_bytes = 0
        self._file = file
        # Whoever sends what is read is cancelled without being waited for, and a thread goes on.
        self._reading = asyncio.Lock()

    async def head(self) -> heads.Head:
        """Return what the snapshot is.

        Raises:
            SnapshotFileError: it is none.
        """
        return await self._read(self._head)

    def _head(self) -> heads.Head:
        with self._named():
            return heads.read(self._reader.head())

    async def files(self) -> AsyncGenerator[bytes, None]:
        """Yield the container's file system, safe to be unpacked."""
        vetting = Vetting(what="the file system", image=True)
        async with aclosing(self._pieces("files", vetting)) as pieces:
            async for piece in pieces:
                yield piece

    async def workspace(self, workdir: str) -> AsyncGenerator[bytes, None]:
        """Yield the workspace's files, likewise, under their full names."""
        vetting = Vetting(what="the workspace", prefix=workdir.strip("/"))
        async with aclosing(self._pieces("workspace", vetting)) as pieces:
            async for piece in pieces:
                yield piece
        self._workspace_bytes = vetting.size

    async def complete(self) -> int:
        """Check that all has come, as it was written; return the bytes of the workspace's files."""
        await self._read(self._end)
        return self._workspace_bytes

    def _end(self) -> None:
        with self._named():
            self._reader.end()

    async def aclose(self) -> None:
        """Close the file, once nobody reads it."""
        async with self._reading:
            self._file.close()

    async def _read(self, step: Callable[[], _T]) -> _T:
        async with self._reading:
            if self._file.closed:
                raise SnapshotFileError("the call that it was read for is over")
            # To the end, because a generator that a thread is in cannot be closed.
            return await to_the_end(asyncio.to_thread(step))

    async def _pieces(self, part: str, vetting: Vetting) -> AsyncGenerator[bytes, None]:
        pieces = self._vetted(part, vetting)
        while (piece := await self._read(lambda: next(pieces, None))) is not None:
            if self._progress is not None:
                self._progress(step(self._reader.position, self._size))
            yield piece

    def _vetted(self, part: str, vetting: Vetting) -> Iterator[bytes]:
        with self._named():
            yield from vetting.again(self._reader.part(part))

    @contextlib.contextmanager
    def _named(self) -> Generator[None, None, None]:
        """Say of which file an error is."""
        try:
            with explained(self._path, "read", _OP):
                yield
        except SnapshotFileError as exc:
            raise SnapshotFileError(f"{self._path!r}: {exc}", op=_OP) from exc
