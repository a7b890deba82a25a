"""Patches as pure functions: what a diff says is what applying it does."""

from __future__ import annotations

import difflib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fumehood._patch import MisfitError, apply_hunks, parse_patch
from fumehood.errors import InvalidRequestError

# Also lines that look like a patch's own. None ends with CR: what becomes of line ends is another
# rule, and has its own tests.
LINES = st.sampled_from(
    [
        b"",
        b"a",
        b"b",
        b" c",
        b"-- d",
        b"++ e",
        b"-- a/f",
        b"@@ -1 +1 @@",
        b"\\ note",
        b"x\ry",
        b"\xff",
    ]
)


@st.composite
def texts(draw: st.DrawFn) -> bytes:
    lines = draw(st.lists(LINES, max_size=12))
    data = b"".join(line + b"\n" for line in lines)
    return data + draw(st.sampled_from([b"", b"z", b"a"]))


def diff(old: bytes, new: bytes, context: int) -> bytes:
    """Write a patch as ``diff -u`` does, with its note about a missing line end."""
    pieces = difflib.diff_bytes(
        difflib.unified_diff,
        lines(old),
        lines(new),
        b"a/f",
        b"b/f",
        n=context,
    )
    return b"".join(
        piece if piece.endswith(b"\n") else piece + b"\n\\ No newline at end of file\n"
        for piece in pieces
    )


def lines(data: bytes) -> list[bytes]:
    *whole, rest = data.split(b"\n")
    return [line + b"\n" for line in whole] + ([rest] if rest else [])


@given(texts(), texts(), st.integers(0, 3))
def test_a_diff_applied_to_the_old_text_gives_the_new_one(
    old: bytes, new: bytes, context: int
) -> None:
    patch = diff(old, new, context)
    if old == new:
        with pytest.raises(InvalidRequestError):
            parse_patch(patch)
        return
    (file,) = parse_patch(patch)
    assert (file.source, file.target) == ("f", "f")
    assert apply_hunks(old, file.hunks) == new


@given(texts(), st.integers(1, 3), st.integers(1, 20), st.data())
def test_a_hunk_whose_lines_have_moved_goes_with_them(
    new: bytes, context: int, moved: int, data: st.DataObject
) -> None:
    count = data.draw(st.integers(1, 12))
    old = b"".join(b"line %d\n" % number for number in range(count))
    cut = data.draw(st.integers(0, count))
    changed = b"".join(lines(old)[:cut]) + new
    if changed == old:
        return
    (file,) = parse_patch(diff(old, changed, context))
    before = b"".join(b"before %d\n" % number for number in range(moved))
    assert apply_hunks(before + old, file.hunks) == before + changed


@given(texts(), texts(), texts(), st.integers(1, 3))
def test_a_patch_for_another_text_is_refused_or_applied_with_all_its_hunks(
    old: bytes, new: bytes, other: bytes, context: int
) -> None:
    if old == new:
        return
    (file,) = parse_patch(diff(old, new, context))
    try:
        result = apply_hunks(other, file.hunks)
    except MisfitError:
        return
    delta = sum(len(hunk.new) - len(hunk.old) for hunk in file.hunks)
    assert len(lines(result)) == len(lines(other)) + delta


@given(st.binary(max_size=200) | texts())
def test_bytes_that_are_no_patch_are_refused_and_nothing_else_happens(data: bytes) -> None:
    try:
        files = parse_patch(data)
    except InvalidRequestError:
        return
    assert files
