"""A cancellation waits for clean-up, and goes on afterwards."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from fumehood._tether.cleanup import stop, to_the_end, unattended


async def test_clean_up_returns_and_raises_as_it_would_alone() -> None:
    async def fine() -> int:
        await asyncio.sleep(0)
        return 5

    async def broken() -> None:
        await asyncio.sleep(0)
        raise ZeroDivisionError

    assert await to_the_end(fine()) == 5
    with pytest.raises(ZeroDivisionError):
        await to_the_end(broken())


def test_a_caller_that_is_thrown_away_with_its_loop_goes_without_it() -> None:
    began = False

    async def work() -> None:
        nonlocal began
        began = True

    async def caller(waits: asyncio.Future[None]) -> None:
        try:
            await waits
        finally:
            await to_the_end(work())

    loop = asyncio.new_event_loop()
    left = caller(loop.create_future())
    left.send(None)
    loop.close()
    # What the collector does: an exception out of here is a traceback on somebody's terminal.
    left.close()
    assert not began


@pytest.mark.parametrize("fails", [False, True])
async def test_a_cancelled_caller_waits_and_is_cancelled_then(
    fails: bool, caplog: pytest.LogCaptureFixture
) -> None:
    gate = asyncio.Event()
    ended = False

    async def work() -> None:
        nonlocal ended
        await gate.wait()
        ended = True
        if fails:
            raise ZeroDivisionError("in clean-up")

    task = asyncio.create_task(to_the_end(work()))
    for _ in range(5):
        await asyncio.sleep(0)
        task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()
    assert ended
    assert [record.args for record in caplog.records if fails] == [
        record.args for record in caplog.records
    ]
    assert bool(caplog.records) == fails


async def test_stopping_a_task_waits_for_it_and_lets_a_cancellation_through() -> None:
    gate = asyncio.Event()

    async def slow() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await gate.wait()

    task = asyncio.create_task(slow())
    await asyncio.sleep(0)
    stopping = asyncio.create_task(stop(task))
    await asyncio.sleep(0)
    assert not stopping.done()
    stopping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stopping
    gate.set()
    await stop(task)
    assert task.done()
    await stop(None)


class Ended:
    """A task that has ended with an error. A real one that an interrupt hits ends its loop, too."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def cancelled(self) -> bool:
        return False

    def exception(self) -> BaseException:
        return self._error

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()


async def test_of_a_task_that_nobody_waits_for_an_error_is_told_and_an_interrupt_is_not() -> None:
    told: list[object] = []
    asyncio.get_running_loop().set_exception_handler(
        lambda _, context: told.append(context.get("exception"))
    )
    for error in (KeyboardInterrupt(), SystemExit(), ZeroDivisionError()):
        unattended(cast("asyncio.Task[None]", Ended(error)))
    cancelled = asyncio.create_task(asyncio.sleep(9))
    cancelled.cancel()
    fine = asyncio.create_task(asyncio.sleep(0))
    for task in (cancelled, fine):
        await asyncio.wait({task})
        unattended(task)
    assert [type(error) for error in told] == [ZeroDivisionError]
