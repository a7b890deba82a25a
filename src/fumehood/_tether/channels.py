"""The channels of one tether: who has which, and how what they say gets out."""

from __future__ import annotations

from collections.abc import Callable

from fumehood._tether.channel import Channel
from fumehood._tether.writer import Writer
from fumehood._wire.connection import Connection
from fumehood._wire.events import (
    Described,
    Finished,
    Incoming,
    InputCredit,
    Opened,
    Output,
    OutputEnded,
)
from fumehood._wire.requests import Request
from fumehood.errors import SandboxError

OfChannel = Output | Described | Finished | InputCredit | Opened | OutputEnded | Incoming
OF_CHANNELS = (Output, Described, Finished, InputCredit, Opened, OutputEnded, Incoming)
"""The events that are one channel's."""


class Channels:
    """All that are open, until everything fails.

    Args:
        connection: what numbers them, and knows their windows.
        writer: takes what is to be sent.
    """

    __slots__ = ("_connection", "_failed", "_open", "_standing", "_writer")

    def __init__(self, connection: Connection, writer: Writer) -> None:
        self._connection = connection
        self._writer = writer
        self._open: dict[int, Channel] = {}
        self._standing: set[int] = set()
        self._failed = False

    @property
    def live(self) -> int:
        """How many are open."""
        return len(self._open)

    @property
    def under_way(self) -> int:
        """How many of them somebody waits for."""
        return len(self._open) - len(self._standing)

    # --- opening ------------------------------------------------------------------------------

    def open(self, request: Request, *, standing: bool) -> Channel:
        """Open one; ``standing``: for one that nobody waits for."""
        channel = self._new(request)
        if standing:
            self._standing.add(channel.number)
        self._writer.flush_once(alone=self.under_way <= 1)
        return channel

    def open_with_input(self, request: Request, data: bytes) -> tuple[Channel, int]:
        """Open one and send what its window allows of ``data`` in the same write.

        Returns the channel and how many bytes went along; when all did, the input is closed too.
        """
        channel = self._new(request)
        sent = min(self._connection.input_allowed(channel.number), len(data))
        self._connection.send_input(channel.number, memoryview(data)[:sent])
        if sent == len(data):
            self._connection.end_input(channel.number)
        self._writer.flush_once(alone=self.under_way <= 1)
        return channel, sent

    def _new(self, request: Request) -> Channel:
        channel = Channel(self, self._connection.open(request))
        self._open[channel.number] = channel
        return channel

    # --- what a channel asks for --------------------------------------------------------------

    def consumed(self, number: int, amount: int) -> None:
        """Return credit for output that a caller has taken."""
        if not self._failed:
            self._connection.consumed(number, amount)
            self._writer.flush_soon()

    def input_allowed(self, number: int) -> int:
        """Return how much input a channel takes now."""
        return 0 if self._failed else self._connection.input_allowed(number)

    def send_input(self, number: int, data: bytes | memoryview) -> None:
        """Send input that the window allows."""
        self._connection.send_input(number, data)
        self._writer.flush()

    def end_input(self, number: int) -> None:
        """Close a channel's input."""
        self._connection.end_input(number)
        self._writer.flush()

    def resize(self, number: int, rows: int, columns: int) -> None:
        """Give a channel's terminal another size."""
        self._connection.resize(number, rows, columns)
        self._writer.flush()

    def cancel(self, number: int) -> None:
        """Ask for a channel's end."""
        self._connection.cancel(number)
        self._writer.flush()

    async def drain(self) -> None:
        """Wait until the stream takes more."""
        await self._writer.drain()

    # --- what comes for them ------------------------------------------------------------------

    def hand_on(self, event: OfChannel) -> None:
        """Give its channel what is for it, unless nobody has it any more."""
        channel = self._open.get(event.channel)
        if channel is None:
            return
        if isinstance(event, Finished):
            del self._open[event.channel]
            self._standing.discard(event.channel)
            channel.finish(event.answer)
        elif isinstance(event, Described):
            channel.described.append(event.process)
        else:
            channel.take(event)

    def fail(self, failure: Callable[[], SandboxError]) -> None:
        """Fail all; from now on nothing is sent for any."""
        self._failed = True
        channels = list(self._open.values())
        self._open.clear()
        self._standing.clear()
        for channel in channels:
            channel.fail(failure)
