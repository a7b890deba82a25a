"""A client of one supervisor, blocking and simple: it sends what a test wants and checks all it gets."""

from __future__ import annotations

import contextlib
import select
import socket
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

from fumehood._wire import codec, requests, table
from fumehood._wire.codec import RawFrame
from fumehood._wire.messages import Done, End, Exit, Fail, Ready, Welcome
from fumehood._wire.requests import Configure, Hello, Request
from fumehood._wire.table import Frame, Operation, Root

PATIENCE = 30.0
"""How long a test waits for anything before it fails."""

NONCE = bytes(range(32))
PATH = b"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_ANSWERS: dict[Frame, type[Exit | Done | Fail]] = {
    Frame.EXIT: Exit,
    Frame.DONE: Done,
    Frame.FAIL: Fail,
}


class Closed(Exception):
    """The supervisor has closed the stream."""


@dataclass(slots=True)
class Outcome:
    """What came on one channel."""

    answer: Exit | Done | Fail
    stdout: bytes
    stderr: bytes

    @property
    def exit(self) -> Exit:
        """The EXIT; anything else fails the test here."""
        assert isinstance(self.answer, Exit), self.answer
        return self.answer

    @property
    def fail(self) -> Fail:
        """The FAIL; anything else fails the test here."""
        assert isinstance(self.answer, Fail), self.answer
        return self.answer

    @property
    def done(self) -> Done:
        """The DONE; anything else fails the test here."""
        assert isinstance(self.answer, Done), self.answer
        return self.answer


class Peer:
    """One connection. Frames of other channels than the one asked for are kept for later."""

    def __init__(self, stream: socket.socket) -> None:
        self.stream = stream
        self.reader = codec.FrameReader("supervisor")
        self.frames: deque[RawFrame] = deque()
        self.channel = 0
        self.ready: Ready | None = None

    def close(self) -> None:
        """End the stream as a client that dies."""
        self.stream.close()

    # --- frames -------------------------------------------------------------------------------

    def send(self, frame: Frame, channel: int = 0, payload: bytes = b"") -> None:
        """Send one frame."""
        self.send_bytes(codec.encode_frame(frame, channel, payload))

    def send_bytes(self, data: bytes) -> None:
        """Send anything."""
        self.stream.settimeout(PATIENCE)
        self.stream.sendall(data)

    def receive(self, patience: float = PATIENCE) -> RawFrame:
        """Return the next frame, in the order of arrival."""
        deadline = time.monotonic() + patience
        while not self.frames:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.stream], [], [], left)[0]:
                raise TimeoutError(f"no frame within {patience} s")
            try:
                data = self.stream.recv(1 << 18)
            except ConnectionResetError:
                data = b""
            if not data:
                raise Closed
            self.arrived(data)
        return self.frames.popleft()

    def arrived(self, data: bytes) -> None:
        """Take bytes of the stream apart."""
        self.frames.extend(self.reader.feed(data))

    def expect(self, frame: Frame) -> RawFrame:
        """Return the next frame, which must be of this type."""
        raw = self.receive()
        assert raw.frame is frame, raw
        return raw

    def is_silent(self, for_seconds: float) -> bool:
        """Whether nothing arrives for so long."""
        try:
            raw = self.receive(for_seconds)
        except TimeoutError:
            return True
        self.frames.appendleft(raw)
        return False

    def wait_closed(self) -> list[RawFrame]:
        """Wait for the end of the stream; return what came before it."""
        seen: list[RawFrame] = []
        with contextlib.suppress(Closed):
            while True:
                seen.append(self.receive())
        return seen

    def wait_end(self) -> End:
        """Wait for END, which must be the last frame."""
        *_, last = self.wait_closed()
        assert last.frame is Frame.END, last
        return End.decode(last)

    # --- the session --------------------------------------------------------------------------

    def hello(self, nonce: bytes = NONCE) -> Welcome:
        """Greet, and return the welcome; to a later connection READY comes by itself."""
        self.send_bytes(Hello(nonce=nonce, client="test").encode())
        welcome = Welcome.decode(self.expect(Frame.WELCOME))
        if welcome.configured:
            self.ready = Ready.decode(self.expect(Frame.READY))
        return welcome

    def configure(self, configuration: Configure) -> Ready:
        """Configure, and return what the kernel enforces."""
        self.send_bytes(configuration.encode())
        self.ready = Ready.decode(self.expect(Frame.READY))
        return self.ready

    def ping(self, payload: bytes = b"12345678") -> None:
        """Go there and back once: everything sent before has been handled."""
        self.send(Frame.PING, 0, payload)
        kept: list[RawFrame] = []
        while (raw := self.receive()).frame is not Frame.PONG:
            kept.append(raw)
        assert raw.payload == payload
        self.frames.extendleft(reversed(kept))

    # --- channels -----------------------------------------------------------------------------

    def open(self, request: Request) -> int:
        """Open the next channel."""
        self.channel += 1
        self.send_bytes(request.encode(self.channel))
        return self.channel

    def start(
        self,
        *argv: str | bytes,
        cwd: bytes = b".",
        env: tuple[bytes, ...] = (),
        user: str | None = None,
        timeout_ms: int = 0,
        limit: int = 1 << 20,
        stderr_limit: int | None = None,
        stdin: bool = False,
    ) -> int:
        """Open an exec."""
        return self.open(
            requests.exec_request(
                tuple(a.encode() if isinstance(a, str) else a for a in argv),
                cwd=cwd,
                env=env,
                user=user,
                timeout_ms=timeout_ms,
                stdout_limit=limit,
                stderr_limit=limit if stderr_limit is None else stderr_limit,
                stdin=stdin,
            )
        )

    def start_terminal(
        self,
        *argv: str | bytes,
        rows: int = 24,
        columns: int = 80,
        cwd: bytes = b".",
        env: tuple[bytes, ...] = (),
        user: str | None = None,
    ) -> int:
        """Open a terminal."""
        return self.open(
            requests.terminal_request(
                tuple(a.encode() if isinstance(a, str) else a for a in argv),
                cwd=cwd,
                env=env,
                user=user,
                rows=rows,
                columns=columns,
            )
        )

    def resize(self, channel: int, rows: int, columns: int) -> None:
        """Give a terminal another size."""
        self.send_bytes(requests.resize_frame(channel, rows, columns))

    def read_until(self, channel: int, wanted: bytes) -> bytes:
        """Take a channel's output until it holds ``wanted``; return all of it."""
        seen = b""
        kept: list[RawFrame] = []
        while wanted not in seen:
            raw = self.receive()
            if raw.channel != channel:
                kept.append(raw)
                continue
            assert raw.frame is Frame.STDOUT, (raw, seen)
            seen += raw.payload
            self.credit(0, len(raw.payload))
            self.credit(channel, len(raw.payload))
        self.frames.extendleft(reversed(kept))
        return seen

    def credit(self, channel: int, count: int) -> None:
        """Return credit on a channel."""
        self.send(Frame.CREDIT, channel, count.to_bytes(4, "big"))

    def channel_frames(self, channel: int) -> Iterator[RawFrame]:
        """Yield a channel's frames to its last one, returning credit for the data of all channels."""
        kept: list[RawFrame] = []
        while True:
            raw = self.receive()
            if raw.channel != channel:
                kept.append(raw)
                if raw.frame is Frame.END:
                    raise Closed(End.decode(raw))
                continue
            if raw.frame in _ANSWERS:
                # Before the last one is handed out: its receiver may not come back.
                self.frames.extendleft(reversed(kept))
                yield raw
                return
            yield raw

    def finish(self, channel: int) -> Outcome:
        """Take a channel to its end."""
        stdout = bytearray()
        stderr = bytearray()
        for raw in self.channel_frames(channel):
            if raw.frame in _ANSWERS:
                answer = _ANSWERS[raw.frame].decode(raw)
                return Outcome(answer, bytes(stdout), bytes(stderr))
            if raw.frame in (Frame.STDOUT, Frame.STDERR):
                (stdout if raw.frame is Frame.STDOUT else stderr).extend(raw.payload)
                self.credit(0, len(raw.payload))
                self.credit(channel, len(raw.payload))
        raise AssertionError("a channel without a last frame")

    def run(self, *argv: str | bytes, **more: object) -> Outcome:
        """Start a command and take it to its end."""
        return self.finish(self.start(*argv, **more))  # type: ignore[arg-type]

    def shell(self, script: str, **more: object) -> Outcome:
        """The same for a script of the shell."""
        return self.run("sh", "-c", script, **more)

    def file(
        self, operation: Operation, path: bytes, *, root: Root = Root.WORKSPACE, **more: int | bytes
    ) -> Outcome:
        """Take a file operation without input to its end."""
        return self.finish(self.open(requests.file_request(operation, path, root, **more)))

    def start_write(self, path: bytes, *, limit: int = 1 << 30, parents: int = 0) -> int:
        """Open a write; its STDIN and EOF are the caller's."""
        return self.open(
            requests.file_request(
                Operation.WRITE, path, Root.WORKSPACE, limit=limit, mode=0o644, parents=parents
            )
        )

    def feed(self, channel: int, data: bytes) -> None:
        """Send all of a new channel's input, never more than its windows; give up when it is over."""
        window = table.CHANNEL_WINDOW
        view = memoryview(data)
        kept: list[RawFrame] = []
        over = False
        while view and not over:
            while window == 0 and not over:
                raw = self.receive()
                if raw.frame is Frame.CREDIT and raw.channel == channel:
                    window += codec.decode_credit(raw)
                else:
                    kept.append(raw)
                    over = raw.channel == channel and raw.frame in _ANSWERS
            if over:
                break
            piece = bytes(view[: min(window, table.MAX_PAYLOAD)])
            self.send(Frame.STDIN, channel, piece)
            window -= len(piece)
            view = view[len(piece) :]
        self.frames.extendleft(reversed(kept))

    def write_file(self, path: bytes, data: bytes, **more: int) -> Outcome:
        """Write a whole file."""
        channel = self.start_write(path, **more)
        self.feed(channel, data)
        self.send(Frame.EOF, channel)
        return self.finish(channel)

    def status(self) -> Done:
        """Ask for the supervisor's own numbers."""
        return self.finish(self.open(Request(Operation.STATUS, {}))).done

    def extend(self, ttl_ms: int) -> Outcome:
        """Set the remaining life."""
        fields = {table.Field.TTL_MS: cast("int | bytes | str | tuple[bytes, ...]", ttl_ms)}
        return self.finish(self.open(Request(Operation.LEASE, fields)))
