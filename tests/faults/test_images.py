"""Images and supervisors that are not what they were a moment ago."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from cases.mark import case
from faults import proxy as faults
from faults.conftest import IMAGE, MakeSandbox, OpenProxy
from faults.engine import OwnEngine
from faults.proxy import Exchange
from fumehood import (
    EngineError,
    EngineUnavailableError,
    ImageNotFoundError,
    ImagePullError,
    ImageRefusedError,
    SupervisorError,
)
from fumehood._supervisor import binary, install
from fumehood._wire import table

CREATION = "A failed or cancelled creation leaves nothing"
SUPERVISOR = "The workload cannot stop, trace or speak as the supervisor"

# --- F23: images -------------------------------------------------------------------------------

PROGRESS = json.dumps({"status": "Downloading", "id": "a", "progressDetail": {}}).encode() + b"\n"
FAILURES: dict[str, tuple[bytes, type[EngineError], str]] = {
    "an error in the middle": (
        PROGRESS + b'{"error": "unexpected EOF", "errorDetail": {"message": "unexpected EOF"}}\n',
        ImagePullError,
        "unexpected EOF",
    ),
    "half a line": (PROGRESS + b'{"status": "Down', ImagePullError, "in the middle of a line"),
    "a line that is no JSON": (
        PROGRESS + b"<html>\n" + PROGRESS,
        EngineError,
        "does not speak the Engine API: JSONDecodeError",
    ),
    "a line that is no object": (
        PROGRESS + b"[]\n" + PROGRESS,
        EngineError,
        "does not speak the Engine API: ValueError: a line of the answer is not an object",
    ),
    "no word of success": (PROGRESS, ImagePullError, "the engine does not have it"),
}


@case("F23", CREATION)
@pytest.mark.parametrize("failure", FAILURES)
async def test_a_pull_that_fails_in_the_middle_is_typed_and_leaves_nothing(
    sandbox: MakeSandbox, open_proxy: OpenProxy, failure: str
) -> None:
    async with (
        open_proxy() as (proxy, address),
        sandbox(docker_host=address, pull="always") as box,
    ):
        answer, kind, why = FAILURES[failure]
        proxy.on("POST", "images/create", faults.answers(200, answer))
        proxy.on("GET", "images/.*", faults.refuses(404, "No such image"))
        with pytest.raises(kind, match=why) as caught:
            await box.create_session()
        assert type(caught.value) is kind
        assert IMAGE in str(caught.value)


@case("F23", CREATION)
async def test_a_pull_whose_connection_breaks_is_typed_and_leaves_nothing(
    sandbox: MakeSandbox, open_proxy: OpenProxy
) -> None:
    async with (
        open_proxy() as (proxy, address),
        sandbox(docker_host=address, pull="always") as box,
    ):
        proxy.on("POST", "images/create", faults.lost())
        with pytest.raises(EngineUnavailableError, match=IMAGE):
            await box.create_session()


@case("F23", CREATION)
async def test_an_image_that_goes_between_its_inspection_and_the_create_is_named(
    engine: OwnEngine, sandbox: MakeSandbox, open_proxy: OpenProxy, archive: Path
) -> None:
    async with open_proxy() as (proxy, address), sandbox(docker_host=address) as box:
        async with box.create_session() as first:
            # The supervisor is on the engine, the image is known, and no container holds it.
            await first.destroy(wait=True)

        async def removed(exchange: Exchange) -> bool:
            del exchange
            await engine.observer.call("DELETE", f"images/{IMAGE}", force="1")
            return True

        proxy.on("POST", "containers/create", removed, times=1)
        try:
            with pytest.raises(ImageNotFoundError, match=IMAGE):
                await box.create_session()
            # The same sandbox has not kept what it knew.
            with pytest.raises(ImageNotFoundError, match=IMAGE):
                await box.create_session()
        finally:
            await engine.load(archive)
        async with box.create_session() as session:
            await session.ping()


@case("F23", CREATION)
async def test_an_image_of_another_platform_is_refused_before_anything_is_created(
    sandbox: MakeSandbox, open_proxy: OpenProxy
) -> None:
    async with (
        open_proxy() as (proxy, address),
        sandbox(docker_host=address, platform="linux/arm64") as box,
    ):
        with pytest.raises(ImageRefusedError, match="arm64"):
            await box.create_session()
        assert not any("containers" in request for request in proxy.requests)


# --- F25: the supervisor's volume ----------------------------------------------------------------


@pytest_asyncio.fixture(loop_scope="session")
async def volume(engine: OwnEngine, sandbox: MakeSandbox) -> AsyncIterator[Path]:
    """Give the directory of the supervisor's volume, on this machine; it is made anew after."""
    async with sandbox() as box, box.create_session():
        pass  # the supervisor is on the engine
    name = (await asyncio.to_thread(binary.load, "amd64")).volume
    yield engine.data / "volumes" / name / "_data"
    await engine.observer.call("DELETE", f"volumes/{name}", absent=True)
    install._seen.clear()


def emptied(program: Path) -> None:
    program.unlink()


def a_directory(program: Path) -> None:
    program.unlink()
    program.mkdir()


def another_machines(program: Path) -> None:
    program.write_bytes(binary.load("arm64").data)


def no_program(program: Path) -> None:
    program.write_bytes(b"\0" * 4096)


def one_that_ends(program: Path) -> None:
    shutil.copy("/bin/busybox", program)


DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "a directory in its place": (a_directory, "cannot be run.*permission denied"),
    "one for another machine": (another_machines, "exec format error"),
    "no program": (no_program, "exec format error"),
    "a program that is not ours": (one_that_ends, "ended before it was ready"),
}


@case("F25", SUPERVISOR)
@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_damaged_supervisor_is_typed_and_leaves_nothing(
    engine: OwnEngine, sandbox: MakeSandbox, volume: Path, damage: str
) -> None:
    await asyncio.to_thread(DAMAGES[damage][0], volume / "supervisor")
    async with sandbox() as box:
        with pytest.raises(SupervisorError, match=DAMAGES[damage][1]):
            await box.create_session()
        assert await engine.observer.left("") == []


@case("F25", SUPERVISOR)
@pytest.mark.parametrize("lost", ["the program", "the volume"])
async def test_a_supervisor_that_vanished_is_put_there_again(
    engine: OwnEngine, sandbox: MakeSandbox, volume: Path, lost: str
) -> None:
    if lost == "the program":
        emptied(volume / "supervisor")
    else:
        await engine.observer.call("DELETE", f"volumes/{volume.parent.name}")
    async with sandbox() as box, box.create_session() as session:
        assert (await session.exec(["echo", "on"], check=True)).stdout == "on\n"
    # To a client that has not seen it there, what was put there is ours as well.
    install._seen.clear()
    async with sandbox() as box, box.create_session() as session:
        assert (await session.exec(["echo", "on"], check=True)).stdout == "on\n"


@case("F25", SUPERVISOR)
async def test_a_supervisor_in_use_is_neither_removed_nor_replaced(
    engine: OwnEngine, sandbox: MakeSandbox, volume: Path
) -> None:
    async with sandbox() as box, box.create_session() as session:
        number = (volume / "supervisor").stat().st_ino
        report = await box.gc(supervisors=True)
        assert report.supervisors == ()
        async with box.create_session() as another:
            await another.ping()
        assert (volume / "supervisor").stat().st_ino == number
        assert (await session.exec(["echo", "on"], check=True)).stdout == "on\n"


@case("F25", SUPERVISOR)
async def test_a_supervisor_of_another_version_is_refused(
    engine: OwnEngine, sandbox: MakeSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A client that speaks only what the supervisor has not learnt yet.
    monkeypatch.setattr(table, "VERSION_MIN", table.VERSION_MAX + 1)
    monkeypatch.setattr(table, "VERSION_MAX", table.VERSION_MAX + 1)
    async with sandbox() as box:
        with pytest.raises(
            SupervisorError, match=r"none of this client.s versions of the protocol \(2 to 2\)"
        ):
            await box.create_session()
        assert await engine.observer.left("") == []
