"""What a connection has to say, into the stream of the moment, in few writes."""

from __future__ import annotations

import asyncio

from fumehood._tether.streams import Streams
from fumehood._wire.connection import Connection


class Writer:
    """Writes in the order of calls.

    Args:
        connection: what has something to say.
        streams: where it goes.
    """

    __slots__ = ("_connection", "_loop", "_scheduled", "_streams")

    def __init__(self, connection: Connection, streams: Streams) -> None:
        self._connection = connection
        self._streams = streams
        self._loop = asyncio.get_running_loop()
        self._scheduled = False

    def flush(self) -> None:
        """Write what there is."""
        self._scheduled = False
        data = self._connection.data_to_send()
        if data:
            self._streams.current.write(data)

    def flush_soon(self) -> None:
        """Write after those who are about to run: what they have to send goes along.

        Each write passes through several processes on its way, at a price that hardly depends on
        its size: the credit for the connection and for its channels should be one, not many.
        """
        if not self._scheduled and self._connection.has_data_to_send:
            self._scheduled = True
            self._loop.call_soon(self.flush)

    def flush_once(self, *, alone: bool) -> None:
        """Write at once, but only one write: those who follow in the same turn share another.

        For whoever is ``alone`` no turn of the loop is spent on those who might.
        """
        if self._scheduled:
            return
        self.flush()
        if not alone:
            self._scheduled = True
            self._loop.call_soon(self.flush)

    async def drain(self) -> None:
        """Wait until the stream takes more."""
        await self._streams.current.drain()
