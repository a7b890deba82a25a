"""A snapshot's file that is written: under another name until it is whole."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import BinaryIO

from fumehood._moving.file import PIECE, SnapshotWriter
from fumehood._tether.cleanup import to_the_end
from fumehood._trees.local import explained
from fumehood.transfers import TransferProgress

Tell = Callable[[TransferProgress], None]

_OP = "export_snapshot"


async def write(
    target: str,
    head: Mapping[str, object],
    parts: Mapping[str, AsyncGenerator[bytes, None]],
    progress: Tell | None,
) -> int:
    """Write a file under another name, and give it its own once it is whole; return its bytes."""
    partial = Path(f"{target}.{secrets.token_hex(8)}.partial")
    with explained(target, "written", _OP):
        # What is in it may be secret, whatever the umask says.
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        descriptor = await to_the_end(asyncio.to_thread(os.open, partial, flags, 0o600))
    try:
        with os.fdopen(descriptor, "wb") as file:
            writer = _Outgoing(target, file)
            await writer.begin(head)
            for part, pieces in parts.items():
                await writer.part(part, pieces, progress)
            await writer.end()
        with explained(target, "written", _OP):
            await to_the_end(asyncio.to_thread(partial.replace, target))
    except BaseException:
        await to_the_end(asyncio.to_thread(partial.unlink, missing_ok=True))
        raise
    return writer.size


class _Outgoing:
    """A snapshot's file while it is written: large pieces, in a thread."""

    def __init__(self, path: str, file: BinaryIO) -> None:
        self._path = path
        self._file = file
        self._writer = SnapshotWriter(file)

    @property
    def size(self) -> int:
        return self._writer.size

    async def begin(self, head: Mapping[str, object]) -> None:
        await self._do(self._writer.head, head)

    async def part(
        self, part: str, pieces: AsyncGenerator[bytes, None], progress: Tell | None
    ) -> None:
        await self._do(self._writer.begin, part)
        waiting = bytearray()
        async with aclosing(pieces):
            async for piece in pieces:
                waiting += piece
                if len(waiting) >= PIECE:
                    await self._do(self._writer.add, bytes(waiting))
                    waiting.clear()
                    if progress is not None:
                        progress(step(self.size, None))
        await self._do(self._writer.add, bytes(waiting))

    async def end(self) -> None:
        await self._do(self._end)

    def _end(self) -> None:
        self._writer.end()
        self._file.flush()
        os.fsync(self._file.fileno())

    async def _do(self, action: Callable[..., None], *arguments: object) -> None:
        with explained(self._path, "written", _OP):
            # To the end, because the file is closed next.
            await to_the_end(asyncio.to_thread(action, *arguments))


def step(done: int, total: int | None) -> TransferProgress:
    """Return how far a file is, in bytes."""
    return TransferProgress(bytes=done, files=0, total_bytes=total, total_files=1)
