"""A channel and a socket of this side, joined: bytes both ways, each direction with its own end."""

from __future__ import annotations

import asyncio
import socket
import struct
from dataclasses import dataclass

from fumehood._tether.channel import Channel
from fumehood._tether.cleanup import stop
from fumehood._wire.messages import Answer

PIECE = 1 << 17
"""Bytes taken from a socket at once."""

_RESET = struct.pack("ii", 1, 0)


@dataclass(slots=True)
class Traffic:
    """What went through, in bytes."""

    sent: int = 0
    """From this side's socket into the channel."""
    received: int = 0
    """From the channel into this side's socket."""


async def relay(
    channel: Channel,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    traffic: Traffic,
) -> Answer:
    """Carry bytes until both directions are over, and return the channel's answer.

    Each side is read only as fast as the other one takes it. The caller closes both.

    Raises:
        OSError: the socket of this side broke.
        SessionEndedError: the session ended.
    """
    forth = asyncio.create_task(_forth(channel, reader, traffic))
    back = asyncio.create_task(_back(channel, writer, traffic))
    over = asyncio.create_task(channel.wait_finished())
    tasks = (forth, back, over)
    pending = {forth, back}
    try:
        while pending:
            done, _ = await asyncio.wait({*pending, over}, return_when=asyncio.FIRST_COMPLETED)
            pending -= done
            for task in done:
                task.result()  # the first one that breaks ends all
            if over in done:
                # Nobody takes what comes from here any more; what came before is still passed on.
                await stop(forth)
                await back
                break
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    return await channel.answer()


async def _forth(channel: Channel, reader: asyncio.StreamReader, traffic: Traffic) -> None:
    while data := await reader.read(PIECE):
        if not await channel.send(data):
            return  # its answer says why
        traffic.sent += len(data)
    channel.end_input()


async def _back(channel: Channel, writer: asyncio.StreamWriter, traffic: Traffic) -> None:
    while (item := await channel.receive()) is not None:
        writer.write(item.data)
        traffic.received += len(item.data)
        await writer.drain()
    if channel.outcome is None and writer.can_write_eof():
        writer.write_eof()


def reset(writer: asyncio.StreamWriter) -> None:
    """Close a socket so that its other end sees that this was no proper end."""
    transport = writer.transport
    connection: socket.socket | None = transport.get_extra_info("socket")
    if connection is not None and not transport.is_closing():
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    transport.abort()
