"""Sessions to test on, in both flavours of the API, and the search for what they leave behind."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from cases.invariants import PATIENCE, descriptors, eventually_none, never_gone, now, threads
from cases.loop import share_loop
from contract.adapter import BUSYBOX, FLAVOURS, NONROOT, PYTHON, SCRATCH, Api, Flavour, Where
from contract.observer import Observer
from fumehood import AsyncSession, DockerSandbox, SessionState, Workspace

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    share_loop(items, HERE)


@pytest.fixture(scope="session")
def prefix() -> str:
    """What the ids of all sessions and workspaces of this run begin with."""
    return f"ct-{secrets.token_hex(4)}"


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def observer() -> AsyncIterator[Observer]:
    # The portal of the blocking classes lives to the end: it must not look like a leak of a module.
    DockerSandbox()
    observer = Observer()
    yield observer
    await observer.close()


@pytest_asyncio.fixture(autouse=True, scope="module", loop_scope="session")
async def nothing_is_left(observer: Observer, prefix: str) -> AsyncIterator[None]:
    """After each module: no container, no volume, no thread, no descriptor more than before."""
    threads_before, descriptors_before = threads(), descriptors()
    before = await observer.left(prefix)
    yield
    assert await eventually_none(lambda: now(threads() - threads_before)) == [], "threads"
    extra = await eventually_none(lambda: now(descriptors() - descriptors_before))
    assert extra == [], "descriptors"
    left = await never_gone(lambda: observer.left(prefix), before=before)
    assert left == [], "left on the engine"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test in both flavours on an engine; in memory too, where its marks say so."""
    if "api" not in metafunc.fixturenames:
        return
    engines = metafunc.definition.get_closest_marker("engines")
    flavours = metafunc.definition.get_closest_marker("flavours")
    runs = {
        flavour if where == "docker" else f"{where}-{flavour}": (where, flavour)
        for where in (("docker",) if engines is None else engines.args)
        for flavour in (FLAVOURS if flavours is None else flavours.args)
    }
    metafunc.parametrize("api", runs.values(), ids=runs, indirect=True, scope="module")


@pytest.fixture(scope="module")
def api(request: pytest.FixtureRequest, prefix: str) -> Iterator[Api]:
    run: tuple[Where, Flavour] = request.param
    where, flavour = run
    api = Api(flavour, f"{prefix}-{secrets.token_hex(2)}", where)
    yield api
    api.close()


async def _shared(api: Api, image: str, observer: Observer) -> AsyncIterator[AsyncSession]:
    async with api.session(image) as session:
        yield session
        # A test that ends the session or leaves something running in it has broken its promise.
        assert session.state is SessionState.RUNNING
        await nothing_goes_on(api, observer, session)


async def nothing_goes_on(api: Api, observer: Observer, session: AsyncSession) -> None:
    """Wait until nothing of a command is left in a session, wherever it is."""
    if api.where == "docker":
        await nothing_runs(observer, session)
    else:
        running = [item for item in await session.list_processes() if item.exit_code is None]
        assert running == []


async def nothing_runs(observer: Observer, session: AsyncSession) -> None:
    """Wait until a session's container holds the supervisor's own processes and no others."""
    async with asyncio.timeout(PATIENCE):
        while strangers := await workload(observer, session.id):
            await asyncio.sleep(0.05)
    assert strangers == []


async def workload(observer: Observer, session_id: str) -> list[str]:
    """Return the command lines of everything in a session that is not the supervisor's own."""
    lines = await observer.processes(session_id)
    return [line for line in lines if not line.startswith("/.fumehood/supervisor")]


# One session for each image and module, made when a test first asks for it, for tests that leave it
# as it was.


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def session(api: Api, observer: Observer) -> AsyncIterator[AsyncSession]:
    """Debian with Python, commands run as root."""
    async for item in _shared(api, PYTHON, observer):
        yield item


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def nonroot(api: Api, observer: Observer) -> AsyncIterator[AsyncSession]:
    """Debian with Python, commands run as uid 1000."""
    async for item in _shared(api, NONROOT, observer):
        yield item


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def busybox(api: Api, observer: Observer) -> AsyncIterator[AsyncSession]:
    """Busybox without /etc/passwd."""
    async for item in _shared(api, BUSYBOX, observer):
        yield item


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def scratch(api: Api, observer: Observer) -> AsyncIterator[AsyncSession]:
    """One static binary, /hello, and nothing else."""
    async for item in _shared(api, SCRATCH, observer):
        yield item


@pytest_asyncio.fixture(loop_scope="session")
async def workspace_id(api: Api, observer: Observer) -> AsyncIterator[str]:
    """An id for a persistent workspace, which is removed after the test."""
    name = api.new_id()
    yield name
    async with api.sandbox() as sandbox:
        await sandbox.remove_workspace(name)
    assert not await observer.workspace_exists(name)


@pytest.fixture
def persistent(workspace_id: str) -> Workspace:
    return Workspace.persistent(workspace_id)
