"""Which names of a tree are left out: patterns as in a ``.gitignore``.

A subset of our own, on top of :mod:`fnmatch`. A library that reads all of git's rules would be the
core's second dependency, for cases that nobody passes to a function call.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fumehood.errors import InvalidRequestError
from fumehood.text import brief

MAX_PATTERNS = 1000


@dataclass(frozen=True, slots=True)
class _Rule:
    parts: tuple[re.Pattern[str] | None, ...]
    """Names from the tree's top, None for ``**``; an unanchored one begins with that."""
    directories_only: bool
    ignores: bool

    def matches(self, path: Sequence[str]) -> bool:
        states = self._reachable({0})
        for name in path:
            after: set[int] = set()
            for state in states:
                if state == len(self.parts):
                    continue
                part = self.parts[state]
                if part is None:
                    after.add(state)
                elif part.match(name):
                    after.add(state + 1)
            states = self._reachable(after)
        return len(self.parts) in states

    def _reachable(self, states: set[int]) -> set[int]:
        """Add the states behind a ``**`` that stands for nothing."""
        for state in sorted(states):
            at = state
            while at < len(self.parts) and self.parts[at] is None:
                at += 1
                states.add(at)
        return states


class Ignore:
    """The patterns of one transfer. The last one that matches decides.

    ``*``, ``?`` and ``[…]`` match within a name, ``**`` any number of directories. A pattern with a
    ``/`` before its end is meant from the top of the tree, any other for every directory in it. One
    that ends with ``/`` matches directories alone. ``!`` takes back what an earlier one has left
    out, but for what is in a directory that is left out: nobody looks into it.

    Raises:
        InvalidRequestError: a pattern that is empty, or no string.
    """

    def __init__(self, patterns: Iterable[str] = ()) -> None:
        if isinstance(patterns, (str, bytes)):
            raise InvalidRequestError(
                f'ignore takes patterns, not one string: ignore=("{brief(patterns)[1:-1]}",)'
            )
        given = tuple(patterns)
        if len(given) > MAX_PATTERNS:
            raise InvalidRequestError(f"ignore takes at most {MAX_PATTERNS} patterns")
        self._rules = tuple(_rule(pattern) for pattern in given)

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._rules)

    def covers(self, path: Sequence[str], *, directory: bool) -> bool:
        """Whether a name of the tree is left out; those above it are not."""
        for rule in reversed(self._rules):
            if (directory or not rule.directories_only) and rule.matches(path):
                return rule.ignores
        return False


def _rule(pattern: str) -> _Rule:
    if not isinstance(pattern, str):
        raise InvalidRequestError(f"a pattern of ignore must be str, not {brief(pattern)}")
    text = pattern.removeprefix("!")
    directories_only = text.endswith("/")
    text = text.rstrip("/")
    names = [name for name in text.split("/") if name not in ("", ".")]
    if not names or ".." in names or "\0" in text:
        raise InvalidRequestError(f"ignore: {brief(pattern)} matches nothing in a tree")
    parts: list[re.Pattern[str] | None] = [] if "/" in text else [None]
    parts += [None if name == "**" else re.compile(fnmatch.translate(name)) for name in names]
    if parts[-1] is None:
        # Everything in the directory, not the directory.
        parts.append(re.compile(fnmatch.translate("*")))
    return _Rule(tuple(parts), directories_only, not pattern.startswith("!"))
