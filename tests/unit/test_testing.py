"""Sandboxes in memory: what scripts may say, and what is refused rather than silently missing."""

from __future__ import annotations

import asyncio
import logging

import pytest

from fumehood import (
    CommandError,
    CommandNotFoundError,
    EngineUnsupportedError,
    InvalidRequestError,
    Lifecycle,
    Network,
    Pool,
)
from fumehood.testing import AsyncMemorySandbox, CommandCall, CommandReply, Commands


async def test_a_reply_has_short_forms_and_the_longest_name_wins() -> None:
    commands: Commands = {
        "text": "out\n",
        "bytes": b"\xff",
        "code": 4,
        "nothing": None,
        "git": "any\n",
        ("git", "push"): CommandReply(stderr="no\n", exit_code=1),
        "echo": "mine\n",
    }
    async with (
        AsyncMemorySandbox(commands=commands) as sandbox,
        sandbox.create_session() as session,
    ):
        assert (await session.exec(["/usr/bin/text"])).stdout == "out\n"
        assert (await session.exec(["bytes"])).stdout_bytes == b"\xff"
        assert (await session.exec(["code"])).exit_code == 4
        assert (await session.exec(["nothing"])).ok
        assert (await session.exec(["git", "status"])).stdout == "any\n"
        assert (await session.exec(["git", "push"])).stderr == "no\n"
        assert (await session.exec(["echo", "x"])).stdout == "mine\n"
        with pytest.raises(CommandNotFoundError):
            await session.exec(["/opt/text"])


async def test_one_function_answers_all_and_leaves_the_rest_to_what_is_built_in() -> None:
    async def answer(call: CommandCall) -> object:
        return f"{call.argv} {call.cwd}" if call.argv[0] == "mine" else NotImplemented

    async with (
        AsyncMemorySandbox(commands=answer) as sandbox,  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        sandbox.create_session() as session,
    ):
        assert (await session.exec(["mine"])).stdout == "('mine',) /workspace"
        assert (await session.exec(["echo", "x"])).stdout == "x\n"
        with pytest.raises(CommandNotFoundError):
            await session.exec(["none"])


async def test_a_script_that_fails_is_an_error_that_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(call: CommandCall) -> None:
        raise KeyError("mine")

    with caplog.at_level(logging.ERROR, logger="fumehood.testing"):
        async with (
            AsyncMemorySandbox(commands={"fail": fail}) as sandbox,
            sandbox.create_session() as session,
        ):
            with pytest.raises(CommandError, match="KeyError: 'mine'"):
                await session.exec(["fail"])
            assert (await session.exec(["true"])).ok
    [record] = caplog.records
    assert record.exc_info is not None


async def test_what_memory_cannot_do_is_refused() -> None:
    async with AsyncMemorySandbox() as sandbox, sandbox.create_session() as session:
        for call in (
            session.search("x"),
            session.pause(),
            session.start_process(["true"]),
            session.wait_for_port(80),
        ):
            with pytest.raises(InvalidRequestError, match="a session in memory has no"):
                await call
        with pytest.raises(EngineUnsupportedError):
            await session.snapshot("name")
        degraded = {item.partition(":")[0] for item in session.effective_limits.degraded}
        assert degraded >= {"memory_mb", "pids", "cpus", "seccomp", "no_new_privileges"}
        with pytest.raises(EngineUnsupportedError, match="published ports"):
            await sandbox.create_session(ports=[80])


async def test_what_no_session_in_memory_has_is_refused_before_there_is_one() -> None:
    for sandbox in (
        AsyncMemorySandbox(network=Network.bridge()),
        AsyncMemorySandbox(lifecycle=Lifecycle(idle_timeout=5)),
    ):
        async with sandbox:
            with pytest.raises(EngineUnsupportedError, match="in memory"):
                await sandbox.create_session()
            assert await sandbox.list_sessions() == []
    with pytest.raises(InvalidRequestError, match="pool"):
        AsyncMemorySandbox(pool=Pool(min_idle=1))
    for commands in ("git", {1: "x"}, {"git": 1.5}, {(): "x"}):
        with pytest.raises(InvalidRequestError):
            AsyncMemorySandbox(commands=commands)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    with pytest.raises(InvalidRequestError, match="exit_code"):
        CommandReply(exit_code=256)


async def test_a_command_is_ended_at_whatever_moment_its_caller_is_cancelled() -> None:
    async def hang(call: CommandCall) -> None:
        await asyncio.Event().wait()

    async with (
        AsyncMemorySandbox(commands={"hang": hang}) as sandbox,
        sandbox.create_session() as session,
    ):
        for steps in range(6):
            task = asyncio.create_task(session.exec(["hang"], timeout=None))
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            async with asyncio.timeout(10):
                with pytest.raises(asyncio.CancelledError):
                    await task
            assert session.statistics()["live"] == 0
        assert (await session.exec(["true"])).ok
