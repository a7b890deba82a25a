"""Whole trees and a gigabyte in one file, up and down, against ``docker cp``."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.baseline import BaselineContainer
from benchmarks.bench import GIGABYTE_LIMITS, Bench, Group
from benchmarks.corpus import make_file, make_tree
from benchmarks.docker_cp import docker_cp
from benchmarks.measure import Side, alternate, median
from benchmarks.row import Row, at_least
from fumehood import AsyncDockerSandbox, AsyncSession, TransferResult

_FILES = 10_000
_TREE_ROUNDS = 5
_GIGABYTE = 1 << 30
_FILE_ROUNDS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """A session, the container of the baseline, and a directory of this machine.

    What the last call has made makes room for the next one. A file is removed. A tree is moved out
    of the way: ext4 without a journal passes by all inodes that were freed within minutes, one by
    one for each file that is made, and copying ten thousand files behind the removal of as many
    takes ten times as long and more, on both sides.
    """

    session: AsyncSession
    container: BaselineContainer
    local: Path
    moves: Iterator[int] = field(default_factory=itertools.count)

    async def session_ready(self) -> None:
        await self.session.exec(self._room("copy"), check=True)

    async def container_ready(self) -> None:
        await self.container.run(self._room("/copy"))

    async def local_ready(self) -> None:
        target = self.local / "copy"
        if target.is_dir():
            target.rename(self.local / f"was-{next(self.moves)}")
        else:
            target.unlink(missing_ok=True)

    def _room(self, path: str) -> list[str]:
        """Return the command that does this for a name."""
        move = 'if [ -d "$1" ]; then mv "$1" "$1-was-$2"; else rm -f "$1"; fi'
        return ["sh", "-c", move, "sh", path, str(next(self.moves))]

    async def up(self) -> None:
        _whole(await self.session.upload(self.local / "source", "copy"))

    async def down(self) -> None:
        _whole(await self.session.download("copy", self.local / "copy"))

    async def cp_up(self) -> None:
        await docker_cp(str(self.local / "source"), f"{self.container.id}:/copy")

    async def cp_down(self) -> None:
        await docker_cp(f"{self.container.id}:/copy", str(self.local / "copy"))


def _whole(result: TransferResult) -> None:
    if result.skipped_count:
        raise RuntimeError(f"left out: {result.skipped[:3]}")


@asynccontextmanager
async def _place(bench: Bench) -> AsyncIterator[_Place]:
    with tempfile.TemporaryDirectory(prefix="fumehood-bench-") as directory:
        async with (
            AsyncDockerSandbox(image=bench.image, limits=GIGABYTE_LIMITS) as sandbox,
            sandbox.create_session() as session,
            bench.baseline.container() as container,
        ):
            yield _Place(session=session, container=container, local=Path(directory))


async def _both_ways(place: _Place, rounds: int) -> dict[str, list[float]]:
    """Copy the source up and down; each time to where nothing is."""
    up = await alternate(
        rounds,
        {
            "up": Side(call=place.up, ready=place.session_ready),
            "cp-up": Side(call=place.cp_up, ready=place.container_ready),
        },
    )
    down = await alternate(
        rounds,
        {
            "down": Side(call=place.down, ready=place.local_ready),
            "cp-down": Side(call=place.cp_down, ready=place.local_ready),
        },
    )
    return up | down


async def _trees(bench: Bench) -> list[Row]:
    async with _place(bench) as place:
        make_tree(place.local / "source", files=_FILES)
        times = await _both_ways(place, _TREE_ROUNDS)
        copied = sum(1 for path in (place.local / "copy").rglob("*") if path.is_file())
    if copied != _FILES:
        raise RuntimeError(f"{copied} files came back of {_FILES}")
    return [
        Row(
            name=f"tree-10k-{way}",
            what=f"{_FILES:,} small files {way}",
            unit="files/s",
            ours=_FILES / median(times[way]),
            baseline=_FILES / median(times[f"cp-{way}"]),
            against="docker cp",
            target=at_least(1),
            samples=len(times[way]),
        )
        for way in ("up", "down")
    ]


async def _gigabyte(bench: Bench) -> list[Row]:
    async with _place(bench) as place:
        make_file(place.local / "source", _GIGABYTE)
        times = await _both_ways(place, _FILE_ROUNDS)
        if (place.local / "copy").stat().st_size != _GIGABYTE:
            raise RuntimeError("a file came back shorter")
    return [
        Row(
            name=f"file-1g-{way}",
            what=f"one file of 1 GiB {way}",
            unit="MB/s",
            ours=_GIGABYTE / 1e6 / median(times[way]),
            baseline=_GIGABYTE / 1e6 / median(times[f"cp-{way}"]),
            against="docker cp",
            target=at_least(1),
            samples=len(times[way]),
        )
        for way in ("up", "down")
    ]


GROUPS = (
    Group(rows=("tree-10k-up", "tree-10k-down"), measure=_trees, long=True),
    Group(rows=("file-1g-up", "file-1g-down"), measure=_gigabyte, long=True),
)
