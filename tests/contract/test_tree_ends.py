"""Transfers that do not come to their end: full disks, cancellations, clients that are killed."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from contract.adapter import PYTHON, Api
from contract.memory import growth
from contract.observer import Observer
from fumehood import AsyncSession, DiskFullError, FileTooLargeError, Limits, TransferProgress

MIB = 1 << 20


def tree_of(top: Path, count: int, size: int) -> Path:
    """Make a directory of files, each of which begins with its own number."""
    top.mkdir()
    for number in range(count):
        (top / f"{number:04}").write_bytes(b"%04d" % number + bytes(size - 4))
    return top


async def all_whole(session: AsyncSession, path: str, size: int) -> int:
    """See that whatever is there under its own name is whole; return how many there are."""
    entries = await session.list_files(path)
    assert {entry.size for entry in entries} <= {size}
    assert [entry.name for entry in entries if entry.name.startswith(".")] == []
    return len(entries)


async def test_a_full_disk_ends_an_upload_and_leaves_whole_files(api: Api, tmp_path: Path) -> None:
    top = tree_of(tmp_path / "src", 40, MIB)
    async with api.session(limits=Limits(workspace_mb=16)) as session:
        with pytest.raises(DiskFullError):
            await session.upload(top, "t")
        assert 0 < await all_whole(session, "t", MIB) < 40
        with pytest.raises(DiskFullError):
            await session.upload(_large(tmp_path / "large", 20 * MIB), "large")
        assert not await session.exists("large")
        await session.remove("t", recursive=True)
        assert (await session.upload(top / "0000", "one")).files == 1


def _large(path: Path, size: int) -> Path:
    with path.open("wb") as file:
        file.truncate(size)
    return path


async def test_a_file_beyond_the_limit_is_named_and_the_rest_arrives(
    api: Api, tmp_path: Path
) -> None:
    top = tree_of(tmp_path / "src", 3, 1000)
    # More than could be sent in this test's time: nobody sends what will be refused.
    _large(top / "large", 1 << 40)
    async with api.session(limits=Limits(max_file_bytes=MIB)) as session:
        sent = await session.upload(top, "t")
        assert (sent.files, sent.bytes) == (3, 3000)
        assert [item.path for item in sent.skipped] == ["large"]
        assert await all_whole(session, "t", 1000) == 3
        with pytest.raises(FileTooLargeError, match="max_file_bytes"):
            await session.upload(top / "large", "alone")
        assert not await session.exists("alone")


async def test_a_cancelled_upload_leaves_whole_files_and_a_session_that_goes_on(
    tmp_path: Path,
) -> None:
    api = Api("async", f"ct-cancel-{os.getpid()}")
    top = tree_of(tmp_path / "src", 200, 200_000)
    async with api.session() as session:
        under_way = asyncio.Event()

        def progress(step: TransferProgress) -> None:
            if step.bytes > 4 * MIB:
                under_way.set()

        running = asyncio.create_task(session.upload(top, "t", progress=progress))
        await asyncio.wait_for(under_way.wait(), 60)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert 0 < await all_whole(session, "t", 200_000) <= 200
        assert session.statistics()["live"] == 0
        again = await session.upload(f"{top}/.", "t", skip_same=True)
        assert again.files + again.unchanged == 200
        assert again.unchanged > 0
        assert await all_whole(session, "t", 200_000) == 200

        under_way.clear()
        running = asyncio.create_task(session.download("t", tmp_path / "back", progress=progress))
        await asyncio.wait_for(under_way.wait(), 60)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        files = list((tmp_path / "back").iterdir())
        assert files
        assert {path.stat().st_size for path in files} == {200_000}
        assert session.statistics()["live"] == 0
    api.close()


KILLED = """
import asyncio, os, signal, sys
from fumehood import AsyncDockerSandbox
async def main():
    async with AsyncDockerSandbox(image=sys.argv[1], pull="never") as sandbox:
        async with sandbox.connect(sys.argv[2]) as session:
            def progress(step):
                if step.bytes > 4 << 20:
                    os.kill(os.getpid(), signal.SIGKILL)
            if sys.argv[3] == "up":
                await session.upload(sys.argv[4], "t", progress=progress)
            else:
                await session.download("t", sys.argv[4], progress=progress)
asyncio.run(main())
"""


@pytest.mark.parametrize("way", ["up", "down"])
async def test_a_client_that_is_killed_leaves_whole_files(
    session: AsyncSession, observer: Observer, tmp_path: Path, way: str
) -> None:
    top = tree_of(tmp_path / "src", 200, 200_000)
    if way == "down":
        await session.upload(top, "t")
    local = top if way == "up" else tmp_path / "back"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", KILLED, PYTHON, session.id, way, str(local)
    )
    assert await asyncio.wait_for(process.wait(), 60) == -9
    if way == "up":
        # The supervisor notices, and tidies up: nothing of it is under way when it is seen so.
        async with asyncio.timeout(60):
            while any("supervisor" in line for line in await _helpers(observer, session)):
                await asyncio.sleep(0.05)
        assert 0 < await all_whole(session, "t", 200_000) < 200
    else:
        found = [path for path in local.iterdir() if not path.name.startswith(".fumehood-")]
        assert found
        assert {path.stat().st_size for path in found} == {200_000}
    await session.remove("t", recursive=True)


async def _helpers(observer: Observer, session: AsyncSession) -> list[str]:
    """Return the processes of the supervisor that carry out an operation for the workload."""
    found = await observer.call(
        "GET", f"containers/fumehood-{session.id}/top", ps_args="-eo pid,uid,args"
    )
    return [row[2] for row in found["Processes"] if row[1] == "0"]


@pytest.mark.slow
async def test_memory_is_flat_for_files_of_any_size(api: Api, tmp_path: Path) -> None:
    large = _large(tmp_path / "large", 200 * MIB)
    limits = Limits(max_file_bytes=200 * MIB, memory_mb=96)
    async with api.session(limits=limits) as session:
        with growth() as grown:
            sent = await session.upload(large, "large")
            got = await session.download("large", tmp_path / "back")
        assert (sent.bytes, got.bytes) == (200 * MIB, 200 * MIB)
        assert (tmp_path / "back").stat().st_size == 200 * MIB
        assert grown() < 24 * MIB
