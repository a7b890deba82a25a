"""Snapshots that are written to a file, and taken in from it."""

from __future__ import annotations

import asyncio
import os
import stat
import tarfile
import time
from pathlib import Path

import pytest

from cases.invariants import never_gone
from contract.adapter import BUSYBOX, PYTHON, Api
from contract.observer import Observer
from fumehood import (
    InvalidRequestError,
    LocalFileError,
    Manifest,
    Security,
    SnapshotExistsError,
    SnapshotFileError,
    SnapshotNotFoundError,
    TransferProgress,
)

MIB = 1 << 20
LOOK = (
    "find ./* -exec stat -c '%n %F %a %u:%g %h %Y' {} + | sort; readlink d/out d/in; cat a d/hard"
)
MAKE = """
mkdir -p d/e && echo text >a && ln a d/hard && ln -s ../../../etc d/out && ln -s ../a d/in
mkfifo p && chmod 4755 a && chmod 1777 d && chown -R 1000:1001 d/e
touch "$(printf 'n\\303\\251\\n\\377')"
head -c 9000000 /dev/urandom >large && sha256sum large >sum && echo outside >/kept
"""


def held(directory: Path) -> list[Path]:
    return list(directory.iterdir())


async def test_a_snapshot_goes_through_a_file(api: Api, observer: Observer, tmp_path: Path) -> None:
    steps: list[TransferProgress] = []
    file = tmp_path / "point.snapshot"
    file.write_bytes(b"an older one")
    async with api.sandbox(BUSYBOX) as sandbox, sandbox.create_session() as session:
        await session.shell(MAKE, check=True)
        seen = (await session.shell(LOOK, check=True)).stdout
        point = await session.snapshot(labels={"step": "1"})
        written = await sandbox.export_snapshot(point, file, progress=steps.append)
        await sandbox.delete_snapshot(point)
        assert (written.snapshot, written.path) == (point, str(file))
        assert written.size == file.stat().st_size > 9_000_000
        assert 0 < written.duration < time.monotonic()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert [step.bytes for step in steps] == sorted({step.bytes for step in steps})
        assert held(tmp_path) == [file]

        steps.clear()
        taken = await sandbox.import_snapshot(file, progress=steps.append)
        try:
            assert (taken.name, taken.image, taken.labels) == (point.name, BUSYBOX, {"step": "1"})
            assert taken.id != point.id
            assert taken.workspace_bytes == point.workspace_bytes
            assert taken.layer_bytes > point.layer_bytes
            assert taken in await sandbox.list_snapshots()
            assert await observer.has_layer(taken)
            assert {step.total_bytes for step in steps} == {file.stat().st_size}
            async with sandbox.create_session(from_snapshot=taken) as copy:
                assert (await copy.shell(LOOK, check=True)).stdout == seen
                assert (await copy.shell("sha256sum -c sum", check=True)).ok
                assert await copy.read_text_file("/kept", root="/") == "outside\n"
                assert (await copy.exec(["env"])).stdout == (await session.exec(["env"])).stdout
                await copy.destroy(wait=True)
        finally:
            await sandbox.delete_snapshot(taken)
        assert not await observer.has_layer(taken)


@pytest.mark.parametrize("readonly", [False, True])
async def test_nothing_of_a_session_but_its_files_is_in_the_file(
    api: Api, tmp_path: Path, readonly: bool
) -> None:
    file = tmp_path / "f"
    secret = b"a-secret-that-nobody-must-see"
    async with (
        api.sandbox(
            BUSYBOX,
            env={"TOKEN": secret.decode()},
            labels={"team": "label-of-the-original"},
            security=Security(readonly_rootfs=readonly),
        ) as sandbox,
        sandbox.create_session(
            metadata={"for": "metadata-of-the-original"}, manifest=Manifest(files={"a": "text"})
        ) as session,
    ):
        point = await session.snapshot()
        await sandbox.export_snapshot(point.name, file)
        await sandbox.delete_snapshot(point)
        data = file.read_bytes()
        for what in (secret, b"label-of-the-original", b"metadata-of-", session.id.encode()):
            assert what not in data
        with tarfile.open(file) as archive:
            names = archive.getnames()
        assert names[0] == "snapshot.json"
        assert names[-1] == "end.json"
        taken = await sandbox.import_snapshot(file, name=api.new_id(), labels={"own": "x"})
        try:
            assert taken.labels == {"own": "x"}
            async with sandbox.create_session(from_snapshot=taken) as copy:
                assert await copy.read_text_file("a") == "text"
        finally:
            await sandbox.delete_snapshot(taken)


async def test_what_cannot_be_exported_leaves_no_file(api: Api, tmp_path: Path) -> None:
    async with api.sandbox(BUSYBOX) as sandbox, sandbox.create_session() as session:
        with pytest.raises(SnapshotNotFoundError, match="nobody"):
            await sandbox.export_snapshot("nobody", tmp_path / "f")
        for bad in ("", "a\0b", 7, None, b"bytes"):
            with pytest.raises(InvalidRequestError):
                await sandbox.export_snapshot("nobody", bad)  # type: ignore[arg-type]
        point = await session.snapshot()
        try:
            with pytest.raises(LocalFileError, match="nowhere"):
                await sandbox.export_snapshot(point, tmp_path / "nowhere" / "f")
            directory = tmp_path / "d"
            directory.mkdir()
            with pytest.raises(LocalFileError):
                await sandbox.export_snapshot(point, directory)
            assert held(tmp_path) == [directory]
        finally:
            await sandbox.delete_snapshot(point)
        with pytest.raises(SnapshotNotFoundError):
            await sandbox.export_snapshot(point, tmp_path / "f")
        assert held(tmp_path) == [directory]


async def test_what_cannot_be_imported_leaves_nothing(
    api: Api, observer: Observer, tmp_path: Path
) -> None:
    file, other = tmp_path / "f", tmp_path / "other"
    before = await observer.left("broken")
    async with api.sandbox(BUSYBOX) as sandbox, sandbox.create_session() as session:
        point = await session.snapshot()
        try:
            await sandbox.export_snapshot(point, file)
            with pytest.raises(SnapshotExistsError, match=point.name):
                await sandbox.import_snapshot(file)
            for options in ({"name": "../x"}, {"expires": -1}, {"labels": {"": "x"}}):
                with pytest.raises(InvalidRequestError):
                    await sandbox.import_snapshot(file, **options)
            for path in (tmp_path, tmp_path / "nowhere"):
                with pytest.raises(LocalFileError):
                    await sandbox.import_snapshot(path)
            data = file.read_bytes()
            for broken in (b"", b"text", data[: len(data) // 2], data[:-3000] + bytes(3000)):
                other.write_bytes(broken)
                with pytest.raises(SnapshotFileError, match="other"):
                    await sandbox.import_snapshot(other, name="broken")
            names = [snapshot.name for snapshot in await sandbox.list_snapshots()]
            assert "broken" not in names
        finally:
            await sandbox.delete_snapshot(point)
    # Containers and images that were made for it have nobody's name: the fixture looks for them.
    assert await never_gone(lambda: observer.left("broken"), before=before) == []


async def test_cancelled_moves_leave_nothing(observer: Observer, tmp_path: Path) -> None:
    api = Api("async", f"ct-moved-{os.getpid()}")
    file = tmp_path / "f"
    before = await observer.left("cancelled")
    async with api.sandbox(PYTHON) as sandbox, sandbox.create_session() as session:
        point = await session.snapshot()
        try:
            await sandbox.export_snapshot(point, file)
            under_way = asyncio.Event()

            def tell(step: TransferProgress) -> None:
                if step.bytes > 8 * MIB:
                    under_way.set()

            for move in (
                sandbox.export_snapshot(point, tmp_path / "g", progress=tell),
                sandbox.import_snapshot(file, name="cancelled", progress=tell),
            ):
                under_way.clear()
                task = asyncio.create_task(move)
                await asyncio.wait_for(under_way.wait(), 60)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            assert held(tmp_path) == [file]
            names = [snapshot.name for snapshot in await sandbox.list_snapshots()]
            assert "cancelled" not in names
        finally:
            await sandbox.delete_snapshot(point)
    api.close()
    assert await never_gone(lambda: observer.left("cancelled"), before=before) == []
