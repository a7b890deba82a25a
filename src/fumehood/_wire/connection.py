"""The client's end of one connection as a state machine: bytes in, events out, no I/O.

Everything a supervisor may do, and when, is decided here and, for what belongs to one channel, in
:mod:`fumehood._wire.channel`; whatever is not allowed is a violation, and after one the connection
refuses to go on. Bytes to be sent collect until :meth:`Connection.data_to_send`.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum, auto
from typing import cast

from fumehood._wire import codec, table
from fumehood._wire.channel import ANSWERS, ChannelState
from fumehood._wire.codec import FrameReader, RawFrame, WireViolationError
from fumehood._wire.credit import ReceiveWindow
from fumehood._wire.events import Configured, Ended, Event, Incoming, Output, Pinged, Welcomed
from fumehood._wire.messages import End, Ready, Welcome
from fumehood._wire.requests import Configure, Hello, Request, resize_frame
from fumehood._wire.resume import Resumable, Resumption
from fumehood._wire.table import Field, Frame, Operation, Violation
from fumehood.errors import LocalProtocolError


class State(Enum):
    """Where a connection is; the table below says what may arrive in each."""

    NEW = auto()
    AWAIT_WELCOME = auto()
    WAITING = auto()
    """Welcomed, with the capability ``wait``: the configuration comes when there is a session."""
    AWAIT_READY = auto()
    OPEN = auto()
    ENDED = auto()
    BROKEN = auto()


# What the supervisor may send in which state. Channels' frames have states of their own.
_EXPECTED: dict[State, frozenset[Frame]] = {
    State.NEW: frozenset(),
    State.AWAIT_WELCOME: frozenset({Frame.WELCOME, Frame.END}),
    State.WAITING: frozenset({Frame.END, Frame.PING, Frame.PONG, Frame.ACK}),
    State.AWAIT_READY: frozenset({Frame.READY, Frame.END, Frame.PING, Frame.PONG, Frame.ACK}),
    State.OPEN: frozenset(
        {
            Frame.END,
            Frame.PING,
            Frame.PONG,
            Frame.ACK,
            Frame.STDOUT,
            Frame.STDERR,
            Frame.CREDIT,
            Frame.OPENED,
            Frame.STDOUT_END,
            Frame.EXIT,
            Frame.DONE,
            Frame.FAIL,
            Frame.POSITION,
            Frame.PROCESS,
            Frame.INCOMING,
        }
    ),
    State.ENDED: frozenset(),
    State.BROKEN: frozenset(),
}


class Connection:
    """The client's end.

    Args:
        nonce: the session's secret, 32 bytes.
        client: who we are, for the supervisor's diagnostics.
        resume: whether to ask that the connection may outlive its stream. It costs memory and a
            little time on both sides.
        wait: whether the configuration comes later, by :meth:`configure`.
    """

    def __init__(
        self, *, nonce: bytes, client: str, resume: bool = False, wait: bool = False
    ) -> None:
        wanted = {table.CAPABILITY_RESUME: resume, table.CAPABILITY_WAIT: wait}
        capabilities = tuple(name for name, wants in wanted.items() if wants)
        self._wait = wait
        self._hello = Hello(nonce=nonce, client=client, capabilities=capabilities)
        self._resume: Resumable | None = Resumable(self._hello) if resume else None
        self._reader = FrameReader("supervisor")
        self._out: list[bytes | memoryview] = []
        self._channels: dict[int, ChannelState] = {}
        self._last_channel = 0
        self._last_ticket = 0
        self._tickets: set[int] = set()  # told, and not taken over by us
        self._window = ReceiveWindow(table.CONNECTION_WINDOW)
        self._configure: Configure | None = None
        self.state: State = State.NEW

    def __repr__(self) -> str:
        return f"<Connection {self.state.name} channels={len(self._channels)}>"

    def statistics(self) -> dict[str, int]:
        """Return live numbers, for tests and diagnostics."""
        return {
            "channels": len(self._channels),
            "opened": self._last_channel,
            "pending": self._reader.pending,
            "unacknowledged": 0 if self._resume is None else self._resume.unacknowledged,
        }

    # --- out ----------------------------------------------------------------------------------

    @property
    def has_data_to_send(self) -> bool:
        """Whether :meth:`data_to_send` would return any."""
        return bool(self._out)

    def data_to_send(self) -> bytes:
        """Return and forget the bytes that are to be written to the stream."""
        data = b"".join(self._out)
        self._out.clear()
        if self._resume is not None:
            self._resume.sent(data)
        return data

    def start(self, configure: Configure | None) -> None:
        """Say HELLO and, on a session's first connection, what the session is to be."""
        if self.state is not State.NEW:
            raise LocalProtocolError("the connection has been started already")
        self._configure = configure
        self._out.append(self._hello.encode())
        if configure is not None:
            self._out.append(configure.encode())
        self.state = State.AWAIT_WELCOME

    def configure(self, configure: Configure) -> None:
        """Say what the session is to be, to a supervisor that has waited for it."""
        if self.state is not State.WAITING:
            raise LocalProtocolError(
                f"nobody waits for a configuration: the connection is {self.state.name}"
            )
        self._configure = configure
        self._out.append(configure.encode())
        self.state = State.AWAIT_READY

    def open(self, request: Request) -> int:
        """Open a channel and return its number; allowed before READY has come."""
        if self.state in (State.NEW, State.WAITING, State.ENDED, State.BROKEN) or (
            self._wait and self._configure is None
        ):
            raise LocalProtocolError(
                f"no channel can be opened: the connection is {self.state.name}"
            )
        channel = self._last_channel + 1
        self._out.append(request.encode(channel))
        self._last_channel = channel
        if request.operation is Operation.ACCEPT:
            self._tickets.discard(cast("int", request.fields[Field.TICKET]))
        self._channels[channel] = ChannelState(request)
        return channel

    def input_allowed(self, channel: int) -> int:
        """Return how many bytes of input may be sent on a channel now; 0 once it is closed."""
        entry = self._channels.get(channel)
        return entry.send.available if entry is not None and entry.send is not None else 0

    def send_input(self, channel: int, data: bytes | memoryview) -> None:
        """Send input, at most :meth:`input_allowed` bytes of it.

        It is copied by :meth:`data_to_send`: until then it must not change.
        """
        entry = self._channels.get(channel)
        if entry is None or entry.send is None or len(data) > entry.send.available:
            raise LocalProtocolError(f"{len(data)} bytes of input on channel {channel}")
        entry.send.spend(len(data))
        for start in range(0, len(data), table.MAX_PAYLOAD):
            piece = data[start : start + table.MAX_PAYLOAD]
            self._out.append(codec.encode_header(Frame.STDIN, channel, len(piece)))
            self._out.append(piece)

    def end_input(self, channel: int) -> None:
        """Close a channel's input. Doing so again, or after its end, is harmless."""
        entry = self._channels.get(channel)
        if entry is not None and entry.send is not None:
            entry.send = None
            self._out.append(codec.encode_frame(Frame.EOF, channel))

    def resize(self, channel: int, rows: int, columns: int) -> None:
        """Give a channel's terminal another size. After its end that is harmless."""
        entry = self._channels.get(channel)
        if entry is not None and not entry.cancelled:
            if entry.operation is not Operation.TERMINAL:
                raise LocalProtocolError(f"channel {channel} has no terminal")
            self._out.append(resize_frame(channel, rows, columns))

    def cancel(self, channel: int) -> None:
        """Ask for a channel's end. Doing so again, or after its end, is harmless."""
        entry = self._channels.get(channel)
        if entry is not None and not entry.cancelled:
            entry.cancelled = True
            entry.send = None
            self._out.append(codec.encode_frame(Frame.CANCEL, channel))

    def consumed(self, channel: int, amount: int) -> None:
        """Note that output has been consumed, so that more may come."""
        entry = self._channels.get(channel)
        if entry is None:
            return
        credit = entry.receive.consume(amount)
        if credit:
            self._credit(channel, credit)

    def ping(self, token: bytes) -> None:
        """Ask for a sign of life, and say what has arrived."""
        self._acknowledge(1)
        self._out.append(codec.encode_frame(Frame.PING, 0, token))

    def pong(self, token: bytes) -> None:
        """Give the sign of life that a PING asked for."""
        self._out.append(codec.encode_frame(Frame.PONG, 0, token))

    def destroy(self) -> None:
        """Ask for the session's end."""
        self._out.append(codec.encode_frame(Frame.DESTROY, 0))

    def leave(self) -> None:
        """Say that the end of the stream, which follows, is meant: nothing waits for a return."""
        if self.resumable:
            self._out.append(codec.encode_frame(Frame.LEAVE, 0))

    def _acknowledge(self, least: int) -> None:
        if self._resume is not None and (ack := self._resume.acknowledgement(least)):
            self._out.append(ack)

    def _credit(self, channel: int, amount: int) -> None:
        self._out.append(codec.encode_frame(Frame.CREDIT, channel, amount.to_bytes(4, "big")))

    # --- another stream -----------------------------------------------------------------------

    @property
    def resumable(self) -> bool:
        """Whether the connection can go on with another stream."""
        return self._resume is not None and self._resume.agreed and self.state is State.OPEN

    def resumption(self) -> Resumption:
        """Return the greeting for a new stream; from now on nothing may come from the old one."""
        if self._resume is None or not self.resumable:
            raise LocalProtocolError(f"the connection is {self.state.name} and cannot be resumed")
        return self._resume.resumption()

    def resumed(self, welcome: Welcome) -> bytes:
        """Go on behind the answer to :meth:`resumption`; return what must be written first.

        Raises:
            WireViolationError: the other end claims to have what it cannot.
        """
        assert self._resume is not None
        assert welcome.received is not None
        try:
            return self._resume.resumed(welcome.received)
        except WireViolationError:
            self._break()
            raise

    # --- in -----------------------------------------------------------------------------------

    def receive_data(self, data: bytes | memoryview) -> Iterator[Event]:
        """Take bytes from the stream and yield what they mean, in order, as far as they are legal.

        What comes out does not depend on how the stream was cut into pieces.

        Raises:
            WireViolationError: the bytes break a rule. The connection is broken from then on.
        """
        if self.state is State.BROKEN:
            raise LocalProtocolError("the connection is broken")
        if self._resume is not None:
            self._resume.received(len(data))
        try:
            for raw in self._reader.feed(data):
                event = self._receive(raw)
                if event is not None:
                    yield event
        except WireViolationError:
            self._break()
            raise
        self._acknowledge(table.CREDIT_STEP)

    def _break(self) -> None:
        self.state = State.BROKEN
        self._channels.clear()

    def _receive(self, raw: RawFrame) -> Event | None:
        frame = raw.frame
        if frame not in _EXPECTED[self.state]:
            raise WireViolationError(
                Violation.BAD_STATE, f"{frame.name} while the connection is {self.state.name}"
            )
        if frame is Frame.STDOUT or frame is Frame.STDERR:
            return self._output(raw)
        if frame in ANSWERS:
            return self._answer(raw)
        if frame is Frame.INCOMING:
            return self._incoming(raw)
        if raw.channel != 0 or frame is Frame.CREDIT:  # channel 0 is the supervisor's window alone
            return self._channel(raw).take(raw)
        if frame is Frame.PING:
            return Pinged(raw.payload)
        if frame is Frame.PONG:
            return None
        if frame is Frame.ACK:
            self._acknowledged(raw)
            return None
        if frame is Frame.WELCOME:
            return self._welcome(raw)
        if frame is Frame.READY:
            self.state = State.OPEN
            return Configured(Ready.decode(raw))
        end = End.decode(raw)
        self.state = State.ENDED
        self._channels.clear()
        return Ended(end)

    def _welcome(self, raw: RawFrame) -> Event:
        welcome = Welcome.decode(raw)
        if welcome.configured == (self._configure is not None or self._wait):
            raise WireViolationError(
                Violation.BAD_STATE, f"WELCOME: configured={int(welcome.configured)}"
            )
        granted = table.CAPABILITY_RESUME in welcome.capabilities
        if (
            not set(welcome.capabilities) <= set(self._hello.capabilities)
            or granted is (welcome.resume_key is None)
            or self._wait is not (table.CAPABILITY_WAIT in welcome.capabilities)
            or welcome.received is not None
        ):
            raise WireViolationError(
                Violation.BAD_STATE, "WELCOME: not what HELLO has asked for, or half of it"
            )
        if not granted:
            self._resume = None
        elif self._resume is not None:
            self._resume.begin(welcome)
        self.state = State.WAITING if self._wait else State.AWAIT_READY
        return Welcomed(welcome)

    def _acknowledged(self, raw: RawFrame) -> None:
        if self._resume is None:
            raise WireViolationError(Violation.BAD_STATE, "ACK, which was not agreed on")
        self._resume.acknowledged(raw)

    def _channel(self, raw: RawFrame) -> ChannelState:
        channel = self._channels.get(raw.channel)
        if channel is None:
            raise WireViolationError(
                Violation.BAD_CHANNEL,
                f"{raw.frame.name} on channel {raw.channel}, which is not open",
            )
        return channel

    def _output(self, raw: RawFrame) -> Output:
        event = self._channel(raw).output(raw)
        size = len(raw.payload)
        self._window.receive(size)
        credit = self._window.consume(size)
        if credit:
            self._credit(0, credit)
        return event

    def _answer(self, raw: RawFrame) -> Event:
        channel = self._channel(raw)
        event = channel.answer(raw)
        del self._channels[raw.channel]
        if channel.operation is Operation.LISTEN:
            self._tickets.clear()  # who waited was turned away with it
        return event

    def _incoming(self, raw: RawFrame) -> Incoming:
        """Note a ticket: each is new, and few wait for us at a time."""
        event = self._channel(raw).incoming(raw)
        if event.ticket <= self._last_ticket:
            raise WireViolationError(
                Violation.BAD_VALUE, f"INCOMING: ticket={event.ticket} after {self._last_ticket}"
            )
        if len(self._tickets) >= table.MAX_INCOMING:
            raise WireViolationError(
                Violation.BAD_STATE, f"INCOMING beyond {table.MAX_INCOMING} that wait"
            )
        self._last_ticket = event.ticket
        self._tickets.add(event.ticket)
        return event
