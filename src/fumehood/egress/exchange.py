"""One plain HTTP request and its response, through the proxy: two messages, read and written anew.

Nothing is copied from one side to the other but bodies: where a message ends is decided here once,
and both sides are told by a head of ours. One request on a connection, so that whatever stands
behind it is nobody's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

import h11

from fumehood._relay import PIECE, Traffic
from fumehood._tether.channel import Channel
from fumehood.egress.heads import MAX_HEAD, BadRequestError, Head, outgoing, returning
from fumehood.results import EgressReason

QUIET_SECONDS = 300.0
"""For the server to send something, and for the program inside to send more of its body."""


@dataclass(frozen=True, slots=True)
class Sides:
    """Both ends of an exchange."""

    channel: Channel
    inside: h11.Connection
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    traffic: Traffic


class BrokenError(Exception):
    """The side inside has broken off, or takes no more."""


class UpstreamError(Exception):
    """The server has broken off, fell silent, or does not speak HTTP."""

    def __init__(self, text: str, *, begun: bool, reason: EgressReason) -> None:
        super().__init__(text)
        self.begun = begun
        """Whether its response has begun to go inside."""
        self.reason = reason


async def exchange(sides: Sides, head: Head, added: Iterable[tuple[str, str]], rest: bytes) -> None:
    """Send the request, with its body, and bring the response back.

    A response that is whole before the body ends the exchange.

    Raises:
        UpstreamError: the server.
        BadRequestError: the body from inside.
        BrokenError: the side inside.
        OSError: the server's socket.
        SandboxError: the session.
    """
    outside = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD)
    sides.writer.write(outside.send(outgoing(head, added)) or b"")
    if sides.inside.they_are_waiting_for_100_continue:
        proceed = h11.InformationalResponse(status_code=100, headers=[])
        await _give(sides, proceed)
    up = asyncio.create_task(_send_body(sides, outside, rest))
    down = asyncio.create_task(_bring_response(sides, outside))
    try:
        await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
        failure = up.exception() if up.done() else None
        # A server that has had enough closes its side, and may have said why before.
        if failure is not None and not down.done() and not isinstance(failure, OSError):
            raise failure
        await down
    finally:
        for task in (up, down):
            task.cancel()
        # Both to their end, and what they raised taken: one of the two is told of, or none.
        await asyncio.gather(up, down, return_exceptions=True)


async def _send_body(sides: Sides, outside: h11.Connection, rest: bytes) -> None:
    """Pass the request's body on, piece by piece, as fast as the server takes it."""
    inside = sides.inside
    if rest:
        inside.receive_data(rest)
    while True:
        try:
            event = inside.next_event()
        except h11.RemoteProtocolError as exc:
            raise BadRequestError(str(exc)) from exc
        if event is h11.NEED_DATA:
            async with asyncio.timeout(QUIET_SECONDS):
                item = await sides.channel.receive()
            inside.receive_data(b"" if item is None else item.data)
            if item is None and inside.their_state is h11.SEND_BODY:
                raise BadRequestError("the body ends before its end")
            continue
        if isinstance(event, h11.Data):
            sides.writer.write(outside.send(event) or b"")
            sides.traffic.received += len(event.data)
            await sides.writer.drain()
            continue
        # The end, or what stands behind it, which is thrown away. Trailers are not passed on.
        sides.writer.write(outside.send(h11.EndOfMessage()) or b"")
        await sides.writer.drain()
        return


async def _give(
    sides: Sides, event: h11.InformationalResponse | h11.Response | h11.Data | h11.EndOfMessage
) -> None:
    if not await sides.channel.send(sides.inside.send(event) or b""):
        raise BrokenError("nobody takes the response any more")


async def _bring_response(sides: Sides, outside: h11.Connection) -> None:
    begun = False
    while True:
        try:
            event = outside.next_event()
            if event is h11.NEED_DATA:
                async with asyncio.timeout(QUIET_SECONDS):
                    outside.receive_data(await sides.reader.read(PIECE))
                continue
        except h11.RemoteProtocolError as exc:
            text = f"the answer is not HTTP, or not whole: {exc}"
            raise UpstreamError(text, begun=begun, reason=EgressReason.UNREACHABLE) from exc
        except TimeoutError as exc:
            text = f"no answer for {QUIET_SECONDS:g} s"
            raise UpstreamError(text, begun=begun, reason=EgressReason.TIMED_OUT) from exc
        except OSError as exc:
            text = f"the connection broke: {exc.strerror}"
            raise UpstreamError(text, begun=begun, reason=EgressReason.UNREACHABLE) from exc
        if isinstance(event, h11.InformationalResponse):
            continue
        if isinstance(event, h11.Response):
            begun = True
            await _give(sides, returning(event))
        elif isinstance(event, h11.Data):
            sides.traffic.sent += len(event.data)
            await _give(sides, event)
        elif isinstance(event, h11.EndOfMessage):
            await _give(sides, h11.EndOfMessage())
            return
        else:
            text = "the connection was closed without an answer"
            raise UpstreamError(text, begun=begun, reason=EgressReason.UNREACHABLE)
