"""The lease is held by the supervisor: time limits, idle time, more time, how an end is told."""

from __future__ import annotations

import asyncio

import pytest

from contract.adapter import Api
from contract.observer import Observer
from fumehood import (
    AsyncDockerSandbox,
    AsyncSession,
    EndReason,
    InvalidRequestError,
    Lifecycle,
    SessionEndedError,
    SessionState,
)


@pytest.mark.engines("docker", "memory")
async def test_a_command_that_runs_when_the_time_is_over_ends_with_the_reason(
    api: Api, observer: Observer
) -> None:
    async with api.sandbox(lifecycle=Lifecycle(ttl=1)) as sandbox:
        session = await sandbox.create_session()
        with pytest.raises(SessionEndedError, match="ttl") as caught:
            await session.exec(["sleep", "600"], timeout=None)
        assert caught.value.reason == EndReason.TTL
        assert session.state is SessionState.ENDED
        with pytest.raises(SessionEndedError, match="ttl"):
            await session.read_file("a")
        await observer.gone(session.id, within=30)
        assert session.end_reason is EndReason.TTL
        # Ending what has ended is no error.
        await session.destroy()
        assert session.end_reason is EndReason.TTL


@pytest.mark.engines("docker", "memory")
async def test_extending_gives_more_time_and_none_takes_the_limit_away(api: Api) -> None:
    async with api.session(lifecycle=Lifecycle(ttl=2)) as session:
        await session.extend(ttl=600)
        # Past the first limit: the command would not come back if that still held.
        await session.exec(["sleep", "2.5"], check=True)
        await session.extend(ttl=None)
        assert session.end_reason is None
    async with api.session(lifecycle=Lifecycle(ttl=600)) as session:
        await session.extend(ttl=1)
        assert await session.wait_ended() is EndReason.TTL


@pytest.mark.engines("docker", "memory")
async def test_a_detached_session_keeps_a_limit(api: Api) -> None:
    async with api.session(lifecycle=Lifecycle(ttl=60, detached=True)) as session:
        with pytest.raises(InvalidRequestError):
            await session.extend(ttl=None)
        with pytest.raises(InvalidRequestError):
            await session.extend(ttl=-1)
        await session.exec(["true"], check=True)


async def test_background_processes_do_not_count_as_activity(api: Api, observer: Observer) -> None:
    async with api.sandbox(lifecycle=Lifecycle(idle_timeout=1)) as sandbox:
        session = await sandbox.create_session()
        result = await session.shell("sleep 600 >/dev/null 2>&1 & echo started", check=True)
        assert result.left_running == 1
        assert await session.wait_ended() is EndReason.IDLE
        await observer.gone(session.id, within=30)


async def test_a_stream_that_nobody_reads_is_still_activity(api: Api) -> None:
    async with api.session(lifecycle=Lifecycle(idle_timeout=1)) as session:
        async with session.exec_stream(["sh", "-c", "yes | head -c 2000000"]) as stream:
            await anext(stream)
            # Stalled for longer than the idle time; the command is what keeps the session.
            await session.exec(["sleep", "2"], check=True)
            size = 0
            async for event in stream:
                size += len(getattr(event, "data", b""))
        assert session.end_reason is None
        assert size > 1_000_000


@pytest.mark.engines("docker", "memory")
async def test_destroying_is_idempotent_and_safe_from_several_tasks(
    api: Api, observer: Observer
) -> None:
    async with api.sandbox() as sandbox:
        session = await sandbox.create_session()
        await asyncio.gather(*(session.destroy() for _ in range(5)))
        await session.destroy(wait=True)
        assert session.end_reason is EndReason.DESTROYED
        assert await session.wait_ended() is EndReason.DESTROYED
        assert await observer.container(session.id) is None


async def test_a_destroyed_sessions_id_is_free_at_once_for_every_client(api: Api) -> None:
    name = api.new_id()
    async with api.sandbox() as sandbox, api.sandbox() as another:
        for client in (sandbox, sandbox, another, sandbox):
            session = await client.create_session(id=name)
            assert await session.list_files() == []
            await session.write_file("left", "behind")
            await session.destroy()
            assert name not in [info.id for info in await client.list_sessions()]


@pytest.mark.engines("docker", "memory")
async def test_destroying_ends_what_is_under_way(api: Api) -> None:
    async with api.sandbox() as sandbox:
        session = await sandbox.create_session()
        running = [
            asyncio.ensure_future(session.exec(["sleep", "600"], timeout=None)) for _ in range(5)
        ]
        await session.ping()
        await session.destroy()
        ends = await asyncio.gather(*running, return_exceptions=True)
        assert all(isinstance(end, SessionEndedError) for end in ends)


@pytest.mark.engines("docker", "memory")
async def test_closing_a_sandbox_ends_its_sessions(api: Api, observer: Observer) -> None:
    async with api.sandbox() as sandbox:
        sessions = await asyncio.gather(*(_made(sandbox) for _ in range(3)))
    for session in sessions:
        assert session.end_reason is EndReason.DESTROYED
        assert await observer.container(session.id) is None


async def _made(sandbox: AsyncDockerSandbox) -> AsyncSession:
    return await sandbox.create_session()


async def test_stopping_the_container_is_told_as_stopped(api: Api, observer: Observer) -> None:
    async with api.sandbox() as sandbox:
        session = await sandbox.create_session()
        await observer.call("POST", f"containers/fumehood-{session.id}/stop", t="10")
        assert await session.wait_ended() is EndReason.STOPPED
        await observer.gone(session.id, within=30)
