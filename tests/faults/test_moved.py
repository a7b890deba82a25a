"""A client, an engine or a disk that ends while a snapshot is written to a file, or taken in."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Any

import pytest

from cases.invariants import eventually_none
from cases.mark import case
from faults import proxy as faults
from faults.clients import client
from faults.conftest import MakeSandbox, OpenProxy, sweep
from faults.engine import OwnEngine
from faults.pending import killed_under
from faults.proxy import Proxy
from fumehood import AsyncDockerSandbox, EngineError
from fumehood.engines import docker_state_sweep

QUICK = ("the file system", "its name")


def each(steps: dict[str, tuple[str, str]]) -> list[Any]:
    return [
        pytest.param(step, id=name, marks=() if name in QUICK else pytest.mark.slow)
        for name, step in steps.items()
    ]


STATE = "Files that are kept are there whole or not at all"

OUT = {
    "what is read from": ("POST", "containers/create"),
    "the file system": ("GET", "containers/[^/]+/export"),
    "the workspace": ("GET", "containers/[^/]+/archive"),
}
IN = {
    "the file system": ("POST", "images/create"),
    "a stand-in": ("POST", "containers/create"),
    "the image": ("POST", "commit"),
    "the workspace": ("PUT", "containers/[^/]+/archive"),
    "its name": ("POST", "containers/[^/]+/rename"),
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "point.snapshot"


async def point(box: AsyncDockerSandbox) -> None:
    """Take a snapshot."""
    async with box.create_session() as session:
        await session.write_file("kept", "x" * 100_000)
        await session.shell("echo x > /kept", check=True)
        await session.snapshot("point")


async def empty(engine: OwnEngine) -> None:
    assert await eventually_none(lambda: engine.observer.left("")) == []


async def names(box: AsyncDockerSandbox) -> list[str]:
    return [snapshot.name for snapshot in await box.list_snapshots()]


async def killed_at(step: tuple[str, str], proxy: Proxy, address: str, file: Path) -> None:
    """Let a client export or import, and kill it when it asks the engine for a step."""
    rule = proxy.on(*step, faults.held(asyncio.Event()), times=1)
    async with client("moves", address, id=str(file)) as victim:
        await rule.seen.wait()
        victim.send(signal.SIGKILL)
        await victim.process.wait()


def held(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


@case("X105", STATE)
@pytest.mark.parametrize("step", each(OUT))
async def test_an_export_that_an_engine_fails_leaves_no_file(
    engine: OwnEngine,
    sandbox: MakeSandbox,
    open_proxy: OpenProxy,
    file: Path,
    step: tuple[str, str],
) -> None:
    async with open_proxy() as (proxy, address), sandbox(docker_host=address) as box:
        await point(box)
        if step == OUT["the workspace"]:
            # The first one is for what is noted beside the files.
            proxy.on(*step, faults.late(0), times=1)
        proxy.on(*step, faults.refuses(500, "no"), times=1)
        with pytest.raises(EngineError):
            await box.export_snapshot("point", file)
        assert held(file.parent) == []
        await box.export_snapshot("point", file)
        assert held(file.parent) == [file.name]
        await box.delete_snapshot("point")
    await empty(engine)


@case("X105", STATE)
@pytest.mark.parametrize("step", each(IN))
async def test_an_import_that_an_engine_fails_leaves_nothing(
    engine: OwnEngine,
    sandbox: MakeSandbox,
    open_proxy: OpenProxy,
    file: Path,
    step: tuple[str, str],
) -> None:
    async with open_proxy() as (proxy, address), sandbox(docker_host=address) as box:
        await point(box)
        await box.export_snapshot("point", file)
        await box.delete_snapshot("point")
        proxy.on(*step, faults.refuses(500, "no"), times=1)
        with pytest.raises(EngineError):
            await box.import_snapshot(file, name="taken")
        assert await names(box) == []
        await empty(engine)
        taken = await box.import_snapshot(file, name="taken")
        async with box.create_session(from_snapshot=taken) as session:
            assert await session.read_text_file("kept") == "x" * 100_000
            assert (await session.exec(["cat", "/kept"])).stdout == "x\n"
            await session.destroy(wait=True)
        await box.delete_snapshot(taken)
    await empty(engine)


@case("X106", STATE)
@pytest.mark.parametrize("step", each(OUT))
async def test_a_client_that_is_killed_while_it_exports_leaves_no_file_of_that_name(
    engine: OwnEngine,
    sandbox: MakeSandbox,
    open_proxy: OpenProxy,
    monkeypatch: pytest.MonkeyPatch,
    file: Path,
    step: tuple[str, str],
) -> None:
    monkeypatch.setattr(docker_state_sweep, "COPY_SECONDS", 0)
    async with open_proxy() as (proxy, address), sandbox() as box:
        await point(box)
        await killed_at(step, proxy, address, file)
        assert all(name.endswith(".partial") for name in held(file.parent))
        await sweep(engine)
        assert await names(box) == ["point"]
        await box.delete_snapshot("point")
    await empty(engine)


@case("X106", STATE)
@pytest.mark.parametrize("step", each(IN))
async def test_a_client_that_is_killed_while_it_imports_leaves_nothing(
    engine: OwnEngine,
    sandbox: MakeSandbox,
    open_proxy: OpenProxy,
    monkeypatch: pytest.MonkeyPatch,
    file: Path,
    step: tuple[str, str],
) -> None:
    monkeypatch.setattr(docker_state_sweep, "COPY_SECONDS", 0)
    async with open_proxy() as (proxy, address), sandbox() as box:
        await point(box)
        await box.export_snapshot("point", file)
        await box.delete_snapshot("point")
        await killed_at(step, proxy, address, file)
        await sweep(engine)
        assert await names(box) == []
    await empty(engine)


@case("X107", STATE)
async def test_an_engine_that_is_killed_during_an_import_leaves_nothing(
    engine: OwnEngine,
    sandbox: MakeSandbox,
    open_proxy: OpenProxy,
    monkeypatch: pytest.MonkeyPatch,
    file: Path,
) -> None:
    monkeypatch.setattr(docker_state_sweep, "COPY_SECONDS", 0)
    async with open_proxy() as (proxy, address), sandbox(docker_host=address) as box:
        await point(box)
        await box.export_snapshot("point", file)
        await box.delete_snapshot("point")
        rule = proxy.on(*IN["the workspace"], faults.held(asyncio.Event()), times=1)
        taking = asyncio.ensure_future(box.import_snapshot(file, name="taken"))
        await rule.seen.wait()
        await killed_under(taking, engine, proxy)
    await sweep(engine)
    await empty(engine)
