"""Sessions to attack, and what is checked after each attack."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path
from typing import Unpack

import pytest
import pytest_asyncio

from cases.invariants import PATIENCE, Canary, Watch
from cases.loop import share_loop
from cases.report import note_engine, register
from contract.observer import Observer
from fumehood import AsyncDockerSandbox, AsyncSession, Lifecycle, Limits, Security
from fumehood.sandbox import SandboxOptions
from hostile.arena import KINDS, Arena, Kind

HERE = Path(__file__).parent

RUNTIME = os.environ.get("FUMEHOOD_RUNTIME")
"""The runtime of all arenas; ``None``: the engine's own choice, which is runc."""
LIMITS = Limits(timeout=20, memory_mb=256, pids=64, max_output_bytes=1 << 20)
LIFECYCLE = Lifecycle(ttl=120, disconnect_grace=6)

OpenArena = Callable[..., AbstractAsyncContextManager[Arena]]


def pytest_configure(config: pytest.Config) -> None:
    register(config, "hostile")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    share_loop(items, HERE)


@pytest.fixture(scope="session")
def prefix() -> str:
    """What the ids of all sessions of this run begin with."""
    return f"ht-{secrets.token_hex(4)}"


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def observer(pytestconfig: pytest.Config) -> AsyncIterator[Observer]:
    observer = Observer()
    await note_engine(pytestconfig, observer)
    yield observer
    await observer.close()


@pytest.fixture(scope="session")
def canary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Canary]:
    canary = Canary(tmp_path_factory.mktemp("canary"))
    yield canary
    canary.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def neighbour() -> AsyncIterator[AsyncSession]:
    """A session that was there before, and that no case touches."""
    async with (
        AsyncDockerSandbox(image="fumehood/test-busybox", pull="never") as sandbox,
        # Not of the run's prefix: what is searched for it must find nothing.
        sandbox.create_session(id=f"neighbour-{secrets.token_hex(4)}") as session,
    ):
        # What it keeps open for its whole life is open when the first case looks.
        async with sandbox.create_session() as short:
            await short.exec(["true"], check=True)
        yield session


@pytest_asyncio.fixture(autouse=True, loop_scope="session")
async def invariants(
    observer: Observer, canary: Canary, neighbour: AsyncSession, prefix: str
) -> AsyncIterator[None]:
    """After each case: nothing left, nobody else harmed."""
    watch = Watch(observer, prefix, before=await observer.left(prefix))
    yield
    await watch.check()
    canary.check()
    assert await observer.call("GET", "info"), "the engine answers"
    assert (await neighbour.exec(["echo", "well"], timeout=PATIENCE)).stdout == "well\n"


@pytest.fixture
def open_arena(prefix: str) -> OpenArena:
    """Return what gives an arena of a kind, with options of a sandbox in the defaults' place."""

    @contextlib.asynccontextmanager
    async def open_(kind: Kind, **options: Unpack[SandboxOptions]) -> AsyncIterator[Arena]:
        options.setdefault("limits", LIMITS)
        options.setdefault("lifecycle", LIFECYCLE)
        options.setdefault("pull", "never")
        if RUNTIME is not None:
            options["security"] = replace(options.get("security", Security()), runtime=RUNTIME)
        name = f"{prefix}-{secrets.token_hex(4)}"
        async with (
            AsyncDockerSandbox(image=kind.image, **options) as sandbox,
            sandbox.create_session(id=name) as session,
        ):
            yield Arena(kind=kind, session=session)

    return open_


@pytest_asyncio.fixture(loop_scope="session", params=KINDS, ids=lambda kind: kind.name)
async def arena(request: pytest.FixtureRequest, open_arena: OpenArena) -> AsyncIterator[Arena]:
    """Give a session of each kind, new for the case."""
    async with open_arena(request.param) as arena:
        yield arena


@pytest_asyncio.fixture(loop_scope="session")
async def python(open_arena: OpenArena) -> AsyncIterator[Arena]:
    """Give a session of Debian with Python, as root, new for the case."""
    async with open_arena(KINDS[0]) as arena:
        yield arena


@pytest_asyncio.fixture(loop_scope="session")
async def user(open_arena: OpenArena) -> AsyncIterator[Arena]:
    """Give a session of Debian with Python, as uid 1000, new for the case."""
    async with open_arena(KINDS[1]) as arena:
        yield arena
