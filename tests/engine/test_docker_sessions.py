"""A session's life on a real Docker engine: made, found, joined, ended, and nothing left."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from engine.conftest import MakeRequest, client
from engine.peer import SECONDS, Peer, eventually
from fumehood.engines import docker_create, docker_listing, labels
from fumehood.engines.base import Image
from fumehood.engines.container_spec import container_name
from fumehood.engines.docker import DockerEngine
from fumehood.engines.docker_client import ApiClient
from fumehood.errors import (
    EngineError,
    EngineUnavailableError,
    EngineUnsupportedError,
    ImageNotFoundError,
    InvalidRequestError,
    SessionExistsError,
    SessionNotFoundError,
)
from fumehood.options import Limits, Network, Security

Open = Callable[..., Awaitable[tuple[Any, Peer]]]


async def containers_of(session_id: str) -> list[Any]:
    """Return what the engine has of a session, whatever its name."""
    async with client() as api:
        found = await api.request(
            "GET",
            "containers/json",
            params={
                "all": "1",
                "filters": json.dumps({"label": [f"{labels.SESSION}={session_id}"]}),
            },
            doing="looking",
        )
    return list(docker_listing.sequence(found))


async def volumes_of(session_id: str) -> list[str]:
    async with client() as api:
        found = await api.request(
            "GET",
            "volumes",
            params={"filters": json.dumps({"label": [f"{labels.SESSION}={session_id}"]})},
            doing="looking",
        )
    volumes = docker_listing.sequence(docker_listing.mapping(found).get("Volumes"))
    return [str(docker_listing.mapping(item).get("Name")) for item in volumes]


async def test_a_session_is_made_found_and_removed_with_its_volume(
    engine: DockerEngine, open_session: Open
) -> None:
    request, peer = await open_session(
        ttl=60.0, idle_timeout=30.0, metadata={"task": "grüße"}, labels={"team": "a"}
    )
    assert await peer.ask("ids") == "1 0 0"
    found = await engine.find_session(request.session_id)
    assert found is not None
    assert found.state == "running"
    assert found.nonce == request.nonce
    assert found.workspace_id is None
    assert found.metadata == {"task": "grüße"}
    assert (found.ttl, found.idle_timeout) == (60.0, 30.0)
    assert found.image == request.image.reference
    assert found.workdir == "/workspace"
    assert abs(found.created_at - time.time()) < 60
    listed = [item for item in await engine.list_sessions() if item.id == found.id]
    assert [item.session_id for item in listed] == [request.session_id]
    assert len(await volumes_of(request.session_id)) == 1

    await engine.remove_session(request.session_id)
    assert await peer.ended() is None
    assert await engine.find_session(request.session_id) is None
    assert await containers_of(request.session_id) == []
    assert await volumes_of(request.session_id) == []
    await engine.remove_session(request.session_id)


async def test_a_session_after_the_first_is_three_calls_and_nothing_is_asked(
    open_session: Open, caplog: pytest.LogCaptureFixture
) -> None:
    await open_session()
    with caplog.at_level(logging.DEBUG, "fumehood.engine"):
        request, _ = await open_session()
    told = [
        re.match(r"(.*): (?:done|failed|answered \d+) after ", line) for line in caplog.messages
    ]
    calls = [match[1] for match in told if match is not None]
    # Attached to before it starts: what its first process says is missed by nobody.
    assert calls == [
        f"{doing} session {request.session_id!r}"
        for doing in ("creating", "attaching to", "starting")
    ]


async def test_what_is_written_before_the_container_reads_is_there_when_it_does(
    engine: DockerEngine, make_request: MakeRequest
) -> None:
    request = make_request()
    stream = await engine.create_session(request)
    stream.write(b"echo first\n")
    peer = Peer(stream)
    assert await peer.line() == b"first"
    await stream.close()
    await engine.remove_session(request.session_id)


async def test_the_end_of_the_clients_stream_is_an_end_of_file_for_pid_1(
    engine: DockerEngine, open_session: Open
) -> None:
    request, peer = await open_session()
    assert await peer.ask("echo up") == "up"
    await peer.stream.close()

    async def gone() -> bool:
        return await engine.find_session(request.session_id) is None

    await eventually(gone)
    # The stand-in's status for it.
    assert await engine.exit_code(request.nonce) == 7
    assert await volumes_of(request.session_id) == []


async def test_the_end_of_one_session_is_not_that_of_the_next_one_of_its_name(
    engine: DockerEngine, open_session: Open
) -> None:
    first, peer = await open_session()
    peer.stream.write(b"exit 68\n")
    await peer.ended()
    await engine.remove_session(first.session_id)
    second, peer = await open_session(session_id=first.session_id)
    assert await peer.ask("echo up") == "up"
    assert await engine.exit_code(second.nonce) is None
    assert await engine.exit_code(first.nonce) == 68


async def test_how_a_session_ended_is_known_after_it_is_gone(
    engine: DockerEngine, open_session: Open
) -> None:
    request, peer = await open_session()
    assert await peer.ask("echo up") == "up"
    peer.stream.write(b"exit 68\n")
    assert await peer.ended() is None
    await engine.remove_session(request.session_id)
    assert await engine.exit_code(request.nonce) == 68
    assert await engine.exit_code("0" * 64) is None


async def test_a_relay_reaches_a_running_session_and_only_that(
    engine: DockerEngine, open_session: Open
) -> None:
    request, peer = await open_session()
    container = await engine.find_session(request.session_id)
    assert container is not None
    relays = [Peer(await engine.open_relay(container)) for _ in range(3)]
    for number, relay in enumerate(relays):
        relay.stream.write(f"relay {number}\n".encode())
        assert await relay.line() == f"relay {number}".encode()
    await relays[0].stream.close()
    assert await relays[0].ended() is None
    assert await peer.ask("echo still here") == "still here"

    await engine.remove_session(request.session_id)
    for relay in relays[1:]:
        await relay.ended()
        await relay.stream.close()
    with pytest.raises(SessionNotFoundError, match=request.session_id):
        await engine.open_relay(container)


async def test_two_sessions_of_one_id_never_exist(
    engine: DockerEngine, open_session: Open, make_request: MakeRequest
) -> None:
    request, peer = await open_session()
    with pytest.raises(SessionExistsError, match=request.session_id):
        await engine.create_session(make_request(session_id=request.session_id))
    assert await peer.ask("echo unharmed") == "unharmed"
    assert len(await containers_of(request.session_id)) == 1


async def test_of_two_at_once_with_one_id_exactly_one_is_made(
    engine: DockerEngine, make_request: MakeRequest
) -> None:
    first = make_request()
    second = make_request(session_id=first.session_id)
    results = await asyncio.gather(
        engine.create_session(first), engine.create_session(second), return_exceptions=True
    )
    errors = [item for item in results if isinstance(item, BaseException)]
    assert [type(error) for error in errors] == [SessionExistsError]
    for item in results:
        if not isinstance(item, BaseException):
            await item.close()
    await engine.remove_session(first.session_id)


async def test_a_container_of_somebody_else_is_not_taken_for_a_session(
    engine: DockerEngine, make_request: MakeRequest, image: Image
) -> None:
    request = make_request()
    name = container_name(request.session_id)
    async with client() as api:
        await create_plain(api, image, name, {})
        try:
            assert await engine.find_session(request.session_id) is None
            await engine.remove_session(request.session_id)
            with pytest.raises(SessionExistsError):
                await engine.create_session(request)
            assert await api.find(f"containers/{name}/json", doing="looking") is not None
        finally:
            await api.request("DELETE", f"containers/{name}", doing="removing")


async def create_plain(api: ApiClient, image: Image, name: str, marks: dict[str, str]) -> None:
    await api.request(
        "POST",
        "containers/create",
        params={"name": name},
        body={"Image": image.id, "Cmd": ["true"], "Labels": marks},
        doing="creating a container that is not ours",
    )


# --- when it does not work -----------------------------------------------------------------------


async def test_an_image_that_vanished_before_the_create_is_named(
    engine: DockerEngine, make_request: MakeRequest, image: Image
) -> None:
    request = make_request(image=replace(image, id="sha256:" + "0" * 64))
    with pytest.raises(ImageNotFoundError, match="test-busybox"):
        await engine.create_session(request)
    assert await containers_of(request.session_id) == []


async def test_a_runtime_that_the_engine_lacks_is_refused_before_anything_is_created(
    engine: DockerEngine, make_request: MakeRequest
) -> None:
    with pytest.raises(EngineUnsupportedError, match=r"runsc.*it has .*runc"):
        await engine.create_session(make_request(security=Security(runtime="runsc")))


async def test_a_network_that_cannot_be_joined_is_refused_before_anything_is_created(
    engine: DockerEngine, make_request: MakeRequest
) -> None:
    request = make_request(network=Network.named("fumehood-no-such-network"))
    with pytest.raises(EngineError, match="docker network create"):
        await engine.create_session(request)
    assert await containers_of(request.session_id) == []


async def test_a_seccomp_profile_that_the_runtime_refuses_leaves_nothing(
    engine: DockerEngine, make_request: MakeRequest
) -> None:
    profile = json.dumps(
        {
            "defaultAction": "SCMP_ACT_ERRNO",
            "syscalls": [{"names": ["read"], "action": "SCMP_ACT_NONSENSE"}],
        }
    )
    request = make_request(security=Security(seccomp=profile))
    with pytest.raises(EngineError):
        await engine.create_session(request)
    assert await containers_of(request.session_id) == []
    assert await volumes_of(request.session_id) == []


async def test_an_engine_that_warns_about_a_limit_gets_no_session(
    engine: DockerEngine, make_request: MakeRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = ApiClient.request

    async def with_a_warning(self: ApiClient, method: str, path: str, **kw: Any) -> object:
        answer = await ask(self, method, path, **kw)
        if path == "containers/create" and isinstance(answer, dict):
            answer["Warnings"] = ["Your kernel does not support \x1b[31mpids limit"]
        return answer

    monkeypatch.setattr(ApiClient, "request", with_a_warning)
    request = make_request()
    with pytest.raises(EngineUnsupportedError, match="pids limit") as caught:
        await engine.create_session(request)
    assert "\x1b" not in str(caught.value)
    assert await containers_of(request.session_id) == []
    assert await volumes_of(request.session_id) == []


@pytest.mark.parametrize("step", ["create", "attach", "start"])
async def test_a_step_whose_answer_is_lost_leaves_nothing(
    engine: DockerEngine, make_request: MakeRequest, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    # The engine does what it was asked for and the answer never arrives.
    lost = EngineUnavailableError("the connection broke")
    real_create = docker_create.Creator._ask_to_create
    real_start = docker_create.Creator._start
    real_hijack = ApiClient.hijack

    async def create(self: Any, *args: Any, **kw: Any) -> Any:
        result = await real_create(self, *args, **kw)
        if step == "create":
            raise lost
        return result

    async def hijack(self: Any, *args: Any, **kw: Any) -> Any:
        stream = await real_hijack(self, *args, **kw)
        if step == "attach":
            await stream.close()
            raise lost
        return stream

    async def start(self: Any, *args: Any, **kw: Any) -> None:
        await real_start(self, *args, **kw)
        if step == "start":
            raise lost

    monkeypatch.setattr(docker_create.Creator, "_ask_to_create", create)
    monkeypatch.setattr(docker_create.Creator, "_start", start)
    monkeypatch.setattr(ApiClient, "hijack", hijack)
    request = make_request(workspace_id=None)
    with pytest.raises(EngineUnavailableError):
        await engine.create_session(request)
    assert await containers_of(request.session_id) == []
    assert await volumes_of(request.session_id) == []


STEPS = ["containers/create", "attach", "start"]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("times", [1, 2])
async def test_a_create_that_is_cancelled_leaves_nothing(
    engine: DockerEngine,
    make_request: MakeRequest,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    times: int,
) -> None:
    await engine.info()
    reached = asyncio.Event()
    real = ApiClient.calling

    def calling(self: ApiClient, doing: str, **kw: Any) -> Any:
        words = {
            "containers/create": "creating session",
            "attach": "attaching",
            "start": "starting",
        }
        if doing.startswith(words[step]):
            reached.set()
        return real(self, doing, **kw)

    monkeypatch.setattr(ApiClient, "calling", calling)
    request = make_request()
    creating = asyncio.ensure_future(engine.create_session(request))
    async with asyncio.timeout(SECONDS):
        await reached.wait()
    for _ in range(times):
        creating.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await creating
    # The second cancellation does not wait; closing does.
    await engine.close()
    assert await containers_of(request.session_id) == []
    assert await volumes_of(request.session_id) == []


async def test_the_engines_own_limits_are_those_that_were_asked_for(
    engine: DockerEngine, open_session: Open
) -> None:
    request, _ = await open_session(
        limits=Limits(memory_mb=100, cpus=0.5, pids=40, workspace_mb=8),
        security=Security(readonly_rootfs=True, workload_capabilities=("CHOWN",)),
    )
    async with client() as api:
        found = docker_listing.mapping(
            await api.find(f"containers/{container_name(request.session_id)}/json", doing="looking")
        )
    host = docker_listing.mapping(found["HostConfig"])
    assert host["Memory"] == host["MemorySwap"] == (100 + 256 + 8) << 20
    assert host["NanoCpus"] == 500_000_000
    assert host["PidsLimit"] == 40
    assert host["ReadonlyRootfs"] is True
    assert host["AutoRemove"] is True
    assert host["Init"] is False
    config = docker_listing.mapping(found["Config"])
    assert config["Healthcheck"] == {"Test": ["NONE"]}
    assert config["Env"] == [f"{name}={value}" for name, value in request.image.env]
    state = docker_listing.mapping(found["State"])
    assert state["Running"] is True


async def test_a_quota_is_a_memory_backed_volume_that_goes_with_the_session(
    engine: DockerEngine, open_session: Open
) -> None:
    request, peer = await open_session(limits=Limits(memory_mb=64, workspace_mb=8))
    assert await peer.ask("put /workspace/file some text") == "ok"
    peer.stream.write(b"cat /proc/self/mounts\n")
    while True:
        line = (await peer.line()).decode()
        if " /workspace " in line:
            break
    assert line.startswith("tmpfs /workspace tmpfs rw,nosuid,nodev,")
    assert "size=8192k" in line
    assert "nr_inodes=8192" in line
    assert len(await volumes_of(request.session_id)) == 1
    peer.stream.write(b"exit 0\n")
    await peer.ended()
    await engine.remove_session(request.session_id)
    assert await volumes_of(request.session_id) == []


async def test_the_supervisor_is_on_a_read_only_mount(open_session: Open) -> None:
    _, peer = await open_session()
    assert await peer.ask("put /.fumehood/supervisor x") == "no"
    assert await peer.ask("put /.fumehood/other x") == "no"
    assert await peer.ask("put /workspace/x x") == "ok"


async def test_ports_are_published_on_loopback(engine: DockerEngine, open_session: Open) -> None:
    request, _ = await open_session(network=Network.bridge(), ports=(8000,))
    found = await engine.find_session(request.session_id)
    assert found is not None
    listed = [
        item for item in await engine.list_sessions() if item.session_id == request.session_id
    ]
    assert found.published_ports == listed[0].published_ports
    assert set(found.published_ports) == {8000}
    async with client() as api:
        raw = docker_listing.mapping(await api.find(f"containers/{found.id}/json", doing="looking"))
    ports = docker_listing.mapping(docker_listing.mapping(raw["NetworkSettings"])["Ports"])
    bindings = [docker_listing.mapping(item) for item in docker_listing.sequence(ports["8000/tcp"])]
    assert {item["HostIp"] for item in bindings} == {"127.0.0.1"}


@pytest.mark.parametrize("session_id", ["", "A", "a/b", "../x", "a\n", "-a", "x" * 64])
async def test_ids_that_are_no_names_are_refused_everywhere(
    engine: DockerEngine, session_id: str
) -> None:
    with pytest.raises(InvalidRequestError):
        await engine.find_session(session_id)
    with pytest.raises(InvalidRequestError):
        await engine.remove_session(session_id)
    with pytest.raises(InvalidRequestError):
        await engine.remove_workspace(session_id)


async def test_many_sessions_hold_their_streams_and_the_engine_still_answers(
    engine: DockerEngine, open_session: Open
) -> None:
    # More relays than an HTTP client's usual pool has connections.
    request, _ = await open_session(limits=Limits(memory_mb=256, pids=300))
    container = await engine.find_session(request.session_id)
    assert container is not None
    relays = [Peer(await engine.open_relay(container)) for _ in range(110)]
    assert await engine.find_session(request.session_id) is not None
    await asyncio.gather(*(relay.stream.close() for relay in relays))


async def test_closing_the_engine_twice_is_once(make_request: MakeRequest) -> None:
    engine = DockerEngine()
    await engine.info()
    await engine.close()
    await engine.close()
    with pytest.raises(EngineError, match="closed"):
        await engine.list_sessions()
