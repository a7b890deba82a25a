"""Streams that go past an engine of this machine, and when they may not."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from contract.adapter import Api
from contract.observer import Observer
from contract.programs import write_bytes
from fumehood import Stdout
from fumehood.engines import docker_direct
from fumehood.engines.docker import ENGINE_ONLY

PATIENCE = 20.0


async def first_process(observer: Observer, session_id: str) -> tuple[int, str]:
    """Return the number of a session's PID 1 out here, and its container's id."""
    container = await observer.container(session_id)
    assert container is not None
    return int(container["State"]["Pid"]), str(container["Id"])


def is_away(pid: int) -> bool:
    """Whether the supervisor has let go of the engine's pipes."""
    return Path(f"/proc/{pid}/fd/1").readlink() == Path("/dev/null")


async def moved(pid: int) -> None:
    async with asyncio.timeout(PATIENCE):
        while not is_away(pid):
            await asyncio.sleep(0.01)


async def test_a_session_moves_past_the_engine_under_a_command(
    api: Api, observer: Observer
) -> None:
    size = 3_000_000
    async with api.session() as session:
        events = session.exec_stream(write_bytes(size))
        data = [event.data async for event in events if isinstance(event, Stdout)]
        assert sum(map(len, data)) == size
        pid, _ = await first_process(observer, session.id)
        await moved(pid)
        assert (await session.exec(["wc", "-c"], input=bytes(size))).stdout == f"{size}\n"
        await session.write_file("file", bytes(size))
        assert await session.read_file("file") == bytes(size)
    await observer.gone(session.id, within=PATIENCE)


async def test_who_joins_needs_no_command_of_the_engines(api: Api, observer: Observer) -> None:
    async with api.session() as session, api.sandbox() as another:
        joined = await another.connect(session.id)
        assert (await joined.exec(["echo", "here"], check=True)).stdout == "here\n"
        container = await observer.container(session.id)
        assert container is not None
        assert not container["ExecIDs"]
        await joined.detach()
        assert (await session.exec(["true"])).ok


async def test_every_stream_stays_with_the_engine_if_that_is_wanted(
    api: Api, observer: Observer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENGINE_ONLY, "engine")
    async with api.session() as session, api.sandbox() as another:
        joined = await another.connect(session.id)
        assert (await joined.exec(["echo", "here"], check=True)).stdout == "here\n"
        pid, _ = await first_process(observer, session.id)
        assert not is_away(pid)
        container = await observer.container(session.id)
        assert container is not None
        assert container["ExecIDs"]
        await joined.detach()


async def test_a_process_of_another_container_is_not_entered(api: Api, observer: Observer) -> None:
    async with api.session() as session, api.session() as other:
        pid, _ = await first_process(observer, session.id)
        _, container_id = await first_process(observer, other.id)
        with pytest.raises(ProcessLookupError, match="none of the container's"):
            await docker_direct.open_direct(pid, container_id, what="a stream")
        with pytest.raises(ProcessLookupError):
            await docker_direct.open_direct(os.getpid(), container_id, what="a stream")


async def test_this_process_stays_who_and_where_it_is(api: Api, observer: Observer) -> None:
    def state() -> tuple[object, ...]:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        ids = [line for line in status.splitlines() if line.startswith(("Uid:", "Gid:"))]
        # A process that the kernel protects after a change of uid has an owner of its own here.
        return ids, Path("/proc/self/ns/net").readlink(), Path("/proc/self/io").stat().st_uid

    async with api.session() as session:
        pid, container_id = await first_process(observer, session.id)
        before = state()
        stream = await docker_direct.open_direct(pid, container_id, what="a stream")
        await stream.close()
        assert state() == before
