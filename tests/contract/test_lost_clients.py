"""Clients of either API that are lost: the promise to the second, and who may still come back."""

from __future__ import annotations

import os
import signal

import pytest

from contract.adapter import Api
from contract.observer import Observer
from contract.processes import client

GRACE = 1.0
PROMISE = 3.0
"""The promise: gone within the grace and so many seconds."""
SLACK = 20.0
"""For a loaded machine: a test must not fail because the engine had to wait for a processor."""


async def nothing_survives(observer: Observer, session_id: str, pids: list[int]) -> None:
    await observer.gone(session_id, within=GRACE + PROMISE + SLACK)
    assert await observer.container(session_id) is None
    assert await observer.volumes(session_id) == []
    # The engine's own ids of processes are this host's, where the engine runs on it.
    assert [pid for pid in pids if str(pid) in os.listdir("/proc")] == []  # noqa: PTH208


@pytest.mark.parametrize("scene", ["idle", "execs", "upload", "download", "stalled"])
async def test_a_killed_client_leaves_nothing_behind(
    api: Api, observer: Observer, scene: str
) -> None:
    session_id = api.new_id()
    async with client(api.flavour, scene, session_id, grace=GRACE) as process:
        assert len(await observer.volumes(session_id)) == 1
        pids = await observer.host_pids(session_id)
        process.kill()
        await process.wait()
        await nothing_survives(observer, session_id, pids)


async def test_a_grace_of_zero_ends_the_session_at_once(api: Api, observer: Observer) -> None:
    session_id = api.new_id()
    async with client(api.flavour, "execs", session_id, grace=0) as process:
        process.kill()
        await process.wait()
        await observer.gone(session_id, within=PROMISE + SLACK)


async def test_a_stopped_client_is_not_a_dead_one_until_its_heartbeat_is_missed(
    api: Api, observer: Observer
) -> None:
    session_id = api.new_id()
    async with client(api.flavour, "stalled", session_id, grace=0) as process:
        process.send_signal(signal.SIGSTOP)
        with pytest.raises(TimeoutError):
            await observer.gone(session_id, within=1)
        process.send_signal(signal.SIGCONT)
        async with api.sandbox() as sandbox, sandbox.connect(session_id) as guest:
            assert (await guest.exec(["echo", "on"], check=True)).stdout == "on\n"


async def test_a_guest_who_comes_within_the_grace_keeps_the_session(
    api: Api, observer: Observer
) -> None:
    session_id = api.new_id()
    async with (
        client(api.flavour, "idle", session_id, grace=GRACE) as process,
        api.sandbox() as sandbox,
    ):
        async with sandbox.connect(session_id) as guest:
            process.kill()
            await process.wait()
            # Longer than the grace: a client is connected, so nothing ends.
            result = await guest.exec(["sleep", str(2 * GRACE)], check=True)
            assert result.duration >= 2 * GRACE
        await observer.gone(session_id, within=GRACE + PROMISE + SLACK)


@pytest.mark.parametrize(
    "lease,seconds", [(("2", "", ""), 2), (("", "1", ""), 1)], ids=["ttl", "idle"]
)
async def test_ttl_and_idle_time_hold_when_the_client_is_dead(
    api: Api, observer: Observer, lease: tuple[str, ...], seconds: int
) -> None:
    session_id = api.new_id()
    # The grace alone would keep it for a minute.
    async with client(api.flavour, "idle", session_id, grace=60, lease=lease) as process:
        process.kill()
        await process.wait()
        await observer.gone(session_id, within=seconds + PROMISE + SLACK)


async def test_a_detached_session_outlives_its_client_and_ends_by_its_ttl(
    api: Api, observer: Observer
) -> None:
    session_id = api.new_id()
    lease = ("60", "", "1")
    async with client(api.flavour, "leave", session_id, grace=0, lease=lease) as process:
        await process.wait()
        async with api.sandbox() as sandbox:
            async with sandbox.connect(session_id) as guest:
                assert (await guest.exec(["echo", "alive"], check=True)).stdout == "alive\n"
            async with sandbox.connect(session_id) as guest:
                await guest.extend(ttl=1)
        await observer.gone(session_id, within=1 + PROMISE + SLACK)
