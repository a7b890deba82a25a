"""An engine to break, and what is checked after each break."""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import NamedTuple, Unpack

import pytest
import pytest_asyncio

from cases.invariants import Watch, eventually_none
from cases.loop import share_loop
from cases.report import note_engine, register
from faults.engine import OwnEngine, loaded
from faults.proxy import Proxy, between, over_tcp
from fumehood import AsyncDockerSandbox, Lifecycle, Limits
from fumehood.engines.docker import ENGINE_ONLY, DockerEngine
from fumehood.sandbox import SandboxOptions

HERE = Path(__file__).parent
IMAGE = "fumehood/test-busybox"

MakeSandbox = Callable[..., AsyncDockerSandbox]
OpenProxy = Callable[..., AbstractAsyncContextManager[tuple[Proxy, str]]]


def pytest_configure(config: pytest.Config) -> None:
    register(config, "faults")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    share_loop(items, HERE)


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the image of all sessions, taken from the engine that has it."""
    path = tmp_path_factory.mktemp("image") / "image.tar"
    subprocess.run(["docker", "save", "--output", str(path), IMAGE], check=True)
    return path


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def own_engine(archive: Path, pytestconfig: pytest.Config) -> AsyncIterator[OwnEngine]:
    """Give the engine of the run: it is costly to make and cheap to restart."""
    async with loaded(archive) as engine:
        await note_engine(pytestconfig, engine.observer)
        yield engine


class OwnWatch(Watch):
    """Looks at an engine that nobody else uses: all that is there is the case's."""

    def __init__(self, engine: OwnEngine) -> None:
        super().__init__(engine.observer, "")
        self._engine = engine

    async def _processes(self) -> list[str]:
        return await self._engine.strays()


@pytest_asyncio.fixture(loop_scope="session")
async def engine(own_engine: OwnEngine) -> AsyncIterator[OwnEngine]:
    """Give the engine, up and empty; after the case it must be so again, by itself."""
    if own_engine.live_restore:
        # Of the case before: clients of a newer engine find back to such a one, and to no other.
        await own_engine.stop()
    if not own_engine.running:
        await own_engine.start()
    assert await own_engine.observer.left("") == [], "left by an earlier case"
    watch = OwnWatch(own_engine)
    try:
        yield own_engine
        assert own_engine.running, "the case has left its engine down"
        await watch.check()
    finally:
        await _empty(own_engine)


async def _empty(engine: OwnEngine) -> None:
    """Make a new beginning for the next case, whatever this one has left."""
    if not engine.running:
        await engine.start()
    for item in await engine.observer.call("GET", "containers/json", all="1"):
        await engine.observer.call(
            "DELETE", f"containers/{item['Id']}", force="1", v="1", absent=True
        )
    await engine.reap_lost()
    for volume in (await engine.observer.call("GET", "volumes"))["Volumes"] or ():
        # The supervisor's stays: to install it again costs every case a second.
        if "fumehood.supervisor" not in (volume["Labels"] or {}):
            await engine.observer.call("DELETE", f"volumes/{volume['Name']}", absent=True)


@pytest.fixture
def sandbox(engine: OwnEngine) -> MakeSandbox:
    """Return what makes a sandbox on the engine, or at another address; the case closes it."""

    def make(**options: Unpack[SandboxOptions]) -> AsyncDockerSandbox:
        options.setdefault("docker_host", engine.address)
        options.setdefault("pull", "never")
        options.setdefault("limits", Limits(timeout=30, memory_mb=64, pids=64))
        options.setdefault("lifecycle", Lifecycle(disconnect_grace=1))
        return AsyncDockerSandbox(image=IMAGE, **options)

    return make


@pytest.fixture
def open_proxy(engine: OwnEngine, monkeypatch: pytest.MonkeyPatch) -> OpenProxy:
    """Return what gives a proxy before the engine, and the address to reach it at.

    Everything goes through it: no client goes past an engine here. One that comes over TCP asks for
    a way back when its stream breaks.
    """
    monkeypatch.setenv(ENGINE_ONLY, "engine")

    @asynccontextmanager
    async def open_(*, tcp: bool = False) -> AsyncIterator[tuple[Proxy, str]]:
        if tcp:
            async with over_tcp(engine.directory / "engine.sock") as found:
                yield found
            return
        socket = engine.directory / f"proxy-{secrets.token_hex(4)}.sock"
        async with between(engine.directory / "engine.sock", socket) as proxy:
            yield proxy, f"unix://{socket}"
        socket.unlink(missing_ok=True)

    return open_


class Proxied(NamedTuple):
    """A sandbox, and the proxy between it and its engine."""

    proxy: Proxy
    box: AsyncDockerSandbox


@pytest_asyncio.fixture(loop_scope="session")
async def proxied(sandbox: MakeSandbox, open_proxy: OpenProxy) -> AsyncIterator[Proxied]:
    """Give a sandbox that reaches the engine through a proxy."""
    async with open_proxy() as (proxy, address), sandbox(docker_host=address) as box:
        yield Proxied(proxy, box)


async def sweep(engine: OwnEngine) -> None:
    """Do what the sweep of any client does, once what is left is old enough for it."""
    client = DockerEngine(engine.address)
    try:

        async def failed() -> list[str]:
            return sorted((await client.sweep(minimum_age=0)).failed)

        assert await eventually_none(failed) == [], "the sweep fails"
    finally:
        await client.close()
