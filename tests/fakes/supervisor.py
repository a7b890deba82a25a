"""A supervisor made of test code: the other end of a byte stream that lies in memory.

It reads frames with the wire's own reader and sends what a test tells it to: a good answer,
or bytes that no supervisor would send. The real binary is tested elsewhere with the same words;
this is for what the real one never does, and for the order of things.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from fumehood._wire import codec, table
from fumehood._wire.codec import FrameReader, RawFrame, Value
from fumehood._wire.requests import Configure
from fumehood._wire.table import EndCode, ErrorCode, ExecCode, Field, FileCode, Frame, Operation

PATIENCE = 10.0
"""Seconds after which a wait in a test is a failure; nothing is ever expected to take long."""

WELCOME: dict[Field, int | str] = {
    Field.VERSION: 1,
    Field.BUILD: "test",
    Field.ARCHITECTURE: "amd64",
    Field.CONFIGURED: 0,
    Field.CONNECTION: 1,
}
READY: dict[Field, int | str] = {
    Field.UID: 1000,
    Field.GID: 1000,
    Field.MEMORY_MAX: 768 << 20,
    Field.SWAP_MAX: 0,
    Field.PIDS_MAX: 512,
    Field.CPU_QUOTA_US: 100_000,
    Field.CPU_PERIOD_US: 100_000,
    Field.OPEN_FILES: 65536,
    Field.NO_NEW_PRIVS: 1,
    Field.SECCOMP: 2,
    Field.CAP_BOUNDING: 0xE0,
    Field.WORKSPACE_FS: 0xEF53,
    Field.WORKSPACE_BYTES: 1 << 34,
    Field.ROOTFS_READONLY: 0,
    Field.KERNEL: "6.1.0",
    Field.CGROUP_VERSION: 2,
    Field.TMP_BYTES: 128 << 20,
}
CONFIGURE = Configure(
    user="1000",
    workdir=b"/workspace",
    env=(b"A=1",),
    ttl_ms=0,
    idle_ms=0,
    grace_ms=10_000,
    heartbeat_ms=60_000,
    detached=False,
    workload_caps=0,
    max_file_bytes=1 << 26,
    max_processes=16,
    chown_workspace=False,
    write_hosts=True,
)


class MemoryStream:
    """A :class:`fumehood.engines.base.ByteStream` whose other end is a :class:`FakeSupervisor`.

    Everything is delivered by the event loop, in order, never inside the call that caused it: as
    with a socket.
    """

    def __init__(self, peer: FakeSupervisor) -> None:
        self._peer = peer
        self._loop = asyncio.get_running_loop()
        self._on_data: Callable[[bytes], None] | None = None
        self._on_close: Callable[[Exception | None], None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._paused = False
        self._waiting: list[bytes] = []
        self._end: tuple[Exception | None] | None = None
        self.closed = False
        self.can_break = False
        self.said = ""
        self.written = 0

    def start(
        self, on_data: Callable[[bytes], None], on_close: Callable[[Exception | None], None]
    ) -> None:
        self._on_data = on_data
        self._on_close = on_close
        self._loop.call_soon(self._deliver)

    def write(self, data: bytes) -> None:
        if self.closed or self._end is not None:
            return
        self.written += len(data)
        self._loop.call_soon(self._peer.feed, data)

    async def drain(self) -> None:
        await self._writable.wait()

    def pause_reading(self) -> None:
        self._paused = True

    def resume_reading(self) -> None:
        self._paused = False
        self._loop.call_soon(self._deliver)

    def diagnostics(self) -> str:
        return self.said

    async def close(self) -> None:
        self.closed = True
        self._writable.set()
        self._waiting.clear()

    @property
    def open(self) -> bool:
        """Whether the client has not been told of an end."""
        return self._on_close is not None

    # --- what a test does to it ---

    def fill(self) -> None:
        """Make the client's writes wait, as a peer that does not read does."""
        self._writable.clear()

    def empty(self) -> None:
        """Let them go on."""
        self._writable.set()

    def deliver(self, data: bytes) -> None:
        """Send bytes to the client."""
        self._waiting.append(data)
        self._loop.call_soon(self._deliver)

    def end(self, error: Exception | None = None) -> None:
        """End the stream behind what was sent."""
        self._end = (error,)
        self._writable.set()
        self._loop.call_soon(self._deliver)

    def _deliver(self) -> None:
        while self._waiting and not self._paused and self._on_data is not None and not self.closed:
            self._on_data(self._waiting.pop(0))
        if self._end is not None and not self._waiting and self._on_close is not None:
            on_close, self._on_close = self._on_close, None
            on_close(self._end[0])


@dataclass(slots=True)
class Opened:
    """One channel as the supervisor sees it."""

    number: int
    operation: Operation
    fields: dict[Field, Value]
    input: bytearray = field(default_factory=bytearray)
    eof: bool = False
    cancelled: bool = False
    credit: int = 0
    """What the client has returned on this channel."""
    ended: bool = False

    def number_of(self, tag: Field) -> int:
        value = self.fields[tag]
        assert isinstance(value, int)
        return value

    @property
    def path(self) -> str:
        value = self.fields[Field.PATH]
        assert isinstance(value, bytes)
        return value.decode()

    @property
    def argv(self) -> list[bytes]:
        value = self.fields[Field.ARGUMENT]
        assert isinstance(value, list)
        return [item for item in value if isinstance(item, bytes)]


Script = Callable[["FakeSupervisor", Opened], None]


class FakeSupervisor:
    """The scriptable other end.

    Args:
        greet: answer HELLO and CONFIGURE as a good supervisor does.
        configured: whether an earlier connection has configured the session.
        script: called for each channel that is opened, to answer it at once.
    """

    def __init__(
        self, *, greet: bool = True, configured: bool = False, script: Script | None = None
    ) -> None:
        self.stream = MemoryStream(self)
        self.frames: list[RawFrame] = []
        self.channels: dict[int, Opened] = {}
        self.credit = 0
        """What the client has returned for the connection."""
        self.script = script
        self.ready_fields: dict[Field, int | str] = dict(READY)
        self.on_frame: Callable[[RawFrame], None] | None = None
        self._reader = FrameReader("client")
        self._greet = greet
        self._configured = configured
        self._changed = asyncio.Condition()
        self._notifying: set[asyncio.Task[None]] = set()

    # --- in ---

    def feed(self, data: bytes) -> None:
        for raw in self._reader.feed(data):
            self.frames.append(raw)
            self._note(raw)
            if self.on_frame is not None:
                self.on_frame(raw)
        task = asyncio.ensure_future(self._notify())
        self._notifying.add(task)
        task.add_done_callback(self._notifying.discard)

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    def _note(self, raw: RawFrame) -> None:
        channel = self.channels.get(raw.channel)
        if raw.frame is Frame.OPEN:
            fields = codec.decode_frame_fields(raw)
            opened = Opened(raw.channel, codec.operation_of(raw.payload), fields)
            self.channels[raw.channel] = opened
            if self.script is not None:
                self.script(self, opened)
        elif raw.frame is Frame.STDIN and channel is not None:
            channel.input += raw.payload
        elif raw.frame is Frame.EOF and channel is not None:
            channel.eof = True
        elif raw.frame is Frame.CANCEL and channel is not None:
            channel.cancelled = True
        elif raw.frame is Frame.CREDIT:
            if channel is None:
                self.credit += codec.decode_credit(raw)
            else:
                channel.credit += codec.decode_credit(raw)
        elif self._greet and raw.frame is Frame.HELLO:
            asked = codec.decode_frame_fields(raw).get(Field.CAPABILITY, [])
            self.welcome(
                configured=self._configured,
                waits=isinstance(asked, list) and table.CAPABILITY_WAIT in asked,
            )
            if self._configured:
                self.ready()
        elif self._greet and raw.frame is Frame.CONFIGURE:
            self.ready()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until the client has sent what makes ``condition`` true."""
        async with asyncio.timeout(PATIENCE), self._changed:
            await self._changed.wait_for(condition)

    async def opened(self, number: int) -> Opened:
        """Wait until the client has opened a channel, and return it."""
        await self.until(lambda: number in self.channels)
        return self.channels[number]

    async def seen(self, frame: Frame, times: int = 1) -> RawFrame:
        """Wait until the client has sent so many of these frames; return the last of them."""
        await self.until(lambda: self.count(frame) >= times)
        return [raw for raw in self.frames if raw.frame is frame][times - 1]

    def count(self, frame: Frame) -> int:
        return sum(raw.frame is frame for raw in self.frames)

    # --- out ---

    def send(self, *pieces: bytes) -> None:
        """Send bytes as one delivery."""
        self.stream.deliver(b"".join(pieces))

    def send_fields(self, frame: Frame, channel: int, fields: Mapping[Field, int | str]) -> None:
        self.send(frame_of(frame, channel, fields))

    def welcome(self, *, configured: bool = False, waits: bool = False) -> None:
        fields: dict[Field, int | str | tuple[str, ...]] = {
            **WELCOME,
            Field.CONFIGURED: int(configured),
        }
        if waits:
            fields[Field.CAPABILITY] = (table.CAPABILITY_WAIT,)
        self.send(codec.encode_frame(Frame.WELCOME, 0, codec.encode_fields(fields)))

    def ready(self) -> None:
        self.send_fields(Frame.READY, 0, self.ready_fields)

    def stdout(self, channel: int, *data: bytes) -> None:
        for piece in data:
            self.send(codec.encode_frame(Frame.STDOUT, channel, piece))

    def stderr(self, channel: int, *data: bytes) -> None:
        for piece in data:
            self.send(codec.encode_frame(Frame.STDERR, channel, piece))

    def give(self, channel: int, amount: int) -> None:
        """Return credit for input."""
        self.send(codec.encode_frame(Frame.CREDIT, channel, amount.to_bytes(4, "big")))

    def exit(self, channel: int, exit_code: int = 0, **more: int) -> None:
        self._end(channel)
        self.send(exit_frame(channel, exit_code, **more))

    def done(self, channel: int, **fields: int) -> None:
        self._end(channel)
        self.send(frame_of(Frame.DONE, channel, {Field[n.upper()]: v for n, v in fields.items()}))

    def fail(
        self, channel: int, error: ErrorCode, *, errno: int = 0, step: str = "", **more: int | str
    ) -> None:
        fields: dict[Field, int | str] = {
            Field.ERROR: int(error),
            Field.ERRNO: errno,
            Field.STEP: step,
        }
        fields.update({Field[name.upper()]: value for name, value in more.items()})
        self._end(channel)
        self.send(frame_of(Frame.FAIL, channel, fields))

    def _end(self, number: int) -> None:
        if number in self.channels:
            self.channels[number].ended = True

    def end(self, reason: EndCode, **more: int | str) -> None:
        """Send END and end the stream, as a supervisor that exits does."""
        fields: dict[Field, int | str] = {Field.REASON: int(reason)}
        fields.update({Field[name.upper()]: value for name, value in more.items()})
        self.send(frame_of(Frame.END, 0, fields))
        self.stream.end()

    def entries(self, channel: int, *names: str) -> None:
        self.stdout(channel, b"".join(record(name.encode()) for name in names))


def frame_of(frame: Frame, channel: int, fields: Mapping[Field, int | str]) -> bytes:
    """Return a frame of fields."""
    return codec.encode_frame(frame, channel, codec.encode_fields(fields))


def exit_frame(channel: int, exit_code: int = 0, **more: int) -> bytes:
    """Return an EXIT; ``more`` are fields by their table names."""
    fields = {
        Field.REASON: int(ExecCode.EXITED),
        Field.EXIT_CODE: exit_code,
        Field.SIGNAL: 0,
        Field.DURATION_US: 1500,
        Field.STDOUT_TOTAL: 0,
        Field.STDERR_TOTAL: 0,
        Field.KILLED: 0,
        Field.LEFT_RUNNING: 0,
    }
    fields.update({Field[name.upper()]: value for name, value in more.items()})
    return frame_of(Frame.EXIT, channel, fields)


def record(
    name: bytes, kind: FileCode = FileCode.FILE, *, link: bytes | None = None, **more: int
) -> bytes:
    """Return one record of ``list`` or ``stat``."""
    fields: dict[Field, int | bytes | str | Iterable[bytes | str]] = {
        Field.TYPE: int(kind),
        Field.SIZE: 3,
        Field.MODE: 0o644,
        Field.MODIFIED_NS: 1_700_000_000_123_456_789,
        Field.UID: 1000,
        Field.GID: 1000,
        Field.NAME: name,
    }
    if link is not None:
        fields[Field.LINK] = link
    fields.update({Field[key.upper()]: value for key, value in more.items()})
    body = codec.encode_fields(fields)
    return len(body).to_bytes(4, "big") + body
