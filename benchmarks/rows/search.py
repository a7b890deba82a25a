"""Searching 200 MB of text inside, against ``grep -r``; and how soon a change is told of."""

from __future__ import annotations

import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from benchmarks.bench import LIMITS, Bench, Group
from benchmarks.corpus import NEEDLE, make_sources
from benchmarks.measure import Side, alternate, percentile
from benchmarks.row import NotMeasurableError, Row, at_most, below
from fumehood import AsyncDockerSandbox, AsyncSession, Limits

_FILES = 4000
_FILE_BYTES = 50_000
_ROUNDS = 5
# The text and the baseline's own mapping of it fit into the page cache of the session: both sides
# read memory. A disk would hide what is compared.
_LIMITS = Limits(timeout=LIMITS.timeout, memory_mb=1024)

# Both sides first look for text that every match must hold. The last one has none: each line goes
# through the pattern.
_PATTERNS = (
    ("search-word", "a word", NEEDLE),
    ("search-regex", "a regex with a word in it", r"[a-z_]+_at_(noon|dawn) = [0-9]+"),
    ("search-regex-bare", "a regex without", r"^ +(rendez|tryst)[a-z_]+ = [0-9]|meet(ing)?_[0-9]"),
)

_CHANGES = 60


@asynccontextmanager
async def _sources(bench: Bench) -> AsyncIterator[tuple[AsyncSession, int]]:
    async with (
        AsyncDockerSandbox(image=bench.image, limits=_LIMITS) as sandbox,
        sandbox.create_session() as session,
    ):
        if not (await session.shell("command -v grep")).ok:
            raise NotMeasurableError(f"{bench.image} has no grep")
        with tempfile.TemporaryDirectory(prefix="fumehood-bench-") as directory:
            needles = make_sources(Path(directory), files=_FILES, size=_FILE_BYTES)
            await session.upload(f"{directory}/.", ".")
        yield session, needles


async def _search(bench: Bench) -> list[Row]:
    rows: list[Row] = []
    async with _sources(bench) as (session, needles):
        for name, what, pattern in _PATTERNS:

            async def ours(pattern: str = pattern) -> int:
                return len((await session.search(pattern)).matches)

            async def grep(pattern: str = pattern) -> int:
                # In bytes: the fastest that grep can be, and what our dialect means too.
                done = await session.exec(["grep", "-rnE", pattern, "."], env={"LC_ALL": "C"})
                return len(done.stdout.splitlines())

            found, by_grep = await ours(), await grep()
            if found != by_grep or not 0 < found <= needles:
                raise RuntimeError(f"{found} matches, {by_grep} of grep, {needles} were hidden")
            times = await alternate(_ROUNDS, {"ours": Side(call=ours), "grep": Side(call=grep)})
            rows.append(
                Row(
                    name=name,
                    what=f"search 200 MB in {_FILES:,} files for {what}",
                    unit="ms",
                    ours=percentile(times["ours"], 50) * 1e3,
                    baseline=percentile(times["grep"], 50) * 1e3,
                    against="grep -rnE in the same session",
                    target=at_most(2),
                    samples=_ROUNDS,
                )
            )
    return rows


async def _watch(bench: Bench) -> list[Row]:
    """From the start of a write to its event, one change at a time."""
    times: list[float] = []
    async with bench.sandbox.create_session() as session, session.watch() as events:
        for number in range(_CHANGES):
            start = time.perf_counter()
            await session.write_file(f"changed-{number}", b"x")
            async for event in events:
                if event.path == f"changed-{number}":
                    break
            times.append(time.perf_counter() - start)
    return [
        Row(
            name=f"watch-p{percent}",
            what=f"from a write to its event, p{percent}",
            unit="ms",
            ours=percentile(times, percent) * 1e3,
            target=below(limit, "ms"),
            samples=_CHANGES,
        )
        for percent, limit in ((50, 75), (99, 150))
    ]


GROUPS = (
    Group(rows=("search-word", "search-regex", "search-regex-bare"), measure=_search, long=True),
    Group(rows=("watch-p50", "watch-p99"), measure=_watch),
)
