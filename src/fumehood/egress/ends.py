"""Both ends of what is carried, as one kind of thing, whatever is underneath."""

from __future__ import annotations

import asyncio
from typing import Protocol

from fumehood._relay import PIECE
from fumehood._tether.channel import Channel


class BrokenError(Exception):
    """The side inside has broken off, or takes no more."""


class End(Protocol):
    """One side of a connection. One task reads and one writes."""

    async def read(self) -> bytes:
        """Return what comes next; nothing: that was all. When cancelled, nothing is lost.

        Raises:
            OSError: it broke.
            SandboxError: the session did.
        """
        ...

    async def write(self, data: bytes) -> None:
        """Send all of it, as fast as the other side takes it.

        Raises:
            OSError: it broke.
            BrokenError: nobody takes it any more.
            SandboxError: the session broke.
        """
        ...

    async def finish(self) -> None:
        """Say that nothing more comes. What comes from there can still be read."""
        ...


class InsideEnd:
    """A program inside, through the tether."""

    def __init__(self, channel: Channel, begun: bytes = b"") -> None:
        """Begin on a channel.

        Args:
            channel: its connection.
            begun: what has been read of it and comes first.
        """
        self._channel = channel
        self._begun = begun

    async def read(self) -> bytes:
        """Return what comes next; nothing: that was all. When cancelled, nothing is lost."""
        if self._begun:
            begun, self._begun = self._begun, b""
            return begun
        item = await self._channel.receive()
        return b"" if item is None else item.data

    async def write(self, data: bytes) -> None:
        """Send all of it, as fast as the program takes it."""
        if not await self._channel.send(data):
            raise BrokenError("nobody takes the response any more")

    async def finish(self) -> None:
        """Say that nothing more comes."""
        self._channel.end_input()


class OutsideEnd:
    """A server, through a socket of this machine."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def read(self) -> bytes:
        """Return what comes next; nothing: that was all. When cancelled, nothing is lost."""
        return await self._reader.read(PIECE)

    async def write(self, data: bytes) -> None:
        """Send all of it, as fast as the server takes it."""
        self._writer.write(data)
        await self._writer.drain()

    async def finish(self) -> None:
        """Say that nothing more comes."""
        self._writer.write_eof()
