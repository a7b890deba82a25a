"""Scripts in memory that stand still: each of them at the step where it is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from fumehood import AsyncSession, SessionPausedError
from fumehood.testing import AsyncMemorySandbox, CommandCall, CommandReply, Connection
from fumehood.testing._standstill import Pause


class Counter:
    """A script that does nothing but go on."""

    def __init__(self) -> None:
        self.steps = 0

    async def __call__(self, call: CommandCall) -> None:
        await call.write("on\n")
        while True:
            self.steps += 1
            await asyncio.sleep(0)


class Waiter:
    """A script that waits for a word, and has a time limit of its own."""

    def __init__(self) -> None:
        self.word = asyncio.Event()
        self.begun = asyncio.Event()

    async def __call__(self, call: CommandCall) -> str:
        self.begun.set()
        try:
            async with asyncio.timeout(0.05):
                await self.word.wait()
        except TimeoutError:
            return "late\n"
        return "in time\n"


@pytest.fixture
def counter() -> Counter:
    return Counter()


@pytest.fixture
def waiter() -> Waiter:
    return Waiter()


@pytest_asyncio.fixture
async def session(counter: Counter, waiter: Waiter) -> AsyncIterator[AsyncSession]:
    async with (
        AsyncMemorySandbox(commands={"count": counter, "wait": waiter, "web": web}) as sandbox,
        sandbox.create_session() as session,
        asyncio.timeout(60),
    ):
        yield session


async def web(call: CommandCall) -> None:
    async def greet(connection: Connection) -> None:
        await connection.write("hello\n")

    with call.serve(80, greet):
        await asyncio.Event().wait()


async def turns(count: int = 200) -> None:
    """Let everything that can go on do so, many times."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_no_step_is_made_in_a_pause(session: AsyncSession, counter: Counter) -> None:
    async with session.exec_stream(["count"]) as stream:
        await anext(stream)
        assert await session.pause() == 1
        before = counter.steps
        await turns()
        assert counter.steps == before
        assert await session.pause() == 1
        await session.unpause()
        await turns()
        assert counter.steps > before


async def test_a_pause_that_a_client_is_not_there_for_any_more_lasts(
    session: AsyncSession, counter: Counter
) -> None:
    process = await session.start_process(["count"])
    async with process.stream() as stream:
        await anext(stream)
    await session.pause()
    before = counter.steps
    # A snapshot's own pause is over with it, and this one is not.
    await session.snapshot("kept")
    await turns()
    assert counter.steps == before
    with pytest.raises(SessionPausedError):
        await session.start_process(["true"])
    await session.unpause()
    await turns()
    assert counter.steps > before
    await process.stop(grace=0)


async def test_a_scripts_own_time_limit_is_heard_afterwards(
    session: AsyncSession, waiter: Waiter
) -> None:
    running = asyncio.create_task(session.exec(["wait"]))
    await waiter.begun.wait()
    await session.pause()
    # Its time is over now, and nothing of it goes on.
    done, _ = await asyncio.wait({running}, timeout=0.2)
    assert not done
    await session.unpause()
    assert (await running).stdout == "late\n"


async def test_who_was_woken_in_a_pause_has_what_it_waited_for(
    session: AsyncSession, waiter: Waiter
) -> None:
    running = asyncio.create_task(session.exec(["wait"]))
    await waiter.begun.wait()
    await session.pause()
    waiter.word.set()
    await turns()
    assert not running.done()
    await session.unpause()
    assert (await running).stdout == "in time\n"


async def test_the_time_of_a_command_stands_still_as_often_as_it_does() -> None:
    pause = Pause()
    async with pause.limited(100) as limit, pause.limited(None) as endless:
        end = limit.when()
        assert end is not None
        for _ in range(3):
            pause.hold(None)
            pause.hold(7)
            assert limit.when() is None
            pause.release(7)
            assert limit.when() is None
            pause.release(None)
            later = limit.when()
            assert later is not None
            assert later > end
            end = later
        assert endless.when() is None
    pause.hold(None)
    pause.end()
    assert not pause.active
    assert pause.total > 0


async def test_a_server_answers_nobody_in_a_pause(session: AsyncSession) -> None:
    process = await session.start_process(["web"])
    await session.wait_for_port(80)
    await session.pause()
    async with session.connect_port(80) as stream:
        reading = asyncio.create_task(stream.read())
        await turns()
        assert not reading.done()
        await session.unpause()
        assert await reading == b"hello\n"
    await process.stop(grace=0)


async def test_a_script_that_minds_its_end_hears_of_it_in_a_pause() -> None:
    heard = asyncio.Event()

    async def careful(call: CommandCall) -> CommandReply:
        await call.write("up\n")
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            heard.set()
        raise AssertionError

    async with AsyncMemorySandbox(commands={"careful": careful}) as sandbox:
        async with sandbox.create_session() as session:
            stream = session.exec_stream(["careful"])
            await anext(stream)
            await session.pause()
            await session.destroy()
        async with asyncio.timeout(30):
            await heard.wait()
