"""The end of a session: what is waited for, what goes on behind it, what happens if it fails."""

from __future__ import annotations

import asyncio

import pytest

from fakes.engine import MemoryEngine
from fakes.supervisor import PATIENCE
from fumehood import (
    EndReason,
    EngineError,
    Hooks,
    RemovalFailed,
    SessionEndedError,
    SessionNotFoundError,
    Workspace,
)
from fumehood import session as session_module
from fumehood._wire import codec
from fumehood._wire.table import Frame
from tether.conftest import Make


async def test_destroy_returns_when_all_is_dead_and_the_removal_goes_on(
    make: Make, engine: MemoryEngine
) -> None:
    sandbox = make()
    session = await sandbox.create_session(id="s1")
    engine.hold_removal.clear()
    await session.destroy()
    assert "s1" in engine.containers
    assert engine.supervisors["s1"].count(Frame.DESTROY) == 1
    assert session.end_reason is EndReason.DESTROYED
    # It is no session any more, for anybody who asks this client.
    assert await sandbox.list_sessions() == []
    with pytest.raises(SessionNotFoundError):
        await sandbox.connect("s1")
    engine.hold_removal.set()
    await session.destroy(wait=True)
    assert engine.containers == {}


async def test_the_same_id_can_be_used_again_at_once(make: Make, engine: MemoryEngine) -> None:
    sandbox = make()
    first = await sandbox.create_session(id="s1")
    engine.hold_removal.clear()
    await first.destroy()
    second = asyncio.ensure_future(sandbox.create_session(id="s1"))
    await asyncio.sleep(0)
    engine.hold_removal.set()
    session = await asyncio.wait_for(second, PATIENCE)
    assert (await session.exec(["echo", "again"])).stdout == "again"
    # A late second call for the first one does not hit the second, which has its name.
    await first.destroy(wait=True)
    assert (await session.exec(["echo", "still"])).stdout == "still"


async def test_a_removal_that_fails_behind_it_is_told_and_can_be_asked_for_again(
    make: Make, engine: MemoryEngine, caplog: pytest.LogCaptureFixture
) -> None:
    told: asyncio.Queue[RemovalFailed] = asyncio.Queue()
    session = await make(hooks=Hooks(on_removal_error=told.put_nowait)).create_session(id="s1")
    engine.fail_removal = EngineError("not now")
    await session.destroy()
    failed = await asyncio.wait_for(told.get(), PATIENCE)
    assert failed.session_id == "s1"
    assert failed.error is engine.fail_removal
    assert "not now" in caplog.text
    with pytest.raises(EngineError, match="not now"):
        await session.destroy(wait=True)
    engine.fail_removal = None
    await session.destroy(wait=True)
    assert engine.containers == {}


async def test_closing_the_sandbox_waits_for_what_is_being_removed(
    make: Make, engine: MemoryEngine
) -> None:
    sandbox = make()
    session = await sandbox.create_session(id="s1")
    engine.hold_removal.clear()
    await session.destroy()
    closing = asyncio.create_task(sandbox.close())
    await asyncio.sleep(0)
    assert not closing.done()
    engine.hold_removal.set()
    await asyncio.wait_for(closing, PATIENCE)
    assert engine.containers == {}
    assert engine.closed == 1


async def test_a_persistent_workspace_is_free_when_destroy_returns(
    make: Make, engine: MemoryEngine
) -> None:
    session = await make(workspace=Workspace.persistent("w")).create_session(id="s1")
    await session.destroy()
    assert engine.containers == {}


@pytest.mark.parametrize("how", ["silent", "broken bytes", "the stream ends", "chatter"])
async def test_without_the_supervisors_word_the_engines_is_waited_for(
    make: Make, engine: MemoryEngine, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(session_module, "LAST_WORDS_SECONDS", 0.1)
    engine.prepare = lambda peer: None
    engine.script = lambda peer, channel: None
    session = await make().create_session(id="s1")
    peer = engine.supervisors["s1"]
    running = asyncio.create_task(session.exec(["x"]))
    await peer.opened(1)
    destroying = asyncio.create_task(session.destroy())
    await peer.seen(Frame.DESTROY)
    if how == "broken bytes":
        peer.send(b"\xff" * 8)
    elif how == "the stream ends":
        peer.stream.end()
    elif how == "chatter":
        for _ in range(100):
            peer.send(codec.encode_frame(Frame.PING, 0, bytes(8)))
    await asyncio.wait_for(destroying, PATIENCE)
    assert engine.containers == {}
    assert session.end_reason is EndReason.DESTROYED
    with pytest.raises(SessionEndedError):
        await running
