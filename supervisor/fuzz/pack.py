"""Keep a minimised corpus as one text file: ``pack.py FUZZER DIRECTORY``.

One input a line, in base64 and in order: a change is a few lines of a diff, and thousands of small
files are none. Seeds are left out, which `seed.py` makes anyway.
"""

from __future__ import annotations

import base64
import sys
import tempfile
from pathlib import Path

import seed

HERE = Path(__file__).resolve().parent
# Long inputs teach little that short ones do not, and all of it is in the repository.
LONGEST, MOST = 2_000, 100_000


def main(fuzzer: str, directory: str) -> None:
    """Write the shortest inputs first, as many as fit."""
    target = HERE / "corpus" / f"{fuzzer}.txt"
    with tempfile.TemporaryDirectory() as made:
        target.unlink(missing_ok=True)
        seed.main(fuzzer, made)
        seeds = {path.read_bytes() for path in Path(made).iterdir()}
    found = {path.read_bytes() for path in Path(directory).iterdir()} - seeds
    lines: list[str] = []
    left = MOST
    for data in sorted(found, key=lambda data: (len(data), data)):
        line = base64.b64encode(data).decode("ascii")
        left -= len(line) + 1
        if data and len(data) <= LONGEST and left >= 0:
            lines.append(line)
    target.parent.mkdir(exist_ok=True)
    target.write_text("".join(f"{line}\n" for line in lines), encoding="ascii")
    print(f"{fuzzer}: {len(lines)} of {len(found)} inputs kept")


if __name__ == "__main__":
    main(*sys.argv[1:])
