"""Commands that are watched while they run, many at once, and callers that stop reading."""

from __future__ import annotations

import asyncio
import fcntl
import gc
import os
import random

import pytest

from contract.adapter import Api
from contract.memory import growth
from contract.observer import Observer
from contract.programs import TREES, alive, python, write_bytes
from fumehood import AsyncSession, ExecReason, ExecResult, Exit, Limits, Stderr, Stdout
from fumehood.engines.docker import ENGINE_ONLY

MIB = 1 << 20


async def test_the_last_event_is_the_exit_and_nothing_is_lost(session: AsyncSession) -> None:
    source = (
        "import os\n"
        "for n in range(500): os.write(1, b'o%d\\n' % n); os.write(2, b'e%d\\n' % n)\n"
        "os._exit(5)\n"
    )
    events = [event async for event in session.exec_stream(python(source))]
    out = b"".join(event.data for event in events if isinstance(event, Stdout))
    err = b"".join(event.data for event in events if isinstance(event, Stderr))
    assert out == b"".join(b"o%d\n" % number for number in range(500))
    assert err == b"".join(b"e%d\n" % number for number in range(500))
    last = events[-1]
    assert isinstance(last, Exit)
    assert sum(isinstance(event, Exit) for event in events) == 1
    assert last.result.exit_code == 5
    assert (last.result.stdout_bytes, last.result.stderr_bytes) == (out, err)


async def test_output_comes_while_the_command_still_runs(api: Api) -> None:
    async with api.session() as session:
        await session.exec(["mkfifo", "gate"], check=True)
        seen: list[str] = []
        argv = ["sh", "-c", "echo before; read line <gate; echo after $line"]
        async for event in session.exec_stream(argv):
            if isinstance(event, Stdout):
                seen.append(event.text)
                if len(seen) == 1:
                    # The command can only go on when this side has seen what it wrote.
                    await session.shell("echo opened >gate", check=True)
        assert seen == ["before\n", "after opened\n"]


async def test_text_is_never_split_inside_a_character(session: AsyncSession) -> None:
    text = "aé€😀" * 50
    source = (
        "import os, sys, time\n"
        "for byte in sys.stdin.buffer.read():\n"
        "    os.write(1, bytes([byte])); os.write(2, bytes([byte]))\n"
        "    time.sleep(0.0005)\n"
    )
    texts: dict[type, list[str]] = {Stdout: [], Stderr: []}
    data = {Stdout: b"", Stderr: b""}
    async for event in session.exec_stream(python(source), input=text):
        if isinstance(event, (Stdout, Stderr)):
            texts[type(event)].append(event.text)
            data[type(event)] += event.data
    for kind in (Stdout, Stderr):
        assert "".join(texts[kind]) == text
        assert data[kind] == text.encode()
        assert all("\ufffd" not in piece for piece in texts[kind])
        assert len(texts[kind]) > 10


async def test_a_character_that_never_ends_is_shown_before_the_exit(session: AsyncSession) -> None:
    events = [event async for event in session.exec_stream(["printf", r"ok\303"])]
    assert "".join(event.text for event in events if isinstance(event, Stdout)) == "ok\ufffd"
    assert isinstance(events[-1], Exit)


async def test_a_stream_that_runs_out_of_time_ends_with_its_result(session: AsyncSession) -> None:
    argv = ["sh", "-c", "echo early; exec sleep 60"]
    events = [event async for event in session.exec_stream(argv, timeout=0.5)]
    assert events[0] == Stdout(b"early\n", "early\n")
    last = events[-1]
    assert isinstance(last, Exit)
    assert last.result.timed_out
    assert last.result.stdout == "early\n"


async def test_a_stream_delivers_everything_and_its_result_keeps_the_first_bytes(api: Api) -> None:
    async with api.session(limits=Limits(max_output_bytes=1000)) as session:
        size = 0
        result: ExecResult | None = None
        async for event in session.exec_stream(write_bytes(3 * MIB)):
            if isinstance(event, Stdout):
                size += len(event.data)
            elif isinstance(event, Exit):
                result = event.result
        assert size == 3 * MIB
        assert result is not None
        assert result.stdout_bytes == b"x" * 1000
        assert result.stdout_dropped == 3 * MIB - 1000


async def test_a_stream_with_a_cap_delivers_so_much_and_counts_the_rest(
    session: AsyncSession,
) -> None:
    events = [event async for event in session.exec_stream(write_bytes(MIB), max_output_bytes=777)]
    assert b"".join(event.data for event in events if isinstance(event, Stdout)) == b"x" * 777
    last = events[-1]
    assert isinstance(last, Exit)
    assert last.result.stdout_dropped == MIB - 777


async def test_a_hundred_megabytes_pass_through_in_flat_memory(session: AsyncSession) -> None:
    size = 0
    with growth() as grown:
        async for event in session.exec_stream(write_bytes(100_000_000)):
            if isinstance(event, Stdout):
                size += len(event.data)
    assert size == 100_000_000
    assert grown() < 16 * MIB


async def test_a_flood_beyond_the_cap_costs_no_memory(session: AsyncSession) -> None:
    with growth() as grown:
        result = await session.exec(write_bytes(1 << 30), check=True)
    assert result.stdout_dropped == (1 << 30) - MIB
    assert grown() < 16 * MIB


@pytest.mark.engines("docker", "memory")
async def test_a_stream_is_over_after_its_exit(session: AsyncSession) -> None:
    stream = session.exec_stream(["true"])
    assert isinstance(await anext(stream), Exit)
    for _ in range(2):
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
    await stream.aclose()
    await stream.aclose()


async def test_a_stream_that_is_never_stepped_starts_nothing(session: AsyncSession) -> None:
    stream = session.exec_stream(["touch", "started"])
    await stream.aclose()
    del stream
    assert not await session.exists("started")


# --- leaving early ----------------------------------------------------------------------------


async def test_closing_a_stream_kills_its_command_at_once(session: AsyncSession) -> None:
    async with session.exec_stream(TREES["setsid child"].argv("closed")) as stream:
        assert isinstance(await anext(stream), Stdout)
        assert len(await alive(session, "closed")) == 2
    assert await alive(session, "closed") == []


async def test_breaking_out_of_the_loop_kills_the_command(session: AsyncSession) -> None:
    async for event in session.exec_stream(TREES["double fork"].argv("broken")):
        assert isinstance(event, Stdout)
        break
    gc.collect()
    async with asyncio.timeout(10):
        while await alive(session, "broken"):
            pass


async def test_an_error_in_the_loop_kills_the_command(session: AsyncSession) -> None:
    stream = session.exec_stream(TREES["double fork"].argv("failed"))
    with pytest.raises(ZeroDivisionError):
        async with stream:
            async for _ in stream:
                raise ZeroDivisionError
    assert await alive(session, "failed") == []


async def test_a_stalled_flood_that_is_left_does_not_hang(session: AsyncSession) -> None:
    async with session.exec_stream(["cat", "/dev/zero"]) as stream:
        await anext(stream)
    assert session.statistics()["live"] == 0


# --- many at once -----------------------------------------------------------------------------


async def test_a_stalled_consumer_stalls_only_its_own_command(session: AsyncSession) -> None:
    stalled = [session.exec_stream(["cat", "/dev/zero"]) for _ in range(3)]
    for stream in stalled:
        assert isinstance(await anext(stream), Stdout)
    # Nobody takes what they write now; everything else goes on, large transfers too.
    for _ in range(20):
        assert (await session.exec(["echo", "on"], check=True)).stdout == "on\n"
    await session.write_file("large", bytes(8 * MIB))
    assert len(await session.read_file("large")) == 8 * MIB
    result = await session.exec(write_bytes(8 * MIB), max_output_bytes=8 * MIB, check=True)
    assert len(result.stdout_bytes) == 8 * MIB
    # And they go on where they stopped.
    for stream in stalled:
        size = 0
        while size < 4 * MIB:
            event = await anext(stream)
            assert isinstance(event, Stdout)
            size += len(event.data)
        await stream.aclose()


async def test_fifty_commands_of_mixed_speeds_all_complete_right(api: Api) -> None:
    async with api.session() as session:
        rng = random.Random(7)

        async def run(number: int) -> None:
            kind = number % 5
            mark = f"{number:03}"
            if kind == 0:
                result = await session.exec(["echo", mark], check=True)
                assert result.stdout == f"{mark}\n"
            elif kind == 1:
                pause = rng.uniform(0.05, 1.0)
                result = await session.exec(["sh", "-c", f"sleep {pause:.2f}; echo {mark}"])
                assert (result.stdout, result.exit_code) == (f"{mark}\n", 0)
            elif kind == 2:
                size = 3_000_000 // 3 * 3
                result = await session.exec(
                    write_bytes(size, fill=mark), max_output_bytes=size, check=True
                )
                # A block ends inside a mark at its 65,536 repetitions only.
                assert result.stdout == mark * (size // 3)
            elif kind == 3:
                data = mark.encode() * 100_000
                result = await session.exec(["cat"], input=data, max_output_bytes=len(data))
                assert result.stdout_bytes == data
            else:
                result = await session.exec(["sleep", "60"], timeout=rng.uniform(0.1, 0.8))
                assert result.reason is ExecReason.TIMED_OUT

        await asyncio.gather(*map(run, range(50)))
        assert session.statistics()["live"] == 0


async def test_more_commands_than_channels_are_refused_and_the_others_are_right(
    api: Api,
) -> None:
    from fumehood import ResourceLimitError

    async with api.session(limits=Limits(pids=1024)) as session:
        await session.exec(["mkfifo", "gate"], check=True)
        streams = [session.exec_stream(["sh", "-c", "echo up; read x <gate"]) for _ in range(140)]
        refused = 0
        for stream in streams:
            try:
                assert isinstance(await anext(stream), Stdout)
            except ResourceLimitError:
                refused += 1
        # Whatever the number is, the session answers for what it has taken on.
        running = len(streams) - refused
        assert running >= 100
        for stream in streams:
            await stream.aclose()
        assert (await session.exec(["echo", "on"], check=True)).stdout == "on\n"


# --- who holds the pipe -----------------------------------------------------------------------


async def test_a_grandchild_that_holds_the_pipe_does_not_delay_the_result(api: Api) -> None:
    async with api.session() as session:
        result = await session.exec(["sh", "-c", "sleep 1000 & echo done"], check=True)
        assert (result.stdout, result.reason) == ("done\n", ExecReason.EXITED)
        assert (result.left_running, result.killed) == (1, 0)


async def test_what_the_pipe_holds_at_the_end_is_all_delivered(api: Api) -> None:
    async with api.session() as session:
        source = (
            "import os, sys\n"
            "if os.fork() == 0:\n"
            "    os.setsid()\n"
            "    import time; time.sleep(1000)\n"
            "os.write(1, b'z' * 60_000)\n"
            "os._exit(0)\n"
        )
        for _ in range(10):
            result = await session.exec(python(source), check=True)
            assert result.stdout_bytes == b"z" * 60_000
            assert result.left_running == 1


async def test_a_grandchild_that_floods_the_pipe_does_not_keep_the_result(api: Api) -> None:
    async with api.session() as session:
        result = await session.exec(["sh", "-c", "yes & sleep 0.2; echo done >&2"], check=True)
        assert result.stderr == "done\n"
        assert result.left_running == 1


# --- what a stream takes ------------------------------------------------------------------------


async def test_the_engines_pipe_is_wide_for_a_stream_only(
    api: Api, observer: Observer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENGINE_ONLY, "engine")
    async with api.sandbox() as sandbox, sandbox.create_session() as session:
        await check_width(session, observer)


async def check_width(session: AsyncSession, observer: Observer) -> None:
    await session.exec(["true"], check=True)
    container = await observer.container(session.id)
    assert container is not None
    # The first process is the supervisor; its standard output is the engine's pipe.
    out = f"/proc/{container['State']['Pid']}/fd/1"
    before = pipe_size(out)
    async with session.exec_stream(["cat", "/dev/zero"]) as stream:
        size = 0
        while size < 4 * MIB:
            event = await anext(stream)
            assert isinstance(event, Stdout)
            size += len(event.data)
        assert pipe_size(out) == 256 * 1024 > before
    # Pages in pipes are a user's, all sessions together: they go back.
    async with asyncio.timeout(10):
        while pipe_size(out) != before:
            await session.ping()


def pipe_size(path: str) -> int:
    descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    try:
        return fcntl.fcntl(descriptor, fcntl.F_GETPIPE_SZ)
    finally:
        os.close(descriptor)
