"""Any image is a full session: no shell, no user database and no /tmp are needed; what it brings is
an input for commands or is overridden."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from contract.adapter import BUSYBOX, PYTHON, SCRATCH, Api
from contract.observer import Observer
from fumehood import (
    AsyncSession,
    CommandNotFoundError,
    ImageNotFoundError,
    ImageRefusedError,
    Manifest,
)


class Maker:
    """Makes images out of local ones, by the engine's own commit."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._made: list[str] = []

    async def make(self, base: str, **config: object) -> str:
        """Return the name of an image like ``base`` with another configuration."""
        name = f"fumehood/contract-{secrets.token_hex(4)}"
        found = await self._observer.call(
            "POST", "containers/create", body={"Image": base, **config}
        )
        try:
            await self._observer.call(
                "POST", "commit", container=found["Id"], repo=name, tag="latest", body={}
            )
        finally:
            await self._observer.call("DELETE", f"containers/{found['Id']}", v="1")
        self._made.append(name)
        return name

    async def close(self) -> None:
        """Remove what was made."""
        for name in self._made:
            await self._observer.call("DELETE", f"images/{name}", force="1")


@pytest_asyncio.fixture(loop_scope="session")
async def maker(observer: Observer) -> AsyncIterator[Maker]:
    maker = Maker(observer)
    yield maker
    await maker.close()


async def test_one_static_binary_is_a_full_session(scratch: AsyncSession) -> None:
    await scratch.write_file("deep/er/file", b"\x00\xff")
    assert await scratch.read_file("deep/er/file") == b"\x00\xff"
    assert [entry.path for entry in await scratch.list_files("deep")] == ["deep/er"]
    result = await scratch.exec(["/hello", "a", "b c"])
    assert result.exit_code == 0
    assert "b c" in result.stdout
    await scratch.remove("deep", recursive=True)


async def test_an_image_without_a_shell_says_so(scratch: AsyncSession) -> None:
    with pytest.raises(CommandNotFoundError, match="no shell"):
        await scratch.shell("echo hi")


async def test_root_needs_no_user_database_and_there_is_a_tmp(busybox: AsyncSession) -> None:
    assert (await busybox.exec(["id", "-u"], user="root", check=True)).stdout == "0\n"
    assert (await busybox.exec(["id", "-u"], user="1234:99", check=True)).stdout == "1234\n"
    assert (await busybox.shell("echo x > /tmp/y && cat /tmp/y", check=True)).stdout == "x\n"


@pytest.mark.parametrize("image", [PYTHON, BUSYBOX, SCRATCH])
async def test_a_manifest_is_staged_in_any_image(api: Api, image: str) -> None:
    manifest = Manifest(files={"a": "1", "b/c": b"2"}, directories=("empty/dir",))
    async with api.session(image, manifest=manifest) as session:
        found = {entry.path: entry.type for entry in await session.list_files(recursive=True)}
    assert found == {
        "a": "file",
        "b": "directory",
        "b/c": "file",
        "empty": "directory",
        "empty/dir": "directory",
    }


@pytest.mark.parametrize(
    ("user", "expected"),
    [("user", "1000 1000"), ("1000", "1000 1000"), ("1000:1001", "1000 1001"), ("777", "777 0")],
)
async def test_the_images_user_is_the_commands_user_and_owns_the_workspace(
    api: Api, maker: Maker, user: str, expected: str
) -> None:
    image = await maker.make(PYTHON, User=user)
    async with api.session(image) as session:
        assert (await session.shell("echo $(id -u) $(id -g)")).stdout.strip() == expected
        await session.shell("echo mine > f", check=True)
        await session.write_file("g", "also mine")
        owners = {entry.uid for entry in await session.list_files()}
    assert owners == {int(expected.split(maxsplit=1)[0])}


async def test_env_is_an_input_and_entrypoint_command_and_healthcheck_are_not(
    api: Api, maker: Maker, observer: Observer
) -> None:
    image = await maker.make(
        PYTHON,
        Env=["FROM_IMAGE=yes"],
        Entrypoint=["/bin/false"],
        Cmd=["nothing"],
        WorkingDir="/usr",
        StopSignal="SIGUSR1",
        Healthcheck={"Test": ["CMD", "touch", "/tmp/checked"], "Interval": 1_000_000_000},
    )
    async with api.session(image) as session:
        assert (await session.shell("echo $FROM_IMAGE; pwd")).stdout == "yes\n/workspace\n"
        container = await observer.container(session.id)
        assert container is not None
        assert container["Config"]["StopSignal"] == "SIGTERM"
        assert "Health" not in container["State"]


async def test_an_image_with_a_volume_is_refused(api: Api, maker: Maker) -> None:
    image = await maker.make(PYTHON, Volumes={"/data": {}})
    async with api.sandbox(image) as sandbox:
        with pytest.raises(ImageRefusedError, match="VOLUME '/data'"):
            await sandbox.create_session()


async def test_labels_of_an_image_never_pass_for_ours(
    api: Api, maker: Maker, observer: Observer
) -> None:
    image = await maker.make(PYTHON, Labels={"fumehood.session": "forged", "fumehood.x": "y"})
    async with api.session(image) as session:
        container = await observer.container(session.id)
        assert container is not None
        labels = container["Config"]["Labels"]
        assert labels["fumehood.session"] == session.id
        assert not labels.get("fumehood.x")


async def test_an_unknown_image_that_is_not_to_be_pulled_says_what_to_do(api: Api) -> None:
    async with api.sandbox("no-such/image:1") as sandbox:
        with pytest.raises(ImageNotFoundError, match="docker pull no-such/image:1"):
            await sandbox.create_session()


async def test_an_image_that_goes_away_between_sessions_is_noticed(api: Api, maker: Maker) -> None:
    image = await maker.make(BUSYBOX)
    async with api.sandbox(image) as sandbox:
        async with sandbox.create_session() as session:
            await session.exec(["true"], check=True)
            # An image that a container still has cannot go away.
            await session.destroy(wait=True)
        await maker.close()
        maker._made.clear()
        async with asyncio.timeout(60):
            with pytest.raises(ImageNotFoundError):
                await sandbox.create_session()
