"""Write a fuzzer's first inputs: ``seed.py FUZZER DIRECTORY``.

For what reads frames they are the golden vectors; each gets its side in front. `corpus/FUZZER.txt`
holds what earlier runs have found ways into the code with, the least of it that reaches as much
(`make -C supervisor corpus`); `kept/FUZZER/` holds inputs that found something once.
"""

from __future__ import annotations

import base64
import hashlib
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
VECTORS = HERE.parent.parent / "protocol" / "vectors"
TABLE = tomllib.loads((VECTORS.parent / "wire.toml").read_text(encoding="utf-8"))
OPERATIONS = list(TABLE["operations"])
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


# Actions of fuzz_connection.c, as the client 0 does them.
HELLO, CONFIGURE = b"\0\0\0\0", b"\0\1\0"
RECEIVE, CREDIT = b"\x08\xff\xff", b"\x09"


def start(operation: str, limit: int = 0xFFFF) -> bytes:
    """OPEN of an operation; for those with a port, the limit says what is there."""
    return bytes([0, 2, OPERATIONS.index(operation)]) + limit.to_bytes(2, "big")


def raw(data: bytes) -> bytes:
    """Bytes as they are, in pieces that the action takes."""
    pieces = [data[at : at + 299] for at in range(0, len(data), 299)]
    return b"".join(b"\3" + len(piece).to_bytes(2, "big") + piece for piece in pieces)


def connection() -> Iterator[bytes]:
    """A conversation of each kind, and the golden vectors behind a handshake."""
    ready = b"\1" + HELLO + CONFIGURE + RECEIVE
    write, read, leave = b"\x04\0\x20\0", b"\x05\0\xff\xff", b"\x06\0"
    stdin, eof, cancel = b"\0\4\1\x40\0", b"\0\6\1", b"\0\7\1"
    terminal, resize = start("terminal"), b"\0\x0a\1\0\x20"
    for operation in OPERATIONS:
        yield ready + start(operation) + write * 3 + RECEIVE + CREDIT + leave + RECEIVE
    yield ready + start("exec") + stdin * 8 + read * 4 + eof + read + leave + RECEIVE
    yield ready + terminal + resize + stdin * 8 + write * 3 + resize + RECEIVE + leave + resize
    yield ready + start("exec") + write * 40 + RECEIVE * 3 + CREDIT + RECEIVE + cancel + leave
    yield ready + start("exec", 1) * 20 + write * 20 + b"\x8b" + RECEIVE
    # Four commands that fill every channel's window: together they would pass the connection's.
    round_of_four = b"".join(bytes([4, which, 0xFF, 0xFF]) + RECEIVE * 2 for which in range(4))
    yield ready + start("exec") * 4 + round_of_four * 8 + CREDIT + round_of_four + RECEIVE * 4
    # Servers that are absent, refuse, serve and hang; both directions, and who ends first.
    for port in range(5):
        yield ready + start("connect", port) + stdin + RECEIVE + cancel + leave
        yield ready + start("wait_port", port) + RECEIVE + cancel + leave
    serves = ready + start("connect", 3) + stdin + write * 3 + read * 2 + RECEIVE
    shut = b"\x07\0"
    yield serves + eof + read + write + leave + RECEIVE
    yield serves + shut + RECEIVE + stdin + read + eof + leave + RECEIVE
    yield serves + leave + stdin * 4 + RECEIVE
    yield serves + write * 20 + CREDIT + RECEIVE * 2 + cancel + RECEIVE
    yield ready + b"\x4a" + b"\x40\0\0\0" + b"\x40\2\0\xff\xff" + write + b"\x48\xff\xff"
    destroy = b"\0\x0c\0"
    yield b"\0" + HELLO + CONFIGURE + start("exec") + b"\x0c" + write + leave + RECEIVE + destroy
    # Streams that break, at whatever byte, and clients that come back, or too late, or wrongly.
    again = b"\1" + b"\0\0\1\0" + CONFIGURE + RECEIVE
    lose, back = b"\x0d\0", b"\x0d\0"
    over = CREDIT + leave + RECEIVE
    yield again + start("exec") + write * 3 + lose + write + back + RECEIVE + over
    yield again + start("exec") + (write * 9 + b"\x08\x10\0" + lose + back) * 5 + CREDIT + RECEIVE
    yield again + start("exec") + stdin * 4 + lose + read + back + eof + read + leave + lose + back
    yield again + start("exec") * 3 + lose + b"\x0f" + back + start("exec")
    yield again + start("exec") + lose + b"\x0d\2" + back + b"\x0e\0\1"
    yield again + start("exec") + write * 2 + b"\0\x0b\0" + lose + back
    for seed in frames():
        if len(seed) < 3000:
            yield ready + start("exec") * 3 + raw(seed[1:]) + RECEIVE


CHARACTER, SET, ANY, SPLIT, JUMP, ASSERT, MATCH = range(1, 8)
BEGIN, END, WORD, NO_WORD = range(4)
Steps = list[tuple[int, int, int]]


def compiled(steps: Steps, ranges: bytes = b"", literal: bytes = b"", flags: int = 0) -> bytes:
    """A program as it is on the wire; each range is two ASCII characters."""
    head = bytes([flags]) + len(literal).to_bytes(4, "big") + literal
    words = b"".join(
        bytes([op]) + a.to_bytes(4, "big") + b.to_bytes(4, "big") for op, a, b in steps
    )
    ends = b"".join(end.to_bytes(4, "big") for end in ranges)
    count = len(ranges) // 2
    return head + len(steps).to_bytes(4, "big") + words + count.to_bytes(4, "big") + ends


def regex() -> Iterator[bytes]:
    """Patterns of each kind: as they are on the wire, and of three bytes a step."""
    text = b"ab\nx aab\r\n\xc3\xa9\xff7_b\n\n\xe4\xb8\xad\xed\xa0\x80b\raaaaac"
    letters: Steps = [(CHARACTER, ord("a"), 0), (CHARACTER, ord("b"), 0)]
    word: Steps = [(ASSERT, WORD, 0)]
    line: Steps = [(ASSERT, BEGIN, 0), (SPLIT, 2, 4), (ANY, 0, 0), (JUMP, 1, 0), (ASSERT, END, 0)]
    end: Steps = [(MATCH, 0, 0)]
    for pattern in (
        compiled([], literal=b"ab", flags=2),
        compiled([], literal=b"ab", flags=3),
        compiled(letters + end, literal=b"b"),
        compiled([(SPLIT, 1, 3), (SET, 0, 2), (JUMP, 0, 0), *end], b"ab09"),
        compiled(word + letters + word + end),
        compiled(line + end),
        compiled([(SPLIT, 0, 1), (SPLIT, 2, 0), (ASSERT, NO_WORD, 0), *end]),
    ):
        for look in (1, 17):
            yield bytes([look, 1, 0, 0, 1]) + len(pattern).to_bytes(2, "big") + pattern + text
    # (a|b)*a(a|b){10}c: more states than there is room for, in lines that come once and often.
    subsets = [4, 0, 2, 2, 0, 1, 5, 0xFD, 0, 1, 0x61, 0, 8 * 9 + 2, 0, 1, 1, 0x63, 0]
    for times in (1, 15):
        for apart in (0, 100):
            head = bytes([0, 255, 5, times, 0, 1, apart, 0x61, 1, len(subsets) // 3])
            noise = hashlib.shake_128(bytes([times, apart])).digest(1000)
            letters_of_noise = bytes(b"ab"[byte % 2] for byte in noise)
            lines = [letters_of_noise[at : at + 99] for at in range(0, 1000, 99)]
            yield head + bytes(subsets) + b"\n".join(lines) + b"c"
    # Nothing but ends of lines, for a pattern that goes round without a character.
    yield bytes([0, 255, 0, 31, 0, 0, 0, 16, *[4 + 8 * 31, 0, 0] * 16]) + b"\n" * 30


SEEDS = {"frames": frames, "connection": connection, "users": users, "regex": regex}


def main(fuzzer: str, directory: str) -> None:
    """Write each seed under the name of its hash."""
    out = Path(directory)
    out.mkdir(parents=True, exist_ok=True)
    corpus = HERE / "corpus" / f"{fuzzer}.txt"
    lines = corpus.read_text(encoding="ascii").split() if corpus.is_file() else []
    found = [base64.b64decode(line, validate=True) for line in lines]
    kept = [path.read_bytes() for path in sorted((HERE / "kept" / fuzzer).glob("*"))]
    for seed in [*SEEDS[fuzzer](), *found, *kept]:
        (out / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)


if __name__ == "__main__":
    main(*sys.argv[1:])
