"""Output that waits: in order, whole, and in little more memory than it has bytes."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from fumehood._tether.backlog import Backlog
from fumehood._wire import table
from fumehood._wire.events import Output

PIECES = st.lists(
    st.tuples(
        st.sampled_from([1, 2]),
        st.sampled_from([0, 1, 3, 2000, 4095, 4096, 32_768]),
        st.sampled_from([0, 0, 0, 7]),
        st.integers(0, 3),
    ),
    max_size=60,
)


def laid_out(items: Iterable[Output]) -> list[tuple[int, int, bytes]]:
    """The same bytes, with each place where one stream goes on without a gap taken out."""
    found: list[tuple[int, int, bytes]] = []
    for item in items:
        if not item.data:
            continue
        if found and found[-1][0] == item.stream:
            stream, offset, data = found[-1]
            if offset + len(data) == item.offset:
                found[-1] = (stream, offset, data + item.data)
                continue
        found.append((item.stream, item.offset, item.data))
    return found


@given(PIECES)
def test_what_comes_out_is_what_went_in(pieces: list[tuple[int, int, int, int]]) -> None:
    backlog, given_, taken = Backlog(), [], []
    offset = 0
    for number, (stream, size, gap, takes) in enumerate(pieces):
        offset += gap
        item = Output(5, stream, bytes([number % 251]) * size, offset)
        offset += size
        given_.append(item)
        backlog.append(item)
        taken += [backlog.popleft() for _ in range(takes) if backlog]
        assert backlog.size == sum(len(i.data) for i in given_) - sum(len(i.data) for i in taken)
    while backlog:
        taken.append(backlog.popleft())
    assert backlog.size == 0
    assert laid_out(taken) == laid_out(given_)
    assert {item.channel for item in taken} <= {5}


def test_single_bytes_of_both_streams_by_turns_take_a_few_times_their_number() -> None:
    backlog = Backlog()
    tracemalloc.start()
    try:
        for number in range(table.CHANNEL_WINDOW):
            backlog.append(Output(1, 1 + number % 2, bytes([number % 251]), 1000 + number))
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert backlog.size == table.CHANNEL_WINDOW
    assert held < 8 * table.CHANNEL_WINDOW


def test_what_was_taken_is_let_go() -> None:
    backlog = Backlog()
    tracemalloc.start()
    try:
        backlog.append(Output(1, 1, b"x", 0))
        for number in range(1, 200_000):
            backlog.append(Output(1, 1 + number % 2, b"x", number))
            backlog.popleft()
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert held < 400_000
