"""The dialect of search patterns: read into a tree, or refused with what to write instead.

A pattern means what it means to Python's ``re.compile(pattern, re.ASCII)``, applied to each line
without its end. What that needs to go back in the text for (look-around, references to groups,
possessive and atomic parts) is refused, since the time of a search must not depend on hostile text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fumehood.errors import InvalidRequestError
from fumehood.text import brief

MAX_PATTERN = 4096
"""Characters of a pattern."""
MAX_COUNT = 1000
"""In ``{m,n}``."""
MAX_DEPTH = 100
"""Groups within groups."""
LAST = 0x10FFFF

Ranges = tuple[tuple[int, int], ...]
Assertion = Literal["begin", "end", "word", "no_word"]


@dataclass(frozen=True, slots=True)
class Character:
    """One character; with ``fold`` an ASCII letter in either case."""

    code: int
    fold: bool = False


@dataclass(frozen=True, slots=True)
class Set:
    """One character out of some."""

    ranges: Ranges


@dataclass(frozen=True, slots=True)
class Dot:
    """Any one character."""


@dataclass(frozen=True, slots=True)
class Assert:
    """A place in the text."""

    kind: Assertion


@dataclass(frozen=True, slots=True)
class Sequence:
    """One after the other; empty: nothing."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """One of some, the first ones preferred."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Repeat:
    """Several times; ``most`` None: any number."""

    part: Node
    least: int
    most: int | None
    greedy: bool = True


Node = Character | Set | Dot | Assert | Sequence | Choice | Repeat

_DIGITS: Ranges = ((0x30, 0x39),)
_SPACES: Ranges = ((0x09, 0x0D), (0x20, 0x20))
_WORDS: Ranges = ((0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A))
_CLASSES: dict[str, Ranges] = {"d": _DIGITS, "s": _SPACES, "w": _WORDS}
_CONTROLS = {"a": 7, "b": 8, "f": 12, "r": 13, "t": 9, "v": 11}
_HEX = {"x": 2, "u": 4, "U": 8}
_PLACES: dict[str, Assertion] = {"A": "begin", "Z": "end", "b": "word", "B": "no_word"}
_SPECIAL = frozenset(".^$*+?{[|()\\")
_GROUPS = {
    "=": "look-ahead",
    "!": "look-ahead",
    ">": "an atomic group",
    "(": "a condition",
}


def merge(ranges: list[tuple[int, int]]) -> Ranges:
    """Return ranges in order, none touching another."""
    out: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if out and low <= out[-1][1] + 1:
            out[-1] = (out[-1][0], max(out[-1][1], high))
        else:
            out.append((low, high))
    return tuple(out)


def invert(ranges: Ranges) -> Ranges:
    """Return every other character."""
    out: list[tuple[int, int]] = []
    at = 0
    for low, high in ranges:
        if at < low:
            out.append((at, low - 1))
        at = high + 1
    if at <= LAST:
        out.append((at, LAST))
    return tuple(out)


def both_cases(ranges: Ranges) -> Ranges:
    """Return ranges with the other case of every ASCII letter in them."""
    out = list(ranges)
    for low, high in ranges:
        for first, last, shift in ((0x41, 0x5A, 32), (0x61, 0x7A, -32)):
            start, end = max(low, first), min(high, last)
            if start <= end:
                out.append((start + shift, end + shift))
    return merge(out)


def nullable(node: Node) -> bool:
    """Whether it can match nothing."""
    match node:
        case Character() | Set() | Dot():
            return False
        case Assert():
            return True
        case Sequence(parts):
            return all(nullable(part) for part in parts)
        case Choice(parts):
            return any(nullable(part) for part in parts)
        case Repeat(part, least, _):
            return least == 0 or nullable(part)


def literal(text: str, *, fold: bool = False) -> Sequence:
    """Return the tree of a text that stands for itself."""
    return Sequence(tuple(Character(ord(char), fold) for char in text))


def parse(pattern: str, *, ignore_case: bool = False) -> Node:
    """Read a pattern.

    Raises:
        InvalidRequestError: it is none, or not one of this dialect.
    """
    return _Parser(pattern, ignore_case).whole()


class _Parser:
    """One pattern, read from left to right."""

    def __init__(self, pattern: str, fold: bool) -> None:
        self._text = pattern
        self._at = 0
        self._fold = fold
        self._depth = 0
        self._names: set[str] = set()

    def _refuse(self, what: str, at: int | None = None) -> InvalidRequestError:
        where = self._at if at is None else at
        return InvalidRequestError(f"pattern {brief(self._text)}, character {where + 1}: {what}")

    def _peek(self) -> str:
        return self._text[self._at] if self._at < len(self._text) else ""

    def _take(self, wanted: str) -> bool:
        if self._text.startswith(wanted, self._at):
            self._at += len(wanted)
            return True
        return False

    def whole(self) -> Node:
        self._leading_flags()
        node = self._choice()
        if self._at < len(self._text):
            raise self._refuse("this ')' closes nothing; a bracket itself is '\\)'")
        return node

    def _leading_flags(self) -> None:
        start = self._at
        if not self._take("(?"):
            return
        flags = ""
        while self._peek() and self._peek() in "aimsxuL":
            flags += self._peek()
            self._at += 1
        if not flags or not self._take(")"):
            self._at = start
            return
        self._fold |= self._check_flags(flags, start)

    def _check_flags(self, flags: str, at: int) -> bool:
        for flag in "xuL":
            if flag in flags:
                raise self._refuse(f"the flag '{flag}' is not possible here", at)
        return "i" in flags

    # --- structure ------------------------------------------------------------------------------

    def _choice(self) -> Node:
        parts = [self._sequence()]
        while self._take("|"):
            parts.append(self._sequence())
        return parts[0] if len(parts) == 1 else Choice(tuple(parts))

    def _sequence(self) -> Node:
        parts: list[Node] = []
        while self._peek() not in ("", "|", ")"):
            start = self._at
            item = self._item()
            if item is None:
                continue
            parts.append(self._repeats(item, start))
        return parts[0] if len(parts) == 1 else Sequence(tuple(parts))

    def _repeats(self, item: Node, start: int) -> Node:
        counts = self._counts()
        if counts is None:
            return item
        least, most = counts
        if isinstance(item, Assert):
            raise self._refuse("a place such as '^' or '\\b' cannot be repeated", start)
        if nullable(item) and (most is None or most > 1):
            raise self._refuse(
                "what is repeated here can match nothing: let each turn take a character", start
            )
        greedy = not self._take("?")
        if greedy and self._peek() == "+":
            raise self._refuse("possessive repeats ('*+', '++', '?+') are not possible here")
        if self._counts() is not None:
            raise self._refuse("a repeat of a repeat: put the inner one into '(?:…)'", start)
        return Repeat(item, least, most, greedy)

    def _counts(self) -> tuple[int, int | None] | None:
        """The repeat that stands here, if one does."""
        for mark, least, most in (("*", 0, None), ("+", 1, None), ("?", 0, 1)):
            if self._take(mark):
                return least, most
        start = self._at
        if not self._take("{"):
            return None
        low = self._number()
        comma = self._take(",")
        high = self._number() if comma else low
        if not self._take("}") or (not comma and not low):
            self._at = start  # a brace that stands for itself
            return None
        least, most = int(low or 0), int(high) if high else None
        if max(least, most or 0) > MAX_COUNT:
            raise self._refuse(f"at most {MAX_COUNT} times can be asked for", start)
        if most is not None and most < least:
            raise self._refuse("the least number is above the most", start)
        return least, most

    def _number(self) -> str:
        start = self._at
        while self._peek() and self._peek() in "0123456789":
            self._at += 1
        return self._text[start : self._at]

    def _item(self) -> Node | None:
        char = self._peek()
        start = self._at
        if char in "*+?" or (char == "{" and self._counts() is not None):
            raise self._refuse("there is nothing here to be repeated", start)
        self._at += 1
        match char:
            case ".":
                return Dot()
            case "^":
                return Assert("begin")
            case "$":
                return Assert("end")
            case "(":
                return self._group(start)
            case "[":
                return self._set(start)
            case "\\":
                return self._escape(start)
            case "\n":
                raise self._refuse(_NO_LINE_END, start)
            case _:
                return self._one(ord(char))

    def _one(self, code: int) -> Node:
        letter = code < 128 and chr(code).isalpha()
        return Character(code, self._fold and letter)

    # --- groups ---------------------------------------------------------------------------------

    def _group(self, start: int) -> Node | None:
        fold = self._fold
        if self._take("?") and not self._group_head(start):
            return None
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._refuse(f"more than {MAX_DEPTH} groups within each other", start)
        node = self._choice()
        self._depth -= 1
        if not self._take(")"):
            raise self._refuse("this '(' is never closed; a bracket itself is '\\('", start)
        self._fold = fold
        return node

    def _group_head(self, start: int) -> bool:
        """Read what stands between '(?' and the group's content; False for a comment."""
        char = self._peek()
        self._at += 1
        if char == ":":
            return True
        if char == "#":
            end = self._text.find(")", self._at)
            if end < 0:
                raise self._refuse("this comment is never closed", start)
            self._at = end + 1
            return False
        if char == "P" and self._peek() == "<":
            self._name(start)
            return True
        if char in _GROUPS:
            raise self._refuse(f"{_GROUPS[char]} is not possible here", start)
        if char in ("P", "<"):
            what = "a reference to a group" if char == "P" else "look-behind"
            raise self._refuse(f"{what} is not possible here", start)
        self._at -= 1
        self._scoped_flags(start)
        return True

    def _name(self, start: int) -> None:
        end = self._text.find(">", self._at)
        name = self._text[self._at + 1 : end] if end >= 0 else ""
        if not name.isidentifier() or name in self._names:
            raise self._refuse("a group needs a name of its own: (?P<name>…)", start)
        self._names.add(name)
        self._at = end + 1

    def _scoped_flags(self, start: int) -> None:
        on, off, turned = "", "", False
        while self._peek() and self._peek() in "aimsxuL-":
            char = self._peek()
            self._at += 1
            if char == "-" and turned:
                break
            turned = turned or char == "-"
            if char != "-" and turned:
                off += char
            elif char != "-":
                on += char
        if not self._take(":") or (turned and not off) or set(on) & set(off) or "a" in off:
            raise self._refuse("no such group; flags for all of it stand at its start", start)
        if self._check_flags(on + off, start):
            self._fold = "i" in on

    # --- characters -----------------------------------------------------------------------------

    def _escape(self, start: int) -> Node:
        char = self._peek()
        if char in _PLACES and char:
            self._at += 1
            return Assert(_PLACES[char])
        if char and char in "123456789" and not self._is_octal():
            raise self._refuse("a reference to a group is not possible here", start)
        found = self._escaped(start)
        if isinstance(found, int):
            if found == 10:
                raise self._refuse(_NO_LINE_END, start)
            return self._one(found)
        return Set(found)

    def _is_octal(self) -> bool:
        digits = self._text[self._at : self._at + 3]
        return len(digits) == 3 and all(char in "01234567" for char in digits)

    def _escaped(self, start: int) -> int | Ranges:
        """Read what stands behind a backslash, in a set or outside of one."""
        char = self._peek()
        if not char:
            raise self._refuse("a backslash at the end", start)
        self._at += 1
        if char.lower() in _CLASSES:
            ranges = _CLASSES[char.lower()]
            return ranges if char.islower() else invert(ranges)
        if char in _CONTROLS:
            return _CONTROLS[char]
        if char == "n":
            return 10
        if char in _HEX:
            return self._hex(_HEX[char], start)
        if char in "0123456789":
            return self._octal(char, start)
        if char.isascii() and char.isalpha():
            raise self._refuse(f"'\\{char}' is not possible here", start)
        return ord(char)

    def _hex(self, length: int, start: int) -> int:
        digits = self._text[self._at : self._at + length]
        if len(digits) < length or any(char not in "0123456789abcdefABCDEF" for char in digits):
            raise self._refuse(f"{length} hexadecimal digits are wanted", start)
        self._at += length
        code = int(digits, 16)
        if code > LAST:
            raise self._refuse("there is no such character", start)
        return code

    def _octal(self, first: str, start: int) -> int:
        digits = first
        while len(digits) < 3 and self._peek() and self._peek() in "01234567":
            digits += self._peek()
            self._at += 1
        if first in "89" or int(digits, 8) > 0o377 or (first != "0" and len(digits) < 3):
            raise self._refuse("there is no such character", start)
        return int(digits, 8)

    def _set(self, start: int) -> Node:
        negated = self._take("^")
        ranges: list[tuple[int, int]] = []
        first = True
        while first or self._peek() != "]":
            if not self._peek():
                raise self._refuse("this '[' is never closed; a bracket itself is '\\['", start)
            first = False
            low = self._member(start)
            if self._peek() == "-" and self._text[self._at + 1 : self._at + 2] not in ("]", ""):
                self._at += 1
                high = self._member(start)
                if not isinstance(low, int) or not isinstance(high, int) or high < low:
                    raise self._refuse("a range of characters that is none", start)
                ranges.append((low, high))
            else:
                ranges.extend(((low, low),) if isinstance(low, int) else low)
        self._at += 1
        merged = merge(ranges)
        if self._fold:
            merged = both_cases(merged)
        return Set(invert(merged) if negated else merged)

    def _member(self, start: int) -> int | Ranges:
        char = self._peek()
        self._at += 1
        if char == "\\":
            return self._escaped(start)
        return ord(char)


_NO_LINE_END = "lines are searched one by one, so a pattern cannot hold a line end"
