"""Attacks on process 1: signals, its memory, its descriptors, its program, its stream."""

from __future__ import annotations

import pytest

from cases.mark import case
from hostile.arena import Arena

SUPERVISOR = "The workload cannot stop, trace, or speak as the supervisor"


@case("H01", SUPERVISOR)
async def test_no_signal_stops_the_supervisor(arena: Arena) -> None:
    done = await arena.attack("signals", check=True)
    # Process 1 is of another user: not even root without capabilities may signal it.
    assert done.stdout == "64 refused\n"
    assert await arena.alive()


@case("H02", SUPERVISOR)
@pytest.mark.timeout(60)
async def test_a_flood_of_signals_changes_nothing(arena: Arena) -> None:
    done = await arena.attack("signals", "15625", check=True)
    assert done.stdout == "1000000 refused\n"
    assert await arena.alive()
