"""The stream breaks, the session lives: its client comes back, and nothing is lost or doubled."""

from __future__ import annotations

import asyncio
import time

import pytest

from cases.mark import case
from faults.conftest import MakeSandbox, OpenProxy, sweep
from faults.engine import OwnEngine
from faults.pending import OF_CALLS, SECONDS, SLACK, all_end, begin
from faults.proxy import lost
from faults.reached import PATIENT, back, cut_twice, noticed, reached
from faults.steady import Steady
from fumehood import (
    EndReason,
    Lifecycle,
    SessionLostError,
    SessionNotFoundError,
)
from fumehood.engines.docker import ENGINE_ONLY

RESTART = "A live session survives a restart of the engine"
BROKEN = "A live session survives the loss of its stream"
PROMISE = 3.0


@case("X70", BROKEN)
async def test_calls_of_each_kind_go_on_over_streams_that_are_cut_twice(
    sandbox: MakeSandbox, open_proxy: OpenProxy
) -> None:
    async with reached(sandbox, open_proxy) as (proxy, session):
        steady = Steady(session)
        await steady.begin()
        await cut_twice(proxy, session)
        await steady.go_on()
        assert session.statistics()["live"] == 0


@case("X70", BROKEN)
@pytest.mark.slow
async def test_streams_that_carry_much_lose_nothing_however_often_they_are_cut(
    sandbox: MakeSandbox, open_proxy: OpenProxy
) -> None:
    async with reached(sandbox, open_proxy) as (proxy, session):
        steady = Steady(session)
        await steady.begin()
        ending = asyncio.ensure_future(steady.go_on())
        cuts = 0
        while not ending.done() and cuts < 8:
            # In full flow: each stream carries something before it is cut.
            resumed = session.statistics()["resumed"]
            cuts += proxy.cut_streams()
            while session.statistics()["resumed"] == resumed and not ending.done():
                await asyncio.sleep(0.005)
        await ending


@case("X71", BROKEN)
@pytest.mark.slow
async def test_a_guest_over_a_network_comes_back_too(
    sandbox: MakeSandbox, open_proxy: OpenProxy
) -> None:
    async with (
        sandbox(lifecycle=PATIENT) as box,
        box.create_session() as owner,
        open_proxy(tcp=True) as (proxy, address),
        sandbox(docker_host=address) as other,
        other.connect(owner.id) as guest,
    ):
        steady = Steady(guest)
        await steady.begin()
        assert proxy.cut_streams() == 1
        await noticed(guest)
        await back(guest, 1)
        await steady.go_on()
        assert (await owner.exec(["echo", "on"], check=True)).stdout == "on\n"


@case("X72", BROKEN)
async def test_without_a_way_back_every_call_ends_with_the_grace_and_so_does_the_session(
    engine: OwnEngine, sandbox: MakeSandbox, open_proxy: OpenProxy
) -> None:
    grace = 1.0
    async with (
        open_proxy(tcp=True) as (proxy, address),
        sandbox(docker_host=address, lifecycle=Lifecycle(disconnect_grace=grace)) as box,
    ):
        session = await box.create_session()
        pending = await begin(session)
        proxy.on("GET", ".*", lost())
        proxy.on("POST", ".*", lost())
        began = time.monotonic()
        proxy.cut_streams()
        await all_end(session, pending, EndReason.LOST, EndReason.CLIENT_LOST)
        assert time.monotonic() - began >= grace, "somebody has given up before the time"
        with pytest.raises(SessionLostError, match="no new stream within 1 s"):
            await pending["a command"]
        await engine.observer.gone(session.id, within=grace + PROMISE + SLACK)
        proxy.clear()
        await session.destroy()


@case("X72", BROKEN)
@pytest.mark.slow
async def test_who_comes_back_after_the_grace_learns_that_nothing_has_waited(
    engine: OwnEngine, sandbox: MakeSandbox, open_proxy: OpenProxy
) -> None:
    async with (
        open_proxy(tcp=True) as (proxy, address),
        sandbox(docker_host=address, lifecycle=Lifecycle(disconnect_grace=2)) as box,
        sandbox() as third,
    ):
        session = await box.create_session()
        # Somebody else keeps the session: only what this client had is over.
        async with third.connect(session.id) as guest:
            pending = await begin(session)
            proxy.on("GET", "containers/.*", lost())
            proxy.cut_streams()
            _, waiting = await asyncio.wait(set(pending.values()), timeout=SECONDS)
            assert not waiting, "a hang"
            for task in pending.values():
                assert isinstance(task.exception(), SessionLostError)
            async with asyncio.timeout(SECONDS):
                while OF_CALLS & set(engine.names(await engine.container_id(session.id))):
                    await asyncio.sleep(0.05)
            assert (await guest.exec(["echo", "on"], check=True)).stdout == "on\n"
            proxy.clear()
        await session.destroy()


@case("X73", BROKEN)
@pytest.mark.slow
async def test_a_client_that_leaves_over_a_network_is_not_waited_for(
    engine: OwnEngine, sandbox: MakeSandbox, open_proxy: OpenProxy
) -> None:
    async with (
        sandbox(lifecycle=PATIENT) as box,
        box.create_session() as owner,
        open_proxy(tcp=True) as (_, address),
        sandbox(docker_host=address) as other,
    ):
        # More often than there are places for connections.
        for _ in range(20):
            async with other.connect(owner.id) as guest:
                running = asyncio.ensure_future(guest.exec(["sleep", "600"]))
                await guest.ping()
            with pytest.raises(Exception, match="left"):
                await running
        async with asyncio.timeout(SECONDS):
            while "sleep" in engine.names(await engine.container_id(owner.id)):
                await asyncio.sleep(0.05)


# --- the engine itself --------------------------------------------------------------------------


@case("F06", RESTART)
@pytest.mark.slow
@pytest.mark.parametrize("way", ["engine", "direct"])
@pytest.mark.parametrize("how", ["stop", "kill"])
async def test_calls_of_each_kind_go_on_over_a_restart_of_an_engine_that_leaves_containers(
    engine: OwnEngine,
    sandbox: MakeSandbox,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
    way: str,
) -> None:
    monkeypatch.setenv(ENGINE_ONLY, way)
    await engine.stop()
    await engine.start(live_restore=True)
    survives = await engine.keeps_containers()
    async with sandbox(lifecycle=PATIENT) as box:
        session = await box.create_session()
        steady = Steady(session)
        await steady.begin()
        await (engine.stop() if how == "stop" else engine.kill())
        if survives and way == "engine":
            await noticed(session)
        await engine.start(live_restore=True)
        if survives:
            # A stream past the engine has not broken at all.
            if way == "engine":
                await back(session, 1)
            await steady.go_on()
            assert (await session.exec(["echo", "on"], check=True)).stdout == "on\n"
        else:
            # Its container is deleted under it: a loss with a name, and no hang.
            steady.let_go()
            _, waiting = await asyncio.wait(set(steady.tasks.values()), timeout=SECONDS)
            assert not waiting, "a hang"
            for task in steady.tasks.values():
                assert isinstance(task.exception(), SessionLostError)
        await session.destroy()
        with pytest.raises(SessionNotFoundError):
            await box.connect(session.id)
    await sweep(engine)


@case("F07", RESTART)
@pytest.mark.slow
async def test_a_restart_that_takes_longer_than_the_grace_is_a_loss_with_a_name(
    engine: OwnEngine, sandbox: MakeSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENGINE_ONLY, "engine")
    await engine.stop()
    await engine.start(live_restore=True)
    async with sandbox(lifecycle=Lifecycle(disconnect_grace=1, heartbeat_timeout=3)) as box:
        session = await box.create_session()
        pending = await begin(session)
        await engine.kill()
        await all_end(session, pending, EndReason.LOST)
        await engine.start(live_restore=True)
        await session.destroy()
    await sweep(engine)
