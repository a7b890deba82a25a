"""One HTTP request and its response, through the proxy: two messages, read and written anew.

Nothing is copied from one side to the other but bodies: where a message ends is decided here once,
and both sides are told by a head of ours. Of plain HTTP one request on a connection, so that
whatever stands behind it is nobody's; within a tunnel the next one is read as strictly as this one.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable
from dataclasses import dataclass

import h11

from fumehood._relay import Traffic
from fumehood.egress.ends import End
from fumehood.egress.heads import (
    MAX_HEAD,
    BadRequestError,
    Head,
    outgoing,
    returning,
    switching,
)
from fumehood.results import EgressReason

QUIET_SECONDS = 300.0
"""For the server to send something, and for the program inside to send more of its body."""


@dataclass(frozen=True, slots=True)
class Sides:
    """Both ends of an exchange."""

    inside: End
    parser: h11.Connection
    """What has read the request's head, and says where its body ends."""
    outside: End
    traffic: Traffic


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an exchange has ended that went well."""

    reusable: bool = False
    """Whether both sides may carry another one."""
    rest: bytes = b""
    """What has come from inside behind the request, and is for the next one."""
    switched: bytes | None = None
    """What the server has said in another protocol, if it has gone over to it."""


class UpstreamError(Exception):
    """The server has broken off, fell silent, or does not speak HTTP."""

    def __init__(self, text: str, *, begun: bool, reason: EgressReason) -> None:
        super().__init__(text)
        self.begun = begun
        """Whether its response has begun to go inside."""
        self.reason = reason


async def exchange(
    sides: Sides, head: Head, added: Iterable[tuple[str, str]], rest: bytes
) -> Outcome:
    """Send the request, with its body, and bring the response back.

    A response that is whole before the body ends the exchange, and the connection.

    Raises:
        UpstreamError: the server.
        BadRequestError: the body from inside.
        BrokenError: the side inside.
        OSError: the server's socket.
        SandboxError: the session.
    """
    server = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD)
    request = server.send(outgoing(head, added)) or b""
    if sides.parser.they_are_waiting_for_100_continue:
        await _give(sides, h11.InformationalResponse(status_code=100, headers=[]))
    up = asyncio.create_task(_send(sides, server, request, rest))
    down = asyncio.create_task(_bring_response(sides, server, last=not head.within))
    try:
        await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
        failure = up.exception() if up.done() else None
        # A server that has had enough closes its side, and may have said why before.
        if failure is not None and not down.done() and not isinstance(failure, OSError):
            raise failure
        await down
        return _outcome(sides.parser, server, sent=up.done() and up.exception() is None)
    finally:
        for task in (up, down):
            task.cancel()
        # Both to their end, and what they raised taken: one of the two is told of, or none.
        await asyncio.gather(up, down, return_exceptions=True)


def _outcome(parser: h11.Connection, server: h11.Connection, *, sent: bool) -> Outcome:
    """Return what may come next."""
    if server.their_state is h11.SWITCHED_PROTOCOL:
        return Outcome(rest=parser.trailing_data[0], switched=server.trailing_data[0])
    states = {parser.our_state, parser.their_state, server.our_state, server.their_state}
    # What a server says unasked would be taken for the answer to the next request.
    reusable = sent and states == {h11.DONE} and not any(server.trailing_data)
    return Outcome(reusable=reusable, rest=parser.trailing_data[0] if reusable else b"")


async def _send(sides: Sides, server: h11.Connection, request: bytes, rest: bytes) -> None:
    """Send the head, and pass the body on, piece by piece, as fast as the server takes it."""
    parser = sides.parser
    await sides.outside.write(request)
    if rest:
        parser.receive_data(rest)
    while True:
        try:
            event = parser.next_event()
        except h11.RemoteProtocolError as exc:
            raise BadRequestError(str(exc)) from exc
        if event is h11.NEED_DATA:
            try:
                async with asyncio.timeout(QUIET_SECONDS):
                    data = await sides.inside.read()
            except ssl.SSLError as exc:
                # Of the side inside, whereas any other of the system is taken for the server's.
                raise BadRequestError("the body breaks off") from exc
            parser.receive_data(data)
            if not data and parser.their_state is h11.SEND_BODY:
                raise BadRequestError("the body ends before its end")
            continue
        if isinstance(event, h11.Data):
            sides.traffic.received += len(event.data)
            await sides.outside.write(server.send(event) or b"")
            continue
        # The end, or what stands behind it. Trailers are not passed on.
        await sides.outside.write(server.send(h11.EndOfMessage()) or b"")
        return


async def _give(
    sides: Sides, event: h11.InformationalResponse | h11.Response | h11.Data | h11.EndOfMessage
) -> None:
    await sides.inside.write(sides.parser.send(event) or b"")


async def _read_outside(sides: Sides) -> bytes:
    """Read what the server says, which has nothing to say before it has the body."""
    while True:
        passed = sides.traffic.received
        try:
            async with asyncio.timeout(QUIET_SECONDS):
                return await sides.outside.read()
        except TimeoutError:
            if sides.traffic.received == passed:
                raise


async def _bring_response(sides: Sides, server: h11.Connection, *, last: bool) -> None:
    begun = False
    while True:
        try:
            event = server.next_event()
            if event is h11.NEED_DATA:
                server.receive_data(await _read_outside(sides))
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
            if event.status_code == 101:
                # It was asked for: h11 takes it for broken otherwise.
                await _give(sides, switching(event))
                return
            continue
        if isinstance(event, h11.Response):
            begun = True
            await _give(sides, returning(event, last=last))
        elif isinstance(event, h11.Data):
            sides.traffic.sent += len(event.data)
            await _give(sides, event)
        elif isinstance(event, h11.EndOfMessage):
            await _give(sides, h11.EndOfMessage())
            return
        else:
            text = "the connection was closed without an answer"
            raise UpstreamError(text, begun=begun, reason=EgressReason.UNREACHABLE)
