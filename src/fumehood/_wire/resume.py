"""Capability `resume`: what has gone out and may have to go again, and a greeting on a new stream.

A stream carries the frames of a connection as bytes. Where it breaks, another one goes on with the
byte behind the last that has arrived; the frames, their order and all windows know nothing of it.
"""

from __future__ import annotations

from collections import deque

from fumehood._wire import codec, table
from fumehood._wire.codec import FrameReader, RawFrame, WireViolationError
from fumehood._wire.messages import End, Welcome
from fumehood._wire.requests import Hello, Resume
from fumehood._wire.table import Frame, Violation


class Sent:
    """Bytes that were sent and not acknowledged: the windows and the open calls bound them."""

    __slots__ = ("_acknowledged", "_pieces", "begin", "total")

    def __init__(self) -> None:
        self._pieces: deque[bytes] = deque()
        self._acknowledged = 0  # not before `begin`: a piece is kept until all of it is
        self.begin: int = 0
        """How many bytes lie before the first that is kept."""
        self.total: int = 0
        """Bytes sent in all, each counted once."""

    def add(self, data: bytes) -> None:
        """Note bytes that go out for the first time."""
        if data:
            self._pieces.append(data)
            self.total += len(data)

    def acknowledge(self, total: int) -> None:
        """Forget what the other side has.

        Raises:
            WireViolationError: it claims more than was sent.
        """
        if total > self.total:
            raise WireViolationError(
                Violation.BAD_CREDIT, f"{total} bytes acknowledged of {self.total} that were sent"
            )
        self._acknowledged = max(self._acknowledged, total)
        while self._pieces and self.begin + len(self._pieces[0]) <= total:
            self.begin += len(self._pieces.popleft())

    def behind(self, total: int) -> bytes:
        """Return what lies behind the first ``total`` bytes.

        Raises:
            WireViolationError: they were never sent, or were acknowledged long ago.
        """
        if total < self._acknowledged:
            raise WireViolationError(
                Violation.BAD_VALUE, f"WELCOME: received={total} after more was acknowledged"
            )
        self.acknowledge(total)
        return b"".join(self._pieces)[total - self.begin :]


class Resumption:
    """HELLO on a new stream, and its answer. Nothing else may be sent before that has come.

    Args:
        hello: the greeting of the connection's first stream.
        resume: which connection, and how far it came.
    """

    def __init__(self, hello: Hello, resume: Resume) -> None:
        self.hello: bytes = hello.encode(resume)
        self.welcome: Welcome | None = None
        self.refusal: End | None = None
        """What came instead: the supervisor no longer has the connection."""
        self._connection = resume.connection
        self._reader = FrameReader("supervisor")
        self._seen = b""

    def receive(self, data: bytes | memoryview) -> bytes | None:
        """Take bytes; return those behind the answer once it is there: the connection's own.

        Raises:
            WireViolationError: what comes is no answer.
        """
        # One frame and one delivery at most: of a longer one the header says so.
        self._seen += data
        raw = next(self._reader.feed(data), None)
        if raw is None:
            return None
        if raw.frame is Frame.END:
            self.refusal = End.decode(raw)
            return b""
        if raw.frame is not Frame.WELCOME:
            raise WireViolationError(
                Violation.BAD_STATE, f"{raw.frame.name} in answer to a HELLO that resumes"
            )
        welcome = Welcome.decode(raw)
        if welcome.connection != self._connection or welcome.received is None:
            raise WireViolationError(
                Violation.BAD_VALUE, f"WELCOME: connection={welcome.connection} when it resumes"
            )
        self.welcome = welcome
        return self._seen[table.HEADER_BYTES + len(raw.payload) :]


class Resumable:
    """What one side knows of a connection that may outlive its stream.

    Args:
        hello: the greeting, which has asked for it.
    """

    __slots__ = ("_hello", "_key", "_number", "_received", "_sent", "_told")

    def __init__(self, hello: Hello) -> None:
        self._hello = hello
        self._sent = Sent()
        self._key = b""
        self._number = 0
        self._received = 0
        self._told = 0

    @property
    def agreed(self) -> bool:
        """Whether the supervisor has granted it."""
        return bool(self._key)

    @property
    def unacknowledged(self) -> int:
        """Bytes that are kept since they may have to be sent again."""
        return self._sent.total - self._sent.begin

    def begin(self, welcome: Welcome) -> None:
        """Take the secret of the connection from its WELCOME.

        Raises:
            WireViolationError: it is no secret.
        """
        key = welcome.resume_key
        if key is None or len(key) != table.RESUME_KEY_BYTES:
            raise WireViolationError(
                Violation.BAD_VALUE, f"WELCOME: resume_key of {len(key or b'')} bytes"
            )
        self._key = key
        self._number = welcome.connection

    def sent(self, data: bytes) -> None:
        """Keep what goes out."""
        self._sent.add(data)

    def received(self, amount: int) -> None:
        """Count what comes in."""
        self._received += amount

    def acknowledgement(self, least: int = 1) -> bytes:
        """Return an ACK if at least so many bytes have come since the last one, else nothing."""
        if not self._key or self._received - self._told < least:
            return b""
        self._told = self._received
        total = self._received.to_bytes(table.ACK_BYTES, "big")
        return codec.encode_frame(Frame.ACK, 0, total)

    def acknowledged(self, raw: RawFrame) -> None:
        """Take an ACK.

        Raises:
            WireViolationError: it claims more than was sent.
        """
        self._sent.acknowledge(int.from_bytes(raw.payload, "big"))

    def resumption(self) -> Resumption:
        """Return the greeting for a new stream."""
        resume = Resume(connection=self._number, key=self._key, received=self._received)
        return Resumption(self._hello, resume)

    def resumed(self, received: int) -> bytes:
        """Return what the supervisor does not have, which is all that is kept from now on.

        Raises:
            WireViolationError: it claims to have what it cannot.
        """
        self._told = self._received
        return self._sent.behind(received)
