"""The supervisor on the engine: put there by whoever comes first, and again if it is lost."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import subprocess
import sys
import textwrap
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cases.static import compile_static
from engine.conftest import MakeRequest, client, remove_volume
from engine.peer import Peer
from fumehood._supervisor import binary, install
from fumehood._supervisor.binary import SupervisorBinary
from fumehood.engines import docker_listing, labels
from fumehood.engines.base import Image
from fumehood.engines.docker import DockerEngine
from fumehood.errors import SupervisorError

Open = Callable[..., Awaitable[tuple[Any, Peer]]]


@pytest.fixture
def fresh(
    standin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SupervisorBinary]:
    """A supervisor that no engine has seen: the stand-in with a few bytes more at its end."""
    supervisor = use(standin.read_bytes() + os.urandom(16), tmp_path / "fresh", monkeypatch)
    yield supervisor
    asyncio.run(remove_volume(supervisor.volume))


def use(program: bytes, path: Path, monkeypatch: pytest.MonkeyPatch) -> SupervisorBinary:
    """Make a program the supervisor of this test."""
    path.write_bytes(program)
    monkeypatch.setenv(binary.VARIABLE, str(path))
    return binary.load("amd64")


@pytest.fixture(scope="session")
def failing(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A program that ends with status 9."""
    directory = tmp_path_factory.mktemp("failing")
    source = directory / "failing.c"
    source.write_text("int main(void) { return 9; }")
    compile_static(source, directory / "failing", "-Os")
    return (directory / "failing").read_bytes()


async def installed_bytes(image: Image, volume: str) -> tuple[bytes, int]:
    """Return the program in a volume and its mode, through the engine."""
    async with client() as api:
        made = docker_listing.mapping(
            await api.request(
                "POST",
                "containers/create",
                body={
                    "Image": image.id,
                    "Cmd": ["true"],
                    "HostConfig": {
                        "Mounts": [{"Type": "volume", "Source": volume, "Target": "/v"}]
                    },
                },
                doing="creating",
            )
        )
        try:
            async with api.calling("reading") as docker:
                container = docker.containers.container(str(made["Id"]))
                archive = await container.get_archive("/v/supervisor")
                member = archive.getmember("supervisor")
                content = archive.extractfile(member)
                assert content is not None
                return content.read(), member.mode & 0o7777
        finally:
            await api.request("DELETE", f"containers/{made['Id']}", doing="removing")


async def installers() -> list[str]:
    async with client() as api:
        found = await api.request(
            "GET",
            "containers/json",
            params={"all": "1", "filters": json.dumps({"label": [labels.INSTALL]})},
            doing="looking",
        )
    items = map(docker_listing.mapping, docker_listing.sequence(found))
    return [str(docker_listing.text_map(item.get("Labels")).get(labels.INSTALL)) for item in items]


async def test_the_first_session_puts_the_supervisor_on_the_engine(
    fresh: SupervisorBinary, open_session: Open, image: Image
) -> None:
    _, peer = await open_session()
    assert await peer.ask("echo up") == "up"
    data, mode = await installed_bytes(image, fresh.volume)
    assert hashlib.sha256(data).hexdigest() == fresh.digest
    # Execute, and nothing else: not even the container's root may read it.
    assert mode == 0o111
    assert fresh.volume not in await installers()
    async with client() as api:
        volume = await api.find(f"volumes/{fresh.volume}", doing="looking")
    assert docker_listing.text_map((volume or {}).get("Labels"))[labels.SUPERVISOR] == fresh.digest


async def test_the_second_session_asks_the_engine_nothing_about_it(
    fresh: SupervisorBinary,
    engine: DockerEngine,
    open_session: Open,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await open_session()
    with caplog.at_level(logging.DEBUG, "fumehood.engine"):
        await open_session()
    assert "creating session" in caplog.text
    assert "supervisor" not in caplog.text


async def test_a_new_process_trusts_a_volume_that_is_there(
    fresh: SupervisorBinary,
    open_session: Open,
    forget_installed: None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await open_session()
    install._seen.clear()
    with caplog.at_level(logging.DEBUG, "fumehood.engine"):
        await open_session()
    assert "looking for the supervisor's volume" in caplog.text
    assert "installing" not in caplog.text


async def test_a_volume_that_vanished_or_is_empty_is_filled_again(
    fresh: SupervisorBinary, engine: DockerEngine, open_session: Open, image: Image
) -> None:
    request, _ = await open_session()
    await engine.remove_session(request.session_id)
    async with client() as api:
        await remove_volume(fresh.volume)
        # This process believes that it is there; the engine makes an empty one at the next create.
        request, peer = await open_session()
        assert await peer.ask("echo up") == "up"
        await engine.remove_session(request.session_id)
        await remove_volume(fresh.volume)
        await api.request(
            "POST",
            "volumes/create",
            body={
                "Name": fresh.volume,
                "Labels": labels.of_supervisor(fresh.digest, version="0"),
            },
            doing="creating an empty one",
        )
    _, peer = await open_session()
    assert await peer.ask("echo up") == "up"


async def test_many_sessions_at_once_install_it_once(
    fresh: SupervisorBinary,
    open_session: Open,
    forget_installed: None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO, "fumehood.engine"):
        made = await asyncio.gather(*(open_session() for _ in range(4)))
    for _, peer in made:
        assert await peer.ask("echo up") == "up"
    assert caplog.text.count("installing the supervisor") == 1


FILLER = """
    import asyncio, sys
    from fumehood._supervisor import binary
    from fumehood._supervisor.install import Installer
    from fumehood.engines.docker_client import ApiClient

    async def main():
        api = ApiClient(None)
        supervisor = binary.load("amd64")
        installer = Installer(api, engine_id="x", version="0")
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        for _ in range(3):
            await installer.again(supervisor, sys.argv[1])
        await api.close()

    asyncio.run(main())
"""


async def test_processes_that_fill_at_once_and_a_session_that_reads_meet_no_half_file(
    fresh: SupervisorBinary,
    open_session: Open,
    image: Image,
    engine: DockerEngine,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await open_session()
    fillers = [
        await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            textwrap.dedent(FILLER),
            image.id,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for _ in range(2)
    ]
    for filler in fillers:
        assert filler.stdout is not None
        await filler.stdout.readline()
    for filler in fillers:
        assert filler.stdin is not None
        filler.stdin.write(b"\n")
    done = asyncio.gather(*(filler.wait() for filler in fillers))
    caplog.set_level(logging.WARNING, "fumehood.engine")
    while not done.done():
        request, peer = await open_session()
        assert await peer.ask("echo up") == "up"
        await engine.remove_session(request.session_id)
    assert await done == [0, 0]
    assert "missing" not in caplog.text
    data, mode = await installed_bytes(image, fresh.volume)
    assert (hashlib.sha256(data).hexdigest(), mode) == (fresh.digest, 0o111)


@pytest.mark.parametrize("which,says", [("failing", "status 9"), ("foreign", "exec format error")])
async def test_an_installer_that_fails_says_why_and_leaves_nothing(
    standin: Path,
    failing: bytes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    engine: DockerEngine,
    make_request: MakeRequest,
    which: str,
    says: str,
) -> None:
    # A foreign program: a header that no kernel here runs, of machine 0xffff.
    program = bytearray(failing)
    if which == "foreign":
        program[18:20] = b"\xff\xff"
    supervisor = await asyncio.to_thread(use, bytes(program), tmp_path / which, monkeypatch)
    try:
        with pytest.raises(SupervisorError, match=says):
            await engine.create_session(make_request())
        assert supervisor.volume not in await installers()
    finally:
        await remove_volume(supervisor.volume)


async def test_a_volume_of_that_name_which_is_not_ours_is_refused(
    fresh: SupervisorBinary, engine: DockerEngine, make_request: MakeRequest
) -> None:
    async with client() as api:
        await api.request("POST", "volumes/create", body={"Name": fresh.volume}, doing="creating")
    with pytest.raises(SupervisorError, match="not ours"):
        await engine.create_session(make_request())


async def test_it_is_installed_from_an_image_that_holds_nothing_it_could_use(
    fresh: SupervisorBinary, engine: DockerEngine, open_session: Open
) -> None:
    scratch = await engine.prepare_image("fumehood/test-scratch", pull="never")
    _, peer = await open_session(image=scratch)
    assert await peer.ask("ids") == "1 0 0"


async def test_the_real_supervisor_installs_itself(
    engine: DockerEngine,
    image: Image,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(binary.VARIABLE)
    real = await asyncio.to_thread(binary.load, (await engine.info()).architecture)
    async with client() as api:
        installer = install.Installer(api, engine_id="a test's own", version="0")
        await installer.again(real, image.id)
    # It stays: sessions of others may be using it.
    data, mode = await installed_bytes(image, real.volume)
    assert (hashlib.sha256(data).hexdigest(), mode) == (real.digest, 0o111)


# --- which binary ---------------------------------------------------------------------------------


def test_a_supervisor_that_is_not_built_says_how_to_build_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv(binary.VARIABLE)
    monkeypatch.setattr(binary, "_BUILT", tmp_path)
    with pytest.raises(SupervisorError, match="make supervisor"):
        binary.load("arm64")


def test_the_built_binary_is_taken_by_architecture_and_named_by_content(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv(binary.VARIABLE)
    monkeypatch.setattr(binary, "_BUILT", tmp_path)
    for architecture in ("amd64", "arm64"):
        (tmp_path / f"supervisor-linux-{architecture}").write_bytes(
            b"\x7fELF" + architecture.encode()
        )
    one, other = binary.load("amd64"), binary.load("arm64")
    digest = hashlib.sha256(b"\x7fELFamd64").hexdigest()
    assert one.volume == f"fumehood-supervisor-{digest[:16]}-amd64"
    assert one.digest == digest
    assert other.volume.endswith("-arm64")
    assert binary.load("amd64") is one


def test_a_rebuilt_binary_is_another_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "supervisor"
    monkeypatch.setenv(binary.VARIABLE, str(path))
    path.write_bytes(b"\x7fELF1")
    first = binary.load("amd64")
    path.write_bytes(b"\x7fELF22")
    assert binary.load("amd64").volume != first.volume


@pytest.mark.parametrize("content", [b"", b"#!/bin/sh\n", b"\x7fEL"])
def test_what_is_no_linux_program_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "supervisor"
    path.write_bytes(content)
    monkeypatch.setenv(binary.VARIABLE, str(path))
    with pytest.raises(SupervisorError, match="supervisor"):
        binary.load("amd64")
