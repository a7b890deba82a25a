"""Fixtures for tests of the engine alone: a stand-in supervisor, unique names, a leak check.

The stand-in (``standin/supervisor.c``) speaks no wire: what is tested here is how bytes get to PID
1 and back, and what is left on the engine.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cases.invariants import PATIENCE
from cases.static import compile_static
from engine.peer import Peer, eventually
from fumehood._supervisor import binary, install
from fumehood.engines import docker_listing, labels
from fumehood.engines.base import Image, SessionRequest
from fumehood.engines.docker import DockerEngine
from fumehood.engines.docker_client import ApiClient
from fumehood.engines.docker_errors import ApiError
from fumehood.options import Limits, Network, Security

IMAGE = "fumehood/test-busybox"
RUN = f"t{secrets.token_hex(4)}"
"""In every name that this run makes: other runs may use the same engine."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.engine)


@pytest.fixture(scope="session")
def standin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The stand-in, compiled: by the machine's compiler or by the one that builds the wheel."""
    source = Path(__file__).parent / "standin" / "supervisor.c"
    made = tmp_path_factory.mktemp("standin") / "supervisor"
    compile_static(source, made, "-Os")
    # One of this run's own: its volume goes with it, and others may run beside it.
    with made.open("ab") as file:
        file.write(RUN.encode("ascii"))
    yield made
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(binary.VARIABLE, str(made))
        asyncio.run(remove_volume(binary.load("amd64").volume))


@pytest.fixture(scope="module", autouse=True)
def supervisor_is_the_standin(standin: Path) -> Iterator[None]:
    """Put it in the supervisor's place, until the end of the file: others need the real one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(binary.VARIABLE, str(standin))
        yield


async def remove_volume(name: str) -> None:
    """Remove a volume, waiting for containers that are being removed."""
    async with client() as api:

        async def removed() -> bool:
            if await api.find(f"volumes/{name}", doing="looking for a volume of the tests") is None:
                return True
            try:
                await api.request("DELETE", f"volumes/{name}", doing="removing it")
            except ApiError as exc:
                return exc.status == 404
            return True

        await eventually(removed)


@contextlib.asynccontextmanager
async def client() -> AsyncIterator[ApiClient]:
    api = ApiClient(None)
    try:
        yield api
    finally:
        await api.close()


@pytest.fixture(autouse=True, scope="module")
def nothing_is_left_on_the_engine(supervisor_is_the_standin: None) -> Iterator[None]:
    yield
    deadline = time.monotonic() + PATIENCE
    # Looked up here: it is a file, and no loop may wait for one.
    supervisor = binary.load("amd64").volume
    left = asyncio.run(leftovers(supervisor))
    while left and time.monotonic() < deadline:
        time.sleep(0.1)
        left = asyncio.run(leftovers(supervisor))
    assert not left


async def leftovers(supervisor: str) -> list[str]:
    """Return what this run has left: containers by label, volumes by name and label."""
    async with client() as api:
        containers = docker_listing.sequence(
            await api.request(
                "GET",
                "containers/json",
                params={"all": "1", "filters": json.dumps({"label": [labels.OURS]})},
                doing="looking for leftovers",
            )
        )
        volumes = docker_listing.mapping(
            await api.request(
                "GET",
                "volumes",
                params={"filters": json.dumps({"label": [labels.OURS]})},
                doing="looking for leftovers",
            )
        )
    left = [
        f"container {item}"
        for item in map(docker_listing.mapping, containers)
        if mine(item, supervisor)
    ]
    left += [
        f"volume {item}"
        for item in map(docker_listing.mapping, docker_listing.sequence(volumes.get("Volumes")))
        if mine(item, supervisor)
    ]
    return left


def mine(item: Any, supervisor: str) -> bool:
    marks = docker_listing.text_map(item.get("Labels"))
    return (
        any(marks.get(key, "").startswith(RUN) for key in (labels.SESSION, labels.WORKSPACE))
        or marks.get(labels.INSTALL) == supervisor
    )


@pytest.fixture
def unique() -> Callable[[], str]:
    """Make an id that nothing else has."""
    return lambda: f"{RUN}-{secrets.token_hex(4)}"


@pytest.fixture
async def engine() -> AsyncIterator[DockerEngine]:
    engine = DockerEngine()
    try:
        yield engine
    finally:
        await engine.close()


@pytest.fixture
async def image(engine: DockerEngine) -> Image:
    return await engine.prepare_image(IMAGE, pull="never")


MakeRequest = Callable[..., SessionRequest]


@pytest.fixture
def make_request(image: Image, unique: Callable[[], str]) -> MakeRequest:
    """Make a request with a new id; keyword arguments replace its fields."""

    def make(**changes: Any) -> SessionRequest:
        fields: dict[str, Any] = {
            "session_id": unique(),
            "nonce": secrets.token_hex(32),
            "image": image,
            "workdir": "/workspace",
            "network": Network.none(),
            "limits": Limits(memory_mb=64, pids=32),
            "security": Security(),
            "owner": f"test:{os.getpid()}",
        }
        return SessionRequest(**(fields | changes))

    return make


@pytest.fixture
async def open_session(
    engine: DockerEngine, make_request: MakeRequest
) -> AsyncIterator[Callable[..., Any]]:
    """Create a session that is removed at the end of the test; returns (request, peer)."""
    made: list[tuple[SessionRequest, Peer]] = []

    async def open_(**changes: Any) -> tuple[SessionRequest, Peer]:
        request = make_request(**changes)
        peer = Peer(await engine.create_session(request))
        made.append((request, peer))
        return request, peer

    yield open_
    for request, peer in made:
        await peer.stream.close()
        await engine.remove_session(
            request.session_id, destroy_workspace=request.workspace_id is not None
        )


@pytest.fixture
def forget_installed() -> Iterator[None]:
    """Make this process forget which engines have the supervisor."""
    install._seen.clear()
    yield
    install._seen.clear()
