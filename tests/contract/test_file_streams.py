"""Files piece by piece: larger than memory should hold, and left half-way."""

from __future__ import annotations

import asyncio
import gc
import hashlib

import pytest

from contract.adapter import Api
from contract.memory import growth
from contract.programs import python
from fumehood import (
    AsyncSession,
    DiskFullError,
    FileMissingError,
    FileTooLargeError,
    InvalidRequestError,
    Limits,
    NotRegularFileError,
    PathEscapesError,
)

MIB = 1 << 20
LARGE = 200 * MIB
BLOCK = bytes(range(256)) * 4096


async def names(session: AsyncSession) -> list[str]:
    """Return every name in the workspace, hidden and temporary ones too."""
    return [entry.path for entry in await session.list_files()]


async def test_a_file_larger_than_memory_should_hold_is_written_and_read(api: Api) -> None:
    async with api.session(limits=Limits(max_file_bytes=LARGE)) as session:
        sent = hashlib.sha256()
        with growth() as grown:
            async with session.write_file_stream("large") as file:
                for _ in range(LARGE // len(BLOCK)):
                    await file.write(BLOCK)
                    sent.update(BLOCK)
            got = hashlib.sha256()
            size = 0
            async for chunk in session.read_file_stream("large"):
                got.update(chunk)
                size += len(chunk)
        assert (size, got.hexdigest()) == (LARGE, sent.hexdigest())
        assert (await session.stat("large")).size == LARGE
        assert grown() < 16 * MIB


@pytest.mark.engines("docker", "memory")
async def test_reading_may_start_anywhere(session: AsyncSession) -> None:
    await session.write_file("digits", b"0123456789")
    for offset, rest in ((0, b"0123456789"), (7, b"789"), (10, b""), (1000, b"")):
        chunks = [chunk async for chunk in session.read_file_stream("digits", offset=offset)]
        assert b"".join(chunks) == rest


async def test_a_reader_that_stops_early_leaves_nothing_open(session: AsyncSession) -> None:
    await session.exec(["truncate", "-s", "10G", "sparse"], check=True)
    async with session.read_file_stream("sparse") as reader:
        assert await anext(reader)
    assert session.statistics()["live"] == 0
    async for _ in session.read_file_stream("sparse"):
        break
    gc.collect()
    async with asyncio.timeout(10):
        while session.statistics()["live"]:
            assert (await session.exec(["true"])).ok
    await session.remove("sparse")


async def test_a_reader_that_stalls_stalls_nothing_else(session: AsyncSession) -> None:
    await session.exec(["truncate", "-s", "1G", "sparse"], check=True)
    async with session.read_file_stream("sparse") as reader:
        await anext(reader)
        for _ in range(10):
            assert (await session.exec(["echo", "on"], check=True)).stdout == "on\n"
        assert await anext(reader)
    await session.remove("sparse")


async def test_errors_come_with_the_first_piece(session: AsyncSession) -> None:
    await session.shell("mkfifo fifo; ln -s /etc/passwd out", check=True)
    for path, error in (
        ("missing", FileMissingError),
        ("fifo", NotRegularFileError),
        ("out", PathEscapesError),
    ):
        with pytest.raises(error):
            await anext(session.read_file_stream(path))


@pytest.mark.engines("docker", "memory")
async def test_a_written_file_takes_its_place_only_at_the_end(api: Api) -> None:
    async with api.session() as session:
        await session.write_file("f", "old", mode=0o640)
        async with session.write_file_stream("f") as file:
            await file.write(b"new ")
            assert await session.read_file("f") == b"old"
            await file.write(b"content")
            assert file.size == 11
        assert await session.read_file("f") == b"new content"
        assert (await session.stat("f")).mode == 0o640
        assert await names(session) == ["f"]


@pytest.mark.engines("docker", "memory")
async def test_an_empty_stream_makes_an_empty_file_with_its_parents(session: AsyncSession) -> None:
    async with session.write_file_stream("a/b/empty", mode=0o755):
        pass
    entry = await session.stat("a/b/empty")
    assert (entry.size, entry.mode) == (0, 0o755)


@pytest.mark.engines("docker", "memory")
async def test_a_write_that_is_given_up_leaves_the_old_file_and_no_other(api: Api) -> None:
    async with api.session() as session:
        await session.write_file("f", "old")
        for path in ("f", "new"):
            with pytest.raises(ZeroDivisionError):
                async with session.write_file_stream(path) as file:
                    await file.write(bytes(3 * MIB))
                    raise ZeroDivisionError
        assert await session.read_file("f") == b"old"
        assert await names(session) == ["f"]


@pytest.mark.engines("docker", "memory")
async def test_a_write_beyond_the_limit_leaves_the_old_file_and_no_other(api: Api) -> None:
    async with api.session(limits=Limits(max_file_bytes=MIB)) as session:
        await session.write_file("f", "old")
        with pytest.raises(FileTooLargeError):
            async with session.write_file_stream("f") as file:
                for _ in range(64):
                    await file.write(bytes(MIB // 2))
        assert await session.read_file("f") == b"old"
        assert await names(session) == ["f"]
        async with session.write_file_stream("f") as file:
            await file.write(bytes(MIB))
        assert (await session.stat("f")).size == MIB


async def test_a_write_to_a_full_disk_leaves_the_old_file_and_no_other(api: Api) -> None:
    async with api.session(limits=Limits(workspace_mb=4)) as session:
        await session.write_file("f", "old")
        with pytest.raises(DiskFullError):
            async with session.write_file_stream("f") as file:
                for _ in range(32):
                    await file.write(bytes(MIB))
        assert await session.read_file("f") == b"old"
        assert await names(session) == ["f"]


@pytest.mark.engines("docker", "memory")
async def test_a_writer_outside_of_its_block_is_refused(session: AsyncSession) -> None:
    with pytest.raises(InvalidRequestError):
        await session.write_file_stream("f").write(b"x")
    async with session.write_file_stream("f") as file:
        with pytest.raises(InvalidRequestError):
            await file.write("text")  # type: ignore[arg-type]


async def test_a_file_that_shrinks_while_it_is_read_ends_early(session: AsyncSession) -> None:
    await session.exec(["truncate", "-s", "100M", "shrinking"], check=True)
    async with session.read_file_stream("shrinking") as reader:
        size = len(await anext(reader))
        await session.exec(["truncate", "-s", "0", "shrinking"], check=True)
        async for chunk in reader:
            size += len(chunk)
    assert size < 100 * MIB


async def test_many_transfers_at_once_are_not_mixed_up(api: Api) -> None:
    async with api.session() as session:

        async def carry(number: int) -> None:
            block = bytes([number]) * 100_000
            async with session.write_file_stream(f"f{number}") as file:
                for _ in range(20):
                    await file.write(block)
            data = b"".join([c async for c in session.read_file_stream(f"f{number}")])
            assert data == block * 20

        await asyncio.gather(*map(carry, range(12)))
        result = await session.exec(python("import os; print(len(os.listdir('.')))"), check=True)
        assert result.stdout == "12\n"
