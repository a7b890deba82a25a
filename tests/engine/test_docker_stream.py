"""Docker's multiplexed stream: parsed the same however it is cut, and carried through pauses."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from engine.peer import SECONDS, Peer
from fumehood.engines.docker_framing import HEADER, StdcopyParser
from fumehood.engines.docker_pace import REST_SECONDS, Pace
from fumehood.engines.docker_stream import DockerStream
from fumehood.engines.docker_text import Ring
from fumehood.errors import EngineUnavailableError, LocalProtocolError, ProtocolError


def frame(kind: int, payload: bytes) -> bytes:
    return HEADER.pack(kind, len(payload)) + payload


def feed(parser: StdcopyParser, data: bytes, cuts: list[int]) -> tuple[bytes, Exception | None]:
    out = bytearray()
    edges = [0, *sorted(cuts), len(data)]
    for start, stop in itertools.pairwise(edges):
        try:
            parser.feed(data[start:stop], out.extend)
        except ProtocolError as exc:
            return bytes(out), exc
    return bytes(out), None


STREAMS: dict[str, tuple[list[tuple[int, bytes]], bytes, bytes]] = {
    "nothing": ([], b"", b""),
    "one": ([(1, b"hello")], b"hello", b""),
    "empty frames": ([(1, b""), (1, b"a"), (2, b""), (1, b"")], b"a", b""),
    "mixed": ([(1, b"ab"), (2, b"oops"), (1, b"cd"), (2, b"!")], b"abcd", b"oops!"),
    "large": ([(1, bytes(range(256)) * 600), (1, b"end")], bytes(range(256)) * 600 + b"end", b""),
}


@pytest.mark.parametrize("name", sorted(STREAMS))
@pytest.mark.parametrize("cutting", ["whole", "byte by byte", "random"])
def test_a_stream_is_the_same_however_it_is_cut(name: str, cutting: str) -> None:
    frames, stdout, stderr = STREAMS[name]
    data = b"".join(frame(kind, payload) for kind, payload in frames)
    if cutting == "byte by byte" and len(data) > 10_000:
        data = frame(1, b"x" * 3000)
        stdout = b"x" * 3000
    chooser = random.Random(7)
    for _ in range(20 if cutting == "random" else 1):
        cuts = {
            "whole": [],
            "byte by byte": list(range(1, len(data))),
            "random": [chooser.randrange(len(data) + 1) for _ in range(30)],
        }[cutting]
        parser = StdcopyParser()
        assert feed(parser, data, cuts) == (stdout, None)
        assert parser.stderr.text() == stderr.decode()
        assert parser.at_boundary


@pytest.mark.parametrize("kind", [0, 3, 17, 255])
@pytest.mark.parametrize("cuts", [[], [2], [3, 8, 11]])
def test_an_unknown_stream_type_ends_it_after_what_came_before(kind: int, cuts: list[int]) -> None:
    data = frame(1, b"ab") + frame(kind, b"x")
    out, error = feed(StdcopyParser(), data, cuts)
    assert out == b"ab"
    assert isinstance(error, ProtocolError)


def test_an_announced_length_allocates_nothing() -> None:
    parser = StdcopyParser()
    pieces: list[memoryview] = []
    parser.feed(HEADER.pack(1, 0xFFFFFFFF) + b"only this", pieces.append)
    assert pieces == [b"only this"]
    assert not parser.at_boundary
    chunk = b"y" * 100
    parser.feed(chunk, pieces.append)
    assert pieces[-1].obj is chunk, "a payload is passed on uncopied"


def test_diagnostics_keep_the_end_and_are_printable() -> None:
    ring = Ring(8)
    ring.add(b"0123456789")
    assert ring.text() == "[2 bytes before] 23456789"
    ring = Ring(64)
    ring.add(b"\x1b]52;c;aGk=\x07\n\xff\r\xc2\x9b")
    assert ring.text() == "\\x1b]52;c;aGk=\\x07\n\\xff\\r\\x9b"


class FakeTransport(asyncio.Transport):
    """Records what a stream asks of its transport."""

    def __init__(self) -> None:
        super().__init__()
        self.reading = False
        self.resumed = asyncio.Event()
        self.written = bytearray()
        self.aborted = False
        self.closing = False
        self.stream: DockerStream | None = None

    def pause_reading(self) -> None:
        self.reading = False
        self.resumed.clear()

    def resume_reading(self) -> None:
        self.reading = True
        self.resumed.set()

    def write(self, data: Any) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True
        self._lose()

    def abort(self) -> None:
        self.aborted = self.closing = True
        self._lose()

    def _lose(self) -> None:
        stream, self.stream = self.stream, None
        if stream is not None:
            asyncio.get_running_loop().call_soon(stream.connection_lost, None)


def make_stream(early: bytes = b"") -> tuple[DockerStream, FakeTransport]:
    transport = FakeTransport()
    stream = DockerStream(transport, address="unix:///x", what="a stream", early=early)
    transport.stream = stream
    return stream, transport


async def test_bytes_that_came_with_the_upgrade_come_first() -> None:
    stream, transport = make_stream(early=frame(1, b"early") + frame(1, b"half")[:9])
    peer = Peer(stream, start=False)
    assert not transport.reading
    peer.start()
    assert not peer.data, "nothing is delivered inside start()"
    assert await peer.take(6) == b"earlyh"
    assert transport.reading
    stream.data_received(b"alf")
    assert bytes(peer.data) == b"alf"


async def test_a_consumer_that_pauses_gets_at_most_one_more_piece() -> None:
    stream, transport = make_stream()
    got: list[bytes] = []
    ends: list[Exception | None] = []

    def on_data(data: bytes | memoryview) -> None:
        got.append(bytes(data))
        stream.pause_reading()

    stream.start(on_data, ends.append)
    await asyncio.sleep(0)
    for byte in (b"a", b"b", b"c"):
        stream.data_received(frame(1, byte))
    stream.eof_received()
    stream.connection_lost(None)
    assert (got, ends) == ([b"a"], [])
    assert not transport.reading
    for expected in ([b"a", b"b"], [b"a", b"b", b"c"]):
        stream.resume_reading()
        await asyncio.sleep(0)
        assert got == expected
    await asyncio.sleep(0)
    assert ends == [None]


async def test_reading_goes_on_only_when_what_was_held_back_is_delivered() -> None:
    stream, transport = make_stream()
    peer = Peer(stream)
    await asyncio.sleep(0)
    assert transport.reading
    stream.pause_reading()
    assert not transport.reading
    stream.data_received(frame(1, b"late"))
    assert not peer.data
    stream.resume_reading()
    assert not transport.reading
    await asyncio.sleep(0)
    assert bytes(peer.data) == b"late"
    assert transport.reading


async def test_the_end_inside_a_frame_is_an_error_and_a_clean_one_is_none() -> None:
    for data, error in ((frame(1, b"ab"), None), (frame(1, b"ab")[:-1], EngineUnavailableError)):
        stream, _ = make_stream()
        peer = Peer(stream)
        await asyncio.sleep(0)
        stream.data_received(data)
        stream.connection_lost(None)
        ending = await peer.ended()
        assert ending is None if error is None else isinstance(ending, error)


async def test_a_broken_connection_is_our_error_with_its_cause() -> None:
    stream, _ = make_stream()
    peer = Peer(stream)
    await asyncio.sleep(0)
    cause = ConnectionResetError("reset\x1b[2J")
    stream.connection_lost(cause)
    ending = await peer.ended()
    assert isinstance(ending, EngineUnavailableError)
    assert ending.__cause__ is cause
    assert "\x1b" not in str(ending)


async def test_a_foreign_frame_type_ends_the_stream_once_with_a_protocol_error() -> None:
    stream, transport = make_stream()
    peer = Peer(stream)
    await asyncio.sleep(0)
    stream.data_received(frame(1, b"ok") + frame(9, b"zz"))
    stream.data_received(frame(1, b"late"))
    assert bytes(peer.data) == b"ok"
    assert isinstance(await peer.ended(), ProtocolError)
    assert transport.aborted
    await asyncio.sleep(0)
    assert len(peer.endings) == 1


async def test_a_fast_stream_rests_between_reads_and_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Pace, "wants_rest", lambda *_: True)
    stream, transport = make_stream()
    peer = Peer(stream)
    await asyncio.sleep(0)
    for byte in (b"a", b"b"):
        stream.data_received(frame(1, byte))
        assert not transport.reading, "a read that is followed by a rest"
        async with asyncio.timeout(SECONDS):
            await transport.resumed.wait()
    assert bytes(peer.data) == b"ab", "what was read is not held back"


@pytest.mark.parametrize("stop", ["pause_reading", "close"])
async def test_a_rest_does_not_resume_what_was_stopped(
    stop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pace, "wants_rest", lambda *_: True)
    stream, transport = make_stream()
    Peer(stream)
    await asyncio.sleep(0)
    stream.data_received(frame(1, b"a"))
    done = getattr(stream, stop)()
    if done is not None:
        await done
    rested = asyncio.Event()
    asyncio.get_running_loop().call_later(2 * REST_SECONDS, rested.set)
    await rested.wait()
    assert not transport.reading


MIB = 1 << 20


@pytest.mark.parametrize(
    ("size", "every", "expected"),
    [
        pytest.param(4096, 0.000_02, True, id="a fast one in small pieces"),
        pytest.param(200_000, 0.001, False, id="a fast one in large pieces"),
        pytest.param(4096, 0.001, False, id="a slow one"),
        pytest.param(4 * MIB, 1.0, False, id="now and then much at once"),
    ],
)
def test_only_a_fast_stream_in_small_pieces_rests(size: int, every: float, expected: bool) -> None:
    pace = Pace()
    wanted = [pace.wants_rest(size, 1000 + number * every) for number in range(2000)]
    # Half a MiB and a few milliseconds pass before one is taken for fast.
    assert not any(wanted[:100])
    assert all(wanted[1100:]) if expected else not any(wanted)


def test_a_stream_that_was_fast_once_does_not_rest_for_ever() -> None:
    pace = Pace()
    assert any(pace.wants_rest(8192, number * 0.000_05) for number in range(2000))
    assert not pace.wants_rest(100, 10.0)
    assert not pace.wants_rest(100, 10.001)


async def test_a_consumer_that_fails_ends_the_stream_with_its_error() -> None:
    stream, transport = make_stream()
    ends: list[Exception | None] = []

    def on_data(_: bytes | memoryview) -> None:
        raise RuntimeError("a bug")

    stream.start(on_data, ends.append)
    await asyncio.sleep(0)
    stream.data_received(frame(1, b"a") + frame(1, b"b"))
    assert transport.aborted
    assert isinstance(ends[0], LocalProtocolError)
    await asyncio.sleep(0)
    assert len(ends) == 1


async def test_drain_waits_while_the_transport_is_full_and_not_after_the_end() -> None:
    stream, _ = make_stream()
    Peer(stream)
    stream.write(b"x")
    await stream.drain()
    stream.pause_writing()
    waiting = asyncio.ensure_future(stream.drain())
    await asyncio.sleep(0)
    assert not waiting.done()
    stream.resume_writing()
    await waiting
    stream.pause_writing()
    waiting = asyncio.ensure_future(stream.drain())
    await asyncio.sleep(0)
    stream.connection_lost(None)
    await waiting


async def test_writing_after_the_end_is_a_no_op() -> None:
    stream, transport = make_stream()
    peer = Peer(stream)
    stream.write(b"before")
    await stream.close()
    stream.write(b"after")
    assert transport.written == b"before"
    assert await peer.ended() is None
    await stream.close()


async def test_a_stream_is_started_once() -> None:
    stream, _ = make_stream()
    Peer(stream)
    with pytest.raises(LocalProtocolError):
        Peer(stream)
    await stream.close()


# --- a real container ----------------------------------------------------------------------------

Open = Callable[..., Awaitable[tuple[Any, Peer]]]


def pattern(size: int) -> bytes:
    return (bytes(range(251)) * (size // 251 + 1))[:size]


async def test_megabytes_of_output_arrive_byte_for_byte(open_session: Open) -> None:
    _, peer = await open_session()
    size = 20_000_000
    peer.stream.write(f"out {size}\n".encode())
    got = await peer.take(size)
    # The stand-in's blocks are whole numbers of the pattern.
    assert got == pattern(size)


async def test_megabytes_of_input_arrive_with_the_writer_held_back(open_session: Open) -> None:
    _, peer = await open_session()
    size, left = 20_000_000, 20_000_000
    peer.stream.write(f"sink {size}\n".encode())
    while left:
        part = min(left, 262_144)
        peer.stream.write(b"z" * part)
        await peer.stream.drain()
        left -= part
    assert await peer.line() == b"sunk"


async def test_a_paused_reader_holds_the_container_back_and_loses_nothing(
    open_session: Open,
) -> None:
    _, peer = await open_session()
    size = 8_000_000
    peer.stream.write(f"out {size}\n".encode())
    await peer.take(1)
    peer.stream.pause_reading()
    await asyncio.sleep(0)
    before = len(peer.data)
    # Enough turns of the loop for anything that would still be delivered.
    for _ in range(200):
        await asyncio.sleep(0)
    assert len(peer.data) <= before + 262_144
    peer.stream.resume_reading()
    rest = await peer.take(size - 1)
    assert rest == pattern(size)[1:]


async def test_stderr_of_pid_1_is_diagnostics_and_does_not_grow(open_session: Open) -> None:
    _, peer = await open_session()
    # Each of the two streams is in order; between them the engine promises nothing.
    while peer.stream.diagnostics() != "stand-in ready\n":
        assert await peer.ask("echo hi") == "hi"
    peer.stream.write(b"err 1000000\n")
    while not peer.stream.diagnostics().startswith("[99"):
        assert await peer.ask("echo again") == "again"
    assert len(peer.stream.diagnostics()) < 4 * 4096 + 100


async def test_closing_while_the_container_does_not_read_does_not_hang(open_session: Open) -> None:
    _, peer = await open_session()
    # The stand-in writes and does not read, and this side does not read: both directions are full.
    peer.stream.pause_reading()
    peer.stream.write(b"out 4000000000\n")
    for _ in range(40):
        peer.stream.write(b"w" * 262_144)
    async with asyncio.timeout(SECONDS):
        await peer.stream.close()
    assert await peer.ended() is None
