"""Commands over a scripted supervisor: arguments, results, text and input."""

from __future__ import annotations

import asyncio
import os
import queue
import threading
from collections.abc import AsyncIterator, Iterator
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
    Exit,
    Hooks,
    InvalidRequestError,
    Limits,
    ResourceLimitError,
    SandboxError,
    Stderr,
    Stdout,
    UserNotFoundError,
    WorkingDirectoryError,
)
from fumehood._wire import table
from fumehood._wire.table import ErrorCode, ExecCode, Field, Frame
from tether.commands import answer_cancels, says
from tether.conftest import Connect, Link

HALF_SURROGATE = "\ud800"


# --- what is asked for ------------------------------------------------------------------------


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
