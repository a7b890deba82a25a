"""Volumes of the engine in a session: shared data, never a part of the host."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from contract.adapter import NONROOT, PYTHON, SCRATCH, Api
from contract.observer import Observer
from fumehood import EngineError, InvalidRequestError, Volume, Workspace


@pytest_asyncio.fixture(loop_scope="session")
async def shared(api: Api, observer: Observer) -> AsyncIterator[str]:
    """The name of a volume of the engine's user, removed in the end."""
    name = f"shared-{api.new_id()}"
    await observer.call("POST", "volumes/create", body={"Name": name, "Labels": {"team": "a"}})
    yield name
    await observer.call("DELETE", f"volumes/{name}")


async def test_what_one_session_writes_another_reads_and_cannot_change(
    api: Api, shared: str
) -> None:
    async with api.session(volumes=[Volume(shared, "/data", read_only=False)]) as writer:
        await writer.write_file("data/set.csv", "a,b\n", root="/")
    async with api.session(NONROOT, volumes=[Volume(shared, "/data")]) as reader:
        assert await reader.read_text_file("data/set.csv", root="/") == "a,b\n"
        result = await reader.shell("cat /data/set.csv && echo x >> /data/set.csv")
        assert result.stdout == "a,b\n"
        assert not result.ok
        root = await reader.shell("echo x > /data/new", user="root")
        assert "Read-only file system" in root.stderr


async def test_a_volume_needs_nothing_of_the_image_and_outlives_its_sessions(
    api: Api, observer: Observer, shared: str
) -> None:
    async with api.sandbox(SCRATCH) as sandbox:
        async with sandbox.create_session(
            volumes=[Volume(shared, "/deep/er/data", read_only=False)]
        ) as session:
            await session.write_file("deep/er/data/x", b"1", root="/")
        async with sandbox.create_session() as without:
            assert not await without.exists("deep/er", root="/")
    found = await observer.call("GET", f"volumes/{shared}")
    assert found["Labels"] == {"team": "a"}


async def test_a_volume_that_is_not_there_is_an_error_and_is_not_made(
    api: Api, observer: Observer
) -> None:
    name = f"missing-{api.new_id()}"
    async with api.sandbox(PYTHON, volumes=[Volume(name, "/data")]) as sandbox:
        with pytest.raises(EngineError, match=f"docker volume create {name}"):
            await sandbox.create_session()
    assert await observer.call("GET", f"volumes/{name}", absent=True) is None


@pytest.mark.parametrize(
    "options",
    [
        {"type": "none", "o": "bind", "device": "/etc"},
        {"type": "none", "o": "rw,rbind", "device": "/"},
        {"type": "ext4", "device": "/dev/sda1"},
    ],
)
async def test_a_volume_that_stands_for_a_part_of_the_host_is_refused(
    api: Api, observer: Observer, options: dict[str, str]
) -> None:
    name = f"host-{api.new_id()}"
    await observer.call("POST", "volumes/create", body={"Name": name, "DriverOpts": options})
    try:
        async with api.sandbox(PYTHON, volumes=[Volume(name, "/data")]) as sandbox:
            with pytest.raises(InvalidRequestError, match="the engine's host"):
                await sandbox.create_session()
    finally:
        await observer.call("DELETE", f"volumes/{name}")


async def test_another_sessions_workspace_cannot_be_mounted_by_its_name(
    api: Api, observer: Observer
) -> None:
    async with api.session() as victim:
        (volume,) = await observer.volumes(victim.id)
        async with api.sandbox(PYTHON, volumes=[Volume(volume, "/data")]) as sandbox:
            with pytest.raises(InvalidRequestError, match="fumehood's own"):
                await sandbox.create_session()


async def test_a_volume_is_beside_a_persistent_workspace(
    api: Api, persistent: Workspace, shared: str
) -> None:
    async with api.session(
        workspace=persistent, volumes=[Volume(shared, "/data", read_only=False)]
    ) as session:
        await session.shell("echo 1 > /data/x && cp /data/x .", check=True)
        assert await session.read_text_file("x") == "1\n"
