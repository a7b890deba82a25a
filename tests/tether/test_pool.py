"""A pool over an engine in memory: what it serves, what it does not, and how it goes wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from fakes.engine import MemoryEngine, obliging
from fakes.supervisor import PATIENCE, FakeSupervisor
from fumehood import (
    AsyncDockerSandbox,
    AsyncSession,
    EngineError,
    Hooks,
    InvalidRequestError,
    Lifecycle,
    Manifest,
    Network,
    Pool,
    PoolChange,
    PoolChanged,
    SandboxError,
    SessionExistsError,
    UserNotFoundError,
    Volume,
    Workspace,
)
from fumehood import _claim as claim_module
from fumehood import _pool as pool_module
from fumehood._wire import codec
from fumehood._wire.table import EndCode, ErrorCode, Field, Frame
from tether.conftest import Make

ONE = Pool(min_idle=1, max_idle=1)


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop run until something is so."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.001)


async def warm(make: Make, pool: Pool = ONE, **options: object) -> AsyncDockerSandbox:
    """Return a sandbox whose pool has been filled."""
    sandbox = make(pool=pool, **options)
    await asyncio.wait_for(sandbox.warm_up(), PATIENCE)
    return sandbox


def told(peer: FakeSupervisor) -> dict[Field, codec.Value]:
    """Return what a supervisor was configured with."""
    return codec.decode_frame_fields(next(f for f in peer.frames if f.frame is Frame.CONFIGURE))


def start_of(session: AsyncSession) -> tuple[str, str]:
    assert session.start is not None
    return session.start.kind, session.start.reason


# --- what is served ---------------------------------------------------------------------------


async def test_a_session_comes_from_the_pool_with_all_that_was_asked_for(
    make: Make, engine: MemoryEngine
) -> None:
    sandbox = await warm(make, env={"BASE": "1"}, lifecycle=Lifecycle(ttl=60))
    (waiting,) = engine.waiting
    peer = engine.supervisors[waiting]
    # Nothing of anybody has reached it.
    assert [raw.frame for raw in peer.frames] == [Frame.HELLO]
    session = await sandbox.create_session(
        manifest=Manifest(files={"a": "x"}, env={"MORE": "2"}), metadata={"run": "7"}
    )
    assert start_of(session) == ("warm", "")
    assert session.id == waiting
    assert session.metadata == {"run": "7"}
    configured = told(peer)
    assert configured[Field.ENV] == [b"PATH=/bin", b"BASE=1", b"MORE=2"]
    assert configured[Field.TTL_MS] == 60_000
    assert configured[Field.METADATA] == b'{"run": "7"}'
    assert (await session.exec(["echo", "here"])).stdout == "here"
    assert [info.id for info in await sandbox.list_sessions()] == [waiting]
    assert (await sandbox.list_sessions())[0].metadata == {"run": "7"}
    await sandbox.close()


async def test_each_container_serves_once(make: Make, engine: MemoryEngine) -> None:
    sandbox = await warm(make)
    ids: set[str] = set()
    for _ in range(3):
        await asyncio.wait_for(sandbox.warm_up(), PATIENCE)
        async with sandbox.create_session() as session:
            assert start_of(session)[0] == "warm"
            ids.add(session.id)
    assert len(ids) == 3
    assert all(engine.supervisors[name].count(Frame.CONFIGURE) == 1 for name in ids)


async def test_a_chosen_id_is_the_sessions_before_anybody_has_it(
    make: Make, engine: MemoryEngine
) -> None:
    sandbox = await warm(make)
    engine.hold_naming.clear()
    making = asyncio.ensure_future(sandbox.create_session(id="mine"))
    await engine.supervisors[engine.waiting[0]].seen(Frame.CONFIGURE)
    assert not making.done()
    engine.hold_naming.set()
    session = await asyncio.wait_for(making, PATIENCE)
    assert start_of(session)[0] == "warm"
    assert session.id == "mine"
    async with sandbox.connect("mine") as joined:
        assert joined.id == "mine"
    await asyncio.wait_for(sandbox.warm_up(), PATIENCE)
    with pytest.raises(SessionExistsError):
        await sandbox.create_session(id="mine")
    # The container that was to be the second one is gone, and the first one is unharmed.
    assert set(engine.containers) - set(engine.waiting) == {"mine"}
    assert (await session.exec(["echo", "mine"])).stdout == "mine"
    await sandbox.close()


async def test_a_made_up_id_reaches_the_engine_behind_the_session(
    make: Make, engine: MemoryEngine
) -> None:
    sandbox = await warm(make)
    engine.hold_naming.clear()
    session = await sandbox.create_session()
    assert engine.containers[session.id].warm
    listing = asyncio.ensure_future(sandbox.list_sessions())
    await asyncio.sleep(0)
    assert not listing.done()
    engine.hold_naming.set()
    assert [info.id for info in await listing] == [session.id]
    await sandbox.close()


async def test_a_session_destroyed_before_it_has_its_name_leaves_nothing(
    make: Make, engine: MemoryEngine
) -> None:
    sandbox = await warm(make)
    engine.hold_naming.clear()
    session = await sandbox.create_session()
    await session.destroy(wait=True)
    assert session.id not in engine.containers
    engine.hold_naming.set()
    await sandbox.close()
    assert engine.containers == {}


@pytest.mark.parametrize(
    "options,word",
    [
        ({"workspace": Workspace.persistent("w")}, "persistent workspace"),
        ({"ports": [80]}, "ports"),
        ({"volumes": [Volume("data", "/data")]}, "volumes"),
        ({"metadata": {f"k{n}": "x" * 4096 for n in range(5)}}, "metadata"),
    ],
)
async def test_what_a_pool_cannot_serve_is_made_cold_and_says_why(
    make: Make, engine: MemoryEngine, options: dict[str, object], word: str
) -> None:
    sandbox = await warm(make, network=Network.bridge())
    session = await sandbox.create_session(**options)  # type: ignore[arg-type]
    kind, reason = start_of(session)
    assert kind == "cold"
    assert word in reason
    stats = sandbox.pool_stats()
    assert stats is not None
    assert (stats.claimed, stats.missed, stats.idle) == (0, 0, 1)
    await sandbox.close()


async def test_an_empty_pool_is_a_cold_start_and_holds_more_for_the_next_burst(
    make: Make, engine: MemoryEngine
) -> None:
    sandbox = await warm(make, Pool(min_idle=2, max_idle=8))
    sessions = await asyncio.gather(*(sandbox.create_session() for _ in range(4)))
    kinds = sorted(start_of(session) for session in sessions)
    assert kinds == [("cold", "the pool was empty")] * 2 + [("warm", "")] * 2
    stats = sandbox.pool_stats()
    assert stats is not None
    assert (stats.claimed, stats.missed, stats.target) == (2, 2, 8)
    await until(lambda: len(engine.waiting) == 8)
    await sandbox.close()


async def test_without_a_pool_there_is_nothing_to_warm_up(make: Make) -> None:
    sandbox = make()
    assert sandbox.pool_stats() is None
    with pytest.raises(InvalidRequestError, match="no pool"):
        await sandbox.warm_up()
    async with sandbox.create_session() as session:
        assert start_of(session) == ("cold", "the sandbox has no pool")


# --- its stock --------------------------------------------------------------------------------


async def test_the_first_session_is_not_slowed_by_a_pool_that_begins(
    make: Make, engine: MemoryEngine
) -> None:
    sandbox = make(pool=Pool(min_idle=3))
    session = await sandbox.create_session()
    assert start_of(session) == ("cold", "the pool was empty")
    assert [request.warm for request in engine.requests] == [False]
    await until(lambda: len(engine.waiting) == 3)
    stats = sandbox.pool_stats()
    assert stats is not None
    assert stats.target == 3
    await sandbox.close()


async def test_what_grows_old_is_replaced_and_a_bursts_size_sinks_again(
    make: Make, engine: MemoryEngine
) -> None:
    sandbox = await warm(make, Pool(min_idle=1, max_idle=2, max_age=60))
    held = await asyncio.gather(*(sandbox.create_session() for _ in range(2)))
    assert [start_of(session)[0] for session in held] == ["warm", "cold"]
    await until(lambda: len(engine.waiting) == 2)
    pool = sandbox._pool
    assert pool is not None
    first = set(engine.waiting)
    for item in pool._idle:
        item.made -= 61
    pool._aged()
    await until(lambda: not first & set(engine.waiting) and len(engine.waiting) == 1)
    stats = pool.stats()
    assert (stats.recycled, stats.target) == (2, 1)
    await sandbox.close()


async def test_one_that_is_too_old_is_not_handed_out(make: Make, engine: MemoryEngine) -> None:
    sandbox = await warm(make)
    pool = sandbox._pool
    assert pool is not None
    pool._idle[0].made -= 601
    old = pool._idle[0].id
    session = await sandbox.create_session()
    assert start_of(session)[0] == "cold"
    await until(lambda: old in engine.discarded)
    await sandbox.close()


async def test_one_that_ends_while_it_waits_is_replaced(
    make: Make, engine: MemoryEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_module, "_FIRST_PAUSE", 0.01)
    sandbox = await warm(make)
    (first,) = engine.waiting
    engine.supervisors[first].stream.end()

    def counts() -> tuple[int, int]:
        stats = sandbox.pool_stats()
        assert stats is not None
        return stats.lost, stats.filled

    await until(lambda: counts() == (1, 2))
    assert engine.waiting != [first]
    assert len(engine.waiting) == 1
    assert first in engine.discarded


async def test_nobody_waits_for_a_pool_whose_filling_fails_as_nobody_has_foreseen(
    make: Make, engine: MemoryEngine
) -> None:
    told: list[object] = []
    asyncio.get_running_loop().set_exception_handler(
        lambda _, context: told.append(context.get("exception"))
    )
    engine.fail_creation = bug = ZeroDivisionError("unforeseen")
    sandbox = make(pool=ONE)
    with pytest.raises(SandboxError, match="unforeseen"):
        await asyncio.wait_for(sandbox.warm_up(), PATIENCE)
    await until(lambda: told == [bug])


async def test_a_pool_that_cannot_be_filled_says_so_and_goes_on_trying(
    make: Make, engine: MemoryEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_module, "_FIRST_PAUSE", 0.01)
    changes: list[PoolChanged] = []
    engine.fail_creation = EngineError("no room")
    sandbox = make(pool=ONE, hooks=Hooks(on_pool_change=changes.append))
    with pytest.raises(EngineError, match="no room"):
        await asyncio.wait_for(sandbox.warm_up(), PATIENCE)
    stats = sandbox.pool_stats()
    assert stats is not None
    assert stats.failed >= 1
    assert stats.last_error == "no room"
    engine.fail_creation = None
    await until(lambda: len(engine.waiting) == 1)
    # Counted once the container waits, which is a moment later.
    await until(lambda: sandbox.pool_stats().last_error == "")  # type: ignore[union-attr]
    await until(lambda: PoolChange.FILLED in [event.change for event in changes])
    assert changes[0].change is PoolChange.FAILED


async def test_hooks_are_told_of_every_change(make: Make, engine: MemoryEngine) -> None:
    changes: list[PoolChanged] = []
    sandbox = await warm(make, hooks=Hooks(on_pool_change=changes.append))
    async with sandbox.create_session():
        pass
    await until(lambda: [event.change for event in changes][:2] == ["filled", "claimed"])
    assert changes[1].stats.claimed == 1


# --- its end ----------------------------------------------------------------------------------


async def test_closing_the_sandbox_leaves_nothing_of_it(make: Make, engine: MemoryEngine) -> None:
    sandbox = await warm(make, Pool(min_idle=3))
    engine.hold_creation.clear()
    async with sandbox.create_session():  # and one is being made in its place
        await asyncio.sleep(pool_module.REFILL_SECONDS * 2)
    await sandbox.close()
    assert engine.containers == {}
    with pytest.raises(InvalidRequestError, match="closed"):
        await sandbox.warm_up()


async def test_a_wait_for_the_pool_ends_when_the_sandbox_is_closed(
    make: Make, engine: MemoryEngine
) -> None:
    engine.hold_creation.clear()
    sandbox = make(pool=ONE)
    waiting = asyncio.create_task(sandbox.warm_up())
    await asyncio.sleep(0)
    await sandbox.close()
    with pytest.raises(InvalidRequestError, match="closed"):
        await asyncio.wait_for(waiting, PATIENCE)
    assert engine.containers == {}


# --- what lies, and what is cut short ---------------------------------------------------------


def silent(peer: FakeSupervisor) -> None:
    pass


LIES: dict[str, Callable[[FakeSupervisor], None]] = {
    "no answer": silent,
    "broken bytes": lambda peer: peer.send(b"\xff" * 8),
    "the stream ends": lambda peer: peer.stream.end(),
    "an end without a reason": lambda peer: peer.end(EndCode.NOT_CONFIGURED),
    "a second welcome": lambda peer: peer.welcome(),
    "output of nothing": lambda peer: peer.stdout(1, b"x"),
}


@pytest.mark.parametrize("lie", LIES)
async def test_a_container_that_lies_when_it_is_claimed_is_removed_and_another_one_serves(
    make: Make, engine: MemoryEngine, monkeypatch: pytest.MonkeyPatch, lie: str
) -> None:
    monkeypatch.setattr(claim_module, "CLAIM_SECONDS", 0.1)
    sandbox = await warm(make, Pool(min_idle=2, max_idle=2))
    liar, honest = engine.waiting
    engine.supervisors[liar]._greet = False
    usual = engine.supervisors[liar].on_frame

    def answer(raw: codec.RawFrame) -> None:
        if raw.frame is Frame.CONFIGURE:
            # The honest one has the time that a busy machine takes.
            monkeypatch.setattr(claim_module, "CLAIM_SECONDS", PATIENCE)
            LIES[lie](engine.supervisors[liar])
        elif usual is not None:
            usual(raw)

    engine.supervisors[liar].on_frame = answer
    session = await asyncio.wait_for(sandbox.create_session(), PATIENCE)
    assert start_of(session)[0] == "warm"
    assert session.id == honest
    assert liar in engine.discarded
    stats = sandbox.pool_stats()
    assert stats is not None
    assert (stats.lost, stats.claimed) == (1, 1)
    await sandbox.close()


@pytest.mark.parametrize("lie", [lie for lie in LIES if lie != "no answer"])
async def test_a_container_that_lies_while_it_waits_is_never_handed_out(
    make: Make, engine: MemoryEngine, lie: str
) -> None:
    sandbox = await warm(make)
    (liar,) = engine.waiting
    LIES[lie](engine.supervisors[liar])
    await until(lambda: liar in engine.discarded)
    assert sandbox.pool_stats().idle == 0  # type: ignore[union-attr]
    session = await sandbox.create_session()
    assert start_of(session)[0] == "cold"
    await sandbox.close()


async def test_a_supervisor_that_does_not_grant_the_wait_fills_no_pool(
    make: Make, engine: MemoryEngine
) -> None:
    def refuse(peer: FakeSupervisor) -> None:
        peer._greet = False
        peer.on_frame = lambda raw: peer.welcome() if raw.frame is Frame.HELLO else None

    engine.prepare = refuse
    with pytest.raises(SandboxError):
        await asyncio.wait_for(make(pool=ONE).warm_up(), PATIENCE)
    assert engine.containers == {}


async def test_what_cannot_be_carried_out_is_the_callers_error_as_from_a_cold_start(
    make: Make, engine: MemoryEngine
) -> None:
    sandbox = await warm(make, user="nobody-here")
    (name,) = engine.waiting
    peer = engine.supervisors[name]
    peer._greet = False
    peer.on_frame = lambda raw: (
        peer.end(EndCode.NOT_CONFIGURED, error=int(ErrorCode.USER_NOT_FOUND))
        if raw.frame is Frame.CONFIGURE
        else None
    )
    with pytest.raises(UserNotFoundError, match="nobody-here"):
        await sandbox.create_session()
    assert name not in engine.containers
    await sandbox.close()


async def test_a_request_that_is_refused_before_it_is_sent_costs_no_container(
    make: Make, engine: MemoryEngine
) -> None:
    engine.image_env = (("A", "x" * 500_000),)
    sandbox = await warm(make, env={"B": "y" * 1_000_000})
    before = engine.waiting
    with pytest.raises(InvalidRequestError, match="environment"):
        await sandbox.create_session(manifest=Manifest(env={"C": "z" * 1_000_000}))
    assert engine.waiting == before
    async with sandbox.create_session() as session:
        assert start_of(session)[0] == "warm"
    await sandbox.close()


async def test_a_claim_cancelled_at_any_step_leaves_nothing(
    make: Make, engine: MemoryEngine
) -> None:
    """Cancelled at each turn of the loop in which it waits, one after the other."""
    sandbox = await warm(make, Pool(min_idle=1, max_idle=1))
    for chosen in (None, "chosen"):
        step = 0
        while True:
            await asyncio.wait_for(sandbox.warm_up(), PATIENCE)
            (waiting,) = engine.waiting
            task = asyncio.ensure_future(
                sandbox.create_session(id=chosen, manifest=Manifest(files={"a": "x"}))
            )
            for _ in range(step):
                await asyncio.sleep(0)
            if task.done():
                await (await task).destroy(wait=True)
                break
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asyncio.wait_for(task, PATIENCE)
            if step > 1:  # before that, the task that makes the session has not begun
                assert waiting not in engine.containers, f"step {step}"
            assert chosen not in engine.containers, f"step {step}"
            step += 1
        assert step > 5, "it had hardly any steps: nothing was shown"
    assert engine.script is obliging


@pytest.mark.parametrize("why", ["the id is in use", "cancelled"])
async def test_a_container_that_a_failed_create_has_used_up_is_counted_and_replaced(
    make: Make, engine: MemoryEngine, why: str
) -> None:
    # No loss of the container's own: nothing has to wait until the next one may be tried.
    sandbox = await warm(make)
    held = await make().create_session(id="taken")
    (used,) = engine.waiting
    making = asyncio.ensure_future(sandbox.create_session(id="taken"))
    if why == "cancelled":
        engine.hold_naming.clear()
        await engine.supervisors[used].seen(Frame.CONFIGURE)
        making.cancel()
        engine.hold_naming.set()
    with pytest.raises(asyncio.CancelledError if why == "cancelled" else SessionExistsError):
        await asyncio.wait_for(making, PATIENCE)
    await until(lambda: len(engine.waiting) == 1)
    assert engine.waiting != [used]
    await until(lambda: sandbox.pool_stats().idle == 1)  # type: ignore[union-attr]
    stats = sandbox.pool_stats()
    assert stats is not None
    assert (stats.filled, stats.claimed, stats.lost) == (2, 0, 1)
    await held.destroy()


@pytest.mark.parametrize(
    "options",
    [
        {"min_idle": 0},
        {"min_idle": -1},
        {"min_idle": True},
        {"min_idle": 5, "max_idle": 4},
        {"max_idle": 1001},
        {"max_age": 0},
        {"max_age": float("nan")},
        {"min_idle": "4"},
    ],
)
def test_a_pool_is_checked_when_it_is_made(options: dict[str, object]) -> None:
    with pytest.raises(InvalidRequestError, match="Pool"):
        Pool(**options)  # type: ignore[arg-type]


def test_only_a_pool_is_one() -> None:
    with pytest.raises(InvalidRequestError, match="pool must be a Pool"):
        AsyncDockerSandbox(pool=4)  # type: ignore[arg-type]
