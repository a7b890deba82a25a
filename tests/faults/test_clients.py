"""Clients that come to an end in the ways that the contract tests leave out."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cases.mark import case
from faults.clients import client
from faults.conftest import sweep
from faults.engine import OwnEngine
from faults.pending import SLACK

LOST = "After the client dies in any way"
GRACE = 1.0
PROMISE = 3.0
"""The promise: gone within the grace and so many seconds."""


async def gone(engine: OwnEngine, session_id: str, *, within: float) -> None:
    await engine.observer.gone(session_id, within=within)
    assert await engine.observer.left("") == []
    assert engine.pids() == []


KILLS = {
    "idle": pytest.param("idle", marks=[case("F01", LOST), pytest.mark.slow]),
    "in the middle of 200 MB and five commands": pytest.param("busy", marks=case("F02", LOST)),
}
ENDS = {
    "an abort": pytest.param("abort", marks=[case("F03", LOST), pytest.mark.slow]),
    "a segmentation fault": pytest.param("fault", marks=case("F03", LOST)),
    "another program in its place": pytest.param("another_program", marks=case("X40", LOST)),
}


@pytest.mark.parametrize("scene", KILLS.values(), ids=KILLS)
async def test_a_killed_client_leaves_nothing(engine: OwnEngine, scene: str) -> None:
    async with client(scene, engine.address, id="killed", grace=GRACE) as victim:
        assert engine.pids(await engine.container_id("killed"))
        victim.send(signal.SIGKILL)
        await gone(engine, "killed", within=GRACE + PROMISE + SLACK)


@pytest.mark.parametrize("scene", ENDS.values(), ids=ENDS)
async def test_a_client_that_ends_in_any_way_leaves_nothing(engine: OwnEngine, scene: str) -> None:
    async with client(scene, engine.address, id="ended", grace=GRACE):
        await gone(engine, "ended", within=GRACE + PROMISE + SLACK)


@case("F03", LOST)
async def test_the_parents_session_survives_every_end_of_its_children(engine: OwnEngine) -> None:
    async with client("children", engine.address, id="parent", grace=GRACE) as parent:
        assert await engine.observer.container("parent") is not None
        parent.send(signal.SIGKILL)
        await gone(engine, "parent", within=GRACE + PROMISE + SLACK)


@case("X41", LOST)
@pytest.mark.slow
async def test_a_child_that_holds_a_dead_clients_connection_does_not_hold_its_session(
    engine: OwnEngine,
) -> None:
    # The engine sees no end of the stream; what is missing is a sign of life.
    heartbeat = 3.0
    async with client(
        "heir", engine.address, id="inherited", grace=GRACE, heartbeat=heartbeat
    ) as parent:
        child = children_of_group(parent.process.pid)
        try:
            await gone(engine, "inherited", within=heartbeat + GRACE + PROMISE + SLACK)
        finally:
            for pid in child:
                os.kill(pid, signal.SIGKILL)


def children_of_group(group: int) -> list[int]:
    """Return the processes that a client has left behind: it was forked into this one's group."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # gone meanwhile
            words = (entry / "cmdline").read_bytes().split(b"\0")
            if b"inherited" in words and int(entry.name) != group:
                found.append(int(entry.name))
    return found


@case("F04", LOST)
async def test_a_client_that_its_control_group_kills_leaves_nothing(engine: OwnEngine) -> None:
    with memory_group(mib=128) as group:
        async with client("hungry", engine.address, id="hungry", grace=GRACE) as victim:
            (group / "cgroup.procs").write_text(str(victim.process.pid), encoding="ascii")
            victim.go_on()
            code, _ = await victim.ends()
            assert code == -signal.SIGKILL
            await gone(engine, "hungry", within=GRACE + PROMISE + SLACK)


@contextmanager
def memory_group(*, mib: int) -> Iterator[Path]:
    """Give a control group with so much memory and no swap."""
    root = Path("/sys/fs/cgroup")
    unified = (root / "cgroup.controllers").exists()
    group = (root if unified else root / "memory") / f"fumehood-client-{secrets.token_hex(4)}"
    group.mkdir()
    try:
        limit = "memory.max" if unified else "memory.limit_in_bytes"
        (group / limit).write_text(str(mib << 20), encoding="ascii")
        yield group
    finally:
        group.rmdir()


@case("F14", LOST)
@pytest.mark.slow
async def test_a_client_that_stood_still_for_too_long_is_told_why_its_session_is_over(
    engine: OwnEngine,
) -> None:
    heartbeat = 3.0
    async with client(
        "until_told", engine.address, id="stopped", grace=GRACE, heartbeat=heartbeat
    ) as stopped:
        began = time.monotonic()
        stopped.send(signal.SIGSTOP)
        await gone(engine, "stopped", within=heartbeat + GRACE + PROMISE + SLACK)
        assert time.monotonic() - began >= GRACE
        stopped.send(signal.SIGCONT)
        # Its stream broke without a last word; the engine knows the reason.
        assert await stopped.line() == "SessionLostError client_lost"


@case("F14", LOST)
@pytest.mark.slow
async def test_client_and_container_that_stood_still_together_go_on_together(
    engine: OwnEngine,
) -> None:
    # As when the machine sleeps: nobody was away, whatever the clocks say afterwards.
    async with client("idle", engine.address, id="slept", grace=60, heartbeat=2) as sleeper:
        pids = engine.pids(await engine.container_id("slept"))
        for pid in [*pids, sleeper.process.pid]:
            os.kill(pid, signal.SIGSTOP)
        await asyncio.sleep(4)
        for pid in [sleeper.process.pid, *pids]:
            os.kill(pid, signal.SIGCONT)
        with pytest.raises(TimeoutError):
            await engine.observer.gone("slept", within=3)
        sleeper.send(signal.SIGKILL)
        await engine.observer.call("DELETE", "containers/fumehood-slept", force="1", v="1")


@case("X52", LOST)
async def test_a_blocking_call_ends_typed_when_the_engine_is_killed(engine: OwnEngine) -> None:
    async with client("blocked", engine.address, id="blocked", grace=GRACE) as caller:
        await engine.kill()
        assert await caller.line() == "SessionLostError lost"
        await engine.start()
    await sweep(engine)
