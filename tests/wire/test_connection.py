"""The client's state machine: what a supervisor may do when, and that anything else is named."""

from __future__ import annotations

import pytest

from fakes.supervisor import CONFIGURE, READY, WELCOME, exit_frame, frame_of
from fumehood._wire import codec, table
from fumehood._wire.codec import WireViolationError
from fumehood._wire.connection import Connection, State
from fumehood._wire.events import (
    Configured,
    Ended,
    Event,
    Finished,
    InputCredit,
    Opened,
    Output,
    OutputEnded,
    Pinged,
    Welcomed,
)
from fumehood._wire.messages import Done, Exit, Fail
from fumehood._wire.requests import (
    Request,
    connect_request,
    exec_request,
    file_request,
    terminal_request,
    wait_port_request,
)
from fumehood._wire.resume import Sent
from fumehood._wire.table import EndCode, ErrorCode, Field, Frame, Operation, Root, Violation
from fumehood.errors import LocalProtocolError

WELCOMED = frame_of(Frame.WELCOME, 0, WELCOME)
READIED = frame_of(Frame.READY, 0, READY)
GREETING = WELCOMED + READIED
ENDED = frame_of(Frame.END, 0, {Field.REASON: EndCode.TTL})
MANY = (1 << 64) - 1


def run(stdout: int = MANY, stderr: int = MANY, *, stdin: bool = True) -> Request:
    return exec_request(
        (b"x",),
        cwd=b".",
        env=(),
        user=None,
        timeout_ms=0,
        stdout_limit=stdout,
        stderr_limit=stderr,
        stdin=stdin,
    )


READ = file_request(Operation.READ, b"f", Root.WORKSPACE, offset=0, limit=MANY)
READ_100 = file_request(Operation.READ, b"f", Root.WORKSPACE, offset=0, limit=100)
WRITE = file_request(Operation.WRITE, b"f", Root.WORKSPACE, limit=9, mode=0o644, parents=1)
LIST = file_request(Operation.LIST, b".", Root.WORKSPACE, limit=2, recursive=0)
STAT = file_request(Operation.STAT, b".", Root.WORKSPACE, follow=0)
STATUS = Request(Operation.STATUS, {})
CONNECT = connect_request(80)
OPENED = frame_of(Frame.OPENED, 1, {})
STDOUT_END = codec.encode_frame(Frame.STDOUT_END, 1)
DONE = frame_of(Frame.DONE, 1, {})
TERMINAL = terminal_request((b"sh",), cwd=b".", env=(), user=None, rows=24, columns=80)


def started(*, configured: bool = False) -> Connection:
    connection = Connection(nonce=bytes(32), client="test")
    connection.start(None if configured else CONFIGURE)
    connection.data_to_send()
    return connection


def opened(*requests: Request) -> Connection:
    connection = started()
    list(connection.receive_data(GREETING))
    for request in requests:
        connection.open(request)
    connection.data_to_send()
    return connection


def data(frame: Frame, channel: int, size: int = 1) -> bytes:
    return codec.encode_frame(frame, channel, bytes(size))


def credit(channel: int, amount: int) -> bytes:
    return codec.encode_frame(Frame.CREDIT, channel, amount.to_bytes(4, "big"))


def violation(connection: Connection, *pieces: bytes) -> Violation:
    with pytest.raises(WireViolationError) as caught:
        list(connection.receive_data(b"".join(pieces)))
    assert connection.state is State.BROKEN
    assert connection.statistics()["channels"] == 0
    with pytest.raises(LocalProtocolError):
        list(connection.receive_data(b""))
    return caught.value.violation


def test_the_first_connection_greets_and_configures() -> None:
    connection = started()
    events = list(connection.receive_data(GREETING))
    assert [type(event) for event in events] == [Welcomed, Configured]
    assert connection.state is State.OPEN


def test_a_later_connection_learns_what_is_in_force() -> None:
    connection = started(configured=True)
    welcome = frame_of(Frame.WELCOME, 0, {**WELCOME, Field.CONFIGURED: 1})
    ready = frame_of(Frame.READY, 0, {**READY, Field.HEARTBEAT_MS: 5, Field.MAX_PROCESSES: 3})
    _, configured = connection.receive_data(welcome + ready)
    assert isinstance(configured, Configured)
    assert (configured.ready.heartbeat_ms, configured.ready.max_processes) == (5, 3)


def test_channels_may_be_opened_before_anything_has_come_back() -> None:
    connection = Connection(nonce=bytes(32), client="test")
    with pytest.raises(LocalProtocolError):
        connection.open(STATUS)
    connection.start(CONFIGURE)
    assert [connection.open(STATUS), connection.open(STATUS)] == [1, 2]
    frames = list(codec.FrameReader("client").feed(connection.data_to_send()))
    assert [raw.frame for raw in frames] == [Frame.HELLO, Frame.CONFIGURE, Frame.OPEN, Frame.OPEN]
    with pytest.raises(LocalProtocolError):
        connection.start(None)


def test_a_command_from_its_start_to_its_end() -> None:
    connection = opened(run())
    events: list[Event] = list(
        connection.receive_data(
            data(Frame.STDOUT, 1, 3) + data(Frame.STDERR, 1, 2) + exit_frame(1, 7, killed=2)
        )
    )
    assert events[:2] == [Output(1, 1, bytes(3), 0), Output(1, 2, bytes(2), 3)]
    assert isinstance(events[2], Finished)
    assert isinstance(events[2].answer, Exit)
    assert (events[2].answer.exit_code, events[2].answer.killed) == (7, 2)
    assert connection.statistics()["channels"] == 0


@pytest.mark.parametrize(
    "request_, answer, kind",
    [
        (WRITE, frame_of(Frame.DONE, 1, {Field.SIZE: 3}), Done),
        (STATUS, frame_of(Frame.DONE, 1, {}), Done),
        (
            READ,
            frame_of(
                Frame.FAIL,
                1,
                {Field.ERROR: ErrorCode.NOT_FOUND, Field.ERRNO: 2, Field.STEP: "open"},
            ),
            Fail,
        ),
    ],
)
def test_an_operation_ends_with_its_own_kind_of_answer(
    request_: Request, answer: bytes, kind: type
) -> None:
    (event,) = opened(request_).receive_data(answer)
    assert isinstance(event, Finished)
    assert type(event.answer) is kind


def test_input_goes_as_far_as_its_window_and_on_with_credit() -> None:
    connection = opened(run())
    assert connection.input_allowed(1) == table.CHANNEL_WINDOW
    connection.send_input(1, bytes(table.CHANNEL_WINDOW))
    assert connection.input_allowed(1) == 0
    with pytest.raises(LocalProtocolError):
        connection.send_input(1, b"x")
    assert list(connection.receive_data(credit(1, 10))) == [InputCredit(1)]
    assert connection.input_allowed(1) == 10
    connection.send_input(1, bytes(10))
    connection.end_input(1)
    connection.end_input(1)
    assert connection.input_allowed(1) == 0
    frames = list(codec.FrameReader("client").feed(connection.data_to_send()))
    assert [raw.frame for raw in frames].count(Frame.EOF) == 1
    total = sum(len(raw.payload) for raw in frames if raw.frame is Frame.STDIN)
    assert total == table.CHANNEL_WINDOW + 10
    # Credit that was on its way when the input was closed is no fault.
    assert list(connection.receive_data(credit(1, 10))) == []


def test_a_cancelled_channel_still_gets_its_answer() -> None:
    connection = opened(run())
    connection.cancel(1)
    connection.cancel(1)
    frames = list(codec.FrameReader("client").feed(connection.data_to_send()))
    assert [raw.frame for raw in frames] == [Frame.CANCEL]
    assert connection.input_allowed(1) == 0
    events = list(connection.receive_data(data(Frame.STDOUT, 1) + exit_frame(1)))
    assert [type(event) for event in events] == [Output, Finished]
    for late in (connection.cancel, connection.end_input):
        late(1)
    connection.consumed(1, 5)
    assert connection.data_to_send() == b""


def test_a_terminal_takes_sizes_until_its_end() -> None:
    connection = opened(TERMINAL, run())
    connection.resize(1, 50, 132)
    with pytest.raises(LocalProtocolError):
        connection.resize(2, 50, 132)
    (raw,) = codec.FrameReader("client").feed(connection.data_to_send())
    assert (raw.frame, raw.channel) == (Frame.RESIZE, 1)
    assert codec.decode_frame_fields(raw) == {Field.ROWS: 50, Field.COLUMNS: 132}
    (output, finished) = connection.receive_data(data(Frame.STDOUT, 1, 9) + exit_frame(1))
    assert isinstance(output, Output)
    assert isinstance(finished, Finished)
    connection.resize(1, 24, 80)
    connection.cancel(2)
    connection.resize(2, 24, 80)
    frames = codec.FrameReader("client").feed(connection.data_to_send())
    assert [raw.frame for raw in frames] == [Frame.CANCEL]


def test_a_socket_at_the_other_end_opens_and_ends_its_output_by_itself() -> None:
    connection = opened(CONNECT)
    events: list[Event] = list(
        connection.receive_data(OPENED + data(Frame.STDOUT, 1, 3) + STDOUT_END)
    )
    assert events == [Opened(1), Output(1, 1, bytes(3), 0), OutputEnded(1)]
    # The other direction is as open as before.
    connection.send_input(1, b"x")
    assert list(connection.receive_data(DONE))
    assert connection.statistics()["channels"] == 0


@pytest.mark.parametrize(
    "frames",
    [
        (data(Frame.STDOUT, 1),),
        (STDOUT_END,),
        (DONE,),
        (OPENED, OPENED),
        (OPENED, STDOUT_END, data(Frame.STDOUT, 1)),
        (OPENED, STDOUT_END, STDOUT_END),
        (OPENED, STDOUT_END, OPENED),
        (OPENED, data(Frame.STDERR, 1)),
    ],
)
def test_a_sockets_events_come_once_and_in_their_order(frames: tuple[bytes, ...]) -> None:
    assert violation(opened(CONNECT), *frames) is Violation.BAD_STATE


@pytest.mark.parametrize("request_", [run(), READ, STATUS, wait_port_request(80, 0)])
def test_what_has_no_socket_has_no_events_of_one(request_: Request) -> None:
    for frame in (OPENED, STDOUT_END):
        assert violation(opened(request_), frame) is Violation.BAD_STATE


def test_the_connections_credit_goes_back_when_bytes_arrive() -> None:
    connection = opened(READ)
    for _ in range(table.CREDIT_STEP // table.MAX_PAYLOAD):
        assert connection.data_to_send() == b""
        list(connection.receive_data(data(Frame.STDOUT, 1, table.MAX_PAYLOAD)))
    assert connection.data_to_send() == credit(0, table.CREDIT_STEP)
    connection.consumed(1, table.CREDIT_STEP)
    assert connection.data_to_send() == credit(1, table.CREDIT_STEP)


def test_a_ping_asks_for_a_pong_and_a_pong_for_nothing() -> None:
    connection = opened()
    ping, pong = (codec.encode_frame(frame, 0, b"12345678") for frame in (Frame.PING, Frame.PONG))
    assert list(connection.receive_data(ping + pong)) == [Pinged(b"12345678")]
    assert connection.data_to_send() == b""
    connection.pong(b"12345678")
    assert connection.data_to_send() == pong


def test_the_end_is_the_last_frame() -> None:
    connection = opened(run())
    (event,) = connection.receive_data(ENDED)
    assert isinstance(event, Ended)
    assert event.end.reason is EndCode.TTL
    assert connection.state is State.ENDED
    with pytest.raises(LocalProtocolError):
        connection.open(STATUS)
    assert violation(connection, ENDED) is Violation.BAD_STATE


def test_events_before_a_violation_come_all_the_same() -> None:
    connection = opened(run())
    events = connection.receive_data(data(Frame.STDOUT, 1) + b"\xff" * 8)
    assert next(events) == Output(1, 1, b"\0", 0)
    with pytest.raises(WireViolationError):
        next(events)


@pytest.mark.parametrize(
    "frame",
    [
        data(Frame.STDOUT, 1),
        data(Frame.STDERR, 1),
        credit(1, 1),
        exit_frame(1),
        frame_of(Frame.DONE, 1, {}),
        frame_of(Frame.FAIL, 1, {}),
    ],
)
def test_nothing_of_a_channel_comes_before_the_session_is_ready(frame: bytes) -> None:
    connection = started()
    connection.open(run())
    assert violation(connection, WELCOMED, frame) is Violation.BAD_STATE


def test_the_greeting_comes_once_in_its_order_and_fits() -> None:
    assert violation(started(), READIED) is Violation.BAD_STATE
    assert violation(started(), WELCOMED, WELCOMED) is Violation.BAD_STATE
    assert violation(started(), GREETING, READIED) is Violation.BAD_STATE
    assert violation(started(), codec.encode_frame(Frame.PING, 0, bytes(8))) is Violation.BAD_STATE
    assert violation(started(configured=True), WELCOMED) is Violation.BAD_STATE
    configured = frame_of(Frame.WELCOME, 0, {**WELCOME, Field.CONFIGURED: 1})
    assert violation(started(), configured) is Violation.BAD_STATE
    for version in (0, table.VERSION_MAX + 1, 2**64 - 1):
        other = frame_of(Frame.WELCOME, 0, {**WELCOME, Field.VERSION: version})
        assert violation(started(), other) is Violation.BAD_VALUE
    unstarted = Connection(nonce=bytes(32), client="test")
    assert violation(unstarted, WELCOMED) is Violation.BAD_STATE


@pytest.mark.parametrize(
    "request_, frame, expected",
    [
        (READ, data(Frame.STDERR, 1), Violation.BAD_STATE),
        (WRITE, data(Frame.STDOUT, 1), Violation.BAD_STATE),
        (STATUS, data(Frame.STDOUT, 1), Violation.BAD_STATE),
        (TERMINAL, data(Frame.STDERR, 1), Violation.BAD_STATE),
        (TERMINAL, frame_of(Frame.DONE, 1, {}), Violation.BAD_STATE),
        (READ, exit_frame(1), Violation.BAD_STATE),
        (run(), frame_of(Frame.DONE, 1, {}), Violation.BAD_STATE),
        (READ, credit(1, 1), Violation.BAD_STATE),
        (run(), credit(1, 1), Violation.BAD_CREDIT),
        (run(), credit(0, 1), Violation.BAD_CHANNEL),
        (run(), data(Frame.STDOUT, 2), Violation.BAD_CHANNEL),
        (run(), exit_frame(2), Violation.BAD_CHANNEL),
        (run(), exit_frame(1, reason=9), Violation.BAD_VALUE),
        (run(), exit_frame(1, 256), Violation.BAD_VALUE),
        (run(), exit_frame(1, 0, signal=9), Violation.BAD_VALUE),
        (run(), exit_frame(1, 200, signal=72), Violation.BAD_VALUE),
        (
            READ,
            frame_of(Frame.FAIL, 1, {Field.ERROR: 99, Field.ERRNO: 0, Field.STEP: ""}),
            Violation.BAD_VALUE,
        ),
        (
            READ,
            frame_of(Frame.FAIL, 1, {Field.ERROR: 1, Field.ERRNO: 2**64 - 1, Field.STEP: ""}),
            Violation.BAD_VALUE,
        ),
    ],
)
def test_what_a_channel_may_not_bring_is_named(
    request_: Request, frame: bytes, expected: Violation
) -> None:
    assert violation(opened(request_), frame) is expected


def test_nothing_comes_on_a_channel_that_has_ended() -> None:
    for late in (data(Frame.STDOUT, 1), exit_frame(1), credit(1, 1)):
        assert violation(opened(run()), exit_frame(1), late) is Violation.BAD_CHANNEL


@pytest.mark.parametrize(
    "request_, allowed, frame",
    [
        (run(stdout=100), 100, Frame.STDOUT),
        (run(stderr=100), 100, Frame.STDERR),
        (
            file_request(Operation.READ, b"f", Root.WORKSPACE, offset=0, limit=100),
            100,
            Frame.STDOUT,
        ),
        (STAT, 4 + table.MAX_RECORD, Frame.STDOUT),
        (LIST, 2 * (4 + table.MAX_RECORD), Frame.STDOUT),
    ],
)
def test_output_ends_where_the_request_said(request_: Request, allowed: int, frame: Frame) -> None:
    connection = opened(request_)
    assert len(list(connection.receive_data(data(frame, 1, allowed)))) == 1
    assert violation(connection, data(frame, 1)) is Violation.BAD_STATE


def test_nobody_sends_more_than_a_window() -> None:
    full = data(Frame.STDOUT, 1, table.MAX_PAYLOAD) * (table.CHANNEL_WINDOW // table.MAX_PAYLOAD)
    assert violation(opened(READ), full, data(Frame.STDOUT, 1)) is Violation.BAD_CREDIT
    # The connection's own window is given back on arrival, so that no channel can close it.
    connection = opened(*[READ] * 5)
    for channel in range(1, 6):
        piece = data(Frame.STDOUT, channel, table.MAX_PAYLOAD)
        list(connection.receive_data(piece * (table.CHANNEL_WINDOW // table.MAX_PAYLOAD)))


def test_what_was_acknowledged_is_not_asked_for_again_wherever_a_write_ended() -> None:
    sent = Sent()
    sent.add(b"0123456789")
    sent.acknowledge(6)
    sent.acknowledge(2)  # one that was on its way: it changes nothing
    with pytest.raises(WireViolationError) as caught:
        sent.behind(5)
    assert caught.value.violation is Violation.BAD_VALUE
    assert sent.behind(6) == b"6789"
    with pytest.raises(WireViolationError) as caught:
        sent.behind(11)
    assert caught.value.violation is Violation.BAD_CREDIT
