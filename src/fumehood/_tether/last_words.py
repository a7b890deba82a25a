"""The end that a client asks for: of all that may come, only the supervisor's END counts."""

from __future__ import annotations

import asyncio
import logging

from fumehood._wire.codec import WireViolationError
from fumehood._wire.connection import Connection
from fumehood._wire.events import Ended
from fumehood._wire.messages import End

logger = logging.getLogger("fumehood.tether")


class LastWords:
    """Waits for one frame.

    Args:
        session_id: for messages.
        connection: makes events of what comes.
    """

    __slots__ = ("_connection", "_heard", "_session_id")

    def __init__(self, session_id: str, connection: Connection) -> None:
        self._session_id = session_id
        self._connection = connection
        self._heard: asyncio.Future[End | None] = asyncio.get_running_loop().create_future()

    async def wait(self, seconds: float) -> End | None:
        """Return the END, or None when it can no longer come or the time is over."""
        done, _ = await asyncio.wait({self._heard}, timeout=seconds)
        return self._heard.result() if done else None

    def listen(self, data: bytes | memoryview) -> bool:
        """Take what comes; False when it is known already whether there is an END."""
        if self._heard.done():
            return False
        try:
            for event in self._connection.receive_data(data):
                if isinstance(event, Ended) and not self._heard.done():
                    self._heard.set_result(event.end)
        except WireViolationError as violation:
            logger.warning("session %s, at its end: %s", self._session_id, violation.detail)
            self.give_up()
        return True

    def give_up(self) -> None:
        """Note that none comes any more."""
        if not self._heard.done():
            self._heard.set_result(None)
