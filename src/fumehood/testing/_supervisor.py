"""The far end of a session in memory: it speaks the wire, and leaves the work to the inside."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import cast

from fumehood._version import __version__
from fumehood._wire import codec, table
from fumehood._wire.codec import FrameReader, RawFrame, Value
from fumehood._wire.credit import ReceiveWindow, SendWindow
from fumehood._wire.table import EndCode, ErrorCode, Field, Frame, Operation
from fumehood.testing._idle import IdleClock, counts
from fumehood.testing._operations import Inside
from fumehood.testing._stream import MemoryStream
from fumehood.testing._talk import Fields, check_user, variables
from fumehood.testing.files import RefusedError

_log = logging.getLogger("fumehood.testing")

_UNLIMITED = (1 << 64) - 1

# Nothing is enforced and all of it is said: ``session.effective_limits`` names it as degraded.
_READY: dict[Field, int | str] = {
    Field.UID: 0,
    Field.GID: 0,
    Field.MEMORY_MAX: _UNLIMITED,
    Field.SWAP_MAX: _UNLIMITED,
    Field.PIDS_MAX: _UNLIMITED,
    Field.CPU_QUOTA_US: _UNLIMITED,
    Field.CPU_PERIOD_US: 0,
    Field.OPEN_FILES: _UNLIMITED,
    Field.NO_NEW_PRIVS: 0,
    Field.SECCOMP: 0,
    Field.CAP_BOUNDING: 0,
    Field.WORKSPACE_FS: 0,
    Field.WORKSPACE_BYTES: _UNLIMITED,
    Field.ROOTFS_READONLY: 0,
    Field.KERNEL: "none",
    Field.CGROUP_VERSION: 0,
    Field.TMP_BYTES: 0,
}
_IN_FORCE = (
    Field.GRACE_MS,
    Field.HEARTBEAT_MS,
    Field.DETACHED,
    Field.WORKLOAD_CAPS,
    Field.MAX_FILE_BYTES,
    Field.MAX_PROCESSES,
)


class Supervisor:
    """One session's, with all its connections.

    Args:
        inside: what does the work.
        ended: called once, when the session is over.
    """

    def __init__(self, inside: Inside, ended: Callable[[EndCode], None]) -> None:
        self.inside = inside
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self._connections: list[Link] = []
        self._numbers = 0
        self._begun = time.monotonic()
        self._deadline: asyncio.TimerHandle | None = None
        self._grace: asyncio.TimerHandle | None = None
        self._idle = IdleClock(lambda: self.end(EndCode.IDLE))
        self._configured: Mapping[Field, Value] = {}
        self.over = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {len(self._connections)} connections>"

    def connect(self) -> MemoryStream:
        """Return a stream to it."""
        self._numbers += 1
        link = Link(self, self._numbers)
        self._connections.append(link)
        if self._grace is not None:
            self._grace.cancel()
        self.changed()
        return link.stream

    @property
    def configured(self) -> bool:
        """Whether it knows what the session is to be."""
        return bool(self._configured)

    def configure(self, fields: Mapping[Field, Value]) -> None:
        """Take the session's configuration.

        Raises:
            RefusedError: there is no such user.
        """
        check_user(cast("str | None", fields.get(Field.USER)))
        self._configured = fields
        env = variables(fields.get(Field.ENV))
        self.inside.begin(env, cast("int", fields[Field.MAX_PROCESSES]))
        self._limit(cast("int", fields[Field.TTL_MS]))
        self._idle.begin(cast("int", fields[Field.IDLE_MS]) / 1000)

    def changed(self) -> None:
        """Look whether something goes on: a channel, or a pause that somebody is there to end."""
        if self.over:
            return
        paused = self.inside.place.pause.active and bool(self._connections)
        self._idle.note(busy=paused or any(link.live for link in self._connections))

    def ready(self) -> Fields:
        """Return what READY says."""
        told = {field: cast("int", self._configured[field]) for field in _IN_FORCE}
        fields: dict[Field, int | bytes | str] = {**_READY, **told}
        if Field.METADATA in self._configured:
            fields[Field.METADATA] = cast("bytes", self._configured[Field.METADATA])
        return fields

    def _limit(self, milliseconds: int) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if milliseconds:
            self._deadline = self._loop.call_later(milliseconds / 1000, self.end, EndCode.TTL)

    def lease(self, milliseconds: int) -> None:
        """Set the time that is left.

        Raises:
            RefusedError: a detached session would live for ever.
        """
        endless = not milliseconds and not self._idle.limited
        if endless and self._configured[Field.DETACHED]:
            raise RefusedError(ErrorCode.INVALID)
        self._limit(milliseconds)

    def status(self) -> dict[Field, int | str]:
        """Return what DONE of lease and status says."""
        channels = sum(link.live for link in self._connections)
        fields: dict[Field, int | str] = {
            Field.UPTIME_MS: int((time.monotonic() - self._begun) * 1000),
            Field.CHANNELS: channels,
            Field.CONNECTIONS: len(self._connections),
            Field.TREES: self.inside.trees,
            Field.PAUSED_MS: int(self.inside.place.pause.total * 1000),
        }
        if self._deadline is not None:
            left = max(0.0, self._deadline.when() - self._loop.time())
            fields[Field.TTL_LEFT_MS] = int(left * 1000)
        if self._idle.limited:
            fields[Field.IDLE_LEFT_MS] = int(self._idle.left * 1000)
        return fields

    def left(self, link: Link) -> None:
        """Note that a client is gone; without any the session ends after its grace."""
        if self.over or link not in self._connections:
            return
        self._connections.remove(link)
        self.inside.left(link.number)
        self.changed()
        if not self._connections and not self._configured.get(Field.DETACHED):
            grace = cast("int", self._configured.get(Field.GRACE_MS, 0))
            self._grace = self._loop.call_later(grace / 1000, self.end, EndCode.CLIENT_LOST)

    def end(self, reason: EndCode, error: ErrorCode | None = None) -> None:
        """End the session, and tell every client. Idempotent."""
        if self.over:
            return
        self.over = True
        self._idle.stop()
        for timer in (self._deadline, self._grace):
            if timer is not None:
                timer.cancel()
        fields: dict[Field, int | str] = {Field.REASON: int(reason)}
        if error is not None:
            fields[Field.ERROR] = int(error)
        for link in self._connections:
            link.end(fields)
        self.inside.end()
        self._ended(reason)


class Link:
    """One connection: its frames, and the channels that are open on it.

    Args:
        supervisor: whose it is.
        number: from 1.
    """

    def __init__(self, supervisor: Supervisor, number: int) -> None:
        self.stream = MemoryStream(self)
        self._supervisor = supervisor
        self.number = number
        self._reader = FrameReader("client")
        self._channels: dict[int, Channel] = {}
        self.window = SendWindow(table.CONNECTION_WINDOW)
        self.changed = asyncio.Event()

    @property
    def live(self) -> int:
        """How many channels are open that keep the session from being idle."""
        return sum(counts(channel.operation) for channel in self._channels.values())

    def send(self, frame: Frame, channel: int, fields: Fields) -> None:
        """Send a frame of fields."""
        self.stream.deliver(codec.encode_frame(frame, channel, codec.encode_fields(fields)))

    def feed(self, data: bytes) -> None:
        """Take bytes of the client's, which is our own code: it breaks no rule."""
        for raw in self._reader.feed(data):
            self._take(raw)

    def lost(self) -> None:
        """The stream has ended: so does all that was under way on it."""
        self._drop()
        self._supervisor.left(self)

    def end(self, fields: Mapping[Field, int | str]) -> None:
        """Say that the session is over."""
        self._drop()
        self.send(Frame.END, 0, fields)
        self.stream.end()

    def _drop(self) -> None:
        for channel in self._channels.values():
            channel.dropped = True
            channel.task.cancel()
        self._channels.clear()

    def _take(self, raw: RawFrame) -> None:
        if self._supervisor.over:
            return
        if raw.frame is Frame.HELLO:
            self._greet(raw)
        elif raw.frame is Frame.CONFIGURE:
            self._configure(raw)
        elif raw.frame is Frame.PING:
            self.stream.deliver(codec.encode_frame(Frame.PONG, 0, raw.payload))
        elif raw.frame is Frame.DESTROY:
            self._supervisor.end(EndCode.DESTROYED)
        elif raw.frame is Frame.OPEN:
            self._open(raw)
        elif raw.frame is Frame.CREDIT and raw.channel == 0:
            self.window.credit(codec.decode_credit(raw))
            self._wake()
        elif (channel := self._channels.get(raw.channel)) is not None:
            # Frames for a channel that has just ended are late, and no fault.
            channel.take(raw)
            self._wake()

    def _wake(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()

    def _greet(self, hello: RawFrame) -> None:
        configured = self._supervisor.configured
        # To wait for its configuration is all that it can do beyond the least.
        asked = cast("list[str]", codec.decode_frame_fields(hello).get(Field.CAPABILITY, []))
        granted = [name for name in asked if name == table.CAPABILITY_WAIT and not configured]
        self.send(
            Frame.WELCOME,
            0,
            {
                Field.VERSION: table.VERSION_MAX,
                Field.BUILD: f"memory {__version__}",
                Field.ARCHITECTURE: "amd64",
                Field.CONFIGURED: int(configured),
                Field.CONNECTION: self.number,
                Field.CAPABILITY: granted,
            },
        )
        if configured:
            self.send(Frame.READY, 0, self._supervisor.ready())

    def _configure(self, raw: RawFrame) -> None:
        try:
            self._supervisor.configure(codec.decode_frame_fields(raw))
        except RefusedError as refusal:
            self._supervisor.end(EndCode.NOT_CONFIGURED, refusal.code)
            return
        self.send(Frame.READY, 0, self._supervisor.ready())

    def _open(self, raw: RawFrame) -> None:
        channel = Channel(self, raw)
        self._channels[raw.channel] = channel
        channel.task = asyncio.create_task(self._serve(channel))
        channel.task.add_done_callback(channel.settle)
        self._supervisor.changed()

    async def _serve(self, channel: Channel) -> None:
        try:
            if channel.operation is Operation.LEASE:
                self._supervisor.lease(cast("int", channel.fields[Field.TTL_MS]))
                channel.finish(Frame.DONE, self._supervisor.status())
            elif channel.operation is Operation.STATUS:
                channel.finish(Frame.DONE, self._supervisor.status())
            else:
                await self._supervisor.inside.serve(channel)
        except RefusedError as refusal:
            channel.fail(refusal.code)

    def forget(self, number: int) -> None:
        """A channel has ended."""
        self._channels.pop(number, None)
        self._supervisor.changed()


class Channel:
    """One conversation, as its operation uses it.

    Args:
        link: the connection.
        raw: its OPEN.
    """

    task: asyncio.Task[None]

    def __init__(self, link: Link, raw: RawFrame) -> None:
        self.operation = codec.operation_of(raw.payload)
        self.fields: Mapping[Field, Value] = codec.decode_frame_fields(raw)
        self.connection = link.number
        self.cancelled = False
        self.dropped = False
        self.input_ended = False
        self.resized: Callable[[int, int], None] | None = None
        self._input = bytearray()
        self._link = link
        self._number = raw.channel
        self._ended = False
        self._window = SendWindow(table.CHANNEL_WINDOW)
        self._arriving = ReceiveWindow(table.CHANNEL_WINDOW)

    def take(self, raw: RawFrame) -> None:
        """Take a frame of the client's."""
        if raw.frame is Frame.STDIN:
            self._input += raw.payload
            self._arriving.receive(len(raw.payload))
        elif raw.frame is Frame.EOF:
            self.input_ended = True
        elif raw.frame is Frame.CREDIT:
            self._window.credit(codec.decode_credit(raw))
        elif raw.frame is Frame.RESIZE:
            # One that comes before the terminal does is what it begins with.
            size = codec.decode_frame_fields(raw)
            self.fields = {**self.fields, **size}
            if self.resized is not None:
                self.resized(cast("int", size[Field.ROWS]), cast("int", size[Field.COLUMNS]))
        elif raw.frame is Frame.CANCEL:
            self.cancelled = self.dropped = True
            self.task.cancel()

    async def piece(self) -> bytes:
        """Wait for the next of the input; ``b""`` at its end."""
        while not self._input and not self.input_ended:
            await self._link.changed.wait()
        data = bytes(self._input)
        self._input.clear()
        if (credit := self._arriving.consume(len(data))) and not self._ended:
            raw = credit.to_bytes(4, "big")
            self._link.stream.deliver(codec.encode_frame(Frame.CREDIT, self._number, raw))
        return data

    async def whole_input(self, limit: int | None = None) -> bytes:
        """Wait for the end of the input and return all of it.

        Raises:
            RefusedError: it is longer than the limit.
        """
        whole = bytearray()
        while data := await self.piece():
            whole += data
            if limit is not None and len(whole) > limit:
                raise RefusedError(ErrorCode.TOO_LARGE, size=len(whole))
        return bytes(whole)

    async def output(self, frame: Frame, data: bytes) -> None:
        """Send output as far and as fast as the windows allow."""
        at = 0
        while at < len(data):
            room = min(self._window.available, self._link.window.available, table.MAX_PAYLOAD)
            if not room:
                await self._link.changed.wait()
                continue
            piece = data[at : at + room]
            at += len(piece)
            self._window.spend(len(piece))
            self._link.window.spend(len(piece))
            self._link.stream.deliver(codec.encode_frame(frame, self._number, piece))

    def tell(self, frame: Frame, fields: Fields) -> None:
        """Send a frame of fields that is not the last."""
        if not self._ended:
            self._link.send(frame, self._number, fields)

    def finish(self, frame: Frame, fields: Fields) -> None:
        """Send the last frame."""
        if not self._ended:
            self._ended = True
            self._link.forget(self._number)
            self._link.send(frame, self._number, fields)

    def settle(self, task: asyncio.Task[None]) -> None:
        """Answer for an operation that was cancelled, perhaps before it began, or broke."""
        if task.cancelled():
            if self.cancelled:
                self.fail(ErrorCode.CANCELLED)
        elif (error := task.exception()) is not None:
            _log.error("an operation in memory broke", exc_info=error)
            self.fail(ErrorCode.IO)

    def fail(self, code: ErrorCode) -> None:
        """Send a failure as the last frame."""
        self.finish(Frame.FAIL, {Field.ERROR: int(code), Field.ERRNO: 0, Field.STEP: ""})
