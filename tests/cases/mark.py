"""What a case is: a test with an id and the promise that it is a proof of."""

from __future__ import annotations

import re

import pytest

_ID = re.compile(r"[HFX][0-9]{2,3}[a-z]?")


def case(number: str, promise: str) -> pytest.MarkDecorator:
    """Mark a test as a case.

    Args:
        number: its id; several tests may share one.
        promise: the row of SECURITY.md that it belongs to, by its first words.
    """
    if not _ID.fullmatch(number):
        raise ValueError(f"{number!r} is not the id of a case")
    return pytest.mark.case(number, promise)


def case_of(item: pytest.Item) -> tuple[str, str] | None:
    """Return the id and the promise of a test, if it is a case."""
    mark = item.get_closest_marker("case")
    return None if mark is None else (mark.args[0], mark.args[1])
