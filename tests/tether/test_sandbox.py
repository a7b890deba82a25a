"""Sandboxes over an engine in memory: leases, other clients' sessions, and their own end."""

from __future__ import annotations

import asyncio
import dataclasses
import logging

import pytest

from fakes.engine import MemoryEngine
from fakes.supervisor import PATIENCE, FakeSupervisor
from fumehood import (
    AsyncDockerSandbox,
    EndReason,
    EngineError,
    InvalidRequestError,
    Lifecycle,
    ProtocolError,
    ResourceLimitError,
    SandboxError,
    SessionEndedError,
    SessionError,
    SessionNotFoundError,
    SessionState,
)
from fumehood._wire.table import ErrorCode, Field, Operation
from tether.conftest import Make

# --- leases -----------------------------------------------------------------------------------


async def test_a_lease_is_extended_and_a_round_trip_made(make: Make, engine: MemoryEngine) -> None:
    async with make().create_session(id="s1") as session:
        await session.extend(ttl=1.5)
        await session.extend(ttl=None)
        assert await session.ping() >= 0
        channels = engine.supervisors["s1"].channels
        assert [channels[n].number_of(Field.TTL_MS) for n in (1, 2)] == [1500, 0]
        assert channels[3].operation is Operation.STATUS
        for bad in (0, -1, float("nan"), 10**400, "5"):
            with pytest.raises(InvalidRequestError):
                await session.extend(ttl=bad)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "error, kind",
    [(ErrorCode.INVALID, InvalidRequestError), (ErrorCode.TOO_MANY_CHANNELS, ResourceLimitError)],
)
async def test_a_lease_that_is_refused_is_an_error_of_its_kind(
    make: Make, engine: MemoryEngine, error: ErrorCode, kind: type[SandboxError]
) -> None:
    engine.script = lambda peer, channel: peer.fail(channel.number, error, message="no \u202e")
    async with make().create_session() as session:
        with pytest.raises(kind) as caught:
            await session.extend(ttl=None)
        assert caught.value.op == "extend"
        assert "\u202e" not in str(caught.value)


# --- others' sessions -------------------------------------------------------------------------


@pytest.mark.parametrize("removable", [True, False], ids=["", "and cannot be removed"])
async def test_a_container_that_breaks_the_rules_while_it_is_joined_is_removed(
    make: Make, engine: MemoryEngine, removable: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async with make().create_session(id="s1"), make() as guest:
        engine.prepare = lambda peer: peer.send(b"\x7f" + bytes(7))
        if not removable:
            engine.fail_removal = EngineError("the engine is away")
        with pytest.raises(ProtocolError, match="not known") as caught:
            await guest.connect("s1")
        assert caught.value.session_id == "s1"
        assert engine.removed == ([("s1", False)] if removable else [])
        assert ("could not be removed" in caplog.text) is not removable
        assert engine.supervisors["relay to s1"].stream.closed
        engine.fail_removal = None


@pytest.mark.parametrize("noted", ["gone", "exited", "running for a moment more"])
async def test_a_session_that_ends_while_it_is_joined_is_not_there(
    make: Make, engine: MemoryEngine, noted: str
) -> None:
    # Docker has promised a stream, and says on it that the container has stopped.
    session, guest = await make().create_session(id="s1"), make()
    found = engine.containers["s1"]

    def end(peer: FakeSupervisor) -> None:
        peer.send(b"cannot exec in a stopped state: unknown\r\n")
        if noted == "gone":
            del engine.containers["s1"]
        elif noted == "exited":
            engine.containers["s1"] = dataclasses.replace(found, state="exited")
        else:
            engine.exits[found.nonce] = loop.create_future()
            loop.call_soon(engine.exits[found.nonce].set_result, 0)

    loop = asyncio.get_running_loop()
    engine.prepare = end
    with pytest.raises(SessionNotFoundError, match="not running any more") as caught:
        await guest.connect("s1")
    assert (caught.value.op, caught.value.session_id) == ("connect", "s1")
    # Nobody takes it for one that lies: its end is its own.
    assert engine.removed == []
    await session.destroy()


async def test_a_session_is_joined_and_left(make: Make, engine: MemoryEngine) -> None:
    owner, guest = make(), make()
    async with owner.create_session(id="s1", metadata={"a": "b"}) as session:
        async with guest.connect("s1") as joined:
            assert not joined.owned
            assert joined.metadata == {"a": "b"}
            assert (await joined.exec(["echo", "hi"])).stdout == "hi"
        assert joined.state is SessionState.DETACHED
        assert joined.end_reason is None
        with pytest.raises(SessionError, match="has left"):
            await joined.wait_ended()
        with pytest.raises(SessionEndedError) as caught:
            await joined.exec(["x"])
        assert caught.value.reason == "detached"
        assert session.state is SessionState.RUNNING
        assert engine.removed == []
        other = await guest.connect("s1")
        await guest.destroy_session("s1")
        await other.detach()
    with pytest.raises(SessionNotFoundError):
        await guest.connect("s1")


# --- sandboxes --------------------------------------------------------------------------------


async def test_a_sandbox_ends_what_it_made_and_leaves_what_is_detached(
    make: Make, engine: MemoryEngine
) -> None:
    async with make() as sandbox:
        session = await sandbox.create_session(id="s1")
    assert session.end_reason is EndReason.DESTROYED
    async with make(lifecycle=Lifecycle(detached=True, ttl=60)) as sandbox:
        session = await sandbox.create_session(id="s2")
    assert session.state is SessionState.DETACHED
    assert engine.closed == 2
    assert engine.removed == [("s1", False)]
    await sandbox.close()
    assert engine.closed == 2
    with pytest.raises(InvalidRequestError, match="closed"):
        await sandbox.create_session()


async def test_closing_goes_on_to_its_end_when_it_is_cancelled(
    make: Make, engine: MemoryEngine
) -> None:
    sandbox = make()
    await sandbox.create_session(id="s1")
    engine.hold_removal.clear()
    closing = asyncio.create_task(sandbox.close())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    engine.hold_removal.set()
    await sandbox.close()
    assert engine.removed == [("s1", False)]
    assert engine.closed == 1


async def test_a_failing_sweep_is_logged_and_harms_nobody(
    make: Make, engine: MemoryEngine, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(**_: object) -> None:
        raise EngineError("no sweep")

    engine.sweep = fail  # type: ignore[assignment, method-assign]
    with caplog.at_level(logging.WARNING):
        async with make() as sandbox, sandbox.create_session() as session:
            assert (await session.exec(["true"])).ok
    assert "no sweep" in caplog.text


async def test_a_sweep_that_fails_while_it_is_stopped_hinders_no_other_part_of_closing(
    make: Make, engine: MemoryEngine
) -> None:
    begun = asyncio.Event()
    told: list[dict[str, object]] = []

    async def fail(**_: object) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            raise OSError("the sweep's connection cannot be closed")

    engine.sweep = fail  # type: ignore[assignment, method-assign]
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    sandbox = make()
    await sandbox.create_session(id="s1")
    await asyncio.wait_for(begun.wait(), PATIENCE)
    await sandbox.close()
    assert engine.removed == [("s1", False)]
    assert engine.closed == 1
    assert [str(context["exception"]) for context in told] == [
        "the sweep's connection cannot be closed"
    ]


BAD_SANDBOXES: list[dict[str, object]] = [
    {"image": ""},
    {"image": "--privileged"},
    {"image": "-v/:/h"},
    {"image": "a b"},
    {"image": "a\nb"},
    {"image": "$(id)"},
    {"image": "x" * 1_000_000},
    {"image": 5},
    {"pull": "sometimes"},
    {"platform": "windows/amd64"},
    {"workdir": "relative"},
    {"workdir": "/"},
    {"workdir": "/a/../b"},
    {"workspace": "w"},
    {"lifecycle": None},
    {"network": "host"},
    {"limits": {"pids": 1}},
    {"security": True},
    {"hooks": print},
    {"env": {"A B": "x"}},
    {"user": "a\nb"},
    {"labels": {"fumehood.session": "x"}},
]


@pytest.mark.parametrize("options", BAD_SANDBOXES, ids=lambda o: next(iter(o)))
def test_a_bad_sandbox_is_refused_when_it_is_made(options: dict[str, object]) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        AsyncDockerSandbox(**options)  # type: ignore[arg-type]
    assert len(str(caught.value)) < 500


BAD_SESSIONS: list[dict[str, object]] = [
    {"id": ""},
    {"id": "A"},
    {"id": "a\n"},
    {"id": "$(id)"},
    {"id": "x" * 1_000_000},
    {"id": 5},
    {"workspace": "w"},
    {"manifest": {"files": {}}},
    {"metadata": {"k": "a\nb"}},
    {"metadata": ["k"]},
    {"ports": (0,)},
    {"ports": (65536,)},
    {"ports": ("80",)},
    {"ports": (True,)},
    {"ports": 80},
]


@pytest.mark.parametrize("options", BAD_SESSIONS, ids=lambda o: next(iter(o)))
async def test_a_bad_session_is_refused_before_it_is_awaited(
    make: Make, engine: MemoryEngine, options: dict[str, object]
) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        make().create_session(**options)  # type: ignore[arg-type]
    assert len(str(caught.value)) < 500
    assert engine.requests == []
