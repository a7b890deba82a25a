"""What a transfer holds in memory of a file that is far larger: some pieces, whatever its size."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from contract.adapter import SCRATCH, Api
from fumehood import Limits

SIZE = 96 << 20
# Pieces under way and the window of a stream are a few MiB; a copy of the file is no such thing.
MOST = 16 << 20


@contextmanager
def held_at_most(most: int) -> Iterator[None]:
    """Hold the allocations of this process, of all its threads, to a bound."""
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < most


async def test_a_file_goes_up_and_comes_back_in_a_fraction_of_its_size(
    api: Api, tmp_path: Path
) -> None:
    source, back = tmp_path / "source", tmp_path / "back"
    with source.open("wb") as file:
        os.truncate(file.fileno(), SIZE)
    limits = Limits(max_file_bytes=SIZE)
    async with api.session(SCRATCH, limits=limits) as session:
        with held_at_most(MOST):
            assert (await session.upload(source, "large")).bytes == SIZE
        with held_at_most(MOST):
            assert (await session.download("large", back)).bytes == SIZE
    assert back.stat().st_size == SIZE
