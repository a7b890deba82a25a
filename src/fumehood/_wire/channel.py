"""One channel as a state machine: what its operation lets the supervisor send, and when."""

from __future__ import annotations

from typing import cast

from fumehood._wire import codec, table
from fumehood._wire.codec import RawFrame, WireViolationError
from fumehood._wire.credit import ReceiveWindow, SendWindow
from fumehood._wire.events import (
    Described,
    Event,
    Finished,
    Incoming,
    InputCredit,
    Opened,
    Output,
    OutputEnded,
)
from fumehood._wire.messages import Done, Exit, Fail, Process, decode_position, decode_ticket
from fumehood._wire.requests import FROM_NOW_ON, Request
from fumehood._wire.table import Field, Frame, Operation, Violation

_RECORD = 4 + table.MAX_RECORD
_ENDLESS = (1 << 64) - 1
_MOST_PROCESSES = 4096
"""More than any supervisor keeps."""
_SEARCH = 32 << 20
"""Bytes of what one search finds: the supervisor stops at half of that."""
_ENDLESS_OPERATIONS = table.OPERATION_SOCKET | {
    Operation.TERMINAL,
    Operation.WATCH,
    Operation.PUT_TREE,
    Operation.GET_TREE,
    Operation.SCAN_TREE,
}
# Those whose answer says where the log of a process ends.
_LOGGED = frozenset({Operation.ATTACH, Operation.LOGS, Operation.STOP})

ANSWERS: dict[Frame, type[Exit | Done | Fail]] = {
    Frame.EXIT: Exit,
    Frame.DONE: Done,
    Frame.FAIL: Fail,
}
"""The frames that end a channel."""


class ChannelState:
    """What is known of an open channel, and the rules for what comes on it.

    A method that takes a frame raises WireViolationError where the operation does not allow it, or
    not now.

    Args:
        request: what the channel was opened with.
    """

    __slots__ = (
        "_described",
        "_left",
        "_offset",
        "_opened",
        "_output_ended",
        "_placed",
        "cancelled",
        "operation",
        "receive",
        "send",
    )

    def __init__(self, request: Request) -> None:
        self.operation: Operation = request.operation
        self.receive: ReceiveWindow = ReceiveWindow(table.CHANNEL_WINDOW)
        self.send: SendWindow | None = None
        """None: the operation has no input, or it is closed."""
        if table.OPERATION_INPUT[request.operation]:
            self.send = SendWindow(table.CHANNEL_WINDOW)
        self.cancelled: bool = False
        self._left = _output_limits(request)  # bytes that stdout and stderr may still bring
        self._offset = _first_offset(request)  # of the next byte; None: a POSITION must tell
        self._placed = False  # a POSITION has come, and no byte since
        self._described = 0  # processes
        self._opened = False  # OPENED came; the next likewise: for those with a socket alone
        self._output_ended = False

    def take(self, raw: RawFrame) -> Event | None:
        """Take a frame that is neither output nor an answer nor INCOMING."""
        if raw.frame is Frame.CREDIT:
            return self._input_credit(raw)
        if raw.frame is Frame.PROCESS:
            return self._process(raw)
        if raw.frame is Frame.OPENED:
            return self._socket_opened(raw)
        if raw.frame is Frame.STDOUT_END:
            return self._output_end(raw)
        self._position(raw)
        return None

    def output(self, raw: RawFrame) -> Output:
        """Take STDOUT or STDERR."""
        allowed = table.OPERATION_OUTPUT[self.operation]
        stream = 1 if raw.frame is Frame.STDOUT else 2
        if allowed == "none" or (stream == 2 and allowed != "both"):
            raise self._not_from_here(raw)
        self._check_socket(raw)
        size = len(raw.payload)
        self._left[stream - 1] -= size
        if self._left[stream - 1] < 0:
            raise WireViolationError(
                Violation.BAD_STATE, f"{raw.frame.name} beyond the limit that was asked for"
            )
        offset = self._offset
        if offset is None:
            raise WireViolationError(Violation.BAD_STATE, f"{raw.frame.name} without a position")
        self.receive.receive(size)
        self._offset = offset + size
        self._placed = False
        return Output(raw.channel, stream, raw.payload, offset)

    def answer(self, raw: RawFrame) -> Finished:
        """Take one of :data:`ANSWERS`."""
        if raw.frame is not Frame.FAIL and raw.frame is not table.OPERATION_ANSWER[self.operation]:
            raise self._not_from_here(raw)
        if raw.frame is Frame.DONE and self.operation in table.OPERATION_SOCKET:
            self._check_opened(raw)
        answer = ANSWERS[raw.frame].decode(raw)
        if self.operation in _LOGGED and not isinstance(answer, Fail):
            _check_end(answer.offset, self._offset, raw.frame)
        return Finished(raw.channel, answer)

    def incoming(self, raw: RawFrame) -> Incoming:
        """Take INCOMING; whether the ticket is a new one only the connection knows."""
        self._check_also(raw)
        self._check_opened(raw)
        return Incoming(raw.channel, decode_ticket(raw))

    def _position(self, raw: RawFrame) -> None:
        """Note where the output goes on: never back, and never twice without a byte in between."""
        self._check_also(raw)
        offset = decode_position(raw)
        if self._placed:
            raise WireViolationError(Violation.BAD_STATE, "POSITION without output behind it")
        if self._offset is not None and offset < self._offset:
            raise WireViolationError(
                Violation.BAD_VALUE, f"POSITION: offset={offset} behind {self._offset}"
            )
        self._offset = offset
        self._placed = True

    def _process(self, raw: RawFrame) -> Described:
        self._check_also(raw)
        self._described += 1
        if self._described > _MOST_PROCESSES:
            raise WireViolationError(Violation.BAD_STATE, f"more than {_MOST_PROCESSES} processes")
        return Described(raw.channel, Process.decode(raw))

    def _socket_opened(self, raw: RawFrame) -> Opened:
        if self.operation not in table.OPERATION_SOCKET or self._opened:
            raise self._not_from_here(raw)
        codec.decode_frame_fields(raw)
        self._opened = True
        return Opened(raw.channel)

    def _output_end(self, raw: RawFrame) -> OutputEnded:
        if (
            self.operation not in table.OPERATION_SOCKET
            or table.OPERATION_OUTPUT[self.operation] == "none"
        ):
            raise self._not_from_here(raw)
        self._check_socket(raw)
        self._output_ended = True
        return OutputEnded(raw.channel)

    def _input_credit(self, raw: RawFrame) -> InputCredit | None:
        if not table.OPERATION_INPUT[self.operation]:
            raise WireViolationError(
                Violation.BAD_STATE,
                f"CREDIT for {self.operation.name.lower()}, which has no input",
            )
        if self.send is None:
            return None
        self.send.credit(codec.decode_credit(raw))
        return InputCredit(raw.channel)

    def _check_also(self, raw: RawFrame) -> None:
        if table.OPERATION_ALSO.get(self.operation) is not raw.frame:
            raise self._not_from_here(raw)

    def _check_socket(self, raw: RawFrame) -> None:
        """Where the other end is a socket, output comes between OPENED and STDOUT_END."""
        if self.operation not in table.OPERATION_SOCKET:
            return
        self._check_opened(raw)
        if self._output_ended:
            raise WireViolationError(Violation.BAD_STATE, f"{raw.frame.name} after STDOUT_END")

    def _check_opened(self, raw: RawFrame) -> None:
        if not self._opened:
            raise WireViolationError(Violation.BAD_STATE, f"{raw.frame.name} before OPENED")

    def _not_from_here(self, raw: RawFrame) -> WireViolationError:
        return WireViolationError(
            Violation.BAD_STATE, f"{raw.frame.name} from {self.operation.name.lower()}"
        )


def _output_limits(request: Request) -> list[int]:
    """How many bytes of stdout and stderr a request has asked for at most.

    They hold the caller's memory: credit alone bounds what waits, not what comes in all.
    """
    fields = request.fields
    if request.operation is Operation.EXEC:
        most = [fields[Field.STDOUT_LIMIT], fields[Field.STDERR_LIMIT]]
    elif request.operation is Operation.READ:
        most = [fields[Field.LIMIT], 0]
    elif request.operation is Operation.LIST:
        most = [cast("int", fields[Field.LIMIT]) * _RECORD, 0]
    elif request.operation is Operation.SEARCH:
        most = [_SEARCH, 0]
    elif request.operation in _ENDLESS_OPERATIONS:
        # Handed on piece by piece and never kept, so that the window alone is bound enough.
        most = [_ENDLESS, 0]
    elif request.operation is Operation.ATTACH and not fields[Field.AT_END]:
        most = [_ENDLESS, _ENDLESS]
    elif request.operation in (Operation.ATTACH, Operation.LOGS):
        most = [table.MAX_LOG_BYTES, table.MAX_LOG_BYTES]
    else:
        most = [_RECORD, 0] if request.operation is Operation.STAT else [0, 0]
    return cast("list[int]", most)


def _first_offset(request: Request) -> int | None:
    """Where the output of a request begins; None for a log's end, which the other end knows."""
    offset = cast("int", request.fields.get(Field.OFFSET, 0))
    if Frame.POSITION is not table.OPERATION_ALSO.get(request.operation):
        return 0
    return None if offset == FROM_NOW_ON else offset


def _check_end(end: int | None, seen: int | None, frame: Frame) -> None:
    """Refuse the end of a log that is none, or lies before what has come of it."""
    if end is None:
        raise WireViolationError(Violation.FIELD_MISSING, f"{frame.name}: offset is missing")
    if seen is not None and end < seen:
        raise WireViolationError(Violation.BAD_VALUE, f"{frame.name}: offset={end} behind {seen}")
