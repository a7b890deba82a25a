"""What a client is told: the events that its end of a connection makes of the bytes."""

from __future__ import annotations

from typing import NamedTuple

from fumehood._wire.messages import Answer, End, Process, Ready, Welcome


class Welcomed(NamedTuple):
    """The supervisor has answered HELLO."""

    welcome: Welcome


class Configured(NamedTuple):
    """The session is ready for operations."""

    ready: Ready


class Output(NamedTuple):
    """Bytes of a channel. ``stream`` is 1 or 2; credit is due when they are consumed.

    ``offset`` counts the bytes of both streams before these: those of the channel or, where it
    reads a log, of all that the process has written.
    """

    channel: int
    stream: int
    data: bytes
    offset: int


class Described(NamedTuple):
    """One managed process."""

    channel: int
    process: Process


class InputCredit(NamedTuple):
    """More may be sent on a channel."""

    channel: int


class Opened(NamedTuple):
    """The socket at a channel's other end is there."""

    channel: int


class Incoming(NamedTuple):
    """Somebody inside has connected to the port that a channel listens on."""

    channel: int
    ticket: int


class OutputEnded(NamedTuple):
    """No more output comes on a channel, which lives on."""

    channel: int


class Pinged(NamedTuple):
    """The supervisor wants a sign of life: :meth:`Connection.pong` gives it."""

    token: bytes


class Finished(NamedTuple):
    """The terminal frame of a channel."""

    channel: int
    answer: Answer


class Ended(NamedTuple):
    """The session is over."""

    end: End


Event = (
    Welcomed
    | Configured
    | Output
    | Described
    | InputCredit
    | Opened
    | Incoming
    | OutputEnded
    | Pinged
    | Finished
    | Ended
)
