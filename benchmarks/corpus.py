"""Files to copy and to search: the same ones in every run."""

from __future__ import annotations

import os
import random
from pathlib import Path

_WORDS = (
    "buffer",
    "channel",
    "close",
    "code",
    "count",
    "data",
    "error",
    "event",
    "flag",
    "frame",
    "handle",
    "index",
    "key",
    "length",
    "list",
    "lock",
    "name",
    "next",
    "open",
    "output",
    "path",
    "peer",
    "queue",
    "read",
    "request",
    "result",
    "send",
    "session",
    "size",
    "socket",
)
_SEED = 20_240
_PER_DIRECTORY = 100

NEEDLE = "rendezvous_at_noon"
"""A word that is in every hundredth file, once."""


def make_tree(root: Path, *, files: int) -> int:
    """Make small files of up to 4 KiB in directories of a hundred; return their bytes."""
    chance = random.Random(_SEED)  # noqa: S311 - sizes, not secrets
    pool = os.urandom(8192)
    total = 0
    for number in range(files):
        directory = root / f"d{number // _PER_DIRECTORY:03}"
        directory.mkdir(parents=True, exist_ok=True)
        size, offset = chance.randrange(1, 4097), chance.randrange(4096)
        (directory / f"f{number:05}").write_bytes(pool[offset : offset + size])
        total += size
    return total


def make_file(path: Path, size: int) -> None:
    """Make one file of random bytes, a megabyte of them over and over."""
    block = os.urandom(1 << 20)
    with path.open("wb") as out:
        for left in range(size, 0, -len(block)):
            out.write(block[:left])


def make_sources(root: Path, *, files: int, size: int) -> int:
    """Make files that read like source code; return how many of them hold the needle."""
    chance = random.Random(_SEED)  # noqa: S311 - text, not secrets
    # Lines are made once and put together anew for each file: 200 MB of choices would take minutes.
    lines = [
        " " * 4 * chance.randrange(4) + "_".join(chance.choices(_WORDS, k=2)) + " = "
        f"{chance.choice(_WORDS)}({', '.join(chance.choices(_WORDS, k=chance.randrange(5)))})"
        for _ in range(20_000)
    ]
    with_needle = 0
    for number in range(files):
        directory = root / f"d{number // _PER_DIRECTORY:03}"
        directory.mkdir(parents=True, exist_ok=True)
        text: list[str] = []
        length = 0
        while length < size:
            start = chance.randrange(len(lines) - 100)
            part = "\n".join(lines[start : start + 100])
            text.append(part)
            length += len(part) + 1
        if number % _PER_DIRECTORY == 0:
            text.insert(len(text) // 2, f"    {NEEDLE} = {number}")
            with_needle += 1
        (directory / f"f{number:05}.py").write_text("\n".join(text) + "\n", encoding="ascii")
    return with_needle
