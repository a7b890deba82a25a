"""Hooks around commands: who is told of what, and who may refuse."""

from __future__ import annotations

import asyncio

import pytest

from fumehood import (
    ExecEnded,
    ExecStarted,
    Exit,
    Hooks,
    SessionEndedError,
)
from fumehood._wire.table import EndCode
from tether.commands import says
from tether.conftest import Connect


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
