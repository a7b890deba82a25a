"""The Python and the C reader make the same of any bytes, and of any way to cut them."""

from __future__ import annotations

from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fumehood._wire.codec import Side
from wire.conftest import Dump
from wire.dump import dump
from wire.strategies import pieces, record_streams, streams

SIDES = ("client", "supervisor")


@pytest.mark.parametrize("sender", SIDES)
@settings(max_examples=300)
@given(data=st.data())
def test_both_readers_say_the_same_of_any_stream(
    wire_dump: Dump, sender: str, data: st.DataObject
) -> None:
    stream = data.draw(streams(cast("Side", sender)))
    assert dump(sender, [stream]) == wire_dump(sender, stream)


@settings(max_examples=150)
@given(stream=record_streams())
def test_both_readers_say_the_same_of_any_records(wire_dump: Dump, stream: bytes) -> None:
    assert dump("record", [stream]) == wire_dump("record", stream)


@pytest.mark.parametrize("sender", SIDES)
@settings(max_examples=150)
@given(data=st.data())
def test_any_cut_of_any_stream_says_the_same(sender: str, data: st.DataObject) -> None:
    stream = data.draw(streams(cast("Side", sender)))
    whole = dump(sender, [stream])
    assert dump(sender, data.draw(pieces(stream))) == whole
    assert dump(sender, (stream[at : at + 1] for at in range(len(stream)))) == whole
