"""The dialect of search patterns: what is taken means what it means to Python."""

from __future__ import annotations

import re
import warnings

from hypothesis import given, settings
from hypothesis import strategies as st

from fumehood import _pattern
from fumehood._pattern import Node, parse
from fumehood.errors import InvalidRequestError

WORD = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")
PIECES = st.sampled_from(
    [*"abB0_- .^$|()[]{}*+?,:i", "(?:", "(?P<n>", "(?i:", "(?i)", "{2}", "{1,2}", "{,2}", "[^",
     "a-b", "\\d", "\\W", "\\s", "\\b", "\\B", "\\A", "\\Z", "\\n", "\\x41", "\\.", "\\-", "\\1",
     "(?=", "(?<!"]
)  # fmt: skip
PATTERNS = st.lists(PIECES, min_size=1, max_size=8).map("".join)
# Python versions differ in what \\B means in an empty text.
TEXTS = st.text("abB0_- .{},A", min_size=1, max_size=5)


def compiled(pattern: str, flags: int) -> re.Pattern[str]:
    with warnings.catch_warnings():
        # Python says that "[[" may mean something else one day.
        warnings.simplefilter("ignore", FutureWarning)
        return re.compile(pattern, re.ASCII | flags)


def is_word(text: str, at: int) -> bool:
    return 0 <= at < len(text) and text[at] in WORD


def ends(node: Node, text: str, at: int) -> set[int]:
    """Return where a match that begins at a place can end: what the tree says, plainly."""
    match node:
        case _pattern.Dot():
            return {at + 1} if at < len(text) else set()
        case _pattern.Character(code, fold):
            here = text[at : at + 1]
            same = here.lower() == chr(code).lower() if fold else here == chr(code)
            return {at + 1} if here and same else set()
        case _pattern.Set(ranges):
            inside = at < len(text) and any(low <= ord(text[at]) <= high for low, high in ranges)
            return {at + 1} if inside else set()
        case _pattern.Assert(kind):
            border = is_word(text, at - 1) != is_word(text, at)
            holds = {
                "begin": at == 0, "end": at == len(text), "word": border, "no_word": not border,
            }[kind]  # fmt: skip
            return {at} if holds else set()
        case _pattern.Sequence(parts):
            places = {at}
            for part in parts:
                places = {end for place in places for end in ends(part, text, place)}
            return places
        case _pattern.Choice(parts):
            return {end for part in parts for end in ends(part, text, at)}
        case _pattern.Repeat():
            return repeated(node, text, at)


def repeated(node: _pattern.Repeat, text: str, at: int) -> set[int]:
    places, found = {at}, set[int]()
    # Behind as many rounds as there are characters a further one adds nothing but emptiness.
    last = node.least + len(text) + 1 if node.most is None else node.most
    for count in range(last + 1):
        if count >= node.least:
            found |= places
        places = {end for place in places for end in ends(node.part, text, place)}
    return found


# Most of what is made up is refused: fewer would say nothing about the rest.
@settings(max_examples=3000)
@given(PATTERNS, TEXTS, st.booleans())
def test_a_pattern_means_what_python_says_or_is_refused(
    pattern: str, text: str, ignore_case: bool
) -> None:
    try:
        tree = parse(pattern, ignore_case=ignore_case)
    except InvalidRequestError:
        return
    flags = re.IGNORECASE if ignore_case else 0
    meant = compiled(pattern, flags).fullmatch(text) is not None
    assert (len(text) in ends(tree, text, 0)) == meant
