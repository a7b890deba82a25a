"""What an engine says of itself: versions negotiated, limits required, failures mapped."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from engine.fake_engine import INFO, VERSION, FakeEngine, serving
from engine.peer import SECONDS
from fumehood import AsyncDockerSandbox
from fumehood.engines import docker_client, docker_facts, docker_removal
from fumehood.engines.base import Container, Image, SessionRequest
from fumehood.engines.docker import DockerEngine
from fumehood.engines.docker_client import negotiate
from fumehood.engines.docker_errors import mapped
from fumehood.errors import (
    EngineError,
    EngineUnavailableError,
    EngineUnsupportedError,
    OperationTimeoutError,
    SandboxError,
)
from fumehood.options import Limits, Network, Security


@asynccontextmanager
async def speaking_to(fake: FakeEngine, directory: Path) -> AsyncIterator[DockerEngine]:
    async with serving(fake, directory) as address:
        engine = DockerEngine(address)
        try:
            yield engine
        finally:
            await engine.close()


def request(**security: Any) -> SessionRequest:
    return SessionRequest(
        session_id="s",
        nonce=secrets.token_hex(32),
        image=Image(
            id="sha256:" + "0" * 64,
            reference="x",
            user="",
            env=(),
            workdir="",
            architecture="amd64",
        ),
        workdir="/workspace",
        network=Network.none(),
        limits=Limits(),
        security=Security(**security),
    )


NEGOTIATIONS = [
    ("1.41", "1.12", "1.41"),
    ("1.43", "1.24", "1.43"),
    ("1.52", "1.44", "1.52"),
    ("1.60", "1.44", "1.52"),
    ("1.60", "1.52", "1.52"),
    ("2.0", "1.41", "1.52"),
    ("1.45", None, "1.45"),
]


@pytest.mark.parametrize("newest,oldest,spoken", NEGOTIATIONS)
def test_the_newest_version_that_both_speak_is_spoken(
    newest: str, oldest: str | None, spoken: str
) -> None:
    assert negotiate({"ApiVersion": newest, "MinAPIVersion": oldest}, "x") == spoken


@pytest.mark.parametrize(
    "newest,oldest,says",
    [
        ("1.40", "1.12", "Docker 20.10"),
        ("1.9", "1.9", "Docker 20.10"),
        ("1.60", "1.53", "update fumehood"),
        (None, None, "does not say"),
        ("one", "1.1", "does not say"),
        ("1.99999999999", "1.1", "does not say"),
    ],
)
def test_versions_that_do_not_meet_are_refused(
    newest: str | None, oldest: str | None, says: str
) -> None:
    with pytest.raises(EngineUnsupportedError, match=says):
        negotiate({"ApiVersion": newest, "MinAPIVersion": oldest}, "an engine")


async def test_every_request_after_the_first_names_the_version(tmp_path: Path) -> None:
    fake = FakeEngine(version={"ApiVersion": "1.60", "MinAPIVersion": "1.44"})
    async with speaking_to(fake, tmp_path) as engine:
        info = await engine.info()
        assert await engine.find_session("s") is None
    assert info.api_version == "1.52"
    assert fake.paths == [
        "GET /version",
        "GET /v1.52/info",
        "GET /v1.52/containers/fumehood-s/json",
    ]


async def test_facts_are_asked_for_once(tmp_path: Path) -> None:
    fake = FakeEngine()
    async with speaking_to(fake, tmp_path) as engine:
        first, second = await asyncio.gather(engine.info(), engine.info())
        assert first is second
        assert await engine.info() is first
    assert len(fake.paths) == 2


async def test_an_engine_that_is_too_old_is_refused_at_the_first_call(tmp_path: Path) -> None:
    async with speaking_to(FakeEngine(version={"ApiVersion": "1.40"}), tmp_path) as engine:
        for _ in range(2):
            with pytest.raises(EngineUnsupportedError, match=r"API 1\.40"):
                await engine.info()


async def test_an_engine_that_wants_newer_clients_is_refused_and_says_what_to_do(
    tmp_path: Path,
) -> None:
    fake = FakeEngine(version={"ApiVersion": "1.60", "MinAPIVersion": "1.53"})
    async with (
        serving(fake, tmp_path) as address,
        AsyncDockerSandbox(image="x", pull="never", docker_host=address) as sandbox,
    ):
        with pytest.raises(EngineUnsupportedError) as caught:
            await sandbox.create_session()
    assert "needs API 1.53 or newer" in str(caught.value)
    assert "speaks up to 1.52: update fumehood" in str(caught.value)
    # Nothing but the question was asked, by the creation and by what would tidy up after it.
    assert set(fake.paths) == {"GET /version"}


@pytest.mark.parametrize(
    "before, after, spoken",
    [
        (("1.41", "1.12"), ("1.52", "1.44"), "1.52"),  # updated
        (("1.52", "1.44"), ("1.43", "1.12"), "1.43"),  # and taken back
    ],
)
async def test_an_engine_that_is_replaced_by_another_release_is_spoken_to_in_its_version(
    tmp_path: Path, before: tuple[str, str], after: tuple[str, str], spoken: str
) -> None:
    fake = FakeEngine(version={"ApiVersion": before[0], "MinAPIVersion": before[1]})
    async with speaking_to(fake, tmp_path) as engine:
        assert await engine.find_session("s") is None
        fake.version |= {"ApiVersion": after[0], "MinAPIVersion": after[1]}
        with pytest.raises(EngineUnsupportedError, match="call again"):
            await engine.find_session("s")
        assert await engine.find_session("s") is None
    assert fake.paths[-1] == f"GET /v{spoken}/containers/fumehood-s/json"


async def test_an_engine_that_is_replaced_by_one_too_new_stays_refused(tmp_path: Path) -> None:
    fake = FakeEngine()
    async with speaking_to(fake, tmp_path) as engine:
        assert await engine.find_session("s") is None
        fake.version |= {"ApiVersion": "1.60", "MinAPIVersion": "1.53"}
        with pytest.raises(EngineUnsupportedError, match="call again"):
            await engine.find_session("s")
        for _ in range(2):
            with pytest.raises(EngineUnsupportedError, match="update fumehood"):
                await engine.find_session("s")
        fake.version |= {"MinAPIVersion": "1.44"}
        assert await engine.find_session("s") is None


LACKS: list[tuple[dict[str, Any], str]] = [
    ({"MemoryLimit": False}, "memory"),
    ({"SwapLimit": False}, "swap"),
    ({"PidsLimit": False}, "pids"),
    ({"CpuCfsQuota": False}, "cpu"),
    ({"SecurityOptions": ["name=apparmor"]}, "seccomp"),
    ({"SecurityOptions": None}, "seccomp"),
]


@pytest.mark.parametrize("lack,says", LACKS, ids=[says + str(lack) for lack, says in LACKS])
async def test_a_limit_that_is_not_enforced_is_refused_before_anything_is_created(
    tmp_path: Path, lack: dict[str, Any], says: str
) -> None:
    fake = FakeEngine(info=lack)
    async with speaking_to(fake, tmp_path) as engine:
        with pytest.raises(EngineUnsupportedError, match=says):
            await engine.create_session(request())
    assert not [path for path in fake.paths if path.startswith("POST")]


async def test_the_cpu_limit_is_read_under_both_of_its_names(tmp_path: Path) -> None:
    fake = FakeEngine(info={"CPUCfsQuota": True})
    del fake.info["CpuCfsQuota"]
    async with speaking_to(fake, tmp_path) as engine:
        assert (await engine.info()).cpu_limit


@pytest.mark.parametrize(
    "arch,ours", [("arm64", "arm64"), ("aarch64", "arm64"), ("x86_64", "amd64")]
)
async def test_architectures_are_understood(tmp_path: Path, arch: str, ours: str) -> None:
    async with speaking_to(FakeEngine(version={"Arch": arch}), tmp_path) as engine:
        assert (await engine.info()).architecture == ours


@pytest.mark.parametrize(
    "version,info,says",
    [({"Arch": "s390x"}, {}, "s390x"), ({}, {"OSType": "windows"}, "Linux containers")],
)
async def test_engines_for_other_machines_are_refused(
    tmp_path: Path, version: dict[str, Any], info: dict[str, Any], says: str
) -> None:
    async with speaking_to(FakeEngine(version=version, info=info), tmp_path) as engine:
        with pytest.raises(EngineUnsupportedError, match=says):
            await engine.info()


async def test_the_engines_text_is_printable(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fake = FakeEngine(
        info={"KernelVersion": "6.1\x1b]0;x\x07", "Warnings": ["WARNING: \x1b[2Jno swap\n\n"]}
    )
    with caplog.at_level(logging.WARNING, "fumehood.engine"):
        async with speaking_to(fake, tmp_path) as engine:
            info = await engine.info()
    assert "\x1b" not in info.kernel + info.warnings[0] + caplog.text
    assert info.warnings == ("WARNING: [2Jno swap",)
    assert "no swap" in caplog.text


@pytest.mark.parametrize(
    ("told", "offset"),
    [("2026-01-01T00:00:30.5Z", 30.5), ("2025-12-31T23:59:50Z", -10.0), ("", None), (7, None)],
)
def test_a_clock_that_differs_is_told(told: object, offset: float | None) -> None:
    info = docker_facts.engine_info(
        VERSION,
        INFO | {"SystemTime": told},
        address="x",
        api_version="1.41",
        asked=datetime(2026, 1, 1, tzinfo=UTC).timestamp(),
    )
    assert info.clock_offset == offset


def test_paths_are_masked_where_the_engines_own_list_is_known_to_be_short() -> None:
    def masked(version: str, name: str = "Engine") -> tuple[str, ...] | None:
        info = docker_facts.engine_info(
            VERSION | {"Components": [{"Name": name, "Version": version}]},
            INFO | {"ServerVersion": version},
            address="x",
            api_version="1.41",
            asked=0.0,
        )
        return docker_facts.masked_paths(info, processors=2)

    paths = masked("20.10.24+dfsg1")
    assert paths is not None
    assert {"/proc/interrupts", "/proc/kcore", "/sys/firmware"} < set(paths)
    assert paths[-1] == "/sys/devices/system/cpu/cpu1/thermal_throttle"
    assert masked("27.5.1") == masked("28.0.4") == paths
    assert masked("28.1.0") is masked("29.1.0") is None
    assert masked("5.2.0", "Podman Engine") is None
    assert masked("unknown") is None


# --- failures -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host,says",
    [
        ("unix:///nonexistent/docker.sock", "nothing is there"),
        ("tcp://127.0.0.1:1", "nothing listens there"),
    ],
)
async def test_no_engine_is_an_error_that_says_where_and_what_to_do(host: str, says: str) -> None:
    engine = DockerEngine(host)
    with pytest.raises(EngineUnavailableError, match=says) as caught:
        await engine.info()
    assert host in str(caught.value)
    assert caught.value.retryable
    await engine.close()


async def test_a_socket_that_may_not_be_used_says_so(tmp_path: Path) -> None:
    def refused() -> Exception:
        return PermissionError(13, "Permission denied")

    with pytest.raises(EngineUnavailableError, match="group"), mapped("asking", "unix:///x"):
        raise refused()


Answer = Callable[[web.Request], web.Response]
ANSWERS: list[tuple[str, Answer, type[SandboxError]]] = [
    ("no JSON", lambda _: web.Response(text="<html>"), EngineError),
    ("a list", lambda _: web.json_response([]), EngineError),
    (
        "an error in text",
        lambda _: web.Response(text="boom\x1b[2J", status=500),
        EngineError,
    ),
    ("an error without words", lambda _: web.json_response({}, status=500), EngineError),
]


@pytest.mark.parametrize("what,answer,error", ANSWERS, ids=[what for what, *_ in ANSWERS])
async def test_answers_that_are_none_are_typed_errors(
    tmp_path: Path, what: str, answer: Answer, error: type[SandboxError]
) -> None:
    fake = FakeEngine()

    async def handler(got: web.Request) -> web.Response:
        return answer(got)

    fake.handlers["containers/"] = handler
    async with speaking_to(fake, tmp_path) as engine:
        with pytest.raises(error) as caught:
            await engine.find_session("s")
    assert "\x1b" not in str(caught.value)


async def test_an_engine_that_does_not_answer_runs_into_the_deadline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeEngine()
    silent = asyncio.Event()

    async def handler(_: web.Request) -> web.Response:
        await silent.wait()
        return web.Response()

    fake.handlers["volumes/"] = handler
    async with speaking_to(fake, tmp_path) as engine:
        await engine.info()
        monkeypatch.setattr(
            docker_client.ApiClient.request,
            "__kwdefaults__",
            {"seconds": 0.05}
            | {
                "params": None,
                "body": None,
                "data": None,
                "content_type": "application/json",
                "headers": None,
            },
        )
        with pytest.raises(OperationTimeoutError, match="did not answer in time"):
            async with asyncio.timeout(SECONDS):
                await engine.remove_workspace("w")
        silent.set()


async def test_a_connection_that_breaks_in_an_answer_is_no_short_answer(tmp_path: Path) -> None:
    fake = FakeEngine()

    async def handler(got: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(got)
        await response.write(b'{"status": "Pulling"}\n{"sta')
        assert got.transport is not None
        got.transport.abort()
        return response

    fake.handlers["images/create"] = handler
    async with speaking_to(fake, tmp_path) as engine:
        with pytest.raises(EngineUnavailableError):
            await engine.prepare_image("example.invalid/x", pull="always")


async def test_an_answer_of_one_endless_line_is_refused(tmp_path: Path) -> None:
    fake = FakeEngine()

    async def handler(got: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(got)
        for _ in range(64):
            await response.write(b"x" * 65_536)
        return response

    fake.handlers["images/create"] = handler
    async with speaking_to(fake, tmp_path) as engine:
        with pytest.raises(EngineError, match="endless line"):
            await engine.prepare_image("example.invalid/x", pull="always")


async def test_a_stream_that_the_engine_does_not_open_is_an_error(tmp_path: Path) -> None:
    fake = FakeEngine()

    async def exec_made(_: web.Request) -> web.Response:
        return web.json_response({"Id": "e"})

    async def plain(_: web.Request) -> web.Response:
        return web.Response(text="no", headers={"Connection": "close"})

    fake.handlers["containers/c/exec"] = exec_made
    fake.handlers["exec/e/start"] = plain
    async with speaking_to(fake, tmp_path) as engine:
        with pytest.raises(EngineUnavailableError, match="instead of opening a stream"):
            await engine.open_relay(container())


async def test_a_relay_without_an_id_is_an_error_of_the_engine(tmp_path: Path) -> None:
    fake = FakeEngine()

    async def odd(_: web.Request) -> web.Response:
        return web.json_response([])

    fake.handlers["containers/c/exec"] = odd
    async with speaking_to(fake, tmp_path) as engine:
        with pytest.raises(EngineError, match="has no id"):
            await engine.open_relay(container())


def container() -> Container:
    return Container(
        id="c",
        session_id="s",
        nonce="0" * 64,
        state="running",
        created_at=0.0,
        image="x",
        workspace_id=None,
        detached=False,
        metadata={},
        workdir="/workspace",
    )


async def test_a_removal_that_is_in_progress_is_waited_for(tmp_path: Path) -> None:
    fake = FakeEngine()
    deletes: list[int] = []

    async def inspected(got: web.Request) -> web.Response:
        if got.method == "DELETE":
            deletes.append(1)
            if len(deletes) < 3:
                return web.json_response(
                    {"message": "removal of container c is already in progress"}, status=409
                )
            return web.json_response({"message": "No such container: c"}, status=404)
        if got.path.endswith("/wait"):
            return web.json_response({"StatusCode": 0})
        return web.json_response(
            {
                "Id": "c",
                "Name": "/fumehood-s",
                "Created": "2026-01-01T00:00:00.123456789Z",
                "State": {"Status": "removing"},
                "Config": {
                    "Labels": {"fumehood.session": "s", "fumehood.nonce": "0" * 64},
                },
            }
        )

    fake.handlers["containers/"] = inspected
    async with speaking_to(fake, tmp_path) as engine:
        found = await engine.find_session("s")
        assert found is not None
        assert found.state == "removing"
        assert found.created_at == pytest.approx(1767225600.123456)
        async with asyncio.timeout(SECONDS):
            await engine.remove_session("s")
    assert len(deletes) == 3


@pytest.mark.parametrize(
    "answers, gone",
    [([500, 404], True), ([500, 500, 200], True), ([500, 409], False), ([404], True)],
)
async def test_an_image_that_another_session_removes_just_now_is_gone(
    tmp_path: Path, answers: list[int], gone: bool
) -> None:
    fake = FakeEngine()

    async def removed(got: web.Request) -> web.Response:
        status = answers.pop(0)
        said: object = [] if status == 200 else {"message": "unrecognized image ID sha256:12"}
        return web.json_response(said, status=status)

    fake.handlers["images/"] = removed
    async with speaking_to(fake, tmp_path) as engine:
        assert await engine._remover.remove_layer("tag") is gone
    assert answers == []


async def test_a_removal_that_the_engine_has_got_in_the_way_of_is_asked_for_again(
    tmp_path: Path,
) -> None:
    fake = FakeEngine()
    answers = [
        web.json_response(
            {"message": "unable to remove filesystem for c: unlinkat /c: directory not empty"},
            status=500,
        ),
        web.Response(status=204),
    ]

    async def removed(got: web.Request) -> web.Response:
        return answers.pop(0)

    fake.handlers["containers/"] = removed
    async with speaking_to(fake, tmp_path) as engine:
        async with asyncio.timeout(SECONDS):
            assert await engine._remover.remove_container("c", "session 's'")
    assert answers == []


async def test_a_removal_that_does_not_come_to_an_end_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(docker_removal, "REMOVAL_SECONDS", 0.2)
    fake = FakeEngine()

    async def stuck(got: web.Request) -> web.Response:
        if got.path.endswith("/wait"):
            return web.json_response({"StatusCode": 0})
        return web.json_response(
            {"message": "removal of container c is already in progress"}, status=409
        )

    fake.handlers["containers/"] = stuck
    async with speaking_to(fake, tmp_path) as engine:
        await engine.info()
        with pytest.raises(OperationTimeoutError, match="still on the engine"):
            await engine._remover.remove_container("c", "session 's'")


NONSENSE = {
    "nothing": b"null",
    "a list": b"[]",
    "no field": b"{}",
    "a text": b'"x"',
    "a number": b"1",
    "a list of objects": b"[{}]",
    "no number": b"NaN",
    "lists without an end": b"[" * 100_000,
}


@pytest.mark.parametrize("path", ["version", "info", "images/"])
@pytest.mark.parametrize("body", NONSENSE.values(), ids=NONSENSE)
async def test_json_that_no_engine_sends_is_an_error_of_the_engine(
    tmp_path: Path, path: str, body: bytes
) -> None:
    fake = FakeEngine()

    async def odd(got: web.Request) -> web.Response:
        return web.Response(body=body, content_type="application/json")

    fake.handlers[path] = odd
    async with (
        serving(fake, tmp_path) as address,
        AsyncDockerSandbox(image="x", pull="never", docker_host=address) as sandbox,
    ):
        with pytest.raises(EngineError):
            await sandbox.create_session()


async def test_a_connection_that_never_tells_of_its_end_does_not_hold_up_the_close(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with speaking_to(FakeEngine(), tmp_path) as engine:
        await engine.info()
        docker = engine._api._docker
        assert docker is not None
        connections = docker.session.connector._conns.values()  # type: ignore[union-attr]
        for connection, _ in [kept for pool in connections for kept in pool]:
            # As after an interrupt in the middle of telling it: the event loop tells it once.
            assert connection.transport is not None
            connection.transport.set_protocol(asyncio.Protocol())
        async with asyncio.timeout(SECONDS):
            await engine.close()
    assert "told of its end" in caplog.text
