"""Terminals through the public API: a real one inside, bytes both ways, an end that is told."""

from __future__ import annotations

import asyncio

import pytest

from contract import scripted_terminals as scripts
from contract.adapter import BUSYBOX, SCRATCH, Api
from contract.programs import python
from fumehood import (
    AsyncSession,
    CommandError,
    CommandNotFoundError,
    ExecEnded,
    ExecReason,
    ExecStarted,
    Hooks,
    InvalidRequestError,
    Lifecycle,
    OperationTimeoutError,
    SessionEndedError,
    UserNotFoundError,
    WorkingDirectoryError,
)
from fumehood.terminals import AsyncTerminal


async def read_until(terminal: AsyncTerminal, wanted: bytes) -> bytes:
    """Read until the output holds ``wanted``; its end without it fails the test."""
    seen = b""
    while wanted not in seen:
        data = await terminal.read()
        assert data, seen
        seen += data
    return seen


async def all_of(terminal: AsyncTerminal) -> bytes:
    return b"".join([data async for data in terminal])


@pytest.mark.engines("docker", "memory")
async def test_a_program_finds_a_real_terminal(session: AsyncSession) -> None:
    async with session.open_terminal(
        ["sh", "-c", scripts.LOOKS], 33, 101, {"A": "b"}, None, cwd="/tmp"
    ) as terminal:
        assert (terminal.rows, terminal.cols) == (33, 101)
        shown = (await all_of(terminal)).decode().split("\r\n")
        assert shown[0].startswith("/dev/pts/")
        assert shown[1:] == ["33 101", "xterm-256color b", "/tmp", ""]
        result = await terminal.wait()
    assert (result.exit_code, result.signal, result.reason) == (7, None, ExecReason.EXITED)
    assert (result.stdout, result.stderr, result.ok) == ("", "", False)
    assert terminal.result == result


@pytest.mark.engines("docker", "memory")
async def test_it_is_awaited_as_well_as_entered(session: AsyncSession) -> None:
    terminal = await session.open_terminal(["echo", "hello"])
    assert await all_of(terminal) == b"hello\r\n"
    assert (await terminal.wait()).ok
    assert await terminal.read() == b""
    await terminal.aclose()
    await terminal.aclose()


@pytest.mark.engines("docker", "memory")
async def test_keys_are_keys(session: AsyncSession) -> None:
    async with session.open_terminal(python(scripts.READY)) as terminal:
        await read_until(terminal, b"ready\r\n")
        await terminal.write("hellp\x7fo wörld\r")
        assert "'hello wörld\\n'".encode() in await read_until(terminal, b"\\n'\r\n")
        await terminal.send_eof()
        assert (await terminal.wait()).ok
    async with session.open_terminal(["sleep", "1000"]) as terminal:
        await terminal.write(b"\x03")
        result = await terminal.wait()
    assert (result.reason, result.signal) == (ExecReason.SIGNALED, 2)


@pytest.mark.engines("docker", "memory")
async def test_a_new_size_reaches_the_program(session: AsyncSession) -> None:
    async with session.open_terminal(["sh", "-c", scripts.SIZES]) as terminal:
        await read_until(terminal, b"ready")
        await terminal.resize(50, 132)
        await read_until(terminal, b"50 132\r\n")
        assert (terminal.rows, terminal.cols) == (50, 132)


@pytest.mark.engines("docker", "memory")
@pytest.mark.parametrize(
    "wrong",
    [
        {"rows": 0},
        {"cols": 0},
        {"rows": 65536},
        {"cols": -1},
        {"rows": 24.0},
        {"rows": True},
        {"argv": "sh"},
        {"argv": []},
        {"argv": ["a\0b"]},
        {"env": {"A=": "b"}},
        {"user": "64999"},
        {"cwd": ""},
    ],
    ids=str,
)
async def test_what_cannot_be_is_refused_before_anything_is_sent(
    session: AsyncSession, wrong: dict[str, object]
) -> None:
    opened = session.statistics()["opened"]
    with pytest.raises(InvalidRequestError):
        await session.open_terminal(**{"argv": ["true"], **wrong})  # type: ignore[arg-type]
    assert session.statistics()["opened"] == opened


@pytest.mark.engines("docker", "memory")
async def test_a_size_that_is_none_changes_nothing(session: AsyncSession) -> None:
    async with session.open_terminal(["cat"]) as terminal:
        for rows, cols in ((0, 80), (24, 65536)):
            with pytest.raises(InvalidRequestError):
                await terminal.resize(rows, cols)
        assert (terminal.rows, terminal.cols) == (24, 80)
        with pytest.raises(InvalidRequestError):
            await terminal.write(3)  # type: ignore[arg-type]
        await terminal.send_eof()
        assert (await terminal.wait()).ok
    for use in (terminal.write("x"), terminal.resize(24, 80)):
        with pytest.raises(InvalidRequestError):
            await use


@pytest.mark.engines("docker", "memory")
async def test_what_cannot_be_started_is_a_typed_error(session: AsyncSession) -> None:
    for more, error in (
        ({"argv": ["no-such-program"]}, CommandNotFoundError),
        ({"argv": ["true"], "cwd": "missing"}, WorkingDirectoryError),
        ({"argv": ["true"], "user": "nobody-here"}, UserNotFoundError),
    ):
        async with session.open_terminal(**more) as terminal:
            with pytest.raises(error):
                await terminal.read()
            with pytest.raises(error):
                await terminal.wait()
            with pytest.raises(error):
                await terminal.write("x")


@pytest.mark.engines("docker", "memory")
async def test_nobody_types_to_a_program_that_has_ended(session: AsyncSession) -> None:
    async with session.open_terminal(["true"]) as terminal:
        assert (await terminal.wait()).ok
        with pytest.raises(CommandError, match="has ended"):
            await terminal.write("x")
        await terminal.resize(30, 90)


async def test_without_a_program_it_is_the_users_shell(api: Api) -> None:
    async with api.session(BUSYBOX) as session, session.open_terminal() as terminal:
        await terminal.write("echo $((6 * 7)); exit 3\r")
        await read_until(terminal, b"42\r\n")
        assert (await terminal.wait()).exit_code == 3
    async with api.session(SCRATCH) as session, session.open_terminal() as terminal:
        with pytest.raises(CommandNotFoundError, match="no shell"):
            await terminal.read()


@pytest.mark.engines("docker", "memory")
async def test_waiting_for_it_takes_nothing_and_has_an_end(session: AsyncSession) -> None:
    async with session.open_terminal(["sh", "-c", scripts.BEFORE]) as terminal:
        with pytest.raises(OperationTimeoutError):
            await terminal.wait(timeout=0.05)
        await terminal.write("\r")
        assert (await terminal.wait(timeout=30)).ok
        assert (await all_of(terminal)).startswith(b"before\r\n")


@pytest.mark.engines("docker", "memory")
async def test_hung_up_it_may_tidy_up_and_its_tree_is_gone(session: AsyncSession) -> None:
    async with session.open_terminal(["sh", "-c", scripts.SAVES_AT_HANG_UP]) as terminal:
        await read_until(terminal, b"ready")
    assert terminal.result is not None
    assert terminal.result.exit_code == 9
    assert await session.read_text_file("saved") == "saved\n"
    assert (await session.exec(["pgrep", "sleep"])).exit_code == 1


@pytest.mark.engines("docker", "memory")
async def test_who_ignores_the_hang_up_is_killed(session: AsyncSession) -> None:
    async with session.open_terminal(["sh", "-c", scripts.IGNORES_HANG_UP]) as terminal:
        await read_until(terminal, b"ready")
    assert terminal.result is not None
    assert terminal.result.reason is ExecReason.CANCELLED
    assert (await session.exec(["pgrep", "sleep"])).exit_code == 1


@pytest.mark.engines("docker", "memory")
async def test_a_reader_that_is_woken_by_the_end_sees_it(session: AsyncSession) -> None:
    terminal = await session.open_terminal(["cat"])
    async with asyncio.TaskGroup() as tasks:
        reading = tasks.create_task(all_of(terminal))
        await terminal.write("x\r")
        await terminal.aclose()
    assert reading.result() in (b"", b"x\r\n", b"x\r\nx\r\n")


async def test_an_open_terminal_is_work_and_its_end_is_told_with_the_sessions(api: Api) -> None:
    async with (
        api.session(lifecycle=Lifecycle(idle_timeout=1)) as session,
        session.open_terminal(["sh", "-c", "sleep 2; echo still here"]) as terminal,
    ):
        assert await all_of(terminal) == b"still here\r\n"
    async with api.session() as session:
        terminal = await session.open_terminal(["cat"])
        await session.destroy()
        with pytest.raises(SessionEndedError):
            await terminal.read()
        with pytest.raises(SessionEndedError):
            await terminal.write("x")
        with pytest.raises(SessionEndedError):
            await terminal.wait()
        await terminal.aclose()


@pytest.mark.engines("docker", "memory")
async def test_hooks_are_asked_and_told_as_of_any_command(api: Api) -> None:
    seen: list[ExecStarted | ExecEnded] = []

    def start(event: ExecStarted) -> None:
        seen.append(event)
        if event.argv == ("refused",):
            raise PermissionError("not here")

    hooks = Hooks(on_exec_start=start, on_exec_end=seen.append)
    async with api.session(hooks=hooks) as session:
        with pytest.raises(PermissionError):
            await session.open_terminal(["refused"])
        async with session.open_terminal(
            ["sh", "-c", scripts.EXITS_WITH_4], cwd="/tmp"
        ) as terminal:
            await terminal.wait()
    refused, started, ended = seen
    assert isinstance(refused, ExecStarted)
    assert isinstance(started, ExecStarted)
    assert (started.argv, started.cwd) == (("sh", "-c", "exit 4"), "/tmp")
    assert isinstance(ended, ExecEnded)
    assert ended.result is not None
    assert ended.result.exit_code == 4


@pytest.mark.engines("docker", "memory")
async def test_many_at_once_keep_apart(session: AsyncSession) -> None:
    async def one(number: int) -> bytes:
        async with session.open_terminal(["sh", "-c", scripts.answers(number)]) as terminal:
            await terminal.write(f"n{number}\r")
            return await all_of(terminal)

    shown = await asyncio.gather(*(one(number) for number in range(20)))
    assert [text.endswith(f"\r\n{n}-n{n}\r\n".encode()) for n, text in enumerate(shown)] == [
        True
    ] * 20
