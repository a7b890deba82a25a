"""A connection against peers that hypothesis makes up: a good one, and hostile ones.

A good one never meets a violation, whatever the order of things. From a hostile one come violations
and nothing else: no other exception, and no memory beyond the windows.
"""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from fakes.supervisor import CONFIGURE, READY, WELCOME, exit_frame, frame_of
from fumehood._wire import codec, table
from fumehood._wire.codec import FrameReader, WireViolationError
from fumehood._wire.connection import Connection, State
from fumehood._wire.events import Finished, Output
from fumehood._wire.requests import Request, exec_request, file_request, terminal_request
from fumehood._wire.table import EndCode, ErrorCode, Field, Frame, Operation, Root
from wire.strategies import legal_frame, mutated, pieces

MANY = (1 << 64) - 1
SIZES = st.sampled_from([1, 2, 100, 4096, table.MAX_PAYLOAD])


@dataclass
class Peer:
    """One channel as a supervisor that keeps all rules knows it."""

    request: Request
    window: int = table.CHANNEL_WINDOW
    unread: int = 0
    ended: bool = False


class GoodSupervisor(RuleBasedStateMachine):
    """Both ends take turns; what the client writes is read by the wire's own reader."""

    def __init__(self) -> None:
        super().__init__()
        self.connection = Connection(nonce=bytes(32), client="test")
        self.reader = FrameReader("client")
        self.connection.start(CONFIGURE)
        self.peers: dict[int, Peer] = {}
        self.unconsumed: dict[int, list[int]] = {}
        self.window = table.CONNECTION_WINDOW
        self.greeted = 0
        self.ended = False
        self.chance = 0

    def receive(self, data: bytes) -> None:
        """Deliver bytes in two pieces, and check that nothing is refused."""
        middle = len(data) // 2
        for piece in (data[:middle], data[middle:]):
            for event in self.connection.receive_data(piece):
                if isinstance(event, Output):
                    self.unconsumed.setdefault(event.channel, []).append(len(event.data))
                elif isinstance(event, Finished):
                    self.peers[event.channel].ended = True

    @rule()
    def greet(self) -> None:
        if self.greeted < 2 and not self.ended:
            frames = [frame_of(Frame.WELCOME, 0, WELCOME), frame_of(Frame.READY, 0, READY)]
            self.receive(frames[self.greeted])
            self.greeted += 1

    @precondition(lambda self: not self.ended and len(self.peers) < 5)
    @rule(which=st.integers(0, 3))
    def open(self, which: int) -> None:
        request = [
            exec_request(
                (b"x",),
                cwd=b".",
                env=(),
                user=None,
                timeout_ms=0,
                stdout_limit=MANY,
                stderr_limit=MANY,
                stdin=True,
            ),
            file_request(Operation.READ, b"f", Root.WORKSPACE, offset=0, limit=MANY),
            file_request(Operation.WRITE, b"f", Root.WORKSPACE, limit=MANY, mode=0o644, parents=1),
            terminal_request((), cwd=b".", env=(), user=None, rows=24, columns=80),
        ][which]
        self.peers[self.connection.open(request)] = Peer(request)

    @precondition(lambda self: self.peers)
    @rule(data=st.data(), size=SIZES)
    def send_input(self, data: st.DataObject, size: int) -> None:
        number = data.draw(st.sampled_from(sorted(self.peers)))
        allowed = self.connection.input_allowed(number)
        if allowed:
            self.connection.send_input(number, bytes(min(size, allowed)))

    @precondition(lambda self: self.peers)
    @rule(data=st.data(), cancel=st.booleans())
    def close(self, data: st.DataObject, cancel: bool) -> None:
        number = data.draw(st.sampled_from(sorted(self.peers)))
        (self.connection.cancel if cancel else self.connection.end_input)(number)

    @precondition(lambda self: self.terminals())
    @rule(data=st.data(), rows=st.sampled_from([1, 50, 65535]))
    def resize(self, data: st.DataObject, rows: int) -> None:
        self.connection.resize(data.draw(st.sampled_from(self.terminals())), rows, 80)

    def terminals(self) -> list[int]:
        return [
            number
            for number, peer in sorted(self.peers.items())
            if peer.request.operation is Operation.TERMINAL
        ]

    @precondition(lambda self: self.unconsumed)
    @rule(data=st.data())
    def consume(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.unconsumed)))
        self.connection.consumed(number, self.unconsumed[number].pop(0))
        if not self.unconsumed[number]:
            del self.unconsumed[number]

    @rule()
    def supervisor_reads(self) -> None:
        """What the client has written reaches the supervisor: it is legal, and it is noted."""
        for raw in self.reader.feed(self.connection.data_to_send()):
            if raw.frame is Frame.STDIN:
                self.peers[raw.channel].unread += len(raw.payload)
                assert self.peers[raw.channel].unread <= table.CHANNEL_WINDOW
            elif raw.frame is Frame.CREDIT and raw.channel == 0:
                self.window += codec.decode_credit(raw)
                assert self.window <= table.CONNECTION_WINDOW
            elif raw.frame is Frame.CREDIT:
                self.peers[raw.channel].window += codec.decode_credit(raw)
                assert self.peers[raw.channel].window <= table.CHANNEL_WINDOW

    def live(self) -> list[int]:
        if self.greeted < 2 or self.ended:
            return []
        return [number for number, peer in sorted(self.peers.items()) if not peer.ended]

    @precondition(lambda self: self.live())
    @rule(data=st.data(), size=SIZES)
    def supervisor_writes_output(self, data: st.DataObject, size: int) -> None:
        number = data.draw(st.sampled_from(self.live()))
        peer = self.peers[number]
        size = min(size, peer.window, self.window)
        kind = table.OPERATION_OUTPUT[peer.request.operation]
        if size and kind != "none":
            frame = Frame.STDERR if kind == "both" and data.draw(st.booleans()) else Frame.STDOUT
            peer.window -= size
            self.window -= size
            self.receive(codec.encode_frame(frame, number, bytes(size)))

    @precondition(lambda self: self.live())
    @rule(data=st.data())
    def supervisor_takes_input(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(self.live()))
        peer = self.peers[number]
        if peer.unread:
            credit, peer.unread = peer.unread, 0
            self.receive(codec.encode_frame(Frame.CREDIT, number, credit.to_bytes(4, "big")))

    @precondition(lambda self: self.live())
    @rule(data=st.data(), fails=st.booleans())
    def supervisor_answers(self, data: st.DataObject, fails: bool) -> None:
        number = data.draw(st.sampled_from(self.live()))
        if fails:
            fields: dict[Field, int | str] = {
                Field.ERROR: int(ErrorCode.IO),
                Field.ERRNO: 5,
                Field.STEP: "x",
            }
            self.receive(frame_of(Frame.FAIL, number, fields))
        elif self.peers[number].request.operation in (Operation.EXEC, Operation.TERMINAL):
            self.receive(exit_frame(number))
        else:
            self.receive(frame_of(Frame.DONE, number, {}))

    @precondition(lambda self: self.greeted and not self.ended)
    @rule()
    def supervisor_pings(self) -> None:
        self.receive(codec.encode_frame(Frame.PING, 0, bytes(8)))

    @precondition(lambda self: not self.ended and self.greeted == 2)
    @rule(chance=st.integers(0, 9))
    def supervisor_ends(self, chance: int) -> None:
        if chance == 0:
            self.ended = True
            self.receive(frame_of(Frame.END, 0, {Field.REASON: int(EndCode.DESTROYED)}))

    @invariant()
    def the_books_agree(self) -> None:
        assert self.connection.state is not State.BROKEN
        if not self.ended:
            open_peers = sum(not peer.ended for peer in self.peers.values())
            assert self.connection.statistics()["channels"] == open_peers
        assert self.connection.statistics()["pending"] == 0


def test_a_supervisor_that_keeps_the_rules_never_meets_a_violation() -> None:
    run_state_machine_as_test(
        GoodSupervisor, settings=settings(max_examples=60, stateful_step_count=40)
    )


def live_connection() -> Connection:
    """A connection in the middle of things: every kind of channel is open."""
    connection = Connection(nonce=bytes(32), client="test")
    connection.start(CONFIGURE)
    greeting = frame_of(Frame.WELCOME, 0, WELCOME) + frame_of(Frame.READY, 0, READY)
    list(connection.receive_data(greeting))
    connection.open(
        exec_request(
            (b"x",),
            cwd=b".",
            env=(),
            user=None,
            timeout_ms=0,
            stdout_limit=MANY,
            stderr_limit=10,
            stdin=True,
        )
    )
    connection.open(file_request(Operation.READ, b"f", Root.WORKSPACE, offset=0, limit=50))
    connection.open(file_request(Operation.LIST, b".", Root.WORKSPACE, limit=5, recursive=0))
    connection.open(Request(Operation.STATUS, {}))
    connection.data_to_send()
    return connection


def survives(connection: Connection, chunks: list[bytes]) -> None:
    """Feed hostile bytes: they are legal, or a violation; and little of them is kept."""
    received = 0
    for chunk in chunks:
        received += len(chunk)
        found = None
        try:
            for _ in connection.receive_data(chunk):
                pass
        except WireViolationError as violation:
            found = violation
        if found is not None:
            assert len(str(found)) < 1000
            assert connection.state is State.BROKEN
            return
        bound = table.HEADER_BYTES + table.MAX_PAYLOAD
        assert connection.statistics()["pending"] <= min(received, bound)
        # An answer costs no more than what asked for it.
        assert len(connection.data_to_send()) <= received


@settings(max_examples=300)
@given(data=st.data())
def test_a_hostile_supervisor_is_met_with_violations_and_nothing_else(data: st.DataObject) -> None:
    frames = data.draw(st.lists(legal_frame("supervisor"), max_size=8))
    stream = b"".join(frames)
    if data.draw(st.booleans()):
        stream = data.draw(mutated(stream))
    survives(live_connection(), data.draw(pieces(stream)))


@settings(max_examples=200)
@given(noise=st.binary(max_size=400), greeted=st.booleans())
def test_noise_is_met_with_violations_and_nothing_else(noise: bytes, greeted: bool) -> None:
    connection = live_connection() if greeted else Connection(nonce=bytes(32), client="test")
    if not greeted:
        connection.start(CONFIGURE)
        connection.data_to_send()
    survives(connection, [noise[at : at + 7] for at in range(0, len(noise), 7)])
