"""A supervisor whose streams break, at whatever byte, and that lets its client come back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from fakes.supervisor import READY, WELCOME, FakeSupervisor, MemoryStream, Script, frame_of
from fumehood._wire import codec, table
from fumehood._wire.codec import FrameReader, Value
from fumehood._wire.table import EndCode, ErrorCode, Field, Frame
from fumehood.engines.base import ByteStream
from fumehood.errors import SessionNotFoundError

KEY = bytes(range(100, 132))


class BreakingStream(MemoryStream):
    """One of the streams that a connection has had.

    Args:
        peer: the supervisor.
        down: how many bytes reach the client before it breaks; ``None``: all.
        up: how many of the client's bytes reach the supervisor before it breaks.
    """

    def __init__(
        self, peer: ResumingSupervisor, *, down: int | None = None, up: int | None = None
    ) -> None:
        super().__init__(peer)
        self.can_break = True
        self._resuming = peer
        self._down = down
        self._up = up

    @property
    def broken(self) -> bool:
        """Whether nothing passes any more."""
        return self._end is not None

    def deliver(self, data: bytes) -> None:
        if self.broken:
            return
        if self._down is not None:
            data, self._down = data[: self._down], max(0, self._down - len(data))
        super().deliver(data)
        if self._down == 0:
            self.end(OSError("broken"))

    def write(self, data: bytes) -> None:
        if self.closed or self.broken:
            return
        if self._up is not None:
            data, self._up = data[: self._up], max(0, self._up - len(data))
        self.written += len(data)
        self._loop.call_soon(self._resuming.feed_from, self, data)
        if self._up == 0:
            self.end(OSError("broken"))

    def cut(self) -> None:
        """Break now; what is on its way to the client is lost."""
        self._waiting.clear()
        self.end(OSError("broken"))


class ResumingSupervisor(FakeSupervisor):
    """Counts and keeps bytes as the wire's capability `resume` says.

    Args:
        script: how channels are answered.
        down: at which bytes of the connection, toward the client, its streams break.
        up: the same for the client's bytes.
        greetings: new streams that break before their answer is there, by how many bytes of it.
        grace_ms: what READY says.
    """

    def __init__(
        self,
        *,
        script: Script | None = None,
        down: Iterable[int] = (),
        up: Iterable[int] = (),
        greetings: Iterable[int] = (),
        grace_ms: int = 10_000,
    ) -> None:
        super().__init__(script=script)
        self.ready_fields = {**READY, Field.GRACE_MS: grace_ms}
        self.kept = b""
        """Everything that the connection has sent to the client."""
        self.received = 0
        self.acknowledged = 0
        """What the client has said to have."""
        self.gone = False
        """Whether its container is."""
        self.refuses = False
        """Whether it no longer has the connection."""
        self.claims: int | None = None
        """How many bytes of the client's it claims to have, if not the truth."""
        self.asked = 0
        """How often another stream was opened."""
        self._down = sorted(set(down))
        self._up = sorted(set(up))
        self._greetings = list(greetings)
        self._greeting: dict[BreakingStream, FrameReader] = {}
        self.stream: BreakingStream = self._next_stream()

    def _next_stream(self) -> BreakingStream:
        down = [at - len(self.kept) for at in self._down if at > len(self.kept)]
        up = [at - self.received for at in self._up if at > self.received]
        return BreakingStream(self, down=min(down, default=None), up=min(up, default=None))

    # --- the connection ---

    def send(self, *pieces: bytes) -> None:
        data = b"".join(pieces)
        self.kept += data
        self.stream.deliver(data)

    def feed_from(self, stream: BreakingStream, data: bytes) -> None:
        """Take bytes of one of the streams."""
        if stream in self._greeting:
            self._answer(stream, data)
        elif stream is self.stream:
            self.received += len(data)
            self.feed(data)

    def welcome(self, *, configured: bool = False, waits: bool = False) -> None:
        more: dict[Field, int | str] = {Field.CONFIGURED: int(configured)}
        self.send(
            welcome({Field.CAPABILITY: (table.CAPABILITY_RESUME,), Field.RESUME_KEY: KEY}, more)
        )

    def acknowledge(self, total: int | None = None) -> None:
        """Say what has arrived, or something else."""
        count = self.received if total is None else total
        self.send(codec.encode_frame(Frame.ACK, 0, count.to_bytes(table.ACK_BYTES, "big")))

    # --- another stream ---

    async def reopen(self) -> ByteStream:
        """Open another stream, as an engine does."""
        self.asked += 1
        if self.gone:
            raise SessionNotFoundError("it is gone", session_id="s1")
        down = self._greetings.pop(0) if self._greetings else None
        stream = BreakingStream(self, down=down)
        self._greeting[stream] = FrameReader("client")
        return stream

    def _answer(self, stream: BreakingStream, data: bytes) -> None:
        frames = list(self._greeting[stream].feed(data))
        if not frames:
            return
        (raw,) = frames
        assert raw.frame is Frame.HELLO
        fields = codec.decode_frame_fields(raw)
        assert (fields[Field.CONNECTION], fields[Field.RESUME_KEY]) == (1, KEY)
        del self._greeting[stream]
        if self.refuses:
            refusal: dict[Field, int | str] = {
                Field.REASON: int(EndCode.CLIENT_LOST),
                Field.ERROR: int(ErrorCode.NOT_FOUND),
            }
            stream.deliver(frame_of(Frame.END, 0, refusal))
            stream.end()
            return
        self._resume(stream, fields)

    def _resume(self, stream: BreakingStream, fields: Mapping[Field, Value]) -> None:
        has = fields[Field.RECEIVED]
        assert isinstance(has, int)
        assert self.acknowledged <= has <= len(self.kept)
        received = self.received if self.claims is None else self.claims
        answer = welcome(
            {Field.CAPABILITY: (table.CAPABILITY_RESUME,)},
            {Field.CONFIGURED: 1, Field.RECEIVED: received},
        )
        stream.deliver(answer)
        if stream.broken:
            return
        self.stream.cut()
        # From the byte that the client has not: the next break counts from there.
        down = [at - has for at in self._down if at > has]
        up = [at - self.received for at in self._up if at > self.received]
        stream._down = min(down, default=None)
        stream._up = min(up, default=None)
        self.stream = stream
        stream.deliver(self.kept[has:])


def welcome(
    first: Mapping[Field, bytes | tuple[str, ...]], more: Mapping[Field, int | str]
) -> bytes:
    """Return a WELCOME with more in it than the usual."""
    fields: dict[Field, int | str | bytes | tuple[str, ...]] = {**WELCOME, **first, **more}
    return codec.encode_frame(Frame.WELCOME, 0, codec.encode_fields(fields))
