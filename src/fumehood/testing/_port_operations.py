"""What a session in memory does with requests for its ports."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine

from fumehood._wire.table import ErrorCode, Field, Frame, Operation
from fumehood.testing._input import ClosedError, Input
from fumehood.testing._talk import Place, Serve, Talk, number
from fumehood.testing.files import RefusedError
from fumehood.testing.ports import Connection, serve


class PortOperations:
    """Those on ports.

    Args:
        place: the session's.
    """

    def __init__(self, place: Place) -> None:
        self._ports = place.ports
        self._tasks: set[asyncio.Task[None]] = set()
        self.table: dict[Operation, Serve] = {
            Operation.CONNECT: self._connect,
            Operation.WAIT_PORT: self._wait,
        }

    def end(self) -> None:
        """End all connections."""
        for task in self._tasks:
            task.cancel()
        self._ports.end()

    async def _wait(self, talk: Talk) -> None:
        port = number(talk, Field.PORT)
        try:
            async with asyncio.timeout(number(talk, Field.TIMEOUT_MS) / 1000):
                while self._ports.get(port) is None:
                    await self._ports.changed.wait()
        except TimeoutError:
            raise RefusedError(ErrorCode.TIMED_OUT) from None
        talk.finish(Frame.DONE, {})

    async def _connect(self, talk: Talk) -> None:
        port = number(talk, Field.PORT)
        server = self._ports.get(port)
        if server is None:
            raise RefusedError(ErrorCode.CONNECTION_REFUSED)
        talk.tell(Frame.OPENED, {})
        source = Input(ended=False)

        async def send(data: bytes) -> None:
            await talk.output(Frame.STDOUT, data)

        def finish() -> None:
            talk.tell(Frame.STDOUT_END, {})

        connection = Connection(port, source, send, finish)
        feeding = self._keep(_feed(talk, source))
        serving = self._keep(serve(server, connection, source))
        serving.add_done_callback(lambda _: feeding.cancel())
        try:
            await asyncio.shield(serving)
        except asyncio.CancelledError:
            connection.cut = True
            # As with a socket: who has sent its end and leaves is served to the end.
            if not talk.input_ended:
                serving.cancel()
            raise
        talk.finish(Frame.DONE, {})

    def _keep(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._over)
        return task

    def _over(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # told to the peer, where there is one still


async def _feed(talk: Talk, source: Input) -> None:
    try:
        while data := await talk.piece():
            await source.write(data)
        source.end()
    except ClosedError:
        return  # the server is done with this connection
