"""The engine ends, in any way, and comes back: what was under way ends typed, and nothing stays."""

from __future__ import annotations

import asyncio
import time

import pytest

from cases.mark import case
from faults.conftest import MakeSandbox, sweep
from faults.engine import OwnEngine
from faults.pending import SLACK, all_end, begin
from fumehood import (
    EndReason,
    EngineUnavailableError,
    Lifecycle,
    SandboxError,
    Workspace,
)
from fumehood.engines.docker import ENGINE_ONLY

LOST = "After the client dies in any way"
LEASE = "TTL and idle time end a session"
RESTART = "A live session survives a restart of the engine"
CREATION = "A failed or cancelled creation leaves nothing"

ENDS = {
    "ended": pytest.param("stop", False, marks=case("F06", RESTART)),
    "ended, containers left": pytest.param("stop", True, marks=case("F06", RESTART)),
    "killed": pytest.param("kill", False, marks=case("F07", RESTART)),
    "killed, containers left": pytest.param("kill", True, marks=case("F07", RESTART)),
}


async def end(engine: OwnEngine, how: str) -> None:
    await (engine.stop() if how == "stop" else engine.kill())


async def start_anew(engine: OwnEngine, *, live_restore: bool) -> None:
    await engine.stop()
    await engine.start(live_restore=live_restore)


@pytest.mark.parametrize("way", ["engine", "direct"])
@pytest.mark.parametrize(("how", "live_restore"), ENDS.values(), ids=ENDS)
async def test_every_call_ends_typed_when_the_engine_does_and_nothing_stays(
    engine: OwnEngine,
    sandbox: MakeSandbox,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
    live_restore: bool,
    way: str,
) -> None:
    monkeypatch.setenv(ENGINE_ONLY, way)
    await start_anew(engine, live_restore=live_restore)
    async with sandbox() as box:
        session = await box.create_session()
        pending = await begin(session)
        lives_on = way == "direct" and live_restore and await engine.keeps_containers()
        await end(engine, how)
        if lives_on:
            # Nothing has broken for who goes past an engine that leaves its containers.
            assert (await session.exec(["echo", "on"], check=True)).stdout == "on\n"
            assert not any(task.done() for task in pending.values())
            await session.destroy()
            await all_end(session, pending, EndReason.DESTROYED)
        else:
            # A supervisor that is told to stop says so, if the engine still carries its last words.
            await all_end(session, pending, EndReason.LOST, EndReason.STOPPED)
            # Without an engine nothing can be removed, and nothing claims that it was.
            with pytest.raises(EngineUnavailableError):
                await session.destroy()
        await engine.start(live_restore=live_restore)
        await session.destroy(wait=True)
        await sweep(engine)
        assert await engine.observer.left("") == []
        async with box.create_session() as another:
            assert (await another.exec(["echo", "on"], check=True)).stdout == "on\n"


@case("F07", RESTART)
async def test_a_block_that_ends_while_the_engine_is_down_says_so_and_nothing_stays(
    engine: OwnEngine, sandbox: MakeSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Past the engine the session itself says that it has ended, and nothing is wrong.
    monkeypatch.setenv(ENGINE_ONLY, "engine")
    await start_anew(engine, live_restore=False)
    with pytest.raises(EngineUnavailableError):
        async with sandbox() as box:
            await box.create_session()
            await engine.kill()
    await engine.start()
    await sweep(engine)
    assert await engine.observer.left("") == []


@case("F07", RESTART)
async def test_a_persistent_workspace_is_free_and_whole_after_a_crash(
    engine: OwnEngine, sandbox: MakeSandbox
) -> None:
    await start_anew(engine, live_restore=False)
    workspace = Workspace.persistent("crash")
    async with sandbox(workspace=workspace) as box:
        session = await box.create_session()
        await session.write_file("kept", "before")
        # A crash of the machine is not the subject: what was written has reached the kernel.
        await engine.kill()
        await session.wait_ended()
        await engine.start()
        await sweep(engine)
        async with box.create_session() as another:
            assert await another.read_text_file("kept") == "before"
        await session.destroy()
        await box.remove_workspace("crash")


@case("F08", LEASE)
@pytest.mark.slow
@pytest.mark.parametrize(
    "lifecycle",
    [
        pytest.param(Lifecycle(ttl=6, disconnect_grace=60), id="ttl"),
        pytest.param(Lifecycle(heartbeat_timeout=4, disconnect_grace=2), id="heartbeat"),
    ],
)
async def test_the_lease_holds_while_the_engine_is_down_and_a_command_writes(
    engine: OwnEngine,
    sandbox: MakeSandbox,
    monkeypatch: pytest.MonkeyPatch,
    lifecycle: Lifecycle,
) -> None:
    # Past the engine there is still somebody who reads.
    monkeypatch.setenv(ENGINE_ONLY, "engine")
    await start_anew(engine, live_restore=True)
    async with sandbox(lifecycle=lifecycle) as box:
        session = await box.create_session()
        container = await engine.container_id(session.id)
        writing = asyncio.ensure_future(
            session.exec(["dd", "if=/dev/zero", "bs=64k"], timeout=None)
        )
        # It writes: there is nobody at the other end of process 1's output from now on.
        while "dd" not in engine.names(container):
            await asyncio.sleep(0.01)
        down = time.monotonic()
        await engine.kill()
        # 6 s by either lease; three more are the promise.
        while engine.pids(container):
            assert time.monotonic() - down < 6 + 3 + SLACK, "its processes live on"
            await asyncio.sleep(0.05)
        with pytest.raises(SandboxError):
            await writing
        await engine.start(live_restore=True)
        await session.destroy(wait=True)
    await sweep(engine)
    assert await engine.observer.left("") == []


@case("F08", "A command that runs out of time")
@pytest.mark.slow
async def test_a_command_runs_out_of_time_while_the_engine_is_down(
    engine: OwnEngine, sandbox: MakeSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENGINE_ONLY, "engine")
    await start_anew(engine, live_restore=True)
    # Only its own time ends the command: the session stays for longer than it.
    async with sandbox(lifecycle=Lifecycle(disconnect_grace=60)) as box:
        session = await box.create_session()
        container = await engine.container_id(session.id)
        writing = asyncio.ensure_future(session.exec(["cat", "/dev/zero"], timeout=5))
        while "cat" not in engine.names(container):
            await asyncio.sleep(0.01)
        began = time.monotonic()
        await engine.kill()
        while "cat" in engine.names(container):
            assert time.monotonic() - began < 5 + 1 + SLACK, "it lives on"
            await asyncio.sleep(0.05)
        assert engine.pids(container), "its session has ended with it"
        with pytest.raises(SandboxError):
            await writing
        await engine.start(live_restore=True)
        await session.destroy(wait=True)
    await sweep(engine)
    assert await engine.observer.left("") == []


@case("X50", CREATION)
@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("live_restore", [False, True], ids=["", "containers left"])
async def test_creations_that_an_engine_dies_under_are_typed_and_leave_nothing(
    engine: OwnEngine, sandbox: MakeSandbox, live_restore: bool
) -> None:
    await start_anew(engine, live_restore=live_restore)
    async with sandbox() as box:
        async with box.create_session():
            pass  # the supervisor is on the engine: the next ones are made at once
        creating = [asyncio.ensure_future(box.create_session()._make()) for _ in range(8)]
        while not any(item["State"] == "running" for item in await containers(engine)):
            await asyncio.sleep(0.005)
        await engine.kill()
        await engine.start(live_restore=live_restore)
        done, hang = await asyncio.wait(creating, timeout=60)
        assert not hang
        for task in done:
            error = task.exception()
            assert error is None or isinstance(error, SandboxError), repr(error)
            if error is None:
                # It was ready before the engine died, and has been lost since.
                await task.result().destroy()
    await sweep(engine)
    # An engine that takes its containers back (from 24.0.8 on) has some in which a supervisor was
    # not told whose it is, or nobody speaks to it: each ends by itself, and the engine removes it.
    async with asyncio.timeout(90 if live_restore else 10):
        while await engine.observer.left(""):
            await asyncio.sleep(0.1)
    # A supervisor that the engine has forgotten ends by itself.
    async with asyncio.timeout(60):
        while any("supervisor" in engine.names(id) for id in await engine.lost()):
            await asyncio.sleep(0.1)
    # What is left then is a runtime that was never told to go on: nothing of ours
    # and nothing of an image has run there.
    assert set(await engine.reap_lost()) <= {"runc:[2:INIT]"}


async def containers(engine: OwnEngine) -> list[dict[str, object]]:
    found = await engine.observer.call("GET", "containers/json", all="1")
    return list(found)
