"""What a session in memory does for a client that serves a port of it, as an egress proxy does."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from fumehood._wire import table
from fumehood._wire.table import ErrorCode, Field, Frame, Operation
from fumehood.testing._changes import Changes
from fumehood.testing._talk import Place, Serve, Talk, number
from fumehood.testing.files import RefusedError
from fumehood.testing.ports import Connection


@dataclass(slots=True, eq=False)
class _Waiting:
    """Who has connected, and whether that is over: in its way, or by being cut off."""

    connection: Connection
    over: asyncio.Future[None]

    def cut_off(self) -> None:
        if not self.over.done():
            self.over.set_exception(ConnectionResetError)

    def end(self) -> None:
        if not self.over.done():
            self.over.set_result(None)


class IncomingOperations:
    """``listen`` and ``accept``.

    Args:
        place: the session's.
    """

    def __init__(self, place: Place) -> None:
        self._ports = place.ports
        self._listening: Talk | None = None
        self._waiting: dict[int, _Waiting] = {}
        self._last_ticket = 0
        self._changed = Changes()
        self.table: dict[Operation, Serve] = {
            Operation.LISTEN: self._listen,
            Operation.ACCEPT: self._accept,
        }

    async def _listen(self, talk: Talk) -> None:
        port = number(talk, Field.PORT)
        if port not in range(1, 65536):
            raise RefusedError(ErrorCode.INVALID, step="port")
        if self._listening is not None:
            raise RefusedError(ErrorCode.ADDRESS_IN_USE, step="listen")
        try:
            with self._ports.listening(port, self._announce, held=False):
                self._listening = talk
                talk.tell(Frame.OPENED, {})
                await asyncio.Event().wait()  # for its cancellation: nothing else ends it
        except OSError as exc:
            raise RefusedError(ErrorCode.ADDRESS_IN_USE, exc.errno or 0, step="listen") from None
        finally:
            if self._listening is talk:
                self._turn_away()

    def _turn_away(self) -> None:
        self._listening = None
        for waiting in self._waiting.values():
            waiting.cut_off()
        self._waiting.clear()
        self._changed.tell()

    async def _announce(self, connection: Connection) -> None:
        """Serve one who has connected: tell the client, which takes it over or turns it away."""
        while self._listening is not None and len(self._waiting) >= table.MAX_INCOMING:
            await self._changed.wait()
        if self._listening is None:
            raise ConnectionResetError
        self._last_ticket = ticket = self._last_ticket + 1
        over = asyncio.get_running_loop().create_future()
        self._waiting[ticket] = _Waiting(connection, over)
        self._listening.tell(Frame.INCOMING, {Field.TICKET: ticket})
        await over

    async def _accept(self, talk: Talk) -> None:
        waiting = self._waiting.get(number(talk, Field.TICKET))
        # A number is no secret: only who was told of it may have it.
        told = self._listening
        if waiting is None or told is None or told.connection != talk.connection:
            raise RefusedError(ErrorCode.NOT_FOUND, step="ticket")
        del self._waiting[number(talk, Field.TICKET)]
        self._changed.tell()
        talk.tell(Frame.OPENED, {})
        up = asyncio.create_task(_up(talk, waiting.connection))
        down = asyncio.create_task(_down(talk, waiting.connection))
        try:
            done, _ = await asyncio.wait({up, down}, return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                task.result()
            waiting.end()
        except ConnectionResetError:
            raise RefusedError(ErrorCode.CONNECTION_RESET) from None
        finally:
            # As with a socket: who has heard the end is not cut off by what comes after it.
            if down.done() and not down.cancelled() and down.exception() is None:
                waiting.end()
            waiting.cut_off()
            for task in (up, down):
                task.cancel()
            await asyncio.gather(up, down, return_exceptions=True)
        talk.finish(Frame.DONE, {})


async def _up(talk: Talk, connection: Connection) -> None:
    while data := await connection.read():
        await talk.output(Frame.STDOUT, data)
    talk.tell(Frame.STDOUT_END, {})


async def _down(talk: Talk, connection: Connection) -> None:
    while data := await talk.piece():
        await connection.write(data)
    await connection.write_eof()
