"""An engine that answers slowly, wrongly or not at all, one request at a time."""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import Callable

import pytest

from cases.mark import case
from faults import proxy as faults
from faults.conftest import MakeSandbox, OpenProxy, Proxied, sweep
from faults.engine import OwnEngine
from faults.pending import SECONDS, SLACK
from faults.proxy import Exchange, Fault, Proxy, Rule
from fumehood import (
    EngineError,
    EngineUnavailableError,
    EngineUnsupportedError,
    Limits,
    OperationTimeoutError,
    SandboxError,
    Workspace,
)
from fumehood.engines import docker_client

CREATION = "A failed or cancelled creation leaves nothing"
LOST = "After the client dies in any way"
QUOTA = "A quota on the workspace"
LIMITS = "Memory without swap, CPU and pids as asked for"
CONTAINER = r"containers/[^/]+"


# --- F18: removal ------------------------------------------------------------------------------


async def destroyed(proxied: Proxied, arrange: Callable[[], Rule]) -> None:
    """Destroy sessions until the engine was asked to remove one.

    It removes them by itself, too, at about the same time: whoever is later finds nothing.

    Args:
        arrange: lets something go wrong, and returns the rule for the removal.
    """
    for _ in range(20):
        session = await proxied.box.create_session()
        proxied.proxy.requests.clear()
        rule = arrange()
        await session.destroy()
        async with asyncio.timeout(SECONDS):
            await session.destroy(wait=True)
        if rule.seen.is_set():
            return
        proxied.proxy.clear()
    pytest.fail("the engine was faster each time")


async def logged(caplog: pytest.LogCaptureFixture, text: str) -> None:
    """Wait for what the removal in the background says: the second one may be done before it."""
    async with asyncio.timeout(SECONDS):
        while text not in caplog.text:
            await asyncio.sleep(0.01)


@case("F18", LOST)
async def test_a_removal_that_is_in_progress_is_asked_for_until_it_is_done(
    engine: OwnEngine, proxied: Proxied
) -> None:
    proxy, _ = proxied
    fault = faults.refuses(409, "removal of container x is already in progress")

    def arrange() -> Rule:
        # The answers are lies: nothing removes it, and waiting for the removal must not be all.
        proxy.on("POST", f"{CONTAINER}/wait", faults.answers(200, b'{"StatusCode": 0}'))
        return proxy.on("DELETE", CONTAINER, fault, times=3)

    await destroyed(proxied, arrange)
    assert await engine.observer.left("") == []
    # Lies, and once more; again if by then the engine itself is at it.
    assert deletes(proxy) >= 2


@case("F18", LOST)
async def test_a_removal_that_fails_is_told_and_can_be_asked_for_again(
    engine: OwnEngine, proxied: Proxied, caplog: pytest.LogCaptureFixture
) -> None:
    fault = faults.refuses(500, "device or resource busy")
    # Behind the end of the session it fails; asked for again it is done.
    await destroyed(proxied, lambda: proxied.proxy.on("DELETE", CONTAINER, fault, times=1))
    await logged(caplog, "device or resource busy")
    assert await engine.observer.left("") == []


@case("F18", LOST)
async def test_a_removal_that_hangs_is_bounded_and_can_be_asked_for_again(
    engine: OwnEngine,
    proxied: Proxied,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    # The bound is a minute; what is seen here is that there is one.
    monkeypatch.setattr("fumehood.engines.docker_removal.REMOVAL_SECONDS", 1.0)
    fault = faults.held(asyncio.Event())
    await destroyed(proxied, lambda: proxied.proxy.on("DELETE", CONTAINER, fault, times=1))
    await logged(caplog, "was still on the engine")
    assert await engine.observer.left("") == []


@case("F18", LOST)
async def test_a_workspace_that_goes_with_its_session_goes_after_the_container(
    engine: OwnEngine, proxied: Proxied
) -> None:
    workspace = Workspace.persistent("last", destroy_with_session=True)
    proxy, box = proxied
    session = await box.create_session(workspace=workspace)
    proxy.requests.clear()
    # The engine forgets a container a moment before it lets go of the container's volumes.
    proxy.on("DELETE", "volumes/.*", faults.refuses(409, "volume is in use"), times=3)
    await session.destroy()
    asked = [request for request in proxy.requests if request.startswith("DELETE")]
    assert [request.partition("/")[0] for request in asked] == [
        "DELETE containers",
        *["DELETE volumes"] * 4,
    ]
    assert not await engine.observer.workspace_exists("last")


def deletes(proxy: Proxy) -> int:
    return sum(request.startswith("DELETE containers") for request in proxy.requests)


# --- F19: limits that an engine quietly does not enforce -----------------------------------------


def changed(key: str, value: object) -> Fault:
    """Let the engine say something else in one field of its answer."""
    return faults.rewritten(lambda body: json.dumps(json.loads(body) | {key: value}).encode())


@case("F19", LIMITS)
@pytest.mark.parametrize("limit", ["MemoryLimit", "SwapLimit", "PidsLimit", "CpuCfsQuota"])
async def test_a_limit_that_the_engine_lacks_is_refused_before_anything_is_created(
    proxied: Proxied, limit: str
) -> None:
    # What a rootless engine says whose user was not given the controllers.
    proxy, box = proxied
    fields = {limit: False, "CPUCfsQuota": False} if "Cpu" in limit else {limit: False}
    proxy.on(
        "GET",
        "info",
        faults.rewritten(lambda body: json.dumps(json.loads(body) | fields).encode()),
    )
    with pytest.raises(EngineUnsupportedError, match="does not enforce"):
        await box.create_session()
    assert not any(request.startswith("POST") for request in proxy.requests)


@case("F19", LIMITS)
async def test_a_limit_that_the_engine_warns_of_is_refused_and_nothing_is_left(
    engine: OwnEngine, proxied: Proxied
) -> None:
    proxy, box = proxied
    async with box.create_session() as first:
        await first.destroy(wait=True)  # the supervisor is on the engine
    fault = changed("Warnings", ["Your kernel does not support pids limit capabilities"])
    proxy.on("POST", "containers/create", fault)
    with pytest.raises(EngineUnsupportedError, match="pids limit"):
        await box.create_session()
    assert await engine.observer.left("") == []


@case("F19", QUOTA)
async def test_a_quota_that_the_disk_does_not_hold_after_all_is_held_in_memory(
    engine: OwnEngine, sandbox: MakeSandbox, open_proxy: OpenProxy
) -> None:
    limits = Limits(memory_mb=64, workspace_mb=1025)
    async with open_proxy() as (proxy, address), sandbox(docker_host=address, limits=limits) as box:
        # What an engine says of a disk whose quotas are turned off: it tells when asked for one.
        proxy.on("GET", "info", changed("DriverStatus", [["Backing Filesystem", "xfs"]]))
        created = []
        for _ in range(2):
            async with box.create_session() as session:
                created.append(sum("containers/create" in request for request in proxy.requests))
                found = session.effective_limits
                assert (found.workspace_tier, found.workspace_bytes) == ("tmpfs", 1025 << 20)
                assert found.degraded == ()
                await session.destroy(wait=True)
        # One refusal is enough to know it.
        assert created[1] == created[0] + 1
        assert await engine.observer.left("") == []


# --- F22: answers that are lost ------------------------------------------------------------------

STEPS = {
    "create": ("POST", "containers/create"),
    "attach": ("POST", f"{CONTAINER}/attach"),
    "start": ("POST", f"{CONTAINER}/start"),
}
LOSSES: dict[str, Callable[[], Fault]] = {
    "the request": faults.lost,
    "the answer": faults.reply_lost,
    "the answer's end": lambda: faults.reply_lost(after=20),
}


@case("F22", CREATION)
@pytest.mark.parametrize(
    "loss",
    [
        pytest.param("the request", marks=pytest.mark.slow),
        "the answer",
        pytest.param("the answer's end", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("step", STEPS)
async def test_what_is_lost_of_a_creation_leaves_nothing_and_its_id_is_free(
    engine: OwnEngine, proxied: Proxied, step: str, loss: str
) -> None:
    proxy, box = proxied
    async with box.create_session():
        pass  # the supervisor is on the engine
    rule = proxy.on(*STEPS[step], LOSSES[loss](), times=1)
    with pytest.raises(EngineUnavailableError):
        await box.create_session(id="once")
    assert rule.times == 0
    assert await engine.observer.left("") == []
    # The name is the lock: one container of it, and only one.
    async with box.create_session(id="once") as session:
        assert (await session.exec(["echo", "on"], check=True)).stdout == "on\n"
        assert len(await engine.observer.left("")) == 2  # it and its volume


@case("F22", CREATION)
@pytest.mark.slow
@pytest.mark.parametrize("step", STEPS)
async def test_nothing_is_left_when_the_engine_is_not_to_be_reached_after_a_loss(
    engine: OwnEngine, proxied: Proxied, step: str
) -> None:
    proxy, box = proxied
    async with box.create_session():
        pass  # the supervisor is on the engine

    async def last_words(exchange: Exchange) -> bool:
        # From here on nothing gets through: the clean-up does not either.
        for method in ("GET", "POST", "DELETE"):
            proxy.on(method, ".*", faults.lost())
        return await faults.reply_lost()(exchange)

    proxy.on(*STEPS[step], last_words, times=1)
    with pytest.raises(EngineUnavailableError):
        await box.create_session()
    # Whoever sweeps next finds it.
    await sweep(engine)


@case("X51", CREATION)
@pytest.mark.parametrize("after", [pytest.param(0, marks=pytest.mark.slow), 20, -10])
async def test_an_answer_that_breaks_off_is_an_error_and_no_short_answer(
    sandbox: MakeSandbox, open_proxy: OpenProxy, after: int
) -> None:
    async with (
        sandbox() as maker,
        maker.create_session(workspace=Workspace.persistent("listed")) as session,
        open_proxy() as (proxy, address),
        sandbox(docker_host=address) as box,
    ):
        for path, call in (
            ("containers/json", box.list_sessions),
            ("volumes", box.list_workspaces),
            (f"{CONTAINER}/json", lambda: box.destroy_session(session.id)),
        ):
            # Every time: a question that got no answer may be asked again.
            rule = proxy.on("GET", path, faults.reply_lost(after=after))
            with pytest.raises(EngineError):
                await call()
            assert rule.seen.is_set()
            proxy.clear()
        assert [info.id for info in await box.list_sessions()] == [session.id]
        await session.destroy()
        await box.remove_workspace("listed")


# --- F24: answers that take their time, and that contradict each other ---------------------------


@case("F24", CREATION)
@pytest.mark.slow
async def test_an_engine_that_takes_its_time_for_every_call_is_waited_for_and_not_pestered(
    sandbox: MakeSandbox, open_proxy: OpenProxy
) -> None:
    counts = []
    for delay in (0.0, 5.0):
        async with open_proxy() as (proxy, address), sandbox(docker_host=address) as box:
            await box.engine_info()
            for method in ("GET", "POST", "DELETE"):
                proxy.on(method, ".*", faults.late(delay))
            async with box.create_session() as session:
                # Commands do not pass through the engine's API.
                async with asyncio.timeout(SECONDS):
                    assert (await session.exec(["echo", "on"], check=True)).stdout == "on\n"
            counts.append(len(proxy.requests))
    # The sweep beside the first session makes a few more or less, by when it comes to its turn.
    assert counts[1] <= counts[0] + 4


@case("F24", CREATION)
@pytest.mark.slow
@pytest.mark.parametrize("step", ["create", "start"])
async def test_a_call_without_an_answer_is_bounded_and_leaves_nothing(
    engine: OwnEngine,
    proxied: Proxied,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
) -> None:
    proxy, box = proxied
    async with box.create_session():
        pass  # the supervisor is on the engine
    # The bounds are a minute and two; what is seen here is that there are some.
    monkeypatch.setattr("fumehood.engines.docker_create.START_SECONDS", 1.0)
    calling = docker_client.ApiClient.calling
    monkeypatch.setattr(
        docker_client.ApiClient,
        "calling",
        lambda self, doing, seconds=1.0: calling(self, doing, seconds=min(seconds or 1.0, 1.0)),
    )
    never = asyncio.Event()
    method, path = STEPS[step]
    proxy.on(method, path, faults.reply_held(never), times=1)
    async with asyncio.timeout(SECONDS):
        with pytest.raises(OperationTimeoutError):
            await box.create_session()
    monkeypatch.undo()
    await sweep(engine)


@case("F24", CREATION)
@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"null", id="nothing"),
        pytest.param(b'{"Id": 1}', id="a number", marks=pytest.mark.slow),
        pytest.param(b"[{}]", id="a list", marks=pytest.mark.slow),
        pytest.param(b"[" * 100_000, id="lists without an end"),
        pytest.param(b"", id="no word", marks=pytest.mark.slow),
    ],
)
async def test_a_creation_that_is_answered_with_nonsense_is_typed_and_leaves_nothing(
    engine: OwnEngine, proxied: Proxied, body: bytes
) -> None:
    proxy, box = proxied
    rule = proxy.on("POST", "containers/create", faults.rewritten(lambda _: body))
    with pytest.raises(EngineError):
        await box.create_session()
    assert rule.seen.is_set()
    assert await engine.observer.left("") == []


@case("F24", LOST)
async def test_an_engine_that_denies_a_session_which_is_there_keeps_none(
    engine: OwnEngine, proxied: Proxied
) -> None:
    proxy, box = proxied
    session = await box.create_session()
    proxy.on("GET", f"{CONTAINER}/json", faults.refuses(404, "no such container"), times=1)
    # Whatever it believes of the engine, it leaves the session's stream, and so the lease ends.
    await session.destroy()
    async with asyncio.timeout(1 + 3 + SLACK):
        while await engine.observer.left(""):
            await asyncio.sleep(0.05)


@case("F24", LOST)
async def test_calls_fail_typed_at_once_while_nothing_gets_through(proxied: Proxied) -> None:
    proxy, box = proxied
    session = await box.create_session()
    destroy = functools.partial(session.destroy, wait=True)
    for method in ("GET", "POST", "DELETE"):
        proxy.on(method, ".*", faults.lost())
    async with asyncio.timeout(SECONDS):
        for call in (box.list_sessions, box.gc, box.list_workspaces, destroy):
            with pytest.raises(EngineUnavailableError):
                await call()
        with pytest.raises(SandboxError):
            await box.connect(session.id)
    proxy.clear()
    await session.destroy()
