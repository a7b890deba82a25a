"""From the tree of a pattern to the program that a session's supervisor runs over its files."""

from __future__ import annotations

from fumehood._pattern import (
    Assert,
    Character,
    Choice,
    Dot,
    Node,
    Ranges,
    Repeat,
    Sequence,
    Set,
    both_cases,
)
from fumehood.errors import InvalidRequestError

MAX_STEPS = 10_000
"""Of one program: the supervisor takes 16,384."""
MAX_RANGES = 65_536

_CHARACTER, _SET, _ANY, _SPLIT, _JUMP, _ASSERT, _MATCH = range(1, 8)
_PLACES = {"begin": 0, "end": 1, "word": 2, "no_word": 3}
_FOLD, _ONLY_LITERAL = 1, 2


class _Program:
    def __init__(self) -> None:
        self.steps: list[tuple[int, int, int]] = []
        self._ranges: list[tuple[int, int]] = []
        self._sets: dict[Ranges, int] = {}

    def add(self, op: int, a: int = 0, b: int = 0) -> int:
        if len(self.steps) == MAX_STEPS:
            raise InvalidRequestError(
                f"the pattern takes more than {MAX_STEPS} steps when its counts are written out"
            )
        self.steps.append((op, a, b))
        return len(self.steps) - 1

    def add_set(self, ranges: Ranges) -> None:
        first = self._sets.get(ranges)
        if first is None:
            first = self._sets[ranges] = len(self._ranges)
            self._ranges += ranges
            if len(self._ranges) > MAX_RANGES:
                raise InvalidRequestError("the pattern's sets hold too many characters")
        self.add(_SET, first, len(ranges))

    def put(self, node: Node) -> None:
        match node:
            case Character(code, fold):
                if fold:
                    self.add_set(both_cases(((code, code),)))
                else:
                    self.add(_CHARACTER, code)
            case Set(ranges):
                self.add_set(ranges)
            case Dot():
                self.add(_ANY)
            case Assert(kind):
                self.add(_ASSERT, _PLACES[kind])
            case Sequence(parts):
                for part in parts:
                    self.put(part)
            case Choice(parts):
                self._put_choice(parts)
            case Repeat():
                self._put_repeat(node)

    def _put_choice(self, parts: tuple[Node, ...]) -> None:
        jumps: list[int] = []
        for part in parts[:-1]:
            split = self.add(_SPLIT)
            self.put(part)
            jumps.append(self.add(_JUMP))
            self.steps[split] = (_SPLIT, split + 1, len(self.steps))
        self.put(parts[-1])
        for jump in jumps:
            self.steps[jump] = (_JUMP, len(self.steps), 0)

    def _split(self, at: int, out: int, *, greedy: bool) -> None:
        ways = (at + 1, out) if greedy else (out, at + 1)
        self.steps[at] = (_SPLIT, *ways)

    def _put_repeat(self, node: Repeat) -> None:
        for _ in range(node.least):
            self.put(node.part)
        if node.most is None:
            split = self.add(_SPLIT)
            self.put(node.part)
            self.add(_JUMP, split)
            self._split(split, len(self.steps), greedy=node.greedy)
            return
        splits: list[int] = []
        for _ in range(node.most - node.least):
            splits.append(self.add(_SPLIT))
            self.put(node.part)
        for split in splits:
            self._split(split, len(self.steps), greedy=node.greedy)

    def encode(self) -> bytes:
        out = bytearray(len(self.steps).to_bytes(4, "big"))
        for op, a, b in self.steps:
            out += bytes([op]) + a.to_bytes(4, "big") + b.to_bytes(4, "big")
        out += len(self._ranges).to_bytes(4, "big")
        for low, high in self._ranges:
            out += low.to_bytes(4, "big") + high.to_bytes(4, "big")
        return bytes(out)


def encode_program(node: Node) -> bytes:
    """Return a pattern as the supervisor takes it: what every match holds, then the steps.

    Raises:
        InvalidRequestError: it is too large.
    """
    run = _characters(node)
    if run:
        literal, fold = _bytes_of(run)
        if not fold or all(char.fold or not _is_letter(char.code) for char in run):
            return _head(literal, fold=fold, only=True) + b"\0\0\0\0" + b"\0\0\0\0"
    program = _Program()
    program.put(node)
    program.add(_MATCH)
    literal, fold = _bytes_of(_required(node))
    return _head(literal, fold=fold, only=False) + program.encode()


def _head(literal: bytes, *, fold: bool, only: bool) -> bytes:
    flags = (_FOLD if fold else 0) | (_ONLY_LITERAL if only else 0)
    return bytes([flags]) + len(literal).to_bytes(4, "big") + literal


def _is_letter(code: int) -> bool:
    return code < 128 and chr(code).isalpha()


def _bytes_of(run: list[Character]) -> tuple[bytes, bool]:
    text = "".join(chr(char.code) for char in run)
    fold = any(char.fold for char in run)
    raw = text.encode("utf-8", "surrogateescape")
    return (raw.lower() if fold else raw), fold


def _is_plain(char: Character) -> bool:
    """Whether it has bytes of its own wherever it stands: a stray byte may be part of another."""
    return not 0xD800 <= char.code <= 0xDFFF


def _characters(node: Node) -> list[Character] | None:
    """The characters of a pattern that is nothing else."""
    if isinstance(node, Character):
        return [node] if _is_plain(node) else None
    if not isinstance(node, Sequence):
        return None
    out: list[Character] = []
    for part in node.parts:
        inner = _characters(part)
        if inner is None:
            return None
        out += inner
    return out


def _required(node: Node) -> list[Character]:
    """The longest run of characters that every match holds."""
    whole = _characters(node)
    if whole is not None:
        return whole
    if isinstance(node, Repeat):
        return _required(node.part) if node.least else []
    if not isinstance(node, Sequence):
        return []
    best: list[Character] = []
    run: list[Character] = []
    for part in node.parts:
        inner = _characters(part)
        if inner is not None:
            run += inner
            continue
        best = max(best, run, _required(part), key=len)
        run = []
    return max(best, run, key=len)
