"""Fuzz the client's reader with coverage to guide it: `make fuzz-client FUZZ_SECONDS=3600`.

A program, not a test: libFuzzer, by way of atheris, makes up what a supervisor says. Legal bytes
are taken, others are a violation, and nothing else comes out; what is kept of them is bounded. The
first byte says how the others are meant: as a stream, as good frames bent, or as a listing.

    python tests/fuzz/fuzz_client.py [libFuzzer's options] CORPUS
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

# Counted are the lines of the reader alone: what else runs is the fuzzer's own. So it comes first.
with atheris.instrument_imports(include=["fumehood._wire"]):
    from fumehood._wire import table
    from fumehood._wire.codec import WireViolationError
    from fumehood._wire.records import EntryReader

from hostile.test_broken_bytes import fresh_connection, stream_of  # noqa: E402 - see above
from wire.test_connection_model import live_connection, survives  # noqa: E402
from wire.vectors import load  # noqa: E402

PIECES = (1, 7, 64, 1 << 16)


def read_listing(data: bytes, size: int) -> None:
    """Feed a listing: entries, or a violation, and never more than one record kept."""
    reader = EntryReader()
    try:
        for at in range(0, len(data), size):
            for _ in reader.feed(data[at : at + size]):
                pass
            assert len(reader._pending) <= 4 + table.MAX_RECORD
        reader.finish()
    except WireViolationError as violation:
        bounded(violation)


def bounded(violation: WireViolationError) -> None:
    """Fail if a message is as long as whoever caused it wants."""
    assert len(str(violation)) < 1000


def one(data: bytes) -> None:
    """Take one input."""
    if not data:
        return
    size = PIECES[data[0] % len(PIECES)]
    greeted = data[0] & 4
    stream = data[1:]
    match data[0] >> 6:
        case 0 | 1:
            pass
        case 2:
            stream = stream_of(stream[:256])
        case _:
            read_listing(stream, size)
            return
    chunks = [stream[at : at + size] for at in range(0, len(stream), size)]
    survives(live_connection() if greeted else fresh_connection(), chunks)


def write_seeds(directory: Path) -> None:
    """Write the golden vectors as first inputs."""
    directory.mkdir(parents=True, exist_ok=True)
    for number, vector in enumerate(load()):
        if vector.sender == "supervisor" and len(vector.data) < 4096:
            for first in (0x03, 0x07):
                (directory / f"vector-{number}-{first}").write_bytes(bytes([first]) + vector.data)


def main() -> None:
    """Fuzz until the options say to end."""
    write_seeds(Path(sys.argv[-1]))
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
