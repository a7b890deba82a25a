"""Managed processes: what outlives a call and a client, is read from any byte, and is ended."""

from __future__ import annotations

import asyncio
import signal
from datetime import timedelta

import pytest

from contract.adapter import Api, Flavour
from contract.observer import Observer
from contract.processes import client
from contract.programs import TREES, alive, python
from contract.scripted import ENDS_WITH_7, LOGS, OVERFLOWS, POLITE, UP, WHO
from fumehood import (
    AsyncProcess,
    AsyncSession,
    CommandNotFoundError,
    ExecEnded,
    ExecReason,
    ExecStarted,
    Exit,
    Gap,
    Hooks,
    InvalidRequestError,
    Lifecycle,
    Limits,
    OperationTimeoutError,
    ProcessEndedError,
    ProcessEvent,
    ProcessExistsError,
    ProcessInputClosedError,
    ProcessNotFoundError,
    ProcessStatus,
    ResourceLimitError,
    Stderr,
    Stdout,
    UserNotFoundError,
    WorkingDirectoryError,
)

PATIENCE = 60.0


async def everything(process: AsyncProcess, since: int = 0) -> list[ProcessEvent]:
    """All events of a process, from an offset to its end."""
    return [event async for event in process.stream(since=since)]


async def until(process: AsyncProcess, text: str) -> None:
    """Wait until a process has written something."""
    seen = ""
    async with process.stream() as stream:
        async for event in stream:
            assert isinstance(event, (Stdout, Stderr)), event
            seen += event.text
            if text in seen:
                return


async def test_a_process_goes_on_while_its_session_does_other_things(
    session: AsyncSession,
) -> None:
    process = await session.start_process(["sh", "-c", "read line; echo got $line"], stdin=True)
    assert (process.status, process.exit_code) == (ProcessStatus.RUNNING, None)
    assert (process.exit_signal, process.ended_at) == (None, None)
    assert (await session.exec(["cat", f"/proc/{process.pid}/comm"])).stdout == "sh\n"
    await process.write("it\n")
    result = await process.wait(PATIENCE)
    assert (result.stdout, result.exit_code, result.ok) == ("got it\n", 0, True)
    assert (process.status, process.exit_code) == (ProcessStatus.EXITED, 0)
    assert process.ended_at is not None
    assert timedelta(0) <= process.ended_at - process.started_at < timedelta(seconds=PATIENCE)
    assert await process.refresh() is ProcessStatus.EXITED


@pytest.mark.engines("docker", "memory")
async def test_its_events_are_one_sequence_with_offsets_and_end_with_its_result(
    session: AsyncSession,
) -> None:
    process = await session.start_process(ENDS_WITH_7)
    *output, last = await everything(process)
    assert isinstance(last, Exit)
    assert (last.result.exit_code, last.result.stdout, last.result.stderr) == (7, "out\n", "err\n")
    position = 0
    for event in output:
        assert isinstance(event, (Stdout, Stderr))
        assert event.offset == position
        position += len(event.data)
    assert position == 8
    (again,) = await everything(process, since=8)
    assert isinstance(again, Exit)
    assert (again.result.exit_code, again.result.stdout) == (7, "")
    assert (again.result.stdout_dropped, again.result.stderr_dropped) == (4, 4)


async def test_characters_are_whole_in_a_stream_and_cut_ones_are_shown(
    session: AsyncSession,
) -> None:
    source = "import os\nfor b in 'é€😀'.encode() + b'\\xe2\\x82': os.write(1, bytes([b]))"
    process = await session.start_process(python(source))
    *output, _ = await everything(process)
    assert "".join(event.text for event in output if isinstance(event, Stdout)) == "é€😀\ufffd"


@pytest.mark.engines("docker", "memory")
async def test_logs_are_what_the_log_holds_now(session: AsyncSession) -> None:
    process = await session.start_process(LOGS, stdin=True)
    await until(process, "up\n")
    logs = await process.logs()
    assert (logs.stdout, logs.stderr) == ("line 1\nline 2\nline 3\n", "up\n")
    assert (logs.start, logs.end, logs.dropped) == (0, 24, 0)
    assert (await process.logs(since=logs.end)).events == ()
    assert (await process.logs(since=7)).stdout_bytes == b"line 2\nline 3\n"
    for count, expected in ((0, ""), (1, "up\n"), (2, "line 3\nup\n"), (99, logs.text)):
        tail = await process.logs(tail=count)
        assert tail.text == expected
        assert tail.start == 24 - len(expected)
    with pytest.raises(InvalidRequestError, match=r"since=25 is beyond what it has written"):
        await process.logs(since=25)
    with pytest.raises(InvalidRequestError, match=r"since=25 is beyond what it has written"):
        await anext(process.stream(since=25))
    await process.stop(grace=0)


@pytest.mark.engines("docker", "memory")
async def test_what_the_log_has_dropped_is_a_typed_gap(session: AsyncSession) -> None:
    process = await session.start_process(OVERFLOWS, log_bytes=4096)
    result = await process.wait(PATIENCE)
    assert result.stdout_bytes == bytes(4093) + b"end"
    assert result.stdout_dropped == 100_003 - 4096
    gap, *pieces, last = await everything(process)
    assert gap == Gap(offset=0, size=100_003 - 4096)
    assert isinstance(last, Exit)
    assert b"".join(p.data for p in pieces if isinstance(p, Stdout)) == result.stdout_bytes
    logs = await process.logs()
    assert (logs.dropped, logs.start, logs.end) == (100_003 - 4096, 100_003 - 4096, 100_003)


async def test_a_flood_without_a_reader_goes_on_and_costs_its_log_alone(
    session: AsyncSession,
) -> None:
    process = await session.start_process(["head", "-c", "200000000", "/dev/zero"])
    result = await process.wait(PATIENCE)
    assert result.exit_code == 0
    assert len(result.stdout_bytes) + result.stdout_dropped == 200_000_000
    assert len(result.stdout_bytes) == 1 << 20


async def test_several_streams_of_one_process_go_at_their_own_pace(session: AsyncSession) -> None:
    source = "import os\nos.read(0, 1)\nfor i in range(50000): os.write(1, b'%09d\\n' % i)"
    process = await session.start_process(python(source), stdin=True)
    stalled, *lively = [process.stream() for _ in range(4)]
    readers = [asyncio.create_task(collect(stream)) for stream in lively]
    first = asyncio.create_task(anext(stalled))
    await process.write("x")
    assert isinstance(await first, Stdout)
    assert await asyncio.gather(*readers) == [50_000 * 10] * 3
    # The one that stalled: what it has missed is told.
    assert 10 <= await collect(stalled) <= 50_000 * 10
    await process.wait(PATIENCE)


async def collect(stream: object) -> int:
    """How many bytes of output a stream accounts for to its end, gaps included."""
    size = 0
    async for event in stream:  # type: ignore[attr-defined]
        if isinstance(event, Gap):
            size += event.size
        elif not isinstance(event, Exit):
            size += len(event.data)
    return size


@pytest.mark.engines("docker", "memory")
async def test_leaving_a_stream_leaves_the_process_alone(session: AsyncSession) -> None:
    process = await session.start_process(UP)
    async for event in process.stream():
        assert isinstance(event, Stdout)
        break
    stream = process.stream(since=None)
    waiting = asyncio.create_task(anext(stream))
    await asyncio.sleep(0)
    await stream.aclose()
    with pytest.raises((StopAsyncIteration, RuntimeError)):
        await waiting
    assert await process.refresh() is ProcessStatus.RUNNING
    result = await process.stop(grace=0)
    assert (result.reason, result.killed) == (ExecReason.CANCELLED, 1)


async def test_stop_leaves_nothing_of_the_tree(session: AsyncSession) -> None:
    for name in ("setsid child", "double fork", "signals ignored", "fifty sessions"):
        process = await session.start_process(TREES[name].argv(f"stop {name}"))
        await until(process, "partial output\n")
        result = await process.stop(grace=0.2)
        assert await alive(session, f"stop {name}") == []
        assert result.left_running == 0
        assert process.status is ProcessStatus.EXITED


@pytest.mark.engines("docker", "memory")
async def test_stop_is_polite_first(session: AsyncSession) -> None:
    process = await session.start_process(POLITE)
    await until(process, "up\n")
    result = await process.stop(grace=PATIENCE)
    assert (result.exit_code, result.stdout, result.killed) == (5, "up\nbye\n", 0)
    assert await process.stop() == result


@pytest.mark.engines("docker", "memory")
async def test_signals_reach_it(session: AsyncSession) -> None:
    process = await session.start_process(["sleep", "1000"])
    await process.signal(signal.SIGINT)
    result = await process.wait(PATIENCE)
    assert (result.signal, process.exit_signal, process.exit_code) == (2, 2, 130)
    with pytest.raises(ProcessEndedError, match="it has ended"):
        await process.signal(signal.SIGINT)
    for number in (0, 65, True, "TERM"):
        with pytest.raises(InvalidRequestError, match="number"):
            await process.signal(number)  # type: ignore[arg-type]


@pytest.mark.engines("docker", "memory")
async def test_input_arrives_whole_and_ends_when_it_is_closed(session: AsyncSession) -> None:
    process = await session.start_process(["wc", "-c"], stdin=True)
    for size in (1, 100_000, 2_000_000):
        await process.write(bytes(size))
    await process.close_stdin()
    assert (await process.wait(PATIENCE)).stdout == "2100001\n"
    await process.close_stdin()
    with pytest.raises(ProcessEndedError):
        await process.write(b"x")
    without = await session.start_process(["cat"])
    assert (await without.wait(PATIENCE)).stdout == ""
    closed = await session.start_process(["sleep", "1000"])
    with pytest.raises(ProcessInputClosedError) as caught:
        await closed.write(b"x")
    assert isinstance(caught.value, BrokenPipeError)
    await closed.stop(grace=0)


@pytest.mark.engines("docker", "memory")
async def test_waiting_has_its_own_end(session: AsyncSession) -> None:
    process = await session.start_process(["sleep", "1000"])
    with pytest.raises(OperationTimeoutError, match=r"still runs after 0\.05 s"):
        await process.wait(0.05)
    assert await process.refresh() is ProcessStatus.RUNNING
    await process.stop(grace=0)


@pytest.mark.engines("docker", "memory")
async def test_exec_in_the_background_is_a_process(session: AsyncSession) -> None:
    process = await session.exec(WHO, env={"WHO": "me"}, background=True)
    assert (await process.wait(PATIENCE)).stdout == "me\n"
    same = await session.start_process(WHO, ".", {"WHO": "me again"}, None)
    assert (await same.wait(PATIENCE)).stdout == "me again\n"
    with pytest.raises(InvalidRequestError, match="background=True"):
        await session.exec(["cat"], input="x", background=True)


@pytest.mark.engines("docker", "memory")
async def test_a_process_is_stopped_and_continued_by_signals(session: AsyncSession) -> None:
    process = await session.start_process(POLITE)
    await until(process, "up")
    await process.signal(signal.SIGSTOP)
    await process.signal(signal.SIGTERM)
    with pytest.raises(OperationTimeoutError):
        await process.wait(1)
    await process.signal(signal.SIGCONT)
    result = await process.wait(PATIENCE)
    assert (result.stdout, result.exit_code) == ("up\nbye\n", 5)
    process = await session.start_process(UP)
    await until(process, "up")
    await process.signal(signal.SIGSTOP)
    await process.signal(signal.SIGKILL)
    assert (await process.wait(PATIENCE)).signal == signal.SIGKILL


@pytest.mark.engines("docker", "memory")
async def test_what_cannot_be_started_is_the_same_error_as_of_exec(session: AsyncSession) -> None:
    with pytest.raises(CommandNotFoundError, match="no-such-program"):
        await session.start_process(["no-such-program"])
    with pytest.raises(WorkingDirectoryError, match="nowhere"):
        await session.start_process(["true"], cwd="nowhere")
    with pytest.raises(UserNotFoundError, match="nobody-here"):
        await session.start_process(["true"], user="nobody-here")
    before = len(await session.list_processes())
    for bad in ("", "1", "p1", "a b", "a\n", "a\x1b[2J", "ä", "x" * 65, 7):
        with pytest.raises(InvalidRequestError, match="name must"):
            await session.start_process(["true"], name=bad)  # type: ignore[arg-type]
    for size in (0, 4095, (16 << 20) + 1, True):
        with pytest.raises(InvalidRequestError, match="log_bytes"):
            await session.start_process(["true"], log_bytes=size)
    with pytest.raises(InvalidRequestError, match="argv must be a list"):
        await session.start_process("true")
    assert len(await session.list_processes()) == before


@pytest.mark.engines("docker", "memory")
async def test_processes_are_found_by_id_and_by_name(session: AsyncSession) -> None:
    first = await session.start_process(["sleep", "1000"], name="web")
    with pytest.raises(ProcessExistsError, match="web"):
        await session.start_process(["true"], name="web")
    assert (await session.get_process("web")).id == first.id
    await first.stop(grace=0)
    second = await session.start_process(["true"], name="web")
    assert (await session.get_process("web")).id == second.id
    found = await session.get_process(first.id)
    assert (found.name, found.argv, found.exit_signal) == ("web", ("sleep", "1000"), 9)
    await second.wait(PATIENCE)
    for missing in ("none", "p999999"):
        with pytest.raises(ProcessNotFoundError) as caught:
            await session.get_process(missing)
        assert isinstance(caught.value, LookupError)


@pytest.mark.engines("docker", "memory")
async def test_no_more_run_than_max_processes_says(api: Api) -> None:
    async with api.session(limits=Limits(max_processes=2)) as session:
        first = await session.start_process(["sleep", "1000"])
        await session.start_process(["sleep", "1000"])
        with pytest.raises(ResourceLimitError, match="max_processes") as full:
            await session.start_process(["true"])
        assert full.value.op == "start_process"
        await first.stop(grace=0)
        await (await session.start_process(["true"])).wait(PATIENCE)


@pytest.mark.engines("docker", "memory")
async def test_a_hook_may_refuse_a_process(api: Api) -> None:
    told: list[object] = []

    def judge(event: ExecStarted) -> None:
        told.append((event.argv[0], event.background))
        if event.argv[0] == "evil":
            raise PermissionError("no")

    def ended(event: ExecEnded) -> None:
        told.append((event.argv[0], type(event.error)))

    hooks = Hooks(on_exec_start=judge, on_exec_end=ended)
    async with api.session(hooks=hooks) as session:
        with pytest.raises(PermissionError):
            await session.start_process(["evil"])
        with pytest.raises(CommandNotFoundError):
            await session.start_process(["missing"])
        await session.start_process(["true"])
        assert len(await session.list_processes()) == 1
    assert told == [
        ("evil", True),
        ("missing", True),
        ("missing", CommandNotFoundError),
        ("true", True),
    ]


async def test_a_client_goes_on_where_one_that_was_killed_had_come_to(
    api: Api, observer: Observer
) -> None:
    """Started and read in one process, which is killed; read to its end in another."""
    session_id = api.new_id()
    flavour: Flavour = api.flavour
    lease = ("600", "", "1")
    async with client(flavour, "process", session_id, lease=lease) as first:
        first.kill()
        await first.wait()
    async with (
        api.sandbox(lifecycle=Lifecycle(ttl=600, detached=True)) as sandbox,
        sandbox.connect(session_id) as session,
    ):
        (process,) = await session.list_processes()
        assert (process.name, process.status) == ("counter", ProcessStatus.RUNNING)
        seen = await session.read_file("seen")
        collected = bytearray(seen)
        streams = {Stdout: bytearray(), Stderr: bytearray()}
        stream = process.stream(since=len(seen))
        await session.write_file("go", b"")
        async for event in stream:
            assert not isinstance(event, Gap)
            if isinstance(event, Exit):
                assert event.result.exit_code == 0
                break
            assert event.offset == len(collected)
            collected += event.data
        # And once more from the beginning, each stream for itself.
        async for event in process.stream():
            if isinstance(event, (Stdout, Stderr)):
                streams[type(event)] += event.data
        await session.destroy()
    assert len(collected) == 20_000 * 10
    lines = sorted(collected.split())
    assert lines == [b"%09d" % number for number in range(20_000)]
    for parity, kind in enumerate((Stdout, Stderr)):
        assert bytes(streams[kind]).split() == [b"%09d" % n for n in range(parity, 20_000, 2)]
    await observer.gone(session_id, within=PATIENCE)
