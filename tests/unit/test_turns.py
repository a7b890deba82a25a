"""Who may create next: order, bounds, and that nobody waits for a pool's stock."""

from __future__ import annotations

import asyncio

import pytest

from fumehood.engines.docker_turns import Turns


async def started(turns: Turns, *, background: bool = False) -> asyncio.Task[None]:
    task = asyncio.create_task(turns.enter(background=background))
    await asyncio.sleep(0)
    return task


async def test_so_many_at_once_and_the_rest_in_the_order_of_their_calls() -> None:
    turns = Turns(2)
    tasks = [await started(turns) for _ in range(5)]
    await asyncio.sleep(0)
    assert [task.done() for task in tasks] == [True, True, False, False, False]
    turns.leave()
    await asyncio.sleep(0)
    assert [task.done() for task in tasks] == [True, True, True, False, False]
    turns.leave()
    turns.leave()
    await asyncio.gather(*tasks)
    assert turns.statistics()["running"] == 2
    assert turns.statistics()["waiting"] == 0


async def test_background_work_waits_for_the_foreground_and_never_the_other_way_round() -> None:
    turns = Turns(1, background_at_once=1)
    stock = await started(turns, background=True)
    await stock
    first = await started(turns)
    await first  # beside the background work that has begun
    more = await started(turns, background=True)
    second = await started(turns)
    turns.leave(background=True)
    await asyncio.sleep(0)
    assert (more.done(), second.done()) == (False, False)
    turns.leave()
    await asyncio.sleep(0)
    assert (more.done(), second.done()) == (False, True)
    turns.leave()
    await asyncio.wait_for(more, 1)
    turns.leave(background=True)
    assert set(turns.statistics().values()) == {0}


@pytest.mark.parametrize("background", [False, True])
async def test_a_cancelled_wait_takes_no_turn_and_one_in_its_last_moment_gives_it_back(
    background: bool,
) -> None:
    turns = Turns(1, background_at_once=1)
    await turns.enter(background=background)
    waiting = [await started(turns, background=background) for _ in range(3)]
    waiting[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting[0]
    turns.leave(background=background)
    # Its turn has come, and it has not run yet.
    waiting[1].cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting[1]
    await asyncio.wait_for(waiting[2], 1)
    turns.leave(background=background)
    assert set(turns.statistics().values()) == {0}


async def test_a_foreground_wait_that_is_cancelled_lets_the_background_go_on() -> None:
    turns = Turns(1, background_at_once=1)
    await turns.enter()
    stock = await started(turns, background=True)
    waiting = await started(turns)
    turns.leave()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await asyncio.wait_for(stock, 1)
