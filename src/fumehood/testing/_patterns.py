"""The patterns of ``search`` and ``glob``: the programs that the client compiles, carried out."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from fumehood._wire.table import ErrorCode
from fumehood.testing.files import RefusedError

_CHARACTER, _SET, _ANY, _SPLIT, _JUMP, _ASSERT, _MATCH = range(1, 8)
_FOLD, _ONLY_LITERAL = 1, 2
_LOOK_EVERY = 4096
"""Characters between two looks at the clock."""

Thread = tuple[int, int]
"""A step, and where its match begins."""


class LateError(Exception):
    """The time for it is over."""


@dataclass(slots=True)
class _Threads:
    """Those that are alive at one position, the preferred ones first."""

    alive: list[Thread]
    seen: set[int]


class Pattern:
    """One program.

    Args:
        raw: as the wire has it.

    Raises:
        RefusedError: it is none.
    """

    def __init__(self, raw: bytes) -> None:
        try:
            flags, length = struct.unpack_from(">BI", raw)
            self._literal = raw[5 : 5 + length]
            at = 5 + length
            (count,) = struct.unpack_from(">I", raw, at)
            steps = struct.iter_unpack(">BII", raw[at + 4 : at + 4 + 9 * count])
            self._steps = [(op, a, b) for op, a, b in steps]
            at += 4 + 9 * count
            (count,) = struct.unpack_from(">I", raw, at)
            ranges = struct.iter_unpack(">II", raw[at + 4 : at + 4 + 8 * count])
            self._ranges = [(low, high) for low, high in ranges]
        except struct.error:
            raise RefusedError(ErrorCode.INVALID, step="program") from None
        self._fold = bool(flags & _FOLD)
        self._plain = bool(flags & _ONLY_LITERAL)

    def find(self, raw: bytes, late: Callable[[], bool] = lambda: False) -> tuple[int, int] | None:
        """Return where the first match begins and ends, in bytes.

        Raises:
            LateError: ``late`` has said so.
        """
        if self._literal:
            at = (raw.lower() if self._fold else raw).find(self._literal)
            if at < 0:
                return None
            if self._plain:
                return at, at + len(self._literal)
        text = raw.decode("utf-8", "surrogateescape")
        found = self._run([ord(char) for char in text], late)
        if found is None:
            return None
        start, end = (len(text[:at].encode("utf-8", "surrogateescape")) for at in found)
        return start, end

    def _run(self, text: list[int], late: Callable[[], bool]) -> tuple[int, int] | None:
        """Follow all ways at once, so that the time is bounded by the text's and the program's."""
        found: tuple[int, int] | None = None
        now = _Threads([], set())
        for at in range(len(text) + 1):
            if at % _LOOK_EVERY == 0 and late():
                raise LateError
            if found is None:
                self._follow(now, (0, at), text, at)
            elif not now.alive:
                break
            then = _Threads([], set())
            for step, start in now.alive:
                op, a, b = self._steps[step]
                if op == _MATCH:
                    found = start, at
                    break  # whoever comes behind it is less preferred
                if at < len(text) and self._takes(op, a, b, text[at]):
                    self._follow(then, (step + 1, start), text, at + 1)
            now = then
        return found

    def _takes(self, op: int, a: int, b: int, code: int) -> bool:
        if op == _CHARACTER:
            return code == a
        if op == _SET:
            return any(low <= code <= high for low, high in self._ranges[a : a + b])
        return op == _ANY

    def _follow(self, threads: _Threads, thread: Thread, text: list[int], at: int) -> None:
        """Add a thread, and all that it splits into before it takes a character."""
        step, start = thread
        waiting = [step]
        while waiting:
            step = waiting.pop()
            if step in threads.seen:
                continue
            threads.seen.add(step)
            op, a, b = self._steps[step]
            if op == _SPLIT:
                waiting += [b, a]
            elif op == _JUMP:
                waiting.append(a)
            elif op != _ASSERT:
                threads.alive.append((step, start))
            elif _holds(a, text, at):
                waiting.append(step + 1)


def _holds(place: int, text: list[int], at: int) -> bool:
    if place == 0:
        return at == 0
    if place == 1:
        return at == len(text)
    before = at > 0 and _is_word(text[at - 1])
    behind = at < len(text) and _is_word(text[at])
    return (before != behind) == (place == 2)


def _is_word(code: int) -> bool:
    return code < 128 and (chr(code).isalnum() or chr(code) == "_")


class Filter:
    """Which entries of a tree are meant.

    Args:
        include: programs of which one matches; none: everything is meant.
        exclude: programs of what is left out, with all that is beneath it.
    """

    def __init__(self, include: Iterable[bytes], exclude: Iterable[bytes]) -> None:
        self._include = [Pattern(raw) for raw in include]
        self._exclude = [Pattern(raw) for raw in exclude]

    def excludes(self, path: str) -> bool:
        """Whether a path is left out."""
        return _any(self._exclude, path)

    def includes(self, path: str) -> bool:
        """Whether a path is one of those that are chosen."""
        return not self._include or _any(self._include, path)


def _any(patterns: list[Pattern], path: str) -> bool:
    raw = path.encode("utf-8", "surrogateescape")
    return any(pattern.find(raw) is not None for pattern in patterns)
