"""The sweep takes what nothing else will, and nothing that lives."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from engine.conftest import MakeRequest, client
from engine.peer import Peer
from fumehood._supervisor import install
from fumehood.engines import container_spec, docker_listing, docker_sweep, labels
from fumehood.engines.base import Container, Image
from fumehood.engines.container_spec import container_name
from fumehood.engines.docker import DockerEngine
from fumehood.engines.docker_client import ApiClient
from fumehood.engines.docker_removal import Remover
from fumehood.errors import OperationTimeoutError

Open = Callable[..., Awaitable[tuple[Any, Peer]]]


async def create(api: ApiClient, engine: DockerEngine, request: Any, **host: Any) -> str:
    """Create a session's container and do not start it; ``host`` replaces parts of HostConfig."""
    creator = await engine._creating()
    await creator._installer.ensure(creator._binary, request.image.id)
    spec = container_spec.build(request, creator._facts)
    body: Any = spec.body
    body["HostConfig"].update(host)
    made = await api.request(
        "POST", "containers/create", params={"name": spec.name}, body=body, doing="creating"
    )
    return str(docker_listing.mapping(made)["Id"])


async def start(api: ApiClient, engine_id: str) -> None:
    await api.request("POST", f"containers/{engine_id}/start", doing="starting")


@pytest.fixture
def only_ours(monkeypatch: pytest.MonkeyPatch, unique: Callable[[], str]) -> None:
    """Let a sweep with an age of zero see this run's objects alone: others use the engine too."""
    run = unique().partition("-")[0]
    real = ApiClient.request

    async def request(self: ApiClient, method: str, path: str, **kw: Any) -> object:
        answer = await real(self, method, path, **kw)
        if path == "containers/json" and "swept" in kw["doing"]:
            return [item for item in docker_listing.sequence(answer) if run in json.dumps(item)]
        if path == "volumes" and "swept" in kw["doing"]:
            volumes = docker_listing.sequence(docker_listing.mapping(answer).get("Volumes"))
            return {"Volumes": [item for item in volumes if run in json.dumps(item)]}
        return answer

    monkeypatch.setattr(ApiClient, "request", request)


@pytest.mark.usefixtures("only_ours")
class TestSweep:
    async def test_a_container_that_was_never_started_goes_when_it_is_old_enough(
        self, engine: DockerEngine, make_request: MakeRequest
    ) -> None:
        request = make_request()
        async with client() as api:
            await create(api, engine, request)
            young = await engine.sweep(minimum_age=3600)
            assert container_name(request.session_id) in young.kept
            assert await engine.find_session(request.session_id) is not None
            old = await engine.sweep(minimum_age=0)
        assert container_name(request.session_id) in old.containers
        assert await engine.find_session(request.session_id) is None

    async def test_a_running_session_stays_whatever_its_age(
        self, engine: DockerEngine, open_session: Open
    ) -> None:
        request, peer = await open_session(ttl=3600.0)
        other, _ = await open_session()
        report = await engine.sweep(minimum_age=0)
        assert {container_name(item.session_id) for item in (request, other)} <= set(report.kept)
        assert report.volumes == ()
        assert await peer.ask("echo alive") == "alive"

    async def test_a_running_session_past_its_time_goes_unless_it_was_extended(
        self,
        engine: DockerEngine,
        open_session: Open,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        request, peer = await open_session(ttl=0.1)
        assert await peer.ask("echo up") == "up"
        name = container_name(request.session_id)
        assert name in (await engine.sweep(minimum_age=0)).kept, "its supervisor gets some time"
        # No less: other tests have sessions on this engine, and theirs last an hour.
        monkeypatch.setattr(docker_sweep, "TTL_SLACK", 0.0)
        asked: list[str] = []

        async def extended(container: Container) -> bool:
            asked.append(container.session_id)
            return False

        assert name in (await engine.sweep(minimum_age=0, expired=extended)).kept
        assert asked == [request.session_id]
        assert await peer.ask("echo alive") == "alive"
        assert name in (await engine.sweep(minimum_age=0)).containers
        await peer.ended()

    async def test_an_ended_container_that_was_not_removed_goes_with_its_volume(
        self, engine: DockerEngine, make_request: MakeRequest
    ) -> None:
        # As an engine that was killed leaves it: ended, and nobody removes it.
        request = make_request()
        async with client() as api:
            engine_id = await create(api, engine, request, AutoRemove=False)
            async with api.waiting(engine_id, "next-exit", doing="waiting", seconds=20) as ended:
                await start(api, engine_id)
                await api.request("POST", f"containers/{engine_id}/kill", doing="killing")
                await ended()
        report = await engine.sweep(minimum_age=3600)
        assert container_name(request.session_id) in report.containers
        assert await engine.find_session(request.session_id) is None

    async def test_a_volume_whose_session_is_gone_goes(
        self, engine: DockerEngine, unique: Callable[[], str]
    ) -> None:
        session_id = unique()
        async with client() as api:
            made = await api.request(
                "POST",
                "volumes/create",
                body={"Labels": labels.of_ephemeral_volume(session_id, version="0")},
                doing="creating",
            )
        name = str(docker_listing.mapping(made)["Name"])
        assert name not in (await engine.sweep(minimum_age=3600)).volumes
        assert name in (await engine.sweep(minimum_age=0)).volumes

    async def test_workspaces_and_volumes_of_others_stay(
        self, engine: DockerEngine, unique: Callable[[], str]
    ) -> None:
        workspace_id, session_id = unique(), unique()
        names = [container_spec.workspace_volume(workspace_id), f"somebodys-{session_id}"]
        marks = [
            labels.of_workspace(workspace_id, token="t", destroy=False, version="0"),
            # Our labels on a volume that has a name: it is not an ephemeral one of ours.
            labels.of_ephemeral_volume(session_id, version="0"),
        ]
        async with client() as api:
            for name, mark in zip(names, marks, strict=True):
                await api.request(
                    "POST", "volumes/create", body={"Name": name, "Labels": mark}, doing="creating"
                )
            report = await engine.sweep(minimum_age=0, supervisors=True)
            assert not set(names) & set(report.volumes)
            for name in names:
                await api.request("DELETE", f"volumes/{name}", doing="removing")

    async def test_a_workspace_that_was_to_go_with_its_session_goes(
        self, engine: DockerEngine, unique: Callable[[], str]
    ) -> None:
        workspace_id = unique()
        name = container_spec.workspace_volume(workspace_id)
        marks = labels.of_workspace(workspace_id, token="t", destroy=True, version="0")
        async with client() as api:
            await api.request(
                "POST", "volumes/create", body={"Name": name, "Labels": marks}, doing="creating"
            )
        assert name not in (await engine.sweep(minimum_age=3600)).volumes
        assert name in (await engine.sweep(minimum_age=0)).volumes

    async def test_a_workspace_in_use_stays_even_if_it_is_to_go_with_its_session(
        self, engine: DockerEngine, open_session: Open, unique: Callable[[], str]
    ) -> None:
        request, peer = await open_session(workspace_id=unique(), destroy_workspace=True)
        report = await engine.sweep(minimum_age=0)
        assert container_spec.workspace_volume(request.workspace_id) in report.kept
        assert await peer.ask("put /workspace/x y") == "ok"

    async def test_a_container_whose_name_and_labels_disagree_stays(
        self, engine: DockerEngine, make_request: MakeRequest, image: Image
    ) -> None:
        request = make_request()
        marks = labels.of_session(request, version="0")
        async with client() as api:
            names = [f"other-{request.session_id}", container_name(make_request().session_id)]
            for name in names:
                await api.request(
                    "POST",
                    "containers/create",
                    params={"name": name},
                    body={"Image": image.id, "Cmd": ["true"], "Labels": marks},
                    doing="creating",
                )
            # And one with the right name whose nonce is none.
            names.append(container_name(request.session_id))
            await api.request(
                "POST",
                "containers/create",
                params={"name": names[-1]},
                body={
                    "Image": image.id,
                    "Cmd": ["true"],
                    "Labels": marks | {labels.NONCE: "../../etc"},
                },
                doing="creating",
            )
            report = await engine.sweep(minimum_age=0)
            assert not set(names) & set(report.containers)
            for name in names:
                await api.request("DELETE", f"containers/{name}", doing="removing")

    async def test_an_installer_that_was_left_behind_goes(
        self, engine: DockerEngine, image: Image, unique: Callable[[], str]
    ) -> None:
        name = f"{install.INSTALLER_PREFIX}{'0' * 15}a"
        async with client() as api:
            await api.request(
                "POST",
                "containers/create",
                params={"name": name},
                body={
                    "Image": image.id,
                    "Cmd": ["true"],
                    "Labels": {labels.OURS: "0", labels.INSTALL: unique()},
                },
                doing="creating",
            )
        assert name in (await engine.sweep(minimum_age=3600)).kept
        assert name in (await engine.sweep(minimum_age=0)).containers

    async def test_a_supervisor_goes_only_when_asked_and_unused(
        self, engine: DockerEngine, unique: Callable[[], str]
    ) -> None:
        digest = unique().replace("-", "").replace("t", "0").ljust(64, "0")
        name = f"fumehood-supervisor-{digest[:16]}-amd64"
        marks = labels.of_supervisor(digest, version="0") | {"run": unique()}
        async with client() as api:
            await api.request(
                "POST", "volumes/create", body={"Name": name, "Labels": marks}, doing="creating"
            )
        assert name not in (await engine.sweep(minimum_age=0)).supervisors
        assert name in (await engine.sweep(minimum_age=0, supervisors=True)).supervisors

    async def test_ten_that_sweep_at_once_while_others_create_harm_nothing(
        self, engine: DockerEngine, make_request: MakeRequest, open_session: Open
    ) -> None:
        dead = [make_request() for _ in range(3)]
        async with client() as api:
            for request in dead:
                await create(api, engine, request)
        living = asyncio.gather(*(open_session() for _ in range(3)))
        # Age zero would take what is just being created: the age is what protects it.
        reports = await asyncio.gather(*(engine.sweep(minimum_age=30) for _ in range(10)))
        assert all(not report.failed for report in reports)
        for _, peer in await living:
            assert await peer.ask("echo alive") == "alive"
        reports = await asyncio.gather(*(engine.sweep(minimum_age=0) for _ in range(10)))
        assert all(not report.failed for report in reports)
        removed = {name for report in reports for name in report.containers}
        assert removed == {container_name(request.session_id) for request in dead}
        for _, peer in await living:
            assert await peer.ask("echo alive") == "alive"

    async def test_what_cannot_be_removed_is_reported_and_the_sweep_goes_on(
        self,
        engine: DockerEngine,
        make_request: MakeRequest,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        stuck, fine = make_request(), make_request()
        real = Remover.remove_container

        async def remove(self: Any, engine_id: str, what: str, **kw: Any) -> bool:
            if stuck.session_id in what:
                raise OperationTimeoutError("still there")
            return await real(self, engine_id, what, **kw)

        async with client() as api:
            await create(api, engine, stuck)
            await create(api, engine, fine)
        with monkeypatch.context() as patch:
            patch.setattr(Remover, "remove_container", remove)
            report = await engine.sweep(minimum_age=0)
        assert report.failed == {container_name(stuck.session_id): "still there"}
        assert container_name(fine.session_id) in report.containers
        await engine.remove_session(stuck.session_id)


async def test_ages_are_by_the_engines_clock(
    engine: DockerEngine, make_request: MakeRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = make_request()
    async with client() as api:
        await create(api, engine, request)
    monkeypatch.setattr(time, "time", lambda: 0.0)
    report = await engine.sweep(minimum_age=3600)
    assert container_name(request.session_id) in report.kept
    await engine.remove_session(request.session_id)
