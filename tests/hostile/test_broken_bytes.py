"""Bytes that no supervisor would send, at the client's reader: without an engine, and very many."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import Callable

import hypothesis
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from cases.mark import case
from fakes.supervisor import READY, WELCOME, exit_frame, frame_of, record
from fumehood import ProtocolError, SandboxError, SupervisorError
from fumehood._wire import codec, table
from fumehood._wire.connection import Connection
from fumehood._wire.table import EndCode, ErrorCode, Field, Frame
from hostile import lies
from tether.conftest import Link, connected
from wire.test_connection_model import live_connection, survives

BYTES = "Broken bytes from a container are a typed error, bounded in memory"
MIB = 1 << 20
ROUNDS = 10
EXAMPLES = 10_000
PATIENCE = 30.0

# What a supervisor says: the fuzzer bends it, cuts it, and puts it in another order.
WORDS = (
    lies.stdout(1, 100),
    codec.encode_frame(Frame.STDERR, 1, b"y" * 5),
    exit_frame(1, 3, stdout_total=100),
    lies.stdout(2, 50),
    frame_of(Frame.DONE, 2, {Field.SIZE: 50}),
    codec.encode_frame(Frame.STDOUT, 3, record(b"name") + record(b"other")),
    frame_of(Frame.DONE, 3, {Field.ENTRIES: 2}),
    frame_of(Frame.DONE, 4, {Field.UPTIME_MS: 1, Field.CHANNELS: 4}),
    frame_of(Frame.FAIL, 2, {Field.ERROR: int(ErrorCode.IO), Field.ERRNO: 5, Field.STEP: "x"}),
    lies.credit(1, 1),
    lies.ping(),
    codec.encode_frame(Frame.PONG, 0, bytes(8)),
    frame_of(Frame.WELCOME, 0, WELCOME),
    frame_of(Frame.READY, 0, READY),
    lies.end(EndCode.TTL, message="over"),
    lies.header(Frame.PART, 1, 4) + b"part",
)


def stream_of(program: bytes) -> bytes:
    """Return the stream that a program of four bytes a step writes: a word, and what is wrong."""
    out = bytearray()
    for step in range(0, len(program) - 3, 4):
        word, wrong, where, what = program[step : step + 4]
        bent = bytearray(WORDS[word % len(WORDS)])
        at = where % min(len(bent), 24)  # headers and first fields: what lengths are read from
        match wrong % 8:
            case 0:
                bent[at] ^= 1 << what % 8
            case 1:
                bent[at] = what
            case 2:
                del bent[at:]
            case 3:
                bent[at:at] = bytes([what]) * (1 + what % 7)
            case 4:
                del bent[at : at + 1 + what % 7]
            case _:
                pass
        out += bent
    return bytes(out)


def fuzz(examples: int, seed: int) -> None:
    """Feed so many streams to connections in the middle of things."""

    @hypothesis.seed(seed)
    @settings(
        max_examples=examples,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @hypothesis.given(program=st.binary(max_size=64), size=st.integers(1, 400))
    def each(program: bytes, size: int) -> None:
        stream = stream_of(program)
        chunks = [stream[at : at + size] for at in range(0, len(stream), size)]
        greeted = not program or program[-1] % 4
        connection = live_connection() if greeted else fresh_connection()
        survives(connection, chunks)

    each()


def fresh_connection() -> Connection:
    """Return a connection that has said HELLO and waits."""
    connection = Connection(nonce=bytes(32), client="test")
    connection.start(None)
    connection.data_to_send()
    return connection


@case("H41", BYTES)
async def test_thousands_of_broken_streams_are_violations_and_nothing_else() -> None:
    fuzz(2000, seed=0)


@case("H41", BYTES)
@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", range(1, ROUNDS + 1))
async def test_a_hundred_thousand_broken_streams_are_violations_and_nothing_else(seed: int) -> None:
    fuzz(EXAMPLES, seed=seed)


# --- the whole client -------------------------------------------------------------------------

FLOODS: dict[str, Callable[[], tuple[bytes, int]]] = {
    "pings": lambda: (lies.ping() * 4096, 16),
    "pongs": lambda: (codec.encode_frame(Frame.PONG, 0, bytes(8)) * 4096, 16),
    "single bytes of output": lambda: (lies.stdout(1, 1) * 4096, 24),
    "output": lambda: (lies.stdout(1, table.MAX_PAYLOAD), 256),
    "frames of the largest length, cut": lambda: (
        lies.header(Frame.STDOUT, 1, table.MAX_PAYLOAD) + bytes(1000),
        1024,
    ),
    "fields without an end": lambda: (
        lies.header(Frame.EXIT, 1, table.MAX_PAYLOAD) + bytes([0xFF, 0, 0, 0]) * 16384,
        16,
    ),
    "names without an end": lambda: (
        codec.encode_frame(Frame.STDOUT, 1, record(b"n" * 200) * 100),
        64,
    ),
}


async def outcome(link: Link) -> object:
    """Run a command, and return what became of it; nothing but typed errors comes out."""
    try:
        return await link.session.exec(["x"], timeout=None, max_output_bytes=MIB)
    except SandboxError as error:
        return error


@case("H41", BYTES)
@pytest.mark.parametrize("flood", FLOODS)
async def test_a_flood_costs_no_more_than_the_windows(flood: str) -> None:
    piece, times = FLOODS[flood]()
    async with asyncio.timeout(PATIENCE), connected() as link:
        running = asyncio.create_task(outcome(link))
        await link.peer.opened(1)
        tracemalloc.start()
        try:
            for _ in range(times):
                link.peer.send(piece)
                # One delivery a turn, as from a socket: what waits is the client's own then.
                await asyncio.sleep(0)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        if not link.tether.alive:
            assert isinstance(await running, ProtocolError)
        running.cancel()
    # A window of output that waits, twice where it is put together; and the output that was asked
    # for, in a buffer that has just been moved to grow.
    assert peak < 2 * table.CHANNEL_WINDOW + 3 * MIB


@case("H40", BYTES)
async def test_one_byte_now_and_then_never_makes_a_session() -> None:
    async with asyncio.timeout(PATIENCE):
        for size in (1, 7, 8, 9, 40):
            async with connected() as link:
                said = lies.exited(1)[:size]
                running = asyncio.create_task(outcome(link))
                await link.peer.opened(1)
                for at in range(len(said)):
                    link.peer.send(said[at : at + 1])
                link.peer.stream.end()
                error = await running
                assert isinstance(error, SandboxError)
                assert not isinstance(error, SupervisorError)
