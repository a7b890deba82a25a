"""What runs the containers breaks: the shim, containerd, the runtime's program."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from cases.mark import case
from faults.conftest import MakeSandbox, sweep
from faults.engine import OwnEngine
from faults.pending import SECONDS, all_end, begin
from fumehood import (
    AsyncDockerSandbox,
    EndReason,
    EngineError,
    Security,
    SessionEndedError,
)
from fumehood.engines.docker import ENGINE_ONLY

RESTART = "A live session survives a restart of the engine"
CREATION = "A failed or cancelled creation leaves nothing"


@case("F09", RESTART)
async def test_a_killed_shim_ends_its_session_typed_and_leaves_nothing(
    engine: OwnEngine, sandbox: MakeSandbox
) -> None:
    async with sandbox() as box, box.create_session() as neighbour:
        session = await box.create_session()
        pending = await begin(session)
        (shim,) = engine.shims(await engine.container_id(session.id))
        os.kill(shim, signal.SIGKILL)
        await all_end(session, pending, EndReason.LOST, EndReason.STOPPED, EndReason.CLIENT_LOST)
        await session.destroy()
        assert (await neighbour.exec(["echo", "well"], check=True)).stdout == "well\n"
    await sweep(engine)


@case("F09", RESTART)
async def test_a_killed_supervisor_ends_its_session_typed_and_leaves_nothing(
    engine: OwnEngine, sandbox: MakeSandbox
) -> None:
    async with sandbox() as box:
        session = await box.create_session()
        pending = await begin(session)
        container = await engine.container_id(session.id)
        inspected = await engine.observer.call("GET", f"containers/{container}/json")
        # From outside, as the kernel does when the machine is out of memory.
        os.kill(inspected["State"]["Pid"], signal.SIGKILL)
        await all_end(session, pending, EndReason.LOST, EndReason.STOPPED)
        await session.destroy()


@case("F09", RESTART)
async def test_a_session_outlives_its_containerd(engine: OwnEngine, sandbox: MakeSandbox) -> None:
    async with sandbox() as box, box.create_session() as session:
        await engine.kill_containerd()
        # Its stream does not pass through containerd.
        assert (await session.exec(["echo", "on"], check=True)).stdout == "on\n"
        await engine.start_containerd()
        assert (await session.exec(["echo", "on"], check=True)).stdout == "on\n"
        # The engine finds its containerd again after a while, and says so until then.
        async with asyncio.timeout(60):
            while not await can_create(box):
                await asyncio.sleep(0.2)
    # Of a new containerd it may go on to miss events; the next case is about something else.
    await engine.stop()
    await engine.start()
    await sweep(engine)


async def can_create(box: AsyncDockerSandbox) -> bool:
    try:
        async with box.create_session() as session:
            await session.ping()
    except EngineError:
        return False
    return True


@case("F09", CREATION)
async def test_a_creation_without_a_containerd_is_typed_and_leaves_nothing(
    engine: OwnEngine, sandbox: MakeSandbox
) -> None:
    async with sandbox() as box:
        async with box.create_session():
            pass  # the supervisor is on the engine
        await engine.kill_containerd()
        try:
            with pytest.raises(EngineError):
                await box.create_session()
        finally:
            await engine.start_containerd()
        await engine.stop()
        await engine.start()
        await sweep(engine)


@case("F09", CREATION)
async def test_a_runtime_whose_program_is_missing_is_typed_and_leaves_nothing(
    engine: OwnEngine, sandbox: MakeSandbox
) -> None:
    async with sandbox(security=Security(runtime="missing")) as box:
        with pytest.raises(EngineError, match="/nonexistent/runc"):
            await box.create_session()
        assert await engine.observer.left("") == []


@case("X47", RESTART)
async def test_an_engine_that_stands_still_for_a_while_loses_nothing(
    engine: OwnEngine, sandbox: MakeSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Past the engine nobody would wait for it.
    monkeypatch.setenv(ENGINE_ONLY, "engine")
    async with sandbox() as box, box.create_session() as session:
        engine.freeze()
        try:
            running = asyncio.ensure_future(session.exec(["echo", "on"], check=True))
            listing = asyncio.ensure_future(box.list_sessions())
            creating = asyncio.ensure_future(box.create_session()._make())
            done, _ = await asyncio.wait({running, listing, creating}, timeout=1)
            assert not done, "somebody else has answered"
        finally:
            engine.thaw()
        async with asyncio.timeout(SECONDS):
            result, sessions, another = await running, await listing, await creating
        assert result.stdout == "on\n"
        assert session.id in [info.id for info in sessions]
        await another.destroy()
        with pytest.raises(SessionEndedError):
            await another.exec(["true"])


@case("X79", RESTART)
async def test_a_command_past_an_engine_that_stands_still_does_not_wait_for_it(
    engine: OwnEngine, sandbox: MakeSandbox
) -> None:
    async with sandbox() as box, box.create_session() as session:
        async with asyncio.timeout(SECONDS):
            while not session.statistics()["resumed"]:
                await asyncio.sleep(0.01)
        engine.freeze()
        try:
            async with asyncio.timeout(SECONDS):
                assert (await session.exec(["echo", "on"], check=True)).stdout == "on\n"
        finally:
            engine.thaw()
