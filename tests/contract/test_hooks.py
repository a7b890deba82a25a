"""Hooks are told what happens; one of them may refuse it."""

from __future__ import annotations

import logging

import pytest

from contract.adapter import Api
from fumehood import (
    CommandNotFoundError,
    EndReason,
    ExecEnded,
    ExecStarted,
    FileWritten,
    Hooks,
    SessionCreated,
    SessionDestroyed,
)


@pytest.mark.engines("docker", "memory")
async def test_the_hooks_tell_of_a_session_from_start_to_end(api: Api) -> None:
    told: list[object] = []

    async def later(event: ExecEnded) -> None:
        told.append(event)

    hooks = Hooks(
        on_session_create=told.append,
        on_exec_start=told.append,
        on_exec_end=later,
        on_file_write=told.append,
        on_destroy=told.append,
    )
    async with api.session(hooks=hooks) as session:
        await session.write_file("a/b.txt", "four")
        result = await session.exec(["echo", "hi"], user="1000")
        with pytest.raises(CommandNotFoundError):
            await session.exec(["no-such-program"])
    created, written, started, ended, second, failed, destroyed = told
    assert isinstance(created, SessionCreated)
    assert created.session_id == session.id
    assert created.duration > 0
    assert written == FileWritten(session_id=session.id, path="a/b.txt", size=4)
    assert started == ExecStarted(session_id=session.id, argv=("echo", "hi"), cwd=".", user="1000")
    assert isinstance(ended, ExecEnded)
    assert ended.result == result
    assert isinstance(second, ExecStarted)
    assert isinstance(failed, ExecEnded)
    assert isinstance(failed.error, CommandNotFoundError)
    assert destroyed == SessionDestroyed(session_id=session.id, reason=EndReason.DESTROYED)


@pytest.mark.engines("docker", "memory")
async def test_a_hook_may_refuse_a_command(api: Api) -> None:
    def refuse(event: ExecStarted) -> None:
        if event.argv[0] == "rm":
            raise PermissionError("not here")

    async with api.session(hooks=Hooks(on_exec_start=refuse)) as session:
        await session.write_file("kept", "x")
        with pytest.raises(PermissionError, match="not here"):
            await session.exec(["rm", "kept"])
        assert await session.read_file("kept") == b"x"


@pytest.mark.engines("docker", "memory")
async def test_a_hook_that_fails_afterwards_changes_nothing(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(event: object) -> None:
        raise RuntimeError("a hook's own fault")

    hooks = Hooks(on_exec_end=fail, on_file_write=fail, on_session_create=fail, on_destroy=fail)
    with caplog.at_level(logging.ERROR, logger="fumehood.hooks"):
        async with api.session(hooks=hooks) as session:
            await session.write_file("a", "x")
            assert (await session.exec(["cat", "a"])).stdout == "x"
    assert len(caplog.records) == 4
