"""Images: looked up once, pulled as the policy says, with the user's credentials, errors typed."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import secrets
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from engine.conftest import IMAGE, MakeRequest, client
from engine.registry import Registry, serving
from fumehood.engines import docker_images, docker_listing
from fumehood.engines.base import PullProgress
from fumehood.engines.docker import DockerEngine
from fumehood.engines.docker_images import check_platform
from fumehood.engines.docker_references import check_reference
from fumehood.errors import (
    EngineUnsupportedError,
    ImageNotFoundError,
    ImagePullError,
    ImageRefusedError,
    InvalidRequestError,
)


@pytest.fixture
async def registry() -> AsyncIterator[Registry]:
    async with serving(Registry()) as registry:
        yield registry
        await remove_images(registry.host)


async def remove_images(host: str) -> None:
    """Remove what was pulled from a registry: also what lost its tag to a later pull."""
    async with client() as api:
        found = await api.request("GET", "images/json", doing="looking")
        for item in map(docker_listing.mapping, docker_listing.sequence(found)):
            names = [
                str(name)
                for key in ("RepoTags", "RepoDigests")
                for name in docker_listing.sequence(item.get(key))
            ]
            if any(name.startswith(f"{host}/") for name in names):
                await api.request(
                    "DELETE", f"images/{item['Id']}", params={"force": "1"}, doing="removing"
                )


@pytest.fixture
def name() -> str:
    return f"fumehood-test/{secrets.token_hex(4)}"


@pytest.fixture
def no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker_images, "CACHE_SECONDS", -1.0)


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, Any]], None]:
    """The docker configuration of these tests: empty unless one writes it."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))

    def write(content: dict[str, Any]) -> None:
        (tmp_path / "config.json").write_text(json.dumps(content))

    return write


async def test_an_image_that_is_missing_is_pulled_once(
    engine: DockerEngine, registry: Registry, name: str, no_cache: None
) -> None:
    reference = registry.image(
        name,
        config={
            "User": "1000:1000",
            "Env": ["PATH=/bin", "EMPTY=", "TWO=a=b"],
            "WorkingDir": "/srv",
            "Volumes": {"/data": {}},
            "Labels": {"fumehood.session": "x", "mine": "y"},
        },
    )
    steps: list[PullProgress] = []
    image = await engine.prepare_image(reference, pull="missing", progress=steps.append)
    assert image.reference == reference
    assert image.id.startswith("sha256:")
    assert image.user == "1000:1000"
    assert image.env == (("PATH", "/bin"), ("EMPTY", ""), ("TWO", "a=b"))
    assert image.workdir == "/srv"
    assert image.architecture == "amd64"
    assert image.volumes == ("/data",)
    assert image.reserved_labels == ("fumehood.session",)
    assert any("Pull complete" in step.status for step in steps)
    assert {step.image for step in steps} == {reference}
    assert await engine.prepare_image(reference, pull="missing") == image
    assert registry.pulls == 1


async def test_always_asks_the_registry_each_time(
    engine: DockerEngine, registry: Registry, name: str
) -> None:
    reference = registry.image(name)
    first = await engine.prepare_image(reference, pull="always")
    registry.image(name)
    second = await engine.prepare_image(reference, pull="always")
    assert first.id != second.id
    assert (await engine.prepare_image(reference, pull="never")).id == second.id


async def test_never_says_what_to_run(engine: DockerEngine, registry: Registry, name: str) -> None:
    reference = registry.image(name)
    with pytest.raises(ImageNotFoundError, match=f"docker pull {reference}") as caught:
        await engine.prepare_image(reference, pull="never")
    assert "not on this engine and pull is 'never'" in str(caught.value)
    assert registry.pulls == 0


async def test_without_a_tag_it_is_the_latest_and_not_all_of_them(
    engine: DockerEngine, registry: Registry, name: str
) -> None:
    registry.image(name)
    registry.image(name, tag="other")
    await engine.prepare_image(f"{registry.host}/{name}", pull="missing")
    assert registry.pulls == 1


async def test_a_digest_pins_an_image(engine: DockerEngine, registry: Registry, name: str) -> None:
    registry.image(name)
    pinned = next(key for key in registry.manifests if ":sha256:" in key)
    reference = f"{registry.host}/{pinned.replace(':sha256:', '@sha256:')}"
    image = await engine.prepare_image(reference, pull="missing")
    assert image.reference == reference


async def test_what_a_callers_progress_raises_is_raised_as_it_is(
    engine: DockerEngine, registry: Registry, name: str, no_cache: None
) -> None:
    def progress(step: PullProgress) -> None:
        raise ValueError(step.image)

    reference = registry.image(name)
    with pytest.raises(ValueError, match=name) as caught:
        await engine.prepare_image(reference, pull="missing", progress=progress)
    assert type(caught.value) is ValueError


async def test_many_that_need_an_image_at_once_pull_it_once(
    engine: DockerEngine, registry: Registry, name: str
) -> None:
    reference = registry.image(name)
    images = await asyncio.gather(
        *(engine.prepare_image(reference, pull="missing") for _ in range(5))
    )
    assert len({image.id for image in images}) == 1
    assert registry.pulls == 1


async def test_lookups_are_remembered_for_a_moment(
    engine: DockerEngine, caplog: pytest.LogCaptureFixture
) -> None:
    first = await engine.prepare_image(IMAGE, pull="never")
    with caplog.at_level(logging.DEBUG, "fumehood.engine"):
        assert await engine.prepare_image(IMAGE, pull="missing") is first
    assert not caplog.records


# --- credentials ----------------------------------------------------------------------------------


async def test_the_users_login_is_used(
    engine: DockerEngine,
    registry: Registry,
    name: str,
    config: Callable[[dict[str, Any]], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    registry.credentials = ("me", "hunter2")
    reference = registry.image(name)
    config({"auths": {registry.host: {"auth": base64.b64encode(b"me:hunter2").decode()}}})
    with caplog.at_level(logging.DEBUG):
        await engine.prepare_image(reference, pull="missing")
    assert "hunter2" not in caplog.text
    assert any(registry.authorizations)


@pytest.mark.parametrize(
    "login,says", [(None, "run docker login"), ("me:wrong", "check the credentials")]
)
async def test_a_registry_that_refuses_says_what_to_do(
    engine: DockerEngine,
    registry: Registry,
    name: str,
    config: Callable[[dict[str, Any]], None],
    login: str | None,
    says: str,
) -> None:
    registry.credentials = ("me", "hunter2")
    reference = registry.image(name)
    if login is not None:
        config({"auths": {registry.host: {"auth": base64.b64encode(login.encode()).decode()}}})
    with pytest.raises(ImagePullError, match=says) as caught:
        await engine.prepare_image(reference, pull="missing")
    assert registry.host in str(caught.value)


# --- failures -------------------------------------------------------------------------------------


async def test_an_image_that_the_registry_does_not_know_is_named(
    engine: DockerEngine, registry: Registry, name: str
) -> None:
    reference = f"{registry.host}/{name}:nope"
    with pytest.raises(ImageNotFoundError, match="nope"):
        await engine.prepare_image(reference, pull="missing")


async def test_a_layer_that_is_not_what_it_says_fails_the_pull(
    engine: DockerEngine, registry: Registry, name: str
) -> None:
    reference = registry.image(name)
    registry.corrupt = True
    with pytest.raises(ImagePullError, match=name):
        await engine.prepare_image(reference, pull="missing")
    with pytest.raises(ImageNotFoundError):
        await engine.prepare_image(reference, pull="never")


async def test_a_registry_that_is_not_there_is_a_pull_error(
    engine: DockerEngine, name: str
) -> None:
    with pytest.raises(ImagePullError, match="refused") as caught:
        await engine.prepare_image(f"127.0.0.1:1/{name}", pull="missing")
    assert caught.value.retryable


async def test_an_id_alone_cannot_be_pulled(engine: DockerEngine) -> None:
    with pytest.raises(ImageNotFoundError, match="cannot be pulled"):
        await engine.prepare_image("sha256:" + "0" * 64, pull="missing")


# --- platforms ------------------------------------------------------------------------------------


async def test_an_image_for_another_platform_is_pulled_by_its_name(
    engine: DockerEngine, registry: Registry, name: str, no_cache: None
) -> None:
    reference = registry.image(name, architecture="arm64", as_list=True)
    image = await engine.prepare_image(reference, pull="missing", platform="linux/arm64")
    assert image.architecture == "arm64"
    with pytest.raises(ImageRefusedError, match="--platform linux/amd64"):
        await engine.prepare_image(reference, pull="never", platform="linux/amd64")
    with pytest.raises(EngineUnsupportedError, match="no variant"):
        await engine.prepare_image(reference, pull="missing", platform="linux/amd64")


PLATFORMS = ["linux", "linux/amd64", "linux/arm64", "linux/arm64/v8"]


@pytest.mark.parametrize("platform", PLATFORMS)
def test_platforms_that_are_served(platform: str) -> None:
    assert check_platform(platform) == platform


@pytest.mark.parametrize(
    "platform", ["", "amd64", "windows/amd64", "linux/s390x", "linux/amd64\n", "linux/../x"]
)
def test_platforms_that_are_not(platform: str) -> None:
    with pytest.raises((InvalidRequestError, EngineUnsupportedError)):
        check_platform(platform)


REFERENCES = [
    "a",
    "python:3.13-slim",
    "library/python",
    "ghcr.io/owner/name:tag",
    "localhost:5000/a/b/c",
    "[::1]:5000/a",
    "a__b/c--d.e:T_a-g.1",
    "name@sha256:" + "a" * 64,
    "name:tag@sha256:" + "a" * 64,
    "sha256:" + "a" * 64,
    "0123456789ab",
]


@pytest.mark.parametrize("reference", REFERENCES)
def test_references_that_are_ones(reference: str) -> None:
    assert check_reference(reference) == reference


@pytest.mark.parametrize(
    "reference",
    [
        "",
        "-v",
        "--privileged",
        "a b",
        "a\n",
        "A",
        "a//b",
        "../../containers/json",
        "a/../b",
        "a?x=1",
        "a#b",
        "a:",
        "a@sha256:short",
        "$(reboot)",
        "é",
        "a" * 600,
    ],
)
async def test_references_that_are_none_are_refused_before_the_engine_is_asked(
    reference: str,
) -> None:
    engine = DockerEngine("unix:///nonexistent")
    with pytest.raises(InvalidRequestError, match="image reference"):
        await engine.prepare_image(reference, pull="never")


# --- what an image brings -------------------------------------------------------------------------


async def test_an_image_with_a_volume_gets_no_session(
    engine: DockerEngine, registry: Registry, name: str, make_request: MakeRequest
) -> None:
    reference = registry.image(name, config={"Volumes": {"/data": {}}})
    image = await engine.prepare_image(reference, pull="missing")
    with pytest.raises(ImageRefusedError, match="/data"):
        await engine.create_session(make_request(image=image))
    # Its own volume is where the workspace can be.
    request = make_request(image=image, workdir="/data")
    stream = await engine.create_session(request)
    await stream.close()
    await engine.remove_session(request.session_id)


async def test_what_an_image_sets_does_not_reach_pid_1(
    engine: DockerEngine, registry: Registry, name: str, open_session: Any
) -> None:
    reference = registry.image(
        name,
        config={
            "Entrypoint": ["/evil"],
            "Cmd": ["--really"],
            "User": "1234",
            "WorkingDir": "/nowhere",
            "StopSignal": "SIGKILL",
            "Healthcheck": {"Test": ["CMD", "/evil"], "Interval": 1000000000},
            "Labels": {
                "fumehood.workspace": "stolen",
                "fumehood.session": "other",
                "fumehood.extra": "x",
            },
        },
    )
    image = await engine.prepare_image(reference, pull="missing")
    request, peer = await open_session(image=image)
    assert await peer.ask("ids") == "1 0 0"
    found = await engine.find_session(request.session_id)
    assert found is not None
    assert found.workspace_id is None
    async with client() as api:
        raw: Any = await api.find(f"containers/{found.id}/json", doing="looking")
    assert raw["Path"] == "/.fumehood/supervisor"
    assert raw["Args"] == []
    assert raw["Config"]["WorkingDir"] == "/"
    assert raw["Config"]["StopSignal"] == "SIGTERM"
    assert "Health" not in raw["State"]
    assert raw["Config"]["Labels"]["fumehood.extra"] == ""
