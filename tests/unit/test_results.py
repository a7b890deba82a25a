"""Values that a caller gets back and may hand on."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from fumehood import FileEntries, FileEntry

ENTRY = FileEntry(
    path="a/b", type="file", size=1, mode=0o644, modified=datetime.now(UTC), uid=0, gid=0
)


def pickled(entries: FileEntries) -> FileEntries:
    again = pickle.loads(pickle.dumps(entries))
    assert isinstance(again, FileEntries)
    return again


def test_a_list_of_entries_is_a_list_with_a_number_beside() -> None:
    entries = FileEntries([ENTRY], skipped_unreadable=2)
    assert entries == [ENTRY]
    assert type(entries[:1]) is list
    assert repr(entries) == f"FileEntries([{ENTRY!r}], skipped_unreadable=2)"
    assert FileEntries().skipped_unreadable == 0


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, pickled])
def test_a_copied_list_of_entries_keeps_its_number(
    again: Callable[[FileEntries], FileEntries],
) -> None:
    copied = again(FileEntries([ENTRY], skipped_unreadable=2))
    assert (type(copied), copied, copied.skipped_unreadable) == (FileEntries, [ENTRY], 2)
