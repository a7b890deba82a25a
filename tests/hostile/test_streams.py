"""Attacks through standard streams: floods, readers that do not read, bytes that are no text."""

from __future__ import annotations

import hashlib
import random
from collections.abc import AsyncIterator

import pytest

from cases.mark import case
from contract.memory import growth
from contract.observer import Observer
from fumehood import ExecReason, ExecResult, Exit, Limits, Stderr, Stdout
from hostile.arena import KINDS, Arena
from hostile.conftest import OpenArena

OUTPUT = "Output beyond the cap never reaches"
STALL = "A consumer that stalls stalls its own command alone"
MIB = 1 << 20
# What a flood of any size may cost this process at its worst.
FLAT = 16 * MIB

# --- floods -----------------------------------------------------------------------------------


@case("H23", OUTPUT)
@pytest.mark.parametrize("size", [256 * MIB, pytest.param(4096 * MIB, marks=pytest.mark.slow)])
async def test_a_flood_on_both_streams_is_capped_and_counted_to_the_byte(
    python: Arena, observer: Observer, size: int
) -> None:
    size += 77
    with growth() as grown:
        done = await python.attack("talk", "flood", str(size), timeout=100, check=True)
    for data, dropped in (
        (done.stdout_bytes, done.stdout_dropped),
        (done.stderr_bytes, done.stderr_dropped),
    ):
        assert data == b"x" * MIB
        assert dropped == size - MIB
    assert grown() < FLAT
    # The engine writes nothing of it anywhere.
    container = await observer.container(python.session.id)
    assert container is not None
    assert container["LogPath"] == ""


@case("H23", OUTPUT)
@pytest.mark.parametrize("count", [50_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
async def test_writes_of_one_byte_are_kept_from_the_first_and_counted_to_the_byte(
    open_arena: OpenArena, count: int
) -> None:
    alphabet = bytes(range(ord("a"), ord("z") + 1))
    limits = Limits(max_output_bytes=1000, memory_mb=256)
    async with open_arena(KINDS[3], limits=limits) as arena:
        done = await arena.attack("talk", "single", str(count), timeout=100, check=True)
        for data, dropped in (
            (done.stdout_bytes, done.stdout_dropped),
            (done.stderr_bytes, done.stderr_dropped),
        ):
            assert data == (alphabet * 40)[:1000]
            assert dropped == count - 1000


@case("H23", OUTPUT)
async def test_a_flood_that_never_ends_ends_with_the_time_and_costs_the_session_nothing(
    user: Arena,
) -> None:
    program = await user.bring("talk")
    with growth() as grown:
        done = await user.session.exec([program, "flood", str(1 << 50)], timeout=1)
    assert done.reason is ExecReason.TIMED_OUT
    assert (len(done.stdout_bytes), len(done.stderr_bytes)) == (MIB, MIB)
    assert done.stdout_dropped > 0
    assert grown() < FLAT
    assert await user.alive()


@case("H57", OUTPUT)
async def test_a_line_without_an_end_is_passed_on_whole_in_flat_memory(user: Arena) -> None:
    program = await user.bring("talk")
    size, digest = 0, hashlib.sha256()
    with growth() as grown:
        async for event in user.session.exec_stream([program, "line", "100000000"]):
            if isinstance(event, Stdout):
                size += len(event.data)
                digest.update(event.data)
                assert event.text == event.data.decode()
    assert size == 100_000_000
    assert digest.hexdigest() == hashlib.sha256(b"x" * size).hexdigest()
    assert grown() < FLAT


# --- readers that do not read -----------------------------------------------------------------


@case("H37", STALL)
async def test_input_that_nobody_reads_waits_alone_and_its_command_runs_out_of_time(
    user: Arena,
) -> None:
    session = user.session
    program = await user.bring("talk")
    sent = 0

    async def much() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 100 * MIB:
            yield bytes(MIB)
            sent += MIB

    stream = session.exec_stream([program, "deaf", "600"], input=much(), timeout=4)
    with growth() as grown:
        async with stream:
            assert isinstance(await anext(stream), Stdout)
            # Everything else of the session goes on meanwhile.
            await session.write_file("large", bytes(4 * MIB))
            assert len(await session.read_file("large")) == 4 * MIB
            assert await user.alive()
            last = [event async for event in stream][-1]
    assert isinstance(last, Exit)
    assert last.result.reason is ExecReason.TIMED_OUT
    # Asked for was what the way holds, and no more of it was made.
    assert sent < 16 * MIB
    assert grown() < FLAT + 16 * MIB
    assert await user.alive()


@case("H38", STALL)
async def test_who_reads_byte_by_byte_and_floods_gets_all_and_is_heard_in_full(
    open_arena: OpenArena,
) -> None:
    async with open_arena(KINDS[2], limits=Limits(memory_mb=256, cpus=2)) as arena:
        program = await arena.bring("talk")
        block = bytes(range(256)) * 256
        rounds = 64

        async def pieces() -> AsyncIterator[bytes]:
            for _ in range(rounds):
                yield block

        # 100 bytes with a pause after each, while 100 MiB come the other way.
        stream = arena.session.exec_stream([program, "slow", "100"], input=pieces(), timeout=100)
        size, told = 0, b""
        result: ExecResult | None = None
        with growth() as grown:
            async for event in stream:
                if isinstance(event, Stdout):
                    size += len(event.data)
                elif isinstance(event, Stderr):
                    told += event.data
                else:
                    result = event.result
        assert result is not None
        assert result.ok
        assert size == 100 * MIB
        assert told.split() == [b"%d" % (rounds * len(block)), b"%d" % (rounds * sum(block))]
        assert grown() < FLAT


@case("H38", STALL)
async def test_ten_deaf_commands_and_ten_floods_leave_room_for_everything_else(
    open_arena: OpenArena,
) -> None:
    async with open_arena(KINDS[1], limits=Limits(memory_mb=256, pids=128)) as arena:
        session = arena.session
        program = await arena.bring("talk")

        async def endless() -> AsyncIterator[bytes]:
            while True:
                yield bytes(MIB)

        streams = [
            session.exec_stream([program, "deaf", "600"], input=endless()) for _ in range(10)
        ]
        streams += [session.exec_stream([program, "flood", str(1 << 50)]) for _ in range(10)]
        with growth() as grown:
            for stream in streams:
                # The first is taken, and from then on nobody reads.
                assert isinstance(await anext(stream), (Stdout, Stderr))
            for _ in range(5):
                assert await arena.alive()
            await session.write_file("large", bytes(4 * MIB))
            assert len(await session.read_file("large")) == 4 * MIB
            for stream in streams:
                await stream.aclose()
        assert session.statistics()["live"] == 0
        assert grown() < 3 * FLAT
        assert await arena.alive()


# --- bytes that are no text -------------------------------------------------------------------

AWKWARD = {
    "every-byte": bytes(range(256)) * 4,
    "nul": b"\0" * 5000,
    "cut-characters": "aé€😀".encode()[:-1] + b"|" + "😀".encode()[1:],
    "overlong": b"\xc0\xaf\xe0\x80\xaf\xf0\x80\x80\xaf",
    "surrogates": b"\xed\xa0\x80\xed\xbf\xbf",
    "beyond-unicode": b"\xf4\x90\x80\x80\xf8\x88\x80\x80\x80",
    "continuations": b"\x80" * 1000,
    "never-begun": b"\xff\xfe" * 500,
    "characters": "aé€😀".encode() * 500,
    "noise": random.Random(57).randbytes(8192),
}


@case("H57", OUTPUT)
@pytest.mark.parametrize("piece", [1, 3, 4093])
async def test_every_byte_comes_back_and_text_is_what_one_decoding_of_them_all_gives(
    user: Arena, piece: int
) -> None:
    program = await user.bring("talk")
    for name, data in AWKWARD.items():
        argv = [program, "drip", str(piece)]
        done = await user.session.exec(argv, input=data, check=True)
        assert done.stdout_bytes == data, name
        assert done.stdout == data.decode("utf-8", "replace"), name
        text, got = "", b""
        async for event in user.session.exec_stream(argv, input=data):
            if isinstance(event, Stdout):
                text += event.text
                got += event.data
        assert (got, text) == (data, data.decode("utf-8", "replace")), name


@case("H57", OUTPUT)
async def test_a_cap_in_the_middle_of_a_character_cuts_before_it(user: Arena) -> None:
    program = await user.bring("talk")
    data = "😀".encode() * 100
    for cap in range(40, 45):
        done = await user.session.exec(
            [program, "drip", "1"], input=data, max_output_bytes=cap, check=True
        )
        assert done.stdout_bytes == data[:cap]
        assert done.stdout == "😀" * (cap // 4)
        assert done.stdout_dropped == len(data) - cap
