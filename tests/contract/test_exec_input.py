"""Standard input: none, some, more than memory should hold, and programs that don't want it."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator

import pytest

from contract.adapter import Api
from contract.programs import python
from fumehood import AsyncSession, ExecReason

DIGEST = (
    "import hashlib, sys\n"
    "digest = hashlib.sha256(); size = 0\n"
    "while block := sys.stdin.buffer.read(1 << 20):\n"
    "    digest.update(block); size += len(block)\n"
    "print(size, digest.hexdigest())\n"
)
MIB = 1 << 20


def _noise(size: int) -> bytes:
    """Return bytes that repeat nowhere near."""
    block = b"".join(hashlib.sha256(number.to_bytes(4)).digest() for number in range(32_768))
    return (block * (size // len(block) + 1))[:size]


@pytest.mark.engines("docker", "memory")
async def test_without_input_a_program_reads_its_end_at_once(session: AsyncSession) -> None:
    assert (await session.exec(["cat"], check=True)).stdout_bytes == b""


@pytest.mark.engines("docker", "memory")
@pytest.mark.parametrize("data", [b"", b"x", b"\0\xff\n" * 1000, b"x" * 65_536, b"y" * 262_145])
async def test_input_arrives_byte_for_byte(session: AsyncSession, data: bytes) -> None:
    assert (await session.exec(["cat"], input=data, check=True)).stdout_bytes == data


@pytest.mark.engines("docker", "memory")
async def test_text_is_sent_as_utf_8(session: AsyncSession) -> None:
    result = await session.exec(["cat"], input="é€😀\n", check=True)
    assert result.stdout_bytes == "é€😀\n".encode()


async def test_fifty_mebibytes_of_input_arrive(session: AsyncSession) -> None:
    data = _noise(50 * MIB)
    result = await session.exec(python(DIGEST), input=data, check=True)
    assert result.stdout.split() == [str(len(data)), hashlib.sha256(data).hexdigest()]


@pytest.mark.engines("docker", "memory")
async def test_input_and_output_flow_at_the_same_time(session: AsyncSession) -> None:
    data = _noise(8 * MIB)
    result = await session.exec(["cat"], input=data, check=True, max_output_bytes=len(data))
    assert result.stdout_bytes == data


@pytest.mark.engines("docker", "memory")
async def test_a_program_that_never_reads_still_runs_out_of_time(session: AsyncSession) -> None:
    result = await session.exec(["sleep", "60"], input=bytes(10 * MIB), timeout=0.5)
    assert (result.reason, result.killed) == (ExecReason.TIMED_OUT, 1)


@pytest.mark.engines("docker", "memory")
async def test_a_program_that_never_reads_may_end_well(session: AsyncSession) -> None:
    assert (await session.exec(["true"], input=bytes(10 * MIB))).ok


async def test_a_program_that_reads_a_little_may_end_well(session: AsyncSession) -> None:
    result = await session.exec(["head", "-c", "10"], input=_noise(10 * MIB), check=True)
    assert result.stdout_bytes == _noise(10)


async def test_a_program_that_closes_its_input_goes_on(session: AsyncSession) -> None:
    result = await session.exec(
        ["sh", "-c", "exec <&-; sleep 0.2; echo on"], input=bytes(10 * MIB), check=True
    )
    assert result.stdout == "on\n"


async def test_a_slow_reader_slows_only_itself(session: AsyncSession) -> None:
    slow = "import sys, time\nfor _ in range(20): sys.stdin.buffer.read(4096); time.sleep(0.05)\n"
    running = asyncio.create_task(session.exec(python(slow), input=bytes(10 * MIB)))
    for _ in range(20):
        assert (await session.exec(["cat"], input=b"quick", check=True)).stdout == "quick"
    assert not running.done()
    assert (await running).ok


@pytest.mark.engines("docker", "memory")
async def test_input_in_pieces_is_asked_for_as_the_program_reads(session: AsyncSession) -> None:
    def pieces() -> Iterator[bytes]:
        for number in range(1000):
            yield b"%d\n" % number

    result = await session.exec(["cat"], input=pieces(), check=True)
    assert result.stdout_bytes == b"".join(b"%d\n" % number for number in range(1000))


async def test_endless_input_ends_with_the_program(session: AsyncSession) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"line\n" * 1000

    result = await session.exec(["head", "-n", "3"], input=endless(), check=True)
    assert result.stdout == "line\n" * 3


@pytest.mark.engines("docker", "memory")
async def test_an_error_in_the_source_of_input_kills_the_program_and_is_raised(
    session: AsyncSession,
) -> None:
    def broken() -> Iterator[bytes]:
        yield b"some"
        raise RuntimeError("the source broke")

    with pytest.raises(RuntimeError, match="the source broke"):
        await session.exec(["cat"], input=broken())


@pytest.mark.engines("docker", "memory")
async def test_input_of_many_commands_at_once_is_not_mixed_up(api: Api) -> None:
    async with api.session() as session:

        async def run(number: int) -> None:
            data = b"%03d" % number * 200_000
            result = await session.exec(["cat"], input=data, max_output_bytes=len(data), check=True)
            assert result.stdout_bytes == data

        await asyncio.gather(*map(run, range(16)))
