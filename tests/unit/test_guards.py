"""The guards of the tests themselves: they see what they are there for."""

from __future__ import annotations

import time

import pytest
from blockbuster import BlockingError

import fumehood
from fumehood import _portal

# As if it stood in the package.
BLOCKS = compile("time.sleep(0)", fumehood.__file__, "eval")


def block() -> None:
    eval(BLOCKS, {"time": time})


async def test_a_blocking_call_of_ours_on_a_loop_is_an_error() -> None:
    with pytest.raises(BlockingError):
        block()


def test_one_on_the_portals_loop_is_an_error_too() -> None:
    with pytest.raises(BlockingError):
        _portal.get().look(block, instead="x")


def test_where_there_is_no_loop_anything_may_block() -> None:
    block()
