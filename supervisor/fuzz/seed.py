"""Write a fuzzer's first inputs: ``seed.py FUZZER DIRECTORY``.

For what reads frames they are the golden vectors; each gets its side in front. `kept/FUZZER/` holds
inputs that found something once.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
VECTORS = HERE.parent.parent / "protocol" / "vectors"
# A fuzzer learns little from megabytes.
MOST = 20_000
SIDES = {"client": b"\0", "supervisor": b"\1", "record": b"\0"}
PASSWD = b"root:x:0:0:root:/root:/bin/sh\nnode:x:1000:1000::/home/node:/bin/sh\nadm:x:4:root,node\n"


def expand(text: str) -> bytes:
    """The bytes of one line of hex, with ``XX*N`` written out."""
    return bytes.fromhex(re.sub(r"([0-9a-f]{2})\*(\d+)", lambda m: m[1] * int(m[2]), text))


def frames() -> Iterator[bytes]:
    """Every golden vector that is not too long."""
    for path in sorted(VECTORS.glob("*.txt")):
        for block in path.read_text(encoding="utf-8").split("\n\n"):
            lines = [line.partition(" ") for line in block.splitlines()]
            values = [(key, rest) for key, _, rest in lines]
            side = dict(values).get("from")
            data = b"".join(expand(rest) for key, rest in values if key == "hex")
            if side and len(data) <= MOST:
                yield SIDES[side] + data


def users() -> Iterator[bytes]:
    """Names of each form, before a small database."""
    for name in (b"", b"root", b"node", b"1000", b"node:adm", b"4:4", b"64999", b"x:y:z", b"-1"):
        yield name + b"\0" + PASSWD


SEEDS = {"frames": frames, "connection": frames, "users": users}


def main(fuzzer: str, directory: str) -> None:
    """Write each seed under the name of its hash."""
    out = Path(directory)
    out.mkdir(parents=True, exist_ok=True)
    kept = [path.read_bytes() for path in sorted((HERE / "kept" / fuzzer).glob("*"))]
    for seed in [*SEEDS[fuzzer](), *kept]:
        (out / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)


if __name__ == "__main__":
    main(*sys.argv[1:])
