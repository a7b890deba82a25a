"""Globs of paths, as patterns of the same kind as those of lines.

``*`` and ``?`` stop at a slash, ``**`` stands for any number of directories, ``[abc]`` and
``[!abc]`` for one character, ``{a,b}`` for one of several. Names that begin with a dot are names.
"""

from __future__ import annotations

from collections.abc import Iterable

from fumehood._checks import names
from fumehood._pattern import (
    Assert,
    Character,
    Choice,
    Dot,
    Node,
    Repeat,
    Sequence,
    Set,
    invert,
    merge,
)
from fumehood._program import encode_program
from fumehood.errors import InvalidRequestError
from fumehood.text import brief

MAX_GLOBS = 64
MAX_GLOB = 1024
"""Characters of one."""
_SLASH = ord("/")
_NOT_SLASH = Set(invert(((_SLASH, _SLASH),)))
_NAME_PART = Repeat(_NOT_SLASH, 0, None)
_MAGIC = frozenset("*?[{")
_DIRECTORIES = Repeat(Sequence((Repeat(Dot(), 0, None), Character(_SLASH))), 0, 1)
"""Any number of them, each with its slash."""


def programs(globs: Iterable[str], what: str) -> tuple[bytes, ...]:
    """Return the programs of ``include`` or ``exclude``: without a slash, at any depth.

    Raises:
        InvalidRequestError: one of them is no glob, or they are too many.
    """
    given = names(globs, what)
    if len(given) > MAX_GLOBS:
        raise InvalidRequestError(f"{what} holds {len(given)} globs; at most {MAX_GLOBS} can be")
    return tuple(encode_program(_tree(glob, what, anywhere=True)) for glob in given)


def split_glob(glob: str) -> tuple[str, str]:
    """Return the directories at a glob's front that are plain names, and the rest."""
    _check(glob, "pattern")
    parts = glob.split("/")
    plain = 0
    while plain < len(parts) - 1 and not _MAGIC & set(parts[plain]):
        plain += 1
    return "/".join(parts[:plain]), "/".join(parts[plain:])


def program(glob: str) -> bytes:
    """Return the program of one glob for whole paths."""
    return encode_program(_tree(glob, "pattern", anywhere=False))


def _check(glob: str, what: str) -> None:
    if not isinstance(glob, str):
        raise InvalidRequestError(f"{what}: a glob must be a string, not {brief(glob)}")
    if not glob or len(glob) > MAX_GLOB or "\0" in glob or "\n" in glob:
        raise InvalidRequestError(
            f"{what}: {brief(glob)} must be 1 to {MAX_GLOB} characters, without NUL and line ends"
        )
    if glob.startswith("/") or "\\" in glob or any(p in ("", ".", "..") for p in glob.split("/")):
        raise InvalidRequestError(
            f"{what}: {brief(glob)} must be a path as it stands in listings: relative, with '/', "
            "without '.', '..' and backslashes ('[*]' is a star itself)"
        )


def _tree(glob: str, what: str, *, anywhere: bool) -> Node:
    if anywhere and isinstance(glob, str) and len(glob) > 1:
        glob = glob.removesuffix("/")
    _check(glob, what)
    front = (_DIRECTORIES,) if anywhere and "/" not in glob else ()
    body = _Reader(glob, what).whole()
    return Sequence((Assert("begin"), *front, body, Assert("end")))


class _Reader:
    """One glob, read from left to right."""

    def __init__(self, glob: str, what: str) -> None:
        self._glob = glob
        self._what = what
        self._at = 0
        self._depth = 0

    def _refuse(self, why: str) -> InvalidRequestError:
        return InvalidRequestError(f"{self._what}: {brief(self._glob)}: {why}")

    def whole(self) -> Node:
        return self._sequence("")

    def _sequence(self, stops: str) -> Node:
        parts: list[Node] = []
        while self._at < len(self._glob) and self._glob[self._at] not in stops:
            parts.append(self._item())
        return Sequence(tuple(parts))

    def _item(self) -> Node:
        glob, start = self._glob, self._at
        char = glob[start]
        self._at += 1
        if char == "*" and glob.startswith("*", self._at):
            return self._directories(start)
        if char == "*":
            return _NAME_PART
        if char == "?":
            return _NOT_SLASH
        if char == "[":
            return self._set()
        if char == "{":
            return self._choice()
        return Character(ord(char))

    def _directories(self, start: int) -> Node:
        glob = self._glob
        self._at += 1
        if (start and glob[start - 1] != "/") or glob[self._at : self._at + 1] not in ("", "/"):
            raise self._refuse("'**' stands for whole directories: '**/*.py', 'src/**'")
        if self._at < len(glob):
            self._at += 1
            return _DIRECTORIES
        return Repeat(Dot(), 1, None)

    def _choice(self) -> Node:
        self._depth += 1
        if self._depth > 8:
            raise self._refuse("braces more than 8 deep")
        parts = [self._sequence(",}")]
        while self._glob.startswith(",", self._at):
            self._at += 1
            parts.append(self._sequence(",}"))
        if not self._glob.startswith("}", self._at):
            raise self._refuse("this '{' is never closed ('[{]' is a brace itself)")
        self._at += 1
        self._depth -= 1
        return parts[0] if len(parts) == 1 else Choice(tuple(parts))

    def _set(self) -> Node:
        glob = self._glob
        negated = glob[self._at : self._at + 1] in ("!", "^")
        start = self._at + negated
        end = glob.find("]", start + 1)
        if end < 0:
            raise self._refuse("this '[' is never closed ('[[]' is a bracket itself)")
        self._at = end + 1
        ranges: list[tuple[int, int]] = []
        at = start
        while at < end:
            low = ord(glob[at])
            is_range = at + 2 < end and glob[at + 1] == "-"
            high = ord(glob[at + 2]) if is_range else low
            if high < low:
                raise self._refuse("a range of characters that is none")
            ranges.append((low, high))
            at += 3 if is_range else 1
        merged = merge(ranges)
        if negated:
            return Set(invert(merge([*merged, (_SLASH, _SLASH)])))
        return Set(merge(_without_slash(merged)))


def _without_slash(ranges: tuple[tuple[int, int], ...]) -> list[tuple[int, int]]:
    out: list[tuple[int, int]] = []
    for low, high in ranges:
        if low <= _SLASH <= high:
            out += [pair for pair in ((low, _SLASH - 1), (_SLASH + 1, high)) if pair[0] <= pair[1]]
        else:
            out.append((low, high))
    return out
