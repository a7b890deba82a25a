"""Windows against a model that is a plain sum."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fumehood._wire import table
from fumehood._wire.codec import WireViolationError
from fumehood._wire.credit import ReceiveWindow, SendWindow
from fumehood._wire.table import Violation

AMOUNTS = st.lists(st.integers(1, table.MAX_PAYLOAD), max_size=60)


@given(sizes=AMOUNTS, taken=st.lists(st.integers(0, 3), max_size=60))
def test_what_was_consumed_comes_back_and_nothing_else(sizes: list[int], taken: list[int]) -> None:
    window = ReceiveWindow(table.CHANNEL_WINDOW)
    unconsumed: list[int] = []
    received = consumed = returned = 0
    for step, size in enumerate(sizes):
        if received + size - returned > table.CHANNEL_WINDOW:
            with pytest.raises(WireViolationError):
                window.receive(size)
            return
        window.receive(size)
        received += size
        unconsumed.append(size)
        for _ in range(taken[step] if step < len(taken) else 0):
            if unconsumed:
                amount = unconsumed.pop(0)
                consumed += amount
                credit = window.consume(amount)
                assert credit == 0 or credit >= table.CREDIT_STEP
                returned += credit
        assert returned <= consumed
        # What is owed and not yet worth a frame never closes the window by itself.
        assert consumed - returned < table.CREDIT_STEP


def test_a_window_that_is_consumed_never_closes() -> None:
    window = ReceiveWindow(table.CHANNEL_WINDOW)
    sender = SendWindow(table.CHANNEL_WINDOW)
    for size in [1, 7, table.MAX_PAYLOAD, table.CREDIT_STEP - 1] * 200:
        assert sender.available >= size
        sender.spend(size)
        window.receive(size)
        credit = window.consume(size)
        if credit:
            sender.credit(credit)


@given(spent=AMOUNTS, returned=AMOUNTS)
def test_credit_never_lifts_a_window_above_where_it_began(
    spent: list[int], returned: list[int]
) -> None:
    window = SendWindow(table.CHANNEL_WINDOW)
    for amount in spent:
        window.spend(min(amount, window.available))
    for amount in returned:
        before = window.available
        if before + amount > table.CHANNEL_WINDOW:
            with pytest.raises(WireViolationError) as caught:
                window.credit(amount)
            assert caught.value.violation is Violation.BAD_CREDIT
            assert window.available == before
        else:
            window.credit(amount)
            assert window.available == before + amount
