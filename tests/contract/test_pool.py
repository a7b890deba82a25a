"""Sessions from a pool: the same promises as for any other, from containers that waited."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from cases.invariants import eventually_none
from contract.adapter import NONROOT, PYTHON, Api
from contract.conftest import nothing_goes_on, nothing_runs
from contract.observer import Observer
from contract.scripted import WHO
from fumehood import (
    AsyncDockerSandbox,
    AsyncSession,
    EndReason,
    Hooks,
    InvalidRequestError,
    Lifecycle,
    Limits,
    Manifest,
    Pool,
    PoolChange,
    PoolChanged,
    SandboxError,
    SessionExistsError,
    SessionInfo,
    Start,
    UserNotFoundError,
    Workspace,
)

pytestmark = pytest.mark.engine
MEMORY = pytest.mark.engines("docker", "memory")

POOL = Pool(min_idle=2, max_idle=2)
OPEN = ("/tmp", "/dev/shm")
"""Where every session may write, beside its workspace."""


async def warm_containers(observer: Observer, label: str | None = None) -> dict[str, str]:
    """Return the containers that wait in pools: what they were made as, and their state.

    Others' pools come and go: with a label, of those that have it alone.
    """
    found = await observer.call("GET", "containers/json", all="1")
    return {
        item["Labels"]["fumehood.session"]: item["State"]
        for item in found
        if item["Names"][0].startswith("/fumehood-_warm-")
        and label in (None, item["Labels"].get("test"))
    }


@pytest.fixture
def label(api: Api) -> str:
    """What the containers of the sandbox are labelled with."""
    return api.new_id()


@pytest_asyncio.fixture(loop_scope="session")
async def sandbox(api: Api, observer: Observer, label: str) -> AsyncIterator[AsyncDockerSandbox]:
    """A sandbox whose pool is full; at its end nothing of the pool is left."""
    labels = {"test": label}
    async with api.sandbox(pool=POOL, lifecycle=Lifecycle(ttl=300), labels=labels) as sandbox:
        await sandbox.warm_up()
        if api.where == "docker":
            assert len(await observer.containers("test", label)) == 2
        yield sandbox
    assert await observer.containers("test", label) == []


def start_of(start: Start | None) -> tuple[str, str]:
    assert start is not None
    return start.kind, start.reason


@MEMORY
async def test_a_warm_session_has_all_that_was_asked_for(sandbox: AsyncDockerSandbox) -> None:
    manifest = Manifest(files={"in/it": "x"}, directories=("and",), env={"WHO": "2"})
    async with sandbox.create_session(manifest=manifest, metadata={"run": "7"}) as session:
        assert start_of(session.start) == ("warm", "")
        assert await session.read_text_file("in/it") == "x"
        assert [entry.path for entry in await session.list_files()] == ["and", "in"]
        assert (await session.exec(WHO)).stdout == "2\n"
        assert session.metadata == {"run": "7"}
        # At once, and not only when the engine knows its name.
        async with sandbox.connect(session.id) as joined:
            assert joined.metadata == {"run": "7"}
            assert joined.start is None
            assert (await joined.exec(WHO)).stdout == "2\n"
        (info,) = [item for item in await sandbox.list_sessions() if item.id == session.id]
        assert (info.metadata, info.ttl) == ({"run": "7"}, 300)
    await session.destroy(wait=True)
    assert session.id not in [item.id for item in await sandbox.list_sessions()]


@MEMORY
async def test_a_pool_tells_what_it_has_done(api: Api) -> None:
    told: list[PoolChanged] = []
    hooks = Hooks(on_pool_change=told.append)
    async with api.sandbox(pool=POOL, hooks=hooks) as sandbox:
        await sandbox.warm_up()
        stats = sandbox.pool_stats()
        assert stats is not None
        assert (stats.idle, stats.filling, stats.target, stats.filled) == (2, 0, 2, 2)
        async with sandbox.create_session() as session:
            assert start_of(session.start) == ("warm", "")
            await sandbox.warm_up()
            stats = sandbox.pool_stats()
            assert stats is not None
            assert (stats.idle, stats.filled, stats.claimed, stats.missed) == (2, 3, 1, 0)
    counts = Counter(event.change for event in told)
    assert counts == {PoolChange.FILLED: 3, PoolChange.CLAIMED: 1}
    async with api.sandbox() as without:
        assert without.pool_stats() is None
        with pytest.raises(InvalidRequestError, match="no pool"):
            await without.warm_up()


async def test_a_warm_session_is_what_a_cold_one_is(
    api: Api, sandbox: AsyncDockerSandbox, observer: Observer
) -> None:
    async with sandbox.create_session(metadata={"run": "7"}) as session:
        assert start_of(session.start) == ("warm", "")
        assert session.effective_limits.degraded == ()
        found = await observer.container(session.id)
        assert found is not None
        assert found["State"]["Running"]
        await nothing_runs(observer, session)
        # Whoever asks, in this client or in another one, finds it with what was noted.
        async with api.sandbox() as another:
            for client in (sandbox, another):
                (info,) = [item for item in await client.list_sessions() if item.id == session.id]
                assert info.metadata == {"run": "7"}
                assert info.ttl == 300
            async with another.connect(session.id) as joined:
                assert joined.metadata == {"run": "7"}
                assert joined.start is None
                assert (await joined.exec(["echo", "joined"])).stdout == "joined\n"
    await session.destroy(wait=True)
    assert await observer.container(session.id) is None


async def test_another_process_finds_it_at_once(api: Api, sandbox: AsyncDockerSandbox) -> None:
    program = (
        "import sys, fumehood\n"
        "with fumehood.DockerSandbox() as box, box.connect(sys.argv[1]) as session:\n"
        "    print(session.exec(['echo', 'found']).stdout, end='')\n"
    )
    session = await sandbox.create_session()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, session.id, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert out == b"found\n"
    await session.destroy()


async def test_a_made_up_id_is_the_containers_own_and_others_find_it_at_once(
    api: Api, observer: Observer
) -> None:
    label = api.new_id()
    async with AsyncDockerSandbox(
        image=PYTHON, pull="never", pool=POOL, labels={"test": label}
    ) as sandbox:
        await sandbox.warm_up()
        waited = set(await warm_containers(observer))
        async with api.sandbox() as another, sandbox.create_session(metadata={"n": "1"}) as made:
            assert made.id in waited
            async with another.connect(made.id) as joined:
                assert joined.metadata == {"n": "1"}
                assert (await joined.exec(["echo", "found"])).stdout == "found\n"
            assert made.id in [info.id for info in await sandbox.list_sessions()]
        # One that is destroyed before the engine knows its name leaves nothing either.
        await sandbox.warm_up()
        await (await sandbox.create_session()).destroy()
    assert await observer.containers("test", label) == []


@MEMORY
async def test_nothing_of_one_session_is_in_another(
    api: Api, sandbox: AsyncDockerSandbox, observer: Observer
) -> None:
    seen: set[str] = set()
    for number in range(4):
        await sandbox.warm_up()
        manifest = Manifest(files={"secret": str(number)}, env={f"SECRET_{number}": "x"})
        async with sandbox.create_session(manifest=manifest) as session:
            assert start_of(session.start) == ("warm", "")
            seen.add(session.id)
            assert [entry.path for entry in await session.list_files()] == ["secret"]
            env = (await session.exec(["env"])).stdout
            assert [line for line in env.splitlines() if line.startswith("SECRET")] == [
                f"SECRET_{number}=x"
            ]
            for directory in OPEN:
                # A session in memory begins without the second one.
                await session.make_directory(directory, root="/")
                assert await session.list_files(directory, root="/") == []
                await session.write_file(f"{directory}/behind", "left", root="/")
            await nothing_goes_on(api, observer, session)
            await session.start_process(["sleep", "600"])
    assert len(seen) == 4


@MEMORY
async def test_an_id_of_ones_own_is_unique(api: Api, sandbox: AsyncDockerSandbox) -> None:
    name = api.new_id()
    async with sandbox.create_session(id=name) as session:
        assert start_of(session.start) == ("warm", "")
        assert session.id == name
        await sandbox.warm_up()
        with pytest.raises(SessionExistsError, match=name):
            await sandbox.create_session(id=name)
        assert (await session.exec(["echo", "unharmed"])).stdout == "unharmed\n"
    await sandbox.warm_up()
    # And free again at once.
    async with sandbox.create_session(id=name) as again:
        assert start_of(again.start) == ("warm", "")
        assert await again.list_files() == []


async def test_an_id_of_ones_own_is_unique_among_all_clients(
    api: Api, sandbox: AsyncDockerSandbox
) -> None:
    name = api.new_id()
    async with sandbox.create_session(id=name) as session, api.sandbox() as another:
        assert start_of(session.start) == ("warm", "")
        with pytest.raises(SessionExistsError, match=name):
            await another.create_session(id=name)
        assert (await session.exec(["echo", "unharmed"])).stdout == "unharmed\n"


@MEMORY
async def test_a_persistent_workspace_is_served_cold(
    sandbox: AsyncDockerSandbox, persistent: Workspace
) -> None:
    async with sandbox.create_session(workspace=persistent) as session:
        kind, reason = start_of(session.start)
        assert kind == "cold"
        assert "persistent workspace" in reason
        assert {"create", "supervisor"} <= set(session.start.steps)  # type: ignore[union-attr]


async def test_many_at_once_are_all_served(api: Api) -> None:
    async with api.sandbox(pool=POOL, limits=Limits(memory_mb=64)) as sandbox:
        await sandbox.warm_up()
        sessions = await asyncio.gather(*(_made(sandbox) for _ in range(6)))
        kinds = sorted(start_of(session.start)[0] for session in sessions)
        assert kinds == ["cold"] * 4 + ["warm"] * 2
        results = await asyncio.gather(*(session.exec(["echo", "on"]) for session in sessions))
        assert [result.stdout for result in results] == ["on\n"] * 6
        stats = sandbox.pool_stats()
        assert stats is not None
        assert (stats.claimed, stats.missed) == (2, 4)


async def _made(sandbox: AsyncDockerSandbox) -> AsyncSession:
    return await sandbox.create_session()


async def test_the_lease_counts_from_the_claim(api: Api) -> None:
    loop = asyncio.get_running_loop()
    async with api.sandbox(pool=POOL, lifecycle=Lifecycle(ttl=2, idle_timeout=60)) as sandbox:
        await sandbox.warm_up()
        await asyncio.sleep(2.5)  # longer than a session lives: it is none yet
        asked = loop.time()
        session = await sandbox.create_session()
        assert start_of(session.start) == ("warm", "")
        stats = sandbox.pool_stats()
        assert stats is not None
        assert stats.lost == 0
        assert await session.wait_ended() is EndReason.TTL
        # Not at once, as it would be had its time begun with its container's.
        assert loop.time() - asked >= 2


async def test_a_user_of_the_image(api: Api) -> None:
    async with api.sandbox(NONROOT, pool=POOL) as sandbox:
        await sandbox.warm_up()
        async with sandbox.create_session() as session:
            assert start_of(session.start) == ("warm", "")
            assert (await session.exec(["id", "-u"])).stdout == "1000\n"
            await session.write_file("mine", "x")


@MEMORY
async def test_a_user_who_is_not_there(api: Api) -> None:
    async with api.sandbox(pool=POOL, user="nobody-here") as sandbox:
        await sandbox.warm_up()
        with pytest.raises(UserNotFoundError, match="nobody-here"):
            await sandbox.create_session()


async def test_a_detached_session_from_a_pool_outlives_its_sandbox(
    api: Api, observer: Observer
) -> None:
    async with api.sandbox(pool=POOL, lifecycle=Lifecycle(ttl=60, detached=True)) as sandbox:
        await sandbox.warm_up()
        waited = set(await warm_containers(observer))
        session = await sandbox.create_session(metadata={"kept": "yes"})
        waited.discard(session.id)
        await session.detach()
    # The pool is gone with its sandbox, and the session is not.
    assert await eventually_none(lambda: _still(observer, waited)) == []
    async with api.sandbox() as another, another.connect(session.id) as joined:
        assert joined.metadata == {"kept": "yes"}
        await joined.destroy(wait=True)


async def _still(observer: Observer, names: set[str]) -> list[str]:
    return sorted(names & set(await warm_containers(observer)))


async def test_what_waits_is_no_session_for_anybody(
    api: Api, sandbox: AsyncDockerSandbox, observer: Observer, label: str
) -> None:
    waiting = set(await warm_containers(observer, label))
    assert len(waiting) == 2
    infos: list[SessionInfo] = await sandbox.list_sessions()
    assert waiting & {info.id for info in infos} == set()
    async with api.sandbox() as another:
        with pytest.raises(SandboxError, match="no session"):
            await another.connect(min(waiting))
        report = await another.gc()
        assert [name for name in report.containers if "_warm" in name] == []
    assert set(await warm_containers(observer, label)) == waiting


@MEMORY
async def test_a_session_from_a_pool_is_stopped_resumed_and_forked_like_any_other(
    api: Api, sandbox: AsyncDockerSandbox
) -> None:
    name = api.new_id()
    session = await sandbox.create_session(id=name, metadata={"run": "7"})
    assert start_of(session.start) == ("warm", "")
    await session.write_file("kept", "x")
    await session.stop()
    async with sandbox.resume(name) as again:
        assert await again.read_text_file("kept") == "x"
        assert again.metadata == {"run": "7"}
        kind, _ = start_of(again.start)
        assert kind == "cold"
        (copy,) = await again.fork()
        async with copy:
            assert await copy.read_text_file("kept") == "x"
