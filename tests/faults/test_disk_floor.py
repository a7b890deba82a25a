"""Many sessions on one disk without quotas: who takes the last of it is ended, and nobody else."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from cases.invariants import eventually_none
from cases.mark import case
from faults.conftest import MakeSandbox
from faults.engine import OwnEngine, loaded
from faults.pending import SECONDS
from fumehood import (
    AsyncSession,
    DiskFullError,
    EndReason,
    ExecResult,
    Limits,
    SandboxError,
    SessionEndedError,
    Workspace,
)

FLOOR = "A session without a quota does not take the last of the engine's disk"
MIB = 1 << 20
DISK_MB = 256
FLOOR_MB = 96
"""Much of it, so that everybody has the time to look, however slow the machine is."""
LIMITS = Limits(timeout=None, memory_mb=64, pids=32, disk_floor_mb=FLOOR_MB)

WRITES = "i=0; while :; do head -c 1048576 /dev/zero >>full; sleep 0.1; done"
"""Ten MiB in a second: from the floor to its half are more than four."""
INNOCENT = {
    "sleeps": "sleep 1000",
    "computes": "while :; do :; done",
    "reads": "while :; do cat /bin/busybox >/dev/null; sleep 0.1; done",
    "logs": "while :; do date >>log; sleep 0.1; done",
}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def shared(archive: Path) -> AsyncIterator[OwnEngine]:
    """Give an engine with a disk of its own, for many sessions."""
    async with loaded(archive, disk_mb=DISK_MB) as engine:
        yield engine


@pytest_asyncio.fixture(loop_scope="session", autouse=True)
async def nothing_is_left(shared: OwnEngine) -> AsyncIterator[None]:
    yield
    assert await eventually_none(lambda: shared.observer.left("")) == []
    assert shared.pids() == []


def left_mb(engine: OwnEngine) -> int:
    status = os.statvfs(engine.data)
    return status.f_bavail * status.f_frsize // MIB


@contextmanager
def others_use(engine: OwnEngine, *, but_mb: int) -> Iterator[None]:
    """Let somebody who is no session of ours have the disk, but for so much."""
    ballast = engine.data / "ballast"
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, (left_mb(engine) - but_mb) * MIB)
    try:
        yield
    finally:
        ballast.unlink()


async def fall_asleep(engine: OwnEngine, session: AsyncSession) -> asyncio.Task[ExecResult]:
    """Begin a command that sleeps; return once its supervisor has looked and found it asleep."""
    pids = engine.pids(await engine.container_id(session.id))
    (first,) = (pid for pid in pids if f"\nNSpid:\t{pid}\t1\n" in status_of(pid))
    sleeping = asyncio.ensure_future(session.exec(["sleep", "1000"]))
    async with asyncio.timeout(SECONDS):
        while "sleep" not in engine.names(await engine.container_id(session.id)):
            await asyncio.sleep(0.02)
        # It wakes up for its looks, and for nothing else any more; one may be for the start.
        awake = times_awake(first)
        while times_awake(first) < awake + 3:
            await asyncio.sleep(0.1)
    return sleeping


def status_of(pid: int) -> str:
    return Path(f"/proc/{pid}/status").read_text(encoding="utf-8")


def times_awake(pid: int) -> int:
    return int(status_of(pid).partition("\nvoluntary_ctxt_switches:\t")[2].split()[0])


async def wait_for_the_end(session: AsyncSession, running: asyncio.Task[ExecResult]) -> None:
    """Wait for what the watch does to a session, and see that it says so."""
    await asyncio.wait({running}, timeout=2 * SECONDS)
    error = running.exception()
    assert isinstance(error, SessionEndedError), error or running.result()
    assert error.reason is EndReason.DISK_FULL
    assert "disk_floor_mb" in str(error)
    assert await session.wait_ended() is EndReason.DISK_FULL


@case("H24", FLOOR)
@pytest.mark.parametrize("workspace", ["ephemeral", "persistent"])
async def test_who_writes_is_ended_and_all_others_on_the_disk_live_on(
    shared: OwnEngine, sandbox: MakeSandbox, workspace: str
) -> None:
    async with AsyncExitStack() as stack:
        box = await stack.enter_async_context(sandbox(docker_host=shared.address, limits=LIMITS))
        if workspace == "persistent":
            stack.push_async_callback(box.remove_workspace, "full")
            writer = await box.create_session(workspace=Workspace.persistent("full"))
        else:
            writer = await box.create_session()
        innocent = {
            what: await stack.enter_async_context(box.create_session()) for what in INNOCENT
        }
        assert writer.effective_limits.workspace_tier == "floor-watch"
        assert writer.effective_limits.disk_floor_bytes == FLOOR_MB * MIB
        with others_use(shared, but_mb=FLOOR_MB + 8):
            working = {
                what: asyncio.ensure_future(session.shell(INNOCENT[what], timeout=None))
                for what, session in innocent.items()
            }
            await wait_for_the_end(writer, asyncio.ensure_future(writer.shell(WRITES)))
            for what, session in innocent.items():
                assert not working[what].done(), what
                assert (await session.exec(["echo", what], check=True)).stdout == f"{what}\n"
                working[what].cancel()
            await asyncio.wait(working.values())
            await writer.destroy()


@pytest.mark.slow
@case("H24", FLOOR)
async def test_one_call_that_takes_it_all_ends_its_session_and_none_that_sleeps(
    shared: OwnEngine, sandbox: MakeSandbox
) -> None:
    # Nothing of it is ever dirty, the file has no name, and nobody holds back from it.
    grab = "exec 3>full; rm full; fallocate -l {}m /proc/self/fd/3; sleep 1000"
    async with (
        sandbox(docker_host=shared.address, limits=LIMITS) as box,
        box.create_session() as sleeper,
        box.create_session() as idle,
    ):
        hostile = await box.create_session()
        sleeping = await fall_asleep(shared, sleeper)
        grabbing = asyncio.ensure_future(hostile.shell(grab.format(left_mb(shared) - 1)))
        await wait_for_the_end(hostile, grabbing)
        assert not sleeping.done()
        sleeping.cancel()
        await asyncio.wait({sleeping})
        for session in (sleeper, idle):
            assert (await session.exec(["echo", "on"], check=True)).stdout == "on\n"
        # What it held is given back with it.
        assert left_mb(shared) > FLOOR_MB
        await hostile.destroy()


@case("H25", FLOOR)
async def test_a_flood_of_files_ends_its_session_and_none_that_sleeps(
    shared: OwnEngine, sandbox: MakeSandbox
) -> None:
    flood = "i=0; while :; do true >$i || sleep 1; i=$((i+1)); done 2>/dev/null"
    # What the kernel keeps of so many files counts as memory: with little, that ends the flood.
    limits = replace(LIMITS, memory_mb=512)
    async with (
        sandbox(docker_host=shared.address, limits=limits) as box,
        box.create_session() as sleeper,
    ):
        hostile = await box.create_session()
        sleeping = await fall_asleep(shared, sleeper)
        await wait_for_the_end(hostile, asyncio.ensure_future(hostile.shell(flood)))
        assert not sleeping.done()
        sleeping.cancel()
        await asyncio.wait({sleeping})
        await hostile.destroy()


@case("H24", FLOOR)
async def test_the_containers_own_file_system_is_watched_as_well(
    shared: OwnEngine, sandbox: MakeSandbox
) -> None:
    limits = Limits(timeout=None, memory_mb=64, workspace_mb=4, disk_floor_mb=FLOOR_MB)
    async with sandbox(docker_host=shared.address, limits=limits) as box:
        session = await box.create_session()
        assert session.effective_limits.workspace_tier == "tmpfs"
        with others_use(shared, but_mb=FLOOR_MB + 8):
            # A quota that is used up is no reason for anything.
            assert not (await session.shell("head -c 9000000 /dev/zero >full")).ok
            assert (await session.exec(["echo", "on"], check=True)).stdout == "on\n"
            with pytest.raises(DiskFullError):
                await session.write_file("/large", bytes(32 * MIB), root="/")
            running = asyncio.ensure_future(session.shell(f"cd /; {WRITES}"))
            await wait_for_the_end(session, running)
        await session.destroy()


@case("H24", FLOOR)
async def test_an_upload_stops_at_the_floor_and_the_session_lives_on(
    shared: OwnEngine, sandbox: MakeSandbox
) -> None:
    async with (
        sandbox(docker_host=shared.address, limits=LIMITS) as box,
        box.create_session() as session,
    ):
        with others_use(shared, but_mb=FLOOR_MB + 8):
            with pytest.raises(DiskFullError):
                await session.write_file("large", bytes(32 * MIB))
            await session.write_file("small", b"there is room for little things")
            assert [entry.path for entry in await session.list_files()] == ["small"]
        await session.write_file("large", bytes(32 * MIB))


@case("H24", FLOOR)
async def test_a_session_that_is_ended_while_it_is_made_is_typed_and_leaves_nothing(
    shared: OwnEngine, sandbox: MakeSandbox
) -> None:
    async with sandbox(docker_host=shared.address, limits=LIMITS) as box:
        session = await box.create_session()
        with others_use(shared, but_mb=FLOOR_MB + 8):
            running = asyncio.ensure_future(session.shell(WRITES))
            await wait_for_the_end(session, running)
            # The same again: its end has given back what it took.
            async with box.create_session() as again:
                assert (await again.exec(["echo", "on"], check=True)).stdout == "on\n"
        for call in (session.list_files, lambda: session.exec(["true"])):
            with pytest.raises(SessionEndedError, match="nearly full"):
                await call()
        with pytest.raises(SandboxError):
            await box.connect(session.id)
