"""Sessions and sandboxes over an engine in memory: how they come to be, and every way they end."""

from __future__ import annotations

import asyncio
import gc

import pytest

from fakes.engine import MemoryEngine
from fakes.supervisor import PATIENCE, FakeSupervisor, Opened
from fumehood import (
    AsyncDockerSandbox,
    AsyncSession,
    EndReason,
    EngineError,
    FileTooLargeError,
    Hooks,
    InvalidRequestError,
    Lifecycle,
    Limits,
    Manifest,
    SandboxError,
    SessionCreated,
    SessionDestroyed,
    SessionEndedError,
    SessionLostError,
    SessionState,
    SupervisorError,
    UserNotFoundError,
    Workspace,
)
from fumehood import session as session_module
from fumehood._wire import codec
from fumehood._wire.table import EndCode, ErrorCode, Field, Frame, Operation
from fumehood.engines.base import Container
from tether.conftest import Make


def configured(engine: MemoryEngine, session: AsyncSession) -> dict[Field, codec.Value]:
    frames = engine.supervisors[session.id].frames
    return codec.decode_frame_fields(next(f for f in frames if f.frame is Frame.CONFIGURE))


# --- coming to be -----------------------------------------------------------------------------


async def test_a_session_is_made_used_and_gone(make: Make, engine: MemoryEngine) -> None:
    created: list[SessionCreated] = []
    destroyed: list[SessionDestroyed] = []
    sandbox = make(hooks=Hooks(on_session_create=created.append, on_destroy=destroyed.append))
    async with sandbox.create_session(id="s1", metadata={"for": "test"}) as session:
        assert session.owned
        assert repr(session) == "<AsyncSession s1 running>"
        assert session.metadata == {"for": "test"}
        assert session.end_reason is None
        assert (await session.exec(["echo", "hi"])).stdout == "hi"
        assert [event.session_id for event in created] == ["s1"]
    assert session.state is SessionState.ENDED
    assert session.end_reason is EndReason.DESTROYED
    assert engine.removed == [("s1", False)]
    assert destroyed == [SessionDestroyed(session_id="s1", reason=EndReason.DESTROYED)]
    with pytest.raises(SessionEndedError, match="destroyed"):
        await session.exec(["x"])
    assert await session.wait_ended() is EndReason.DESTROYED
    assert session.effective_limits.pids == 512


async def test_settings_reach_the_supervisor(make: Make, engine: MemoryEngine) -> None:
    engine.image_env = (("PATH", "/bin"), ("A", "image"))
    sandbox = make(
        env={"A": "sandbox", "B": "é"},
        user="1000:1000",
        workdir="/srv/./work",
        lifecycle=Lifecycle(ttl=5, idle_timeout=0.5, disconnect_grace=0, detached=True),
        limits=Limits(max_file_bytes=7, max_processes=3),
    )
    async with sandbox.create_session(manifest=Manifest(env={"C": "x"})) as session:
        fields = configured(engine, session)
    assert fields[Field.ENV] == [b"PATH=/bin", b"A=sandbox", "B=é".encode(), b"C=x"]
    assert (fields[Field.USER], fields[Field.WORKDIR]) == ("1000:1000", b"/srv/work")
    assert [fields[f] for f in (Field.TTL_MS, Field.IDLE_MS, Field.GRACE_MS)] == [5000, 500, 0]
    assert (fields[Field.DETACHED], fields[Field.MAX_FILE_BYTES]) == (1, 7)
    assert (fields[Field.CHOWN_WORKSPACE], fields[Field.WRITE_HOSTS]) == (1, 1)


async def test_a_manifest_is_staged_before_the_session_is_handed_over(
    make: Make, engine: MemoryEngine
) -> None:
    files = {f"d/{n}.txt": f"text {n}" for n in range(40)}
    manifest = Manifest(files={**files, "raw": b"\0"}, directories=("out/deep",))
    async with make().create_session(manifest=manifest) as session:
        channels = engine.supervisors[session.id].channels.values()
        written = {c.path: bytes(c.input) for c in channels if c.operation is Operation.WRITE}
        assert written == {**{p: t.encode() for p, t in files.items()}, "raw": b"\0"}
        made = [c.path for c in channels if c.operation is Operation.MAKE_DIRECTORY]
        assert made == ["out/deep"]


async def test_a_manifest_that_fails_half_way_leaves_nothing(
    make: Make, engine: MemoryEngine
) -> None:
    def script(peer: FakeSupervisor, channel: Opened) -> None:
        if channel.operation is Operation.WRITE and channel.path == "7":
            peer.fail(channel.number, ErrorCode.NO_SPACE)

    engine.script = script
    destroyed: list[SessionDestroyed] = []
    sandbox = make(hooks=Hooks(on_destroy=destroyed.append))
    with pytest.raises(SandboxError, match="no space") as caught:
        await sandbox.create_session(manifest=Manifest(files={str(n): "x" for n in range(30)}))
    assert type(caught.value).__name__ == "DiskFullError"
    assert engine.containers == {}
    assert destroyed == []


@pytest.mark.parametrize("error", [ErrorCode.USER_NOT_FOUND, ErrorCode.USER_REFUSED])
async def test_a_user_that_the_container_does_not_have_is_a_typed_error(
    make: Make, engine: MemoryEngine, error: ErrorCode
) -> None:
    engine.greet = False
    engine.prepare = lambda peer: peer.end(EndCode.NOT_CONFIGURED, error=int(error))
    with pytest.raises(UserNotFoundError, match="'nobody-here'") as caught:
        await make(user="nobody-here").create_session(id="s1")
    assert caught.value.session_id == "s1"
    assert engine.containers == {}


async def test_a_supervisor_that_ends_at_once_leaves_nothing(
    make: Make, engine: MemoryEngine
) -> None:
    engine.greet = False
    engine.prepare = lambda peer: peer.stream.end()
    with pytest.raises(SupervisorError):
        await make().create_session()
    assert engine.containers == {}


async def test_a_cancelled_creation_leaves_nothing_and_is_cancelled(
    make: Make, engine: MemoryEngine
) -> None:
    engine.greet = False
    engine.hold_removal.clear()
    task = asyncio.ensure_future(awaited(make(), "s1"))
    async with asyncio.timeout(PATIENCE):
        while "s1" not in engine.supervisors:
            await asyncio.sleep(0)
        await engine.supervisors["s1"].seen(Frame.HELLO)
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
    assert not task.done()
    engine.hold_removal.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert engine.containers == {}


async def awaited(sandbox: AsyncDockerSandbox, session_id: str) -> AsyncSession:
    return await sandbox.create_session(id=session_id)


async def test_an_environment_too_large_for_the_wire_is_refused_before_anything_exists(
    make: Make, engine: MemoryEngine
) -> None:
    engine.image_env = (("BIG", "x" * (2 << 20)),)
    with pytest.raises(InvalidRequestError, match="environment"):
        await make(env={"A": "x" * 1_000_000}).create_session()
    assert engine.requests == []


async def test_a_file_over_the_limit_is_refused_before_anything_exists(
    make: Make, engine: MemoryEngine
) -> None:
    sandbox = make(limits=Limits(max_file_bytes=2))
    with pytest.raises(FileTooLargeError):
        sandbox.create_session(manifest=Manifest(files={"f": "abc"}))
    assert engine.requests == []


async def test_an_end_between_readiness_and_hand_over_is_not_missed(
    make: Make, engine: MemoryEngine
) -> None:
    find = engine.find_session

    async def slow(session_id: str) -> Container | None:
        peer = engine.supervisors[session_id]
        peer.end(EndCode.STOPPED)
        async with asyncio.timeout(PATIENCE):
            while peer.stream.open:
                await asyncio.sleep(0)
        return await find(session_id)

    engine.find_session = slow  # type: ignore[method-assign]
    session = await make().create_session(ports=(80,))
    assert await asyncio.wait_for(session.wait_ended(), PATIENCE) is EndReason.STOPPED
    assert session.state is SessionState.ENDED


async def test_two_sessions_of_one_id_and_one_workspace_are_typed_errors(make: Make) -> None:
    sandbox = make(workspace=Workspace.persistent("w"))
    async with sandbox.create_session(id="a"):
        with pytest.raises(SandboxError) as exists:
            await sandbox.create_session(id="a", workspace=Workspace.ephemeral())
        with pytest.raises(SandboxError) as busy:
            await sandbox.create_session(id="b")
        assert exists.value.code == "session_exists"
        assert busy.value.code == "workspace_busy"
        assert await sandbox.list_workspaces() == ["w"]
        assert [info.id for info in await sandbox.list_sessions()] == ["a"]


# --- its end ----------------------------------------------------------------------------------


@pytest.mark.parametrize("code", list(EndCode))
async def test_an_end_that_nobody_asked_for_is_known_and_told_once(
    make: Make, engine: MemoryEngine, code: EndCode
) -> None:
    told: asyncio.Queue[SessionDestroyed] = asyncio.Queue()
    sandbox = make(hooks=Hooks(on_destroy=told.put_nowait))
    async with sandbox.create_session(id="s1") as session:
        engine.supervisors["s1"].end(code)
        reason = await asyncio.wait_for(session.wait_ended(), PATIENCE)
        assert reason == EndReason(code.name.lower())
        assert (await asyncio.wait_for(told.get(), PATIENCE)).reason is reason
        assert session.end_reason is reason
    await sandbox.close()
    assert told.empty()
    # What broke the rules, or could not be controlled, is not trusted with its own end.
    untrusted = code in (EndCode.PROTOCOL, EndCode.RESOURCES)
    assert engine.removed == [("s1", False)] * (2 if untrusted else 1)


@pytest.mark.parametrize(
    "exit_code, reason",
    [
        (64 + EndCode.TTL, EndReason.TTL),
        (64 + EndCode.CLIENT_LOST, EndReason.CLIENT_LOST),
        (137, EndReason.STOPPED),
        (143, EndReason.STOPPED),
        (1, EndReason.LOST),
        (None, EndReason.LOST),
    ],
)
async def test_the_true_cause_of_a_lost_stream_is_asked_of_the_engine(
    make: Make,
    engine: MemoryEngine,
    exit_code: int | None,
    reason: EndReason,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(session_module, "_LOOKS", (0.0, 0.0))
    async with make().create_session(id="s1") as session:
        del engine.containers["s1"]
        if exit_code is not None:
            engine.exit_codes[session.nonce] = exit_code
        engine.supervisors["s1"].stream.end()
        assert await asyncio.wait_for(session.wait_ended(), PATIENCE) is reason
        assert session.end_reason is reason
        with pytest.raises(SessionLostError) as caught:
            await session.exec(["true"])
        assert caught.value.reason is reason


async def test_a_supervisor_that_breaks_the_rules_is_removed_through_the_engine(
    make: Make, engine: MemoryEngine
) -> None:
    session = await make().create_session(id="s1")
    engine.supervisors["s1"].send(b"\xff" * 8)
    assert await asyncio.wait_for(session.wait_ended(), PATIENCE) is EndReason.PROTOCOL
    assert engine.removed == [("s1", False)]


async def test_destroy_is_idempotent_shared_and_not_stopped_by_a_cancellation(
    make: Make, engine: MemoryEngine
) -> None:
    told: list[SessionDestroyed] = []
    session = await make(hooks=Hooks(on_destroy=told.append)).create_session(id="s1")
    engine.hold_removal.clear()
    first = asyncio.create_task(session.destroy())
    second = asyncio.create_task(session.destroy())
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    engine.hold_removal.set()
    await second
    await session.destroy()
    assert engine.removed == [("s1", False)]
    assert len(told) == 1


async def test_a_destroy_that_failed_can_be_called_again(
    make: Make, engine: MemoryEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A supervisor that never says that all is dead: the engine's word is waited for.
    monkeypatch.setattr(session_module, "LAST_WORDS_SECONDS", 0.01)
    engine.prepare = lambda peer: None
    session = await make().create_session(id="s1")
    engine.fail_removal = EngineError("not now")
    with pytest.raises(EngineError, match="not now"):
        await session.destroy()
    engine.fail_removal = None
    await session.destroy()
    assert engine.containers == {}


async def test_a_hook_may_destroy_what_has_ended(make: Make, engine: MemoryEngine) -> None:
    done = asyncio.Event()

    async def again(event: SessionDestroyed) -> None:
        await session.destroy()
        done.set()

    session = await make(hooks=Hooks(on_destroy=again)).create_session(id="s1")
    engine.supervisors["s1"].end(EndCode.TTL)
    await asyncio.wait_for(done.wait(), PATIENCE)


async def test_destroying_fails_what_is_under_way_with_the_reason(
    make: Make, engine: MemoryEngine
) -> None:
    engine.script = lambda peer, channel: None
    session = await make().create_session(id="s1")
    task = asyncio.create_task(session.exec(["x"]))
    await engine.supervisors["s1"].opened(1)
    await session.destroy()
    with pytest.raises(SessionEndedError) as caught:
        await task
    assert caught.value.reason == "destroyed"


async def test_a_persistent_workspace_goes_only_when_asked(
    make: Make, engine: MemoryEngine
) -> None:
    for destroy in (False, True):
        workspace = Workspace.persistent("w", destroy_with_session=destroy)
        async with make().create_session(id="s1", workspace=workspace):
            pass
    assert engine.removed == [("s1", False), ("s1", True)]


def collect(references: list[object]) -> None:
    references.clear()
    gc.collect()


async def test_a_session_that_everybody_dropped_warns_and_is_left_to_its_lease(
    make: Make, engine: MemoryEngine
) -> None:
    session = await make().create_session(id="s1")
    # The task that has made it is the loop's until the loop's next turn.
    await asyncio.sleep(0)
    stream = engine.supervisors["s1"].stream
    references: list[object] = [session]
    del session
    with pytest.warns(ResourceWarning, match="s1 was never destroyed"):
        collect(references)
    async with asyncio.timeout(PATIENCE):
        while not stream.closed:
            await asyncio.sleep(0)
    # The lease ends the container; this client does not.
    assert engine.removed == []


async def test_what_is_under_way_keeps_its_session(make: Make, engine: MemoryEngine) -> None:
    stream = (await make().create_session(id="s1")).exec_stream(["echo", "hi"])
    gc.collect()
    assert not engine.supervisors["s1"].stream.closed
    assert len([event async for event in stream]) == 2
    references: list[object] = [stream]
    del stream
    with pytest.warns(ResourceWarning):
        collect(references)
