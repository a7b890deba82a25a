"""The stream between a client and its session breaks, half-way or without a word."""

from __future__ import annotations

import asyncio
import time

import aiohttp
import pytest

from cases.mark import case
from faults.conftest import MakeSandbox, OpenProxy, Proxied
from faults.engine import OwnEngine
from faults.pending import OF_CALLS, SECONDS, SLACK, all_end, begin
from fumehood import EndReason, Lifecycle, SessionEndedError, SessionLostError

LOST = "After the client dies in any way"
GRACE = 1.0
PROMISE = 3.0
RELAYS = "A consumer that stalls stalls its own command alone"


@case("X46", LOST)
async def test_every_call_ends_typed_when_the_stream_is_cut_and_the_lease_ends_the_session(
    engine: OwnEngine, proxied: Proxied
) -> None:
    proxy, box = proxied
    session = await box.create_session()
    pending = await begin(session)
    assert proxy.cut_streams() == 1
    await all_end(session, pending, EndReason.LOST, EndReason.CLIENT_LOST)
    # Nobody of ours has to come: the session ends by itself.
    await engine.observer.gone(session.id, within=GRACE + PROMISE + SLACK)
    await session.destroy()


@case("X46", LOST)
async def test_every_call_ends_typed_when_the_stream_is_half_closed(
    engine: OwnEngine, proxied: Proxied
) -> None:
    proxy, box = proxied
    session = await box.create_session()
    pending = await begin(session)
    proxy.half_close_streams()
    await all_end(session, pending, EndReason.LOST, EndReason.CLIENT_LOST)
    await engine.observer.gone(session.id, within=GRACE + PROMISE + SLACK)
    await session.destroy()


@case("X48", LOST)
@pytest.mark.slow
async def test_a_stream_that_goes_silent_is_found_by_its_heartbeat(
    engine: OwnEngine, sandbox: MakeSandbox, open_proxy: OpenProxy
) -> None:
    heartbeat = 3.0
    lifecycle = Lifecycle(heartbeat_timeout=heartbeat, disconnect_grace=GRACE)
    async with (
        open_proxy() as (proxy, address),
        sandbox(docker_host=address, lifecycle=lifecycle) as box,
    ):
        session = await box.create_session()
        pending = await begin(session)
        began = time.monotonic()
        proxy.hold_streams()
        _, waiting = await asyncio.wait(set(pending.values()), timeout=heartbeat * 4 / 3 + SECONDS)
        assert not waiting, "a hang"
        # Both ends find out by themselves, and neither before its time.
        assert time.monotonic() - began >= heartbeat * 2 / 3
        for task in pending.values():
            assert isinstance(task.exception(), SessionLostError)
        await engine.observer.gone(session.id, within=heartbeat + GRACE + PROMISE + SLACK)
        proxy.clear()
        await session.destroy()


@case("X49", LOST)
@pytest.mark.slow
async def test_a_cut_in_the_middle_of_anything_never_makes_a_result(proxied: Proxied) -> None:
    proxy, box = proxied
    for after in (0, 1, 3, 10, 100):
        session = await box.create_session()

        async def work(session: object = session) -> object:
            assert hasattr(session, "exec")
            return await session.exec(["sh", "-c", "echo half; sleep 600; echo whole"])

        running = asyncio.ensure_future(work())
        for _ in range(after):
            await asyncio.sleep(0)
        proxy.cut_streams()
        async with asyncio.timeout(SECONDS):
            with pytest.raises(SessionEndedError):
                await running
        await session.destroy()


# --- F21: several who hold one session -----------------------------------------------------------


@case("F21", RELAYS)
async def test_clients_over_relays_work_side_by_side_and_die_alone(
    engine: OwnEngine, sandbox: MakeSandbox, open_proxy: OpenProxy
) -> None:
    async with (
        sandbox() as box,
        box.create_session() as owner,
        open_proxy() as (proxy, address),
        sandbox(docker_host=address) as other,
        sandbox() as third,
        third.connect(owner.id) as guest,
    ):
        lost = await other.connect(owner.id)
        pending = await begin(lost)
        results = await asyncio.gather(
            *(one.exec(["echo", "on"], check=True) for one in (owner, guest, lost) for _ in "123")
        )
        assert [result.stdout for result in results] == ["on\n"] * 9
        assert proxy.cut_streams() == 1
        await asyncio.wait(set(pending.values()), timeout=SECONDS)
        for task in pending.values():
            assert isinstance(task.exception(), SessionLostError)
        for one in (owner, guest):
            assert (await one.exec(["echo", "on"], check=True)).stdout == "on\n"
        # What the lost one had under way is dead: its commands were its own.
        async with asyncio.timeout(SECONDS):
            while OF_CALLS & set(engine.names(await engine.container_id(owner.id))):
                await asyncio.sleep(0.05)
        await lost.detach()


@case("F21", RELAYS)
async def test_a_second_attach_by_somebody_else_does_not_harm_the_first(
    engine: OwnEngine, sandbox: MakeSandbox
) -> None:
    async with sandbox() as box, box.create_session() as session:
        # Whoever may use the engine's socket may do that: it listens, and then it is gone.
        connector = aiohttp.UnixConnector(f"{engine.directory}/engine.sock")
        async with aiohttp.ClientSession(connector=connector) as http:
            reply = await http.post(
                f"http://docker/containers/fumehood-{session.id}/attach",
                params={"stream": "1", "stdout": "1"},
                headers={"Connection": "Upgrade", "Upgrade": "tcp"},
            )
            assert reply.status == 101
            result = await session.exec(["head", "-c", "300000", "/dev/zero"], check=True)
            assert len(result.stdout_bytes) == 300_000
            reply.close()
        result = await session.exec(["head", "-c", "300000", "/dev/zero"], check=True)
        assert len(result.stdout_bytes) == 300_000
