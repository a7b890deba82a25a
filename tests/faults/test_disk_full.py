"""An engine whose disk is full: at a creation, at a start, while a session works, at its end."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import io
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import pytest_asyncio

from cases.invariants import eventually_none
from cases.mark import case
from faults.conftest import MakeSandbox, sweep
from faults.engine import OwnEngine, loaded
from faults.proxy import Exchange, Proxy, Rule, between
from fumehood import AsyncDockerSandbox, DiskFullError, EngineDiskFullError, EngineError, Workspace
from fumehood._supervisor import binary, install
from fumehood.engines.docker import ENGINE_ONLY

CREATION = "A failed or cancelled creation leaves nothing"
LOST = "After the client dies in any way"
STATE = "Files that are kept are there whole or not at all"
DISK_MB = 64
BLOCK = bytes(4096)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def small(archive: Path) -> AsyncIterator[OwnEngine]:
    """Give an engine with a small disk of its own."""
    async with loaded(archive, disk_mb=DISK_MB) as engine:
        yield engine


@pytest_asyncio.fixture(loop_scope="session", autouse=True)
async def nothing_is_left(small: OwnEngine) -> AsyncIterator[None]:
    yield
    assert await eventually_none(lambda: small.observer.left("")) == []
    assert small.pids() == []


@contextmanager
def full(engine: OwnEngine) -> Iterator[None]:
    """Take all of its disk, to the last byte."""
    ballast = engine.data / "ballast"
    try:
        with ballast.open("wb", buffering=0) as file:
            # What was deleted a moment ago comes back a little later: until nothing more comes.
            while _fill(file):
                os.fsync(file.fileno())
        yield
    finally:
        ballast.unlink()


@contextmanager
def full_from(engine: OwnEngine, proxy: Proxy, step: tuple[str, str]) -> Iterator[Rule]:
    """Take all of its disk once it is asked for a step."""
    with contextlib.ExitStack() as filled:

        async def fill(exchange: Exchange) -> bool:
            del exchange
            filled.enter_context(full(engine))
            return True

        yield proxy.on(*step, fill, times=1)


def _fill(file: io.FileIO) -> int:
    """Write until nothing more fits; return how much it was."""
    written = 0
    try:
        while True:
            written += file.write(BLOCK)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
    return written


async def warmed_up(box: AsyncDockerSandbox) -> None:
    """Have the supervisor on the engine, and nothing under way there that makes room later."""
    session = await box.create_session()
    await session.destroy(wait=True)


@case("F17", CREATION)
async def test_a_creation_on_a_full_disk_is_typed_and_leaves_nothing(
    small: OwnEngine, sandbox: MakeSandbox
) -> None:
    async with sandbox(docker_host=small.address) as box:
        await warmed_up(box)
        with full(small), pytest.raises(EngineDiskFullError):
            await box.create_session()
        async with box.create_session() as session:
            assert (await session.exec(["echo", "on"], check=True)).stdout == "on\n"


@case("F17", CREATION)
async def test_the_first_session_on_a_full_disk_is_typed_and_the_next_one_is_made(
    small: OwnEngine, sandbox: MakeSandbox
) -> None:
    # Not even the supervisor gets onto the engine; half of one must not pass for a whole one.
    async with sandbox(docker_host=small.address) as box:
        supervisor = await asyncio.to_thread(binary.load, "amd64")
        await small.observer.call("DELETE", f"volumes/{supervisor.volume}", absent=True)
        install._seen.clear()
        with full(small), pytest.raises(EngineDiskFullError):
            await box.create_session()
        async with box.create_session() as session:
            assert (await session.exec(["echo", "on"], check=True)).stdout == "on\n"


@case("F17", CREATION)
@pytest.mark.parametrize("step", ["attach", "start"])
async def test_a_disk_that_fills_after_the_create_is_typed_and_leaves_nothing(
    small: OwnEngine, sandbox: MakeSandbox, step: str
) -> None:
    socket = small.directory / "proxy.sock"
    async with (
        between(small.directory / "engine.sock", socket) as proxy,
        sandbox(docker_host=f"unix://{socket}") as box,
    ):
        await warmed_up(box)
        filled = contextlib.ExitStack()
        was_full = False

        async def fill(exchange: Exchange) -> bool:
            nonlocal was_full
            del exchange
            filled.enter_context(full(small))
            was_full = True
            return True

        proxy.on("POST", f"containers/[^/]+/{step}", fill, times=1)
        with filled:
            # To start a container the engine makes a directory: that is what there is no room for.
            with pytest.raises(EngineDiskFullError, match="starting session"):
                await box.create_session()
            assert was_full
            assert await eventually_none(lambda: small.observer.left("")) == []
        async with box.create_session() as session:
            assert (await session.exec(["echo", "on"], check=True)).stdout == "on\n"
    socket.unlink(missing_ok=True)


@case("F17", LOST)
async def test_a_session_whose_disk_is_full_says_so_works_on_and_is_removed(
    small: OwnEngine, sandbox: MakeSandbox
) -> None:
    async with (
        sandbox(docker_host=small.address) as box,
        box.create_session(workspace=Workspace.ephemeral()) as session,
    ):
        with full(small):
            with pytest.raises(DiskFullError):
                await session.write_file("file", bytes(1 << 20))
            assert await session.list_files() == []  # nothing half-written
            assert (await session.exec(["echo", "on"], check=True)).stdout == "on\n"
            result = await session.shell("head -c 1000000 /dev/zero >file")
            assert not result.ok  # the command's own affair: it is told by its system calls
            await session.destroy(wait=True)
            assert await small.observer.left("") == []


@case("F17", LOST)
async def test_what_could_not_be_removed_on_a_full_disk_is_removed_later(
    small: OwnEngine, sandbox: MakeSandbox
) -> None:
    async with sandbox(docker_host=small.address) as box:
        session = await box.create_session()
        container = await small.container_id(session.id)
        with full(small):
            # The client is gone; the engine does what it can, with nothing to write on.
            await session.detach()
            async with asyncio.timeout(60):
                while small.pids(container):
                    await asyncio.sleep(0.05)
        await sweep(small)
        assert await small.observer.left("") == []
        async with box.create_session() as next_one:
            assert (await next_one.exec(["echo", "on"], check=True)).stdout == "on\n"


@case("X54", STATE)
@pytest.mark.parametrize(
    "step",
    [
        ("POST", "commit"),
        pytest.param(("POST", "containers/[^/]+/start"), marks=pytest.mark.slow),
    ],
    ids=["the commit", "the copy"],
)
async def test_a_disk_that_becomes_full_during_a_snapshot_costs_the_snapshot_alone(
    small: OwnEngine, sandbox: MakeSandbox, monkeypatch: pytest.MonkeyPatch, step: tuple[str, str]
) -> None:
    monkeypatch.setenv(ENGINE_ONLY, "engine")
    socket = small.directory / "proxy-state.sock"
    async with (
        between(small.directory / "engine.sock", socket) as proxy,
        sandbox(docker_host=f"unix://{socket}") as box,
        box.create_session() as session,
    ):
        await session.write_file("kept", b"x" * 100_000)
        # Into the container's own file system: the commit has something to write.
        await session.shell("head -c 100000 /dev/urandom >/kept", check=True)
        with full_from(small, proxy, step) as rule:
            with pytest.raises(EngineError):
                await session.snapshot("one")
            assert rule.seen.is_set()
            assert (await session.exec(["echo", "on"], check=True)).stdout == "on\n"
        assert await box.list_snapshots() == []
        await session.snapshot("one")
        await box.delete_snapshot("one")
        assert await session.read_file("kept") == b"x" * 100_000
    await sweep(small)
    assert await eventually_none(lambda: small.observer.left("")) == []
    socket.unlink(missing_ok=True)


@case("X120", STATE)
@pytest.mark.slow
async def test_a_disk_that_becomes_full_during_a_stop_or_a_resume_costs_neither_session_nor_files(
    small: OwnEngine, sandbox: MakeSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENGINE_ONLY, "engine")
    socket = small.directory / "proxy-stop.sock"
    async with (
        between(small.directory / "engine.sock", socket) as proxy,
        sandbox(docker_host=f"unix://{socket}") as box,
    ):
        session = await box.create_session()
        await session.write_file("kept", b"x" * 100_000)
        await session.shell("head -c 100000 /dev/urandom >/kept", check=True)
        works: list[tuple[tuple[str, str], Callable[[], Awaitable[object]]]] = [
            (("POST", "commit"), session.stop),
            (("POST", "containers/create"), lambda: box.resume(session.id)),
        ]
        for step, work in works:
            with full_from(small, proxy, step) as rule:
                with pytest.raises(EngineError):
                    await work()
                assert rule.seen.is_set()
                if work == session.stop:
                    assert (await session.exec(["echo", "on"], check=True)).stdout == "on\n"
            states = [info.state for info in await box.list_sessions()]
            assert states == (["running"] if work == session.stop else ["stopped"])
            if work == session.stop:
                await session.stop()
        async with box.resume(session.id) as again:
            assert await again.read_file("kept") == b"x" * 100_000
    await sweep(small)
    assert await eventually_none(lambda: small.observer.left("")) == []
    socket.unlink(missing_ok=True)
