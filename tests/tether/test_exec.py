"""Commands over a scripted supervisor: arguments, results, hooks, and every way to leave one."""

from __future__ import annotations

import asyncio
import gc
import os
import queue
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from fakes.supervisor import PATIENCE, FakeSupervisor, Opened
from fumehood import (
    CommandFailedError,
    CommandNotExecutableError,
    CommandNotFoundError,
    CommandOutOfMemoryError,
    CommandTimeoutError,
    ExecEnded,
    ExecReason,
    ExecStarted,
    Exit,
    Hooks,
    InvalidRequestError,
    Limits,
    ResourceLimitError,
    SandboxError,
    SessionEndedError,
    Stderr,
    Stdout,
    SupervisorError,
    UserNotFoundError,
    WorkingDirectoryError,
)
from fumehood._run import Backstop
from fumehood._wire import table
from fumehood._wire.table import EndCode, ErrorCode, ExecCode, Field, Frame, Operation
from tether.conftest import Connect, Link

HALF_SURROGATE = "\ud800"


def cancelled(peer: FakeSupervisor, channel: Opened, *, killed: int = 1) -> None:
    """Answer a CANCEL as the supervisor does: the tree is dead."""
    peer.exit(channel.number, 137, signal=9, reason=ExecCode.CANCELLED, killed=killed)


def answer_cancels(peer: FakeSupervisor) -> None:
    peer.on_frame = lambda raw: (
        cancelled(peer, peer.channels[raw.channel]) if raw.frame is Frame.CANCEL else None
    )


# --- what is asked for ------------------------------------------------------------------------


def says(**fields: int) -> Callable[[FakeSupervisor, Opened], None]:
    return lambda peer, channel: peer.exit(channel.number, **fields)


async def test_a_command_goes_out_as_the_caller_said_it(connect: Connect) -> None:
    async with connect(script=says()) as link:
        await link.session.exec(
            ["prog", b"\xff", Path("a/b"), "é"],
            cwd="sub",
            env={"A": "1", "B": "ü"},
            user=1000,
            timeout=1.5,
            max_output_bytes=7,
        )
        channel = link.peer.channels[1]
        assert channel.argv == [b"prog", b"\xff", b"a/b", "é".encode()]
        assert channel.fields[Field.CWD] == b"sub"
        assert channel.fields[Field.ENV] == [b"A=1", "B=ü".encode()]
        assert channel.fields[Field.USER] == "1000"
        assert channel.number_of(Field.TIMEOUT_MS) == 1500
        assert channel.number_of(Field.STDOUT_LIMIT) == 7
        assert channel.number_of(Field.STDIN) == 0


async def test_defaults_are_the_sessions_limits(connect: Connect) -> None:
    limits = Limits(timeout=2, max_output_bytes=99)
    async with connect(script=says(), limits=limits) as link:
        await link.session.exec(["x"])
        await link.session.exec(["x"], timeout=None)
        first, second = link.peer.channels[1], link.peer.channels[2]
        assert first.number_of(Field.TIMEOUT_MS) == 2000
        assert first.number_of(Field.STDERR_LIMIT) == 99
        assert second.number_of(Field.TIMEOUT_MS) == 0


async def test_a_timeout_is_never_rounded_down_to_none(connect: Connect) -> None:
    async with connect(script=says()) as link:
        await link.session.exec(["x"], timeout=0.0011)
        assert link.peer.channels[1].number_of(Field.TIMEOUT_MS) == 2


async def test_shell_is_the_images_own(connect: Connect) -> None:
    async with connect(script=says()) as link:
        await link.session.shell("echo $A", env={"A": "1"})
        assert link.peer.channels[1].argv == [b"/bin/sh", b"-c", b"echo $A"]


async def test_arguments_are_utf8_whatever_the_clients_locale(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsencode", lambda item: str(item).encode("latin-1"))
    async with connect(script=says()) as link:
        await link.session.exec(["é", "smuggled \udcff"])
        assert link.peer.channels[1].argv == ["é".encode(), b"smuggled \xff"]


BAD_COMMANDS: list[tuple[str, dict[str, object]]] = [
    ("a string", {"argv": "echo hi"}),
    ("bytes", {"argv": b"echo"}),
    ("nothing", {"argv": []}),
    ("no program", {"argv": ["", "x"]}),
    ("a number", {"argv": 5}),
    ("a number inside", {"argv": ["x", 5]}),
    ("a NUL", {"argv": ["x", "a\0b"]}),
    ("half a surrogate", {"argv": ["x", HALF_SURROGATE]}),
    ("too much", {"argv": ["x", *["y" * 1000] * 3000]}),
    ("too many", {"argv": ["x"] * 400_000}),
    ("too much environment", {"argv": ["x" * 1_900_000], "env": {"A": "x" * 900_000}}),
    ("env that is no mapping", {"env": ["A=1"]}),
    ("env name", {"env": {"A=B": "1"}}),
    ("env name in another alphabet", {"env": {"Ä": "1"}}),
    ("env with NUL", {"env": {"A": "\0"}}),
    ("env with half a surrogate", {"env": {"A": HALF_SURROGATE}}),
    ("env value", {"env": {"A": 1}}),
    ("cwd empty", {"cwd": ""}),
    ("cwd NUL", {"cwd": "a\0"}),
    ("cwd too long", {"cwd": "x" * 5000}),
    ("cwd half a surrogate", {"cwd": HALF_SURROGATE}),
    ("cwd no string", {"cwd": 5}),
    ("input number", {"input": 5}),
    ("input half a surrogate", {"input": HALF_SURROGATE}),
    ("user", {"user": "a b"}),
    ("user reserved", {"user": 64999}),
    ("user bool", {"user": True}),
    ("user number that cannot be printed", {"user": 10**5000}),
    ("timeout 0", {"timeout": 0}),
    ("timeout negative", {"timeout": -1}),
    ("timeout NaN", {"timeout": float("nan")}),
    ("timeout inf", {"timeout": float("inf")}),
    ("timeout huge", {"timeout": 10**400}),
    ("timeout text", {"timeout": "1"}),
    ("timeout 1 ns", {"timeout": 1e-9}),
    ("output negative", {"max_output_bytes": -1}),
    ("output huge", {"max_output_bytes": 1 << 63}),
    ("output float", {"max_output_bytes": 1.5}),
]


@pytest.mark.parametrize("options", [o for _, o in BAD_COMMANDS], ids=[n for n, _ in BAD_COMMANDS])
async def test_a_bad_command_is_refused_before_anything_is_sent(
    link: Link, options: dict[str, object]
) -> None:
    arguments = {"argv": ["x"], **options}
    argv = arguments.pop("argv")
    with pytest.raises(InvalidRequestError) as caught:
        await link.session.exec(argv, **arguments)  # type: ignore[call-overload]
    assert len(str(caught.value)) < 500
    with pytest.raises(InvalidRequestError):
        link.session.exec_stream(argv, **arguments)  # type: ignore[arg-type]
    assert link.peer.channels == {}


async def test_a_string_as_argv_names_shell(link: Link) -> None:
    with pytest.raises(InvalidRequestError, match=r"session\.shell"):
        await link.session.exec("ls -l")
    with pytest.raises(InvalidRequestError):
        await link.session.shell(["ls"])  # type: ignore[arg-type]


# --- what comes back --------------------------------------------------------------------------


async def test_a_result_says_everything_that_is_known(connect: Connect) -> None:
    def script(peer: FakeSupervisor, channel: Opened) -> None:
        peer.stdout(channel.number, b"out", b"put")
        peer.stderr(channel.number, b"err")
        peer.exit(
            channel.number,
            143,
            signal=15,
            reason=ExecCode.SIGNALED,
            duration_us=2_500_000,
            stdout_total=100,
            stderr_total=3,
            killed=2,
            left_running=1,
        )

    async with connect(script=script) as link:
        result = await link.session.exec(["x"])
    assert (result.stdout, result.stderr) == ("output", "err")
    assert (result.exit_code, result.signal, result.reason) == (143, 15, ExecReason.SIGNALED)
    assert (result.duration, result.killed, result.left_running) == (2.5, 2, 1)
    assert (result.stdout_truncated, result.stdout_dropped) == (True, 94)
    assert (result.stderr_truncated, result.stderr_dropped) == (False, 0)
    assert not result.ok


@pytest.mark.parametrize(
    "code, kind",
    [
        (ExecCode.TIMED_OUT, CommandTimeoutError),
        (ExecCode.OUT_OF_MEMORY, CommandOutOfMemoryError),
        (ExecCode.SIGNALED, CommandFailedError),
    ],
)
async def test_check_raises_with_the_result(
    connect: Connect, code: ExecCode, kind: type[CommandFailedError]
) -> None:
    async with connect(script=says(exit_code=137, signal=9, reason=code)) as link:
        result = await link.session.exec(["x"])
        with pytest.raises(kind) as caught:
            await link.session.exec(["x"], check=True)
        assert type(caught.value) is kind
        assert caught.value.result == result


FAILURES = [
    (ErrorCode.PROGRAM_NOT_FOUND, CommandNotFoundError, FileNotFoundError),
    (ErrorCode.PROGRAM_NOT_EXECUTABLE, CommandNotExecutableError, PermissionError),
    (ErrorCode.CWD, WorkingDirectoryError, FileNotFoundError),
    (ErrorCode.USER_NOT_FOUND, UserNotFoundError, LookupError),
    (ErrorCode.USER_REFUSED, UserNotFoundError, LookupError),
    (ErrorCode.PROCESS_LIMIT, ResourceLimitError, SandboxError),
    (ErrorCode.OUT_OF_MEMORY, ResourceLimitError, SandboxError),
    (ErrorCode.TOO_MANY_CHANNELS, ResourceLimitError, SandboxError),
    (ErrorCode.BUSY, ResourceLimitError, SandboxError),
    (ErrorCode.ARGUMENT_TOO_LONG, InvalidRequestError, ValueError),
    (ErrorCode.INVALID, InvalidRequestError, ValueError),
]


@pytest.mark.parametrize("error", list(ErrorCode))
async def test_every_failure_of_a_command_is_a_typed_error(
    connect: Connect, error: ErrorCode
) -> None:
    def script(peer: FakeSupervisor, channel: Opened) -> None:
        peer.fail(channel.number, error, errno=13, step="program", message="why \u202e not")

    ended: list[ExecEnded] = []
    async with connect(script=script, hooks=Hooks(on_exec_end=ended.append)) as link:
        with pytest.raises(SandboxError) as caught:
            await link.session.exec(["x"], user="u", cwd="d")
        stream = link.session.exec_stream(["x"])
        with pytest.raises(type(caught.value)):
            await anext(stream)
    assert caught.value.op == "exec"
    assert caught.value.session_id == "s1"
    assert "\u202e" not in str(caught.value)
    kinds = {code: (kind, builtin) for code, kind, builtin in FAILURES}
    kind, builtin = kinds.get(error, (SandboxError, SandboxError))
    assert isinstance(caught.value, kind)
    assert isinstance(caught.value, builtin)
    assert [event.error for event in ended] == [caught.value, ended[1].error]
    assert type(ended[1].error) is type(caught.value)


async def test_an_image_without_a_shell_is_told_apart(connect: Connect) -> None:
    def script(peer: FakeSupervisor, channel: Opened) -> None:
        peer.fail(channel.number, ErrorCode.PROGRAM_NOT_FOUND, errno=2, step="program")

    async with connect(script=script) as link:
        with pytest.raises(CommandNotFoundError, match="no shell"):
            await link.session.shell("true")


# --- text -------------------------------------------------------------------------------------


async def test_text_is_never_split_inside_a_character(connect: Connect) -> None:
    text = "aé€😀" * 3
    raw = text.encode()

    def script(peer: FakeSupervisor, channel: Opened) -> None:
        peer.script = None
        for at in range(len(raw)):
            peer.stdout(channel.number, raw[at : at + 1])
            peer.stderr(channel.number, raw[at : at + 1])
        peer.exit(channel.number, stdout_total=len(raw), stderr_total=len(raw))

    async with connect(script=script) as link:
        out = err = ""
        async for event in link.session.exec_stream(["x"]):
            if isinstance(event, Stdout):
                out += event.text
            elif isinstance(event, Stderr):
                err += event.text
            else:
                assert event.result.stdout == text
        assert out == err == text


async def test_a_character_that_never_ends_is_shown_unless_the_cap_cut_it(
    connect: Connect,
) -> None:
    totals = {1: 4, 2: 100}

    def script(peer: FakeSupervisor, channel: Opened) -> None:
        peer.stdout(channel.number, b"ab\xe2\x82")
        peer.exit(channel.number, stdout_total=totals[channel.number])

    async with connect(script=script) as link:
        for expected in ("ab\ufffd", "ab"):
            text = ""
            async for event in link.session.exec_stream(["x"]):
                if isinstance(event, Exit):
                    assert event.result.stdout == expected
                else:
                    text += event.text
            assert text == expected


# --- input ------------------------------------------------------------------------------------


async def test_input_of_any_size_arrives_and_ends(link: Link) -> None:
    data = os.urandom(3 * table.CHANNEL_WINDOW + 17)
    task = asyncio.create_task(link.session.exec(["x"], input=data))
    channel = await link.peer.opened(1)
    sizes = [table.CHANNEL_WINDOW] * 3 + [17]
    for turn, size in enumerate(sizes):
        expected = sum(sizes[: turn + 1])
        await link.peer.until(lambda expected=expected: len(channel.input) >= expected)  # type: ignore[misc]
        # The window, and not a byte more, is ever on its way.
        assert len(channel.input) == expected
        link.peer.give(1, size)
    await link.peer.until(lambda: channel.eof)
    assert bytes(channel.input) == data
    link.peer.exit(1)
    assert (await task).ok


async def test_a_command_that_ends_without_its_input_is_a_plain_result(link: Link) -> None:
    data = bytes(table.CHANNEL_WINDOW + 1)
    task = asyncio.create_task(link.session.exec(["x"], input=data))
    await link.peer.opened(1)
    link.peer.exit(1, 3)
    assert (await task).exit_code == 3


async def test_input_comes_in_pieces_of_any_iterable(connect: Connect) -> None:
    async def awaited() -> AsyncIterator[bytes]:
        yield b"one "
        yield memoryview(bytearray(b"two"))  # type: ignore[misc]

    def plain() -> Iterator[bytes]:
        yield b"one "
        yield b"two"

    async with connect() as link:
        link.peer.on_frame = lambda raw: (
            link.peer.exit(raw.channel) if raw.frame is Frame.EOF else None
        )
        for source in (awaited(), plain(), [b"one ", b"two"], iter((b"one two",))):
            await link.session.exec(["x"], input=source)
        assert [bytes(channel.input) for channel in link.peer.channels.values()] == [b"one two"] * 4


@pytest.mark.parametrize("streamed", [False, True])
async def test_an_input_that_fails_kills_the_command_and_is_raised(
    connect: Connect, streamed: bool
) -> None:
    def broken() -> Iterator[bytes]:
        yield b"a"
        raise ZeroDivisionError

    async with connect() as link:
        answer_cancels(link.peer)
        for source, kind in ((broken(), ZeroDivisionError), ([1], InvalidRequestError)):
            with pytest.raises(kind):
                if streamed:
                    async for _ in link.session.exec_stream(["x"], input=source):  # type: ignore[arg-type]
                        pass
                else:
                    await link.session.exec(["x"], input=source)  # type: ignore[arg-type]
        assert link.peer.count(Frame.CANCEL) == 2
        assert link.peer.count(Frame.EOF) == 0


async def test_an_input_that_never_comes_holds_nothing_up(connect: Connect) -> None:
    pieces: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    asked = threading.Event()

    def blocked() -> Iterator[bytes]:
        while True:
            asked.set()
            yield pieces.get()

    async with connect() as link:
        task = asyncio.create_task(link.session.exec(["x"], input=blocked()))
        await link.peer.opened(1)
        await asyncio.to_thread(asked.wait, PATIENCE)
        link.peer.exit(1, 5)
        assert (await task).exit_code == 5
    (thread,) = [t for t in threading.enumerate() if t.name == "fumehood-input"]
    assert thread.daemon
    pieces.put(b"")
    await asyncio.to_thread(thread.join, PATIENCE)
    assert not thread.is_alive()


# --- streams, and leaving them ----------------------------------------------------------------


async def test_a_stream_starts_nothing_before_its_first_step(link: Link) -> None:
    stream = link.session.exec_stream(["x"])
    await stream.aclose()
    with pytest.raises(StopAsyncIteration):
        await anext(stream)
    assert link.peer.channels == {}


async def test_a_stream_ends_with_the_exit_and_then_for_good(connect: Connect) -> None:
    async with connect(script=says(exit_code=4)) as link:
        stream = link.session.exec_stream(["x"])
        events = [event async for event in stream]
        assert [type(event) for event in events] == [Exit]
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
        await stream.aclose()
        assert link.peer.count(Frame.CANCEL) == 0


async def test_the_exit_keeps_the_first_bytes_of_what_was_streamed(connect: Connect) -> None:
    def script(peer: FakeSupervisor, channel: Opened) -> None:
        assert channel.number_of(Field.STDOUT_LIMIT) == (1 << 64) - 1
        peer.stdout(channel.number, b"12345", b"67890")
        peer.exit(channel.number, stdout_total=10)

    async with connect(script=script, limits=Limits(max_output_bytes=7)) as link:
        events = [event async for event in link.session.exec_stream(["x"])]
    assert b"".join(e.data for e in events if isinstance(e, Stdout)) == b"1234567890"
    last = events[-1]
    assert isinstance(last, Exit)
    assert (last.result.stdout_bytes, last.result.stdout_dropped) == (b"1234567", 3)


async def break_out(link: Link) -> None:
    async for _ in link.session.exec_stream(["x"]):
        break
    gc.collect()


async def leave_the_block(link: Link) -> None:
    async with link.session.exec_stream(["x"]) as stream:
        await anext(stream)


async def close(link: Link) -> None:
    stream = link.session.exec_stream(["x"])
    await anext(stream)
    await stream.aclose()
    await stream.aclose()


async def drop(link: Link) -> None:
    stream = link.session.exec_stream(["x"])
    await anext(stream)
    del stream
    gc.collect()


@pytest.mark.parametrize("leave", [break_out, leave_the_block, close, drop])
async def test_leaving_a_stream_early_kills_the_command_once(
    connect: Connect, leave: Callable[[Link], object]
) -> None:
    told: asyncio.Queue[ExecEnded] = asyncio.Queue()

    def script(peer: FakeSupervisor, channel: Opened) -> None:
        peer.stdout(channel.number, b"first")

    async with connect(script=script, hooks=Hooks(on_exec_end=told.put_nowait)) as link:
        answer_cancels(link.peer)
        await leave(link)  # type: ignore[misc]
        await link.peer.seen(Frame.CANCEL)
        event = await asyncio.wait_for(told.get(), PATIENCE)
        assert event.result is not None
        assert event.result.reason is ExecReason.CANCELLED
        assert event.result.stdout_bytes == b"first"
        assert event.error is None
        await link.session.exec_stream(["y"]).aclose()
        assert link.peer.count(Frame.CANCEL) == 1
        assert told.empty()


async def test_an_exception_in_the_loop_kills_the_command(connect: Connect) -> None:
    def script(peer: FakeSupervisor, channel: Opened) -> None:
        peer.stdout(channel.number, b"first")

    async with connect(script=script) as link:
        answer_cancels(link.peer)
        with pytest.raises(ZeroDivisionError):
            async with link.session.exec_stream(["x"]) as stream:
                async for _ in stream:
                    raise ZeroDivisionError
        assert link.peer.channels[1].cancelled


async def test_a_stream_is_closed_from_another_task_while_it_waits(connect: Connect) -> None:
    async with connect() as link:
        answer_cancels(link.peer)
        stream = link.session.exec_stream(["x"])
        waiting = asyncio.create_task(anext(stream, None))
        await link.peer.opened(1)
        await stream.aclose()
        assert await asyncio.wait_for(waiting, PATIENCE) is None
        assert link.peer.count(Frame.CANCEL) == 1


async def test_two_tasks_do_not_share_an_iteration(connect: Connect) -> None:
    async with connect() as link:
        stream = link.session.exec_stream(["x"])
        waiting = asyncio.create_task(anext(stream, None))
        await link.peer.opened(1)
        with pytest.raises(InvalidRequestError, match="another task"):
            await anext(stream)
        link.peer.stdout(1, b"unharmed")
        link.peer.exit(1, stdout_total=8)
        assert await waiting == Stdout(b"unharmed", "unharmed")
        assert isinstance(await anext(stream), Exit)


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_cancelled_caller_waits_until_the_command_is_dead(
    connect: Connect, streamed: bool
) -> None:
    ended: list[ExecEnded] = []
    async with connect(hooks=Hooks(on_exec_end=ended.append)) as link:

        async def caller() -> None:
            if streamed:
                await anext(link.session.exec_stream(["x"]))
            else:
                await link.session.exec(["x"], input=bytes(table.CHANNEL_WINDOW + 1))

        task = asyncio.create_task(caller())
        channel = await link.peer.opened(1)
        task.cancel()
        await link.peer.seen(Frame.CANCEL)
        # A second and a third cancellation do not leave the end unobserved.
        for _ in range(3):
            task.cancel()
            await asyncio.sleep(0)
            assert not task.done()
        assert ended == []
        cancelled(link.peer, channel)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()
        assert [type(event.error) for event in ended] == [asyncio.CancelledError]


async def test_closing_a_stream_does_not_swallow_a_cancellation(connect: Connect) -> None:
    async with connect() as link:
        stream = link.session.exec_stream(["x"])
        waiting = asyncio.create_task(anext(stream, None))
        await link.peer.opened(1)
        closing = asyncio.create_task(stream.aclose())
        await link.peer.seen(Frame.CANCEL)
        closing.cancel()
        await asyncio.sleep(0)
        assert not closing.done()
        cancelled(link.peer, link.peer.channels[1])
        with pytest.raises(asyncio.CancelledError):
            await closing
        await waiting


# --- hooks ------------------------------------------------------------------------------------


async def test_hooks_see_a_command_before_and_after(connect: Connect) -> None:
    seen: list[object] = []

    async def started(event: ExecStarted) -> None:
        await asyncio.sleep(0)
        assert link.peer.channels == {}
        seen.append(event)

    hooks = Hooks(on_exec_start=started, on_exec_end=seen.append)
    async with connect(script=says(), hooks=hooks) as link:
        result = await link.session.exec(["x", b"\xff"], cwd="d", user=5)
    assert seen == [
        ExecStarted(session_id="s1", argv=("x", "\ufffd"), cwd="d", user="5"),
        ExecEnded(session_id="s1", argv=("x", "\ufffd"), result=result, error=None),
    ]


async def test_a_hook_that_refuses_stops_the_command_and_nobody_is_told_of_its_end(
    connect: Connect,
) -> None:
    def refuse(event: ExecStarted) -> None:
        raise PermissionError("not today")

    ended: list[ExecEnded] = []
    hooks = Hooks(on_exec_start=refuse, on_exec_end=ended.append)
    async with connect(hooks=hooks) as link:
        with pytest.raises(PermissionError, match="not today"):
            await link.session.exec(["x"])
        stream = link.session.exec_stream(["x"])
        with pytest.raises(PermissionError):
            await anext(stream)
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
        assert link.peer.channels == {}
    assert ended == []


async def test_a_hook_that_fails_to_be_told_is_logged_and_changes_nothing(
    connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(event: ExecEnded) -> None:
        raise ZeroDivisionError

    async with connect(script=says(), hooks=Hooks(on_exec_end=fail)) as link:
        assert (await link.session.exec(["x"])).ok
        assert [type(e) async for e in link.session.exec_stream(["x"])] == [Exit]
    assert [record.name for record in caplog.records] == ["fumehood.hooks"] * 2


async def test_a_command_on_a_session_that_is_over_is_told_as_one_that_could_not_be_run(
    connect: Connect,
) -> None:
    ended: list[ExecEnded] = []
    async with connect(hooks=Hooks(on_exec_end=ended.append)) as link:
        link.peer.end(EndCode.TTL)
        await link.tether.wait_closed()
        with pytest.raises(SessionEndedError):
            await link.session.exec(["x"])
        with pytest.raises(SessionEndedError):
            await anext(link.session.exec_stream(["x"]))
    assert [type(event.error) for event in ended] == [SessionEndedError] * 2


# --- a supervisor that cannot be trusted ------------------------------------------------------


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_supervisor_that_misses_its_deadline_is_given_up(
    connect: Connect, streamed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Backstop, "SLACK", 0.01)
    monkeypatch.setattr(Backstop, "ANSWER", 0.01)
    async with connect() as link:
        other = asyncio.create_task(link.session.exec(["y"], timeout=None))
        await link.peer.opened(1)
        with pytest.raises(SupervisorError, match="given up"):
            if streamed:
                await anext(link.session.exec_stream(["x"], timeout=0.01))
            else:
                await link.session.exec(["x"], timeout=0.01)
        with pytest.raises(SupervisorError, match="given up"):
            await other
        assert not link.tether.alive
        with pytest.raises(SupervisorError):
            await link.session.exec(["z"])


async def test_a_deadline_moves_by_as_long_as_the_session_was_paused(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Backstop, "SLACK", 0.01)

    def script(peer: FakeSupervisor, channel: Opened) -> None:
        # Asked when the time is over; the command ends long after it, and yet in time.
        if channel.operation is Operation.STATUS:
            peer.done(channel.number, paused_ms=60_000)
            peer.exit(1, 0)

    async with connect(script=script) as link:
        assert (await link.session.exec(["x"], timeout=0.01)).ok


async def test_a_pause_is_believed_within_bounds(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Backstop, "SLACK", 0.01)
    monkeypatch.setattr(Backstop, "BELIEF", 0.05)

    def script(peer: FakeSupervisor, channel: Opened) -> None:
        if channel.operation is Operation.STATUS:
            peer.done(channel.number, paused_ms=2**40)

    async with connect(script=script) as link:
        with pytest.raises(SupervisorError, match="given up"):
            await link.session.exec(["x"], timeout=0.01)


async def test_a_supervisor_that_does_not_answer_the_question_is_given_up(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Backstop, "SLACK", 0.01)
    monkeypatch.setattr(Backstop, "ANSWER", 0.01)
    async with connect() as link:
        with pytest.raises(SupervisorError, match="given up"):
            await link.session.exec(["x"], timeout=0.01)


async def test_a_caller_that_stalls_does_not_make_the_supervisor_late(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Backstop, "SLACK", 3600.0)
    async with connect() as link:
        stream = link.session.exec_stream(["x"], timeout=0.001)
        link.peer.script = lambda peer, channel: peer.stdout(channel.number, b"1")
        assert isinstance(await anext(stream), Stdout)
        # The deadline is over by now, and the caller comes back: the end may take its moment.
        running = stream._running
        running._deadline = asyncio.get_running_loop().time() - 1
        waiting = asyncio.create_task(anext(stream, None))
        await asyncio.sleep(0)
        link.peer.exit(1, 137, signal=9, reason=ExecCode.TIMED_OUT, stdout_total=1)
        event = await waiting
        assert isinstance(event, Exit)
        assert event.result.timed_out
