"""A container that ends without a word from its stream: the engine is asked, with a reason."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from fakes.resuming import ResumingSupervisor
from fakes.supervisor import CONFIGURE, PATIENCE, FakeSupervisor
from fumehood import EndReason, EngineUnavailableError, SessionEndedError, SessionLostError
from fumehood._tether import vigil
from fumehood._tether.tether import Tether
from fumehood._wire.connection import Connection
from fumehood._wire.requests import exec_request
from fumehood._wire.table import EndCode

COMMAND = exec_request(
    (b"x",),
    cwd=b".",
    env=(),
    user=None,
    timeout_ms=0,
    stdout_limit=100_000,
    stderr_limit=0,
    stdin=False,
)


@dataclass
class Engine:
    """Tells the end of one container."""

    asked: int = 0
    waiting: int = 0
    exit_code: asyncio.Future[int] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    async def wait_exit(self) -> int:
        self.asked += 1
        self.waiting += 1
        try:
            return await asyncio.shield(self.exit_code)
        finally:
            self.waiting -= 1


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vigil, "QUIET_SECONDS", 0.02)
    monkeypatch.setattr(vigil, "LAST_WORDS_SECONDS", 0.05)


@asynccontextmanager
async def watched(
    engine: Engine, peer: FakeSupervisor | None = None
) -> AsyncIterator[tuple[FakeSupervisor, Tether]]:
    peer = peer or FakeSupervisor()
    tether = Tether(
        peer.stream,
        Connection(nonce=bytes(32), client="test", resume=peer.stream.can_break),
        session_id="s1",
        heartbeat_timeout=3600,
        reopen=peer.reopen if isinstance(peer, ResumingSupervisor) else None,
        ended=engine.wait_exit,
    )
    tether.begin(CONFIGURE)
    await tether.settle(PATIENCE)
    try:
        yield peer, tether
    finally:
        await tether.close()
        assert engine.waiting == 0


async def until_asked(engine: Engine) -> None:
    async with asyncio.timeout(PATIENCE):
        while not engine.waiting:
            await asyncio.sleep(0.002)


async def test_an_end_that_the_stream_does_not_tell_is_learned_from_the_engine() -> None:
    engine = Engine()
    async with watched(engine) as (_, tether):
        ends: list[EndReason] = []
        tether.watch(ends.append)
        channels = [tether.open(COMMAND) for _ in range(3)]
        await until_asked(engine)
        engine.exit_code.set_result(137)
        for channel in channels:
            async with asyncio.timeout(PATIENCE):
                with pytest.raises(SessionLostError, match="exit code 137"):
                    await channel.answer()
        assert ends == [EndReason.LOST]
        assert engine.asked == 1


async def test_a_stream_past_an_engine_ends_with_it() -> None:
    engine = Engine()
    async with watched(engine) as (peer, tether):
        ends: list[EndReason] = []
        tether.watch(ends.append)
        tether.watch_engine()
        await until_asked(engine)
        channel = tether.open(COMMAND)
        await peer.opened(1)
        engine.exit_code.set_exception(EngineUnavailableError("the engine has ended"))
        async with asyncio.timeout(PATIENCE):
            with pytest.raises(SessionLostError, match="the engine has ended"):
                await channel.answer()
        assert ends == [EndReason.LOST]
        assert engine.asked == 1
        async with asyncio.timeout(PATIENCE):
            while not peer.stream.closed:
                await asyncio.sleep(0)


async def test_who_is_cancelled_while_leaving_has_left_all_the_same() -> None:
    engine = Engine()
    async with watched(engine) as (peer, tether):
        tether.watch_engine()
        await until_asked(engine)
        closing = asyncio.create_task(tether.close())
        await asyncio.sleep(0)  # to the first thing that it waits for
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        assert peer.stream.closed
        assert engine.waiting == 0


async def test_what_the_stream_still_brings_comes_first() -> None:
    engine = Engine()
    async with watched(engine) as (peer, tether):
        channel = tether.open(COMMAND)
        await until_asked(engine)
        engine.exit_code.set_result(66)
        peer.end(EndCode.TTL)
        with pytest.raises(SessionEndedError) as caught:
            await channel.answer()
        assert caught.value.reason == "ttl"


async def test_the_engine_is_not_asked_while_nobody_waits_or_something_comes() -> None:
    engine = Engine()
    async with watched(engine) as (peer, tether):
        for number in range(1, 6):
            channel = tether.open(COMMAND)
            await peer.opened(number)
            peer.exit(number)
            await channel.answer()
        # The timer of the first call has found nobody waiting.
        await asyncio.sleep(0.06)
        channel = tether.open(COMMAND)
        await peer.opened(6)
        for _ in range(100):
            peer.stdout(6, b"x")
            await asyncio.sleep(0.001)
            assert await channel.receive() is not None
        peer.exit(6, stdout_total=100)
        await channel.answer()
        assert engine.asked == 0


async def test_a_second_silence_asks_no_second_time() -> None:
    engine = Engine()
    async with watched(engine) as (peer, tether):
        first = tether.open(COMMAND)
        await until_asked(engine)
        peer.exit(1)
        await first.answer()
        second = tether.open(COMMAND)
        await asyncio.sleep(0.05)
        assert engine.asked == 1
        peer.exit(2)
        await second.answer()


async def test_an_end_while_the_stream_is_away_ends_the_search() -> None:
    engine = Engine()
    peer = ResumingSupervisor(greetings=[1] * 1000, grace_ms=3_600_000)
    async with watched(engine, peer) as (_, tether):
        channel = tether.open(COMMAND)
        await until_asked(engine)
        peer.stream.cut()
        while not tether.reconnecting:
            await asyncio.sleep(0)
        engine.exit_code.set_result(255)
        async with asyncio.timeout(PATIENCE):
            with pytest.raises(SessionLostError, match="exit code 255"):
                await channel.answer()
