"""A client of managed processes: it asks for them and checks what it is told of their logs."""

from __future__ import annotations

from dataclasses import dataclass, field

from fumehood._wire import codec, messages, requests, table
from fumehood._wire.messages import Done, Exit, Fail, Process
from fumehood._wire.table import ErrorCode, Frame, Operation
from supervisor.peer import Peer

_ANSWERS: dict[Frame, type[Exit | Done | Fail]] = {
    Frame.EXIT: Exit,
    Frame.DONE: Done,
    Frame.FAIL: Fail,
}

FROM_NOW_ON = (1 << 64) - 1
LOG_BYTES = 1 << 16


@dataclass(slots=True)
class Reading:
    """What came of a log: pieces in their order, the gaps between them, and the answer."""

    expected: int | None
    pieces: list[tuple[int, str, bytes]] = field(default_factory=list)
    gaps: list[tuple[int, int]] = field(default_factory=list)
    answer: Exit | Done | Fail | None = None

    def text(self, stream: str = "") -> bytes:
        """The bytes of one stream, or of both in their order."""
        return b"".join(data for _, name, data in self.pieces if stream in ("", name))

    def position(self, offset: int) -> None:
        """Take a POSITION."""
        if self.expected is not None:
            assert offset > self.expected
            self.gaps.append((self.expected, offset - self.expected))
        self.expected = offset

    def output(self, stream: str, data: bytes) -> None:
        """Take a piece."""
        assert self.expected is not None
        self.pieces.append((self.expected, stream, data))
        self.expected += len(data)

    def end(self, answer: Exit | Done | Fail) -> None:
        """Take the answer; what is missing before it is a gap as well."""
        self.answer = answer
        if not isinstance(answer, Fail):
            assert answer.offset is not None
            if self.expected is not None and answer.offset > self.expected:
                self.gaps.append((self.expected, answer.offset - self.expected))

    @property
    def exit(self) -> Exit:
        """The EXIT; anything else fails the test here."""
        assert isinstance(self.answer, Exit), self.answer
        return self.answer


def start(
    peer: Peer,
    *argv: str,
    stdin: bool = False,
    name: str | None = None,
    log_bytes: int = LOG_BYTES,
    user: str | None = None,
) -> int:
    """Start a process and return its number."""
    answer = try_start(peer, *argv, stdin=stdin, name=name, log_bytes=log_bytes, user=user)
    assert isinstance(answer, Done), answer
    assert answer.process is not None
    assert answer.pid is not None
    assert answer.pid > 1
    return answer.process


def try_start(
    peer: Peer,
    *argv: str,
    stdin: bool = False,
    name: str | None = None,
    log_bytes: int = LOG_BYTES,
    user: str | None = None,
) -> Exit | Done | Fail:
    """Start a process and return the answer."""
    return peer.finish(
        peer.open(
            requests.start_request(
                tuple(item.encode() for item in argv),
                cwd=b".",
                env=(),
                user=user,
                stdin=stdin,
                name=name,
                log_bytes=log_bytes,
            )
        )
    ).answer


def shell(peer: Peer, script: str, **more: int) -> int:
    """Start a script of the shell."""
    return start(peer, "sh", "-c", script, **more)  # type: ignore[arg-type]


def ask(peer: Peer, operation: Operation, process: int, **more: int) -> Exit | Done | Fail:
    """Take a request to its end."""
    return peer.finish(peer.open(requests.process_request(operation, process, **more))).answer


def attach(peer: Peer, process: int, offset: int = 0, *, at_end: bool = False) -> int:
    """Open a channel that reads a log to the end of its process."""
    return peer.open(
        requests.process_request(Operation.ATTACH, process, offset=offset, at_end=int(at_end))
    )


def take(
    peer: Peer, channel: int, offset: int = 0, *, until: bytes | None = None, credit: bool = True
) -> Reading:
    """Take what comes on such a channel: to its end, or until some bytes have come."""
    reading = Reading(None if offset == FROM_NOW_ON else offset)
    for raw in peer.channel_frames(channel):
        if raw.frame is Frame.POSITION:
            reading.position(messages.decode_position(raw))
        elif raw.frame in (Frame.STDOUT, Frame.STDERR):
            reading.output(raw.frame.name.lower(), raw.payload)
            if credit:
                peer.credit(0, len(raw.payload))
                peer.credit(channel, len(raw.payload))
        else:
            reading.end(_ANSWERS[raw.frame].decode(raw))
            return reading
        if until is not None and until in reading.text():
            return reading
    raise AssertionError("a channel without a last frame")


def read(peer: Peer, process: int, offset: int = 0, *, at_end: bool = False) -> Reading:
    """Read a log to the end of its process."""
    return take(peer, attach(peer, process, offset, at_end=at_end), offset)


def logs(peer: Peer, process: int, offset: int = 0) -> Reading:
    """Read what is in a log now."""
    channel = peer.open(requests.process_request(Operation.LOGS, process, offset=offset))
    return take(peer, channel, offset)


def wait(peer: Peer, process: int) -> Exit:
    """Wait for the end of a process."""
    return read(peer, process, FROM_NOW_ON).exit


def listed(peer: Peer, process: int | None = None) -> list[Process]:
    """Return the supervisor's processes, or one of them."""
    fields: dict[table.Field, int | bytes | str | tuple[bytes, ...]] = (
        {} if process is None else {table.Field.PROCESS: process}
    )
    channel = peer.open(requests.Request(Operation.PROCESSES, fields))
    found: list[Process] = []
    for raw in peer.channel_frames(channel):
        if raw.frame is Frame.PROCESS:
            found.append(Process.decode(raw))
            continue
        assert raw.frame is Frame.DONE, raw
        assert Done.decode(raw).entries == len(found)
    return found


def send(peer: Peer, process: int, data: bytes, *, close: bool = False) -> Exit | Done | Fail:
    """Write to a process's standard input; a little at once, as a client does.

    Otherwise the process may have read it, and ended, before it is known that nothing follows.
    """
    request = requests.process_request(Operation.SEND, process, close=int(close))
    if len(data) > table.MAX_PAYLOAD:
        channel = peer.open(request)
        peer.feed(channel, data)
        peer.send(Frame.EOF, channel)
        return peer.finish(channel).answer
    peer.channel += 1
    frames = request.encode(peer.channel)
    if data:
        frames += codec.encode_frame(Frame.STDIN, peer.channel, data)
    peer.send_bytes(frames + codec.encode_frame(Frame.EOF, peer.channel))
    return peer.finish(peer.channel).answer


def error(answer: Exit | Done | Fail) -> ErrorCode:
    """Return why it could not be done."""
    assert isinstance(answer, Fail), answer
    return answer.error
