"""A client, an engine or a disk that ends while a session's files are kept or brought back."""

from __future__ import annotations

import asyncio
import signal

import pytest

from cases.invariants import eventually_none
from cases.mark import case
from faults import proxy as faults
from faults.clients import client
from faults.conftest import MakeSandbox, OpenProxy, sweep
from faults.engine import OwnEngine
from faults.pending import killed_under
from fumehood import AsyncDockerSandbox, EngineError
from fumehood.engines import docker_state_sweep
from fumehood.engines.docker_client import ApiClient
from fumehood.state import FORK_SECONDS

STATE = "Files that are kept are there whole or not at all"
GRACE = 1.0

STEPS = {
    "the commit": ("POST", "commit"),
    "the draft": ("POST", "containers/create"),
    "its record": ("PUT", "containers/[^/]+/archive"),
    "its name": ("POST", "containers/[^/]+/rename"),
}


EACH = [
    pytest.param(
        step, id=name, marks=() if name in ("the commit", "its name") else pytest.mark.slow
    )
    for name, step in STEPS.items()
]


async def states(box: AsyncDockerSandbox, id: str) -> list[str]:
    return [info.state for info in await box.list_sessions() if info.id == id]


async def ended(engine: OwnEngine) -> None:
    """Wait until the live session has ended by its lease. Its volume may be kept."""
    async with asyncio.timeout(60):
        await engine.observer.call(
            "POST", "containers/fumehood-stopping/wait", condition="removed", absent=True
        )


async def empty(engine: OwnEngine) -> None:
    assert await eventually_none(lambda: engine.observer.left("")) == []


@case("X50", STATE)
@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", EACH)
async def test_a_client_that_is_killed_while_it_stops_leaves_a_whole_session_or_none(
    engine: OwnEngine,
    sandbox: MakeSandbox,
    open_proxy: OpenProxy,
    monkeypatch: pytest.MonkeyPatch,
    step: tuple[str, str],
    done: bool,
) -> None:
    monkeypatch.setattr(docker_state_sweep, "DRAFT_SECONDS", 0)
    never = asyncio.Event()
    async with open_proxy() as (proxy, address), sandbox() as box:
        async with client("stop", address, id="stopping", grace=GRACE) as victim:
            rule = proxy.on(*step, (faults.reply_held if done else faults.held)(never), times=1)
            victim.go_on()
            await rule.seen.wait()
            if done:
                # The engine has the request; that it has done it shows in what is there.
                await _settled(engine, step)
            victim.send(signal.SIGKILL)
            await victim.process.wait()
        await ended(engine)
        await sweep(engine)
        found = await states(box, "stopping")
        if step == STEPS["its name"] and done:
            assert found == ["stopped"]
            async with box.resume("stopping") as session:
                assert await session.read_text_file("kept") == "x"
                assert (await session.exec(["cat", "/kept"])).stdout == "x\n"
        else:
            assert found == []
        await empty(engine)


async def _settled(engine: OwnEngine, step: tuple[str, str]) -> None:
    if step != STEPS["its name"]:
        return
    # On its disk: an engine shows a name before it has written it down.
    files = engine.data / "containers"
    async with asyncio.timeout(30):
        while not any(
            b'"Name":"/fumehood.stopped.' in path.read_bytes()
            for path in files.glob("*/config.v2.json")
        ):
            await asyncio.sleep(0.01)


@case("X51", STATE)
async def test_a_client_that_is_killed_while_it_resumes_leaves_the_stopped_session(
    engine: OwnEngine, sandbox: MakeSandbox, open_proxy: OpenProxy
) -> None:
    async with open_proxy() as (proxy, address), sandbox() as box:
        session = await box.create_session(id="stopping")
        await session.write_file("kept", "x")
        await session.stop()
        rule = proxy.on("DELETE", "containers/[^/]+", faults.held(asyncio.Event()), times=1)
        async with client("resume", address, id="stopping", grace=GRACE) as victim:
            await rule.seen.wait()
            victim.send(signal.SIGKILL)
            await victim.process.wait()
        await ended(engine)
        await sweep(engine)
        assert await states(box, "stopping") == ["stopped"]
        async with box.resume("stopping") as again:
            assert await again.read_text_file("kept") == "x"
        await empty(engine)


@case("X52", STATE)
@pytest.mark.parametrize("step", EACH)
async def test_a_snapshot_that_an_engine_fails_leaves_nothing_and_commands_go_on(
    engine: OwnEngine, sandbox: MakeSandbox, open_proxy: OpenProxy, step: tuple[str, str]
) -> None:
    async with (
        open_proxy() as (proxy, address),
        sandbox(docker_host=address) as box,
        box.create_session() as session,
    ):
        await session.write_file("kept", "x")
        proxy.on(*step, faults.refuses(500, "no"), times=1)
        with pytest.raises(EngineError):
            await session.snapshot("one")
        assert await box.list_snapshots() == []
        assert await engine.observer.layers() == []
        assert (await session.exec(["true"])).ok
        await session.snapshot("one")
        await box.delete_snapshot("one")
    await empty(engine)


@case("X53", STATE)
async def test_an_engine_that_is_killed_during_a_snapshot_leaves_nothing(
    engine: OwnEngine, sandbox: MakeSandbox, open_proxy: OpenProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(docker_state_sweep, "DRAFT_SECONDS", 0)
    async with open_proxy() as (proxy, address), sandbox(docker_host=address) as box:
        session = await box.create_session()
        await session.write_file("kept", "x")
        rule = proxy.on(*STEPS["its record"], faults.held(asyncio.Event()), times=1)
        taking = asyncio.ensure_future(session.snapshot("one"))
        await rule.seen.wait()
        await killed_under(taking, engine, proxy)
    await sweep(engine)
    await empty(engine)


@case("X121", STATE)
@pytest.mark.slow
@pytest.mark.parametrize("named", [False, True], ids=["before", "after"])
async def test_an_engine_that_is_killed_during_a_stop_leaves_all_of_the_files_or_nothing(
    engine: OwnEngine,
    sandbox: MakeSandbox,
    open_proxy: OpenProxy,
    monkeypatch: pytest.MonkeyPatch,
    named: bool,
) -> None:
    monkeypatch.setattr(docker_state_sweep, "DRAFT_SECONDS", 0)
    async with open_proxy() as (proxy, address), sandbox(docker_host=address) as box:
        session = await box.create_session(id="stopping")
        await session.write_file("kept", "x")
        held = faults.reply_held if named else faults.held
        rule = proxy.on(*STEPS["its name"], held(asyncio.Event()), times=1)
        stopping = asyncio.ensure_future(session.stop())
        await rule.seen.wait()
        if named:
            await _settled(engine, STEPS["its name"])
        await killed_under(stopping, engine, proxy)
    await sweep(engine)
    async with sandbox() as box:
        assert await states(box, "stopping") == (["stopped"] if named else [])
        if named:
            async with box.resume("stopping") as again:
                assert await again.read_text_file("kept") == "x"
    await empty(engine)


@case("X122", STATE)
@pytest.mark.slow
@pytest.mark.parametrize(
    "step",
    [("POST", "containers/[^/]+/start"), ("DELETE", "containers/[^/]+")],
    ids=["the start", "the last step"],
)
async def test_an_engine_that_is_killed_during_a_resume_leaves_the_stopped_session(
    engine: OwnEngine, sandbox: MakeSandbox, open_proxy: OpenProxy, step: tuple[str, str]
) -> None:
    async with open_proxy() as (proxy, address), sandbox(docker_host=address) as box:
        session = await box.create_session(id="stopping")
        await session.write_file("kept", "x")
        await session.stop()
        rule = proxy.on(*step, faults.held(asyncio.Event()), times=1)
        resuming = asyncio.ensure_future(box.resume("stopping")._make())
        await rule.seen.wait()
        await killed_under(resuming, engine, proxy)
    await sweep(engine)
    async with sandbox() as box:
        assert await states(box, "stopping") == ["stopped"]
        async with box.resume("stopping") as again:
            assert await again.read_text_file("kept") == "x"
    await empty(engine)


@case("X124", STATE)
@pytest.mark.slow
@pytest.mark.parametrize(
    "step",
    [("POST", "containers/[^/]+/start"), ("DELETE", "containers/[^/]+")],
    ids=["the first start", "the last step"],
)
async def test_a_client_that_is_killed_while_it_forks_leaves_nothing_for_longer_than_it_may_take(
    engine: OwnEngine,
    sandbox: MakeSandbox,
    open_proxy: OpenProxy,
    monkeypatch: pytest.MonkeyPatch,
    step: tuple[str, str],
) -> None:
    async with open_proxy() as (proxy, address), sandbox() as box:
        async with client("fork", address, id="stopping", grace=GRACE) as victim:
            rule = proxy.on(*step, faults.held(asyncio.Event()), times=1)
            victim.go_on()
            await rule.seen.wait()
            victim.send(signal.SIGKILL)
            await victim.process.wait()
        await ended(engine)
        assert await eventually_none(lambda: _ids(box)) == []
    clock = ApiClient.clock

    async def later(api: ApiClient) -> float:
        return await clock(api) + FORK_SECONDS + 60

    monkeypatch.setattr(ApiClient, "clock", later)
    await sweep(engine)
    await empty(engine)


async def _ids(box: AsyncDockerSandbox) -> list[str]:
    return [info.id for info in await box.list_sessions()]
