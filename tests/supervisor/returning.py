"""A client that loses its stream and comes back on another one."""

from __future__ import annotations

import contextlib
import socket

from fumehood._wire import codec, table
from fumehood._wire.codec import RawFrame
from fumehood._wire.messages import End, Ready, Welcome
from fumehood._wire.requests import Hello, Resume
from fumehood._wire.table import Frame
from supervisor.peer import NONCE, Peer

HELLO = Hello(nonce=NONCE, client="test", capabilities=(table.CAPABILITY_RESUME,))


class ReturningPeer(Peer):
    """Counts and keeps the connection's bytes, whatever stream carries them."""

    tells = True
    """Whether it says what has arrived, each `credit_step` bytes."""

    def __init__(self, stream: socket.socket) -> None:
        super().__init__(stream)
        self.sent = b""
        self.received = 0
        self.acknowledged = 0
        """What the supervisor has last said to have received."""
        self.told = 0
        self.left: list[socket.socket] = []
        """Streams that are open no more, or that should not be."""
        self.number = 0
        self.key = b""

    def send_bytes(self, data: bytes) -> None:
        """Send what counts; while there is no stream it waits for the next one."""
        self.sent += data
        with contextlib.suppress(OSError):
            super().send_bytes(data)

    def arrived(self, data: bytes) -> None:
        """Count, and keep the acknowledgements to ourselves."""
        self.received += len(data)
        for raw in self.reader.feed(data):
            if raw.frame is Frame.ACK:
                self.acknowledged = int.from_bytes(raw.payload, "big")
            else:
                self.frames.append(raw)
        if self.tells and self.received - self.told >= table.CREDIT_STEP:
            self.acknowledge()

    def acknowledge(self, total: int | None = None) -> None:
        """Say what has arrived, or something else."""
        count = self.received if total is None else total
        self.told = count
        self.send(Frame.ACK, 0, count.to_bytes(table.ACK_BYTES, "big"))

    def hello(self, nonce: bytes = NONCE) -> Welcome:
        """Greet, and ask that the connection may outlive its stream."""
        assert nonce == NONCE
        self.send_bytes(HELLO.encode())
        welcome = Welcome.decode(self.expect(Frame.WELCOME))
        assert welcome.resume_key is not None
        self.key, self.number = welcome.resume_key, welcome.connection
        if welcome.configured:
            self.ready = Ready.decode(self.expect(Frame.READY))
        return welcome

    def close(self) -> None:
        """End every stream."""
        for stream in (*self.left, self.stream):
            stream.close()

    def lose(self) -> None:
        """Break the stream off, with whatever is in it."""
        self.stream.close()

    def ask(self, stream: socket.socket, **changes: int | bytes) -> RawFrame:
        """Ask for the connection on another stream, and return the answer."""
        fields: dict[str, int | bytes] = {
            "connection": self.number,
            "key": self.key,
            "received": self.received,
            **changes,
        }
        self.left.append(self.stream)
        self.stream = stream
        Peer.send_bytes(self, HELLO.encode(Resume(**fields)))  # type: ignore[arg-type]
        seen = b""
        # To the byte: what comes behind it belongs to the connection.
        while len(seen) < 8 or len(seen) < 8 + int.from_bytes(seen[1:4], "big"):
            want = 8 + int.from_bytes(seen[1:4], "big") if len(seen) >= 8 else 8
            piece = stream.recv(want - len(seen))
            assert piece, "closed without an answer"
            seen += piece
        (raw,) = codec.FrameReader("supervisor").feed(seen)
        return raw

    def come_back(self, stream: socket.socket) -> Welcome:
        """Go on with the connection on another stream."""
        stream.settimeout(30)
        raw = self.ask(stream)
        assert raw.frame is Frame.WELCOME, raw
        welcome = Welcome.decode(raw)
        assert (welcome.connection, welcome.resume_key) == (self.number, None)
        assert welcome.received is not None
        Peer.send_bytes(self, self.sent[welcome.received :])
        return welcome

    def refused(self, stream: socket.socket, **changes: int | bytes) -> End:
        """Ask, and be told that there is no such connection; the stream is over then."""
        stream.settimeout(30)
        raw = self.ask(stream, **changes)
        assert raw.frame is Frame.END, raw
        assert stream.recv(1) == b""
        return End.decode(raw)
