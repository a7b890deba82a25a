"""Bad input is a typed error with a helpful message, and leaves nothing on the engine."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from contract.adapter import Api
from contract.observer import Observer
from fumehood import (
    AsyncSession,
    CommandNotFoundError,
    EngineUnavailableError,
    FileIsDirectoryError,
    FileMissingError,
    FileTooLargeError,
    InvalidPathError,
    InvalidRequestError,
    Lifecycle,
    Limits,
    Manifest,
    Network,
    NotRegularFileError,
    PathEscapesError,
    SandboxError,
    Security,
    UserNotFoundError,
    WorkingDirectoryError,
    Workspace,
)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Limits(memory_mb=-1),
        lambda: Limits(memory_mb=True),
        lambda: Limits(cpus=math.nan),
        lambda: Limits(cpus=math.inf),
        lambda: Limits(pids=0),
        lambda: Limits(timeout=0),
        lambda: Limits(timeout=math.nan),
        lambda: Limits(max_output_bytes=2**63),
        lambda: Limits(max_file_bytes="1g"),  # type: ignore[arg-type]
        lambda: Lifecycle(ttl=-1),
        lambda: Lifecycle(detached=True),
        lambda: Network.named("host"),
        lambda: Network.named("container:x"),
        lambda: Security(workload_capabilities=("SYS_ADMIN",)),
        lambda: Security(seccomp="unconfined"),
        lambda: Workspace.persistent("../x"),
        lambda: Workspace.persistent("Upper"),
        lambda: Manifest(files={"../x": ""}),
        lambda: Manifest(files={"/x": ""}),
        lambda: Manifest(env={"A=B": ""}),
        lambda: Manifest(env={"A": "\0"}),
    ],
)
async def test_a_value_out_of_range_is_refused_when_it_is_made(make: Callable[[], object]) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        make()
    assert isinstance(caught.value, ValueError)


@pytest.mark.engines("docker", "memory")
@pytest.mark.parametrize(
    "options",
    [
        {"image": "--privileged"},
        {"image": "a b"},
        {"image": "x\n"},
        {"workdir": "relative"},
        {"workdir": "/"},
        {"workdir": "/a/../b"},
        {"env": {"A=B": "x"}},
        {"env": {"A": "\0"}},
        {"labels": {"fumehood.session": "forged"}},
        {"labels": {"a\nb": "x"}},
        {"labels": {"a": "$(id)\n"}},
        {"user": "64999"},
        {"user": "a b"},
        {"pull": "sometimes"},
        {"platform": "windows/amd64"},
        {"limits": {"memory_mb": 5}},
    ],
)
async def test_a_sandbox_refuses_odd_options_at_once(api: Api, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError):
        api.sandbox(**{"image": "fumehood/test-python", **options})


@pytest.mark.engines("docker", "memory")
@pytest.mark.parametrize(
    "options",
    [
        {"id": "Upper"},
        {"id": "a/b"},
        {"id": ""},
        {"id": "x" * 64},
        {"id": "--rm"},
        {"id": "a\nb"},
        {"metadata": {"fumehood": "x"}},
        {"metadata": {"a": "b\n"}},
        {"ports": [0]},
        {"ports": [70_000]},
        {"workspace": "user-42"},
        {"manifest": {"a": "b"}},
        {"manifest": Manifest(files={"a": "1", "a/b": "2"})},
        {"manifest": Manifest(files={"a/b/c": "1", "a": "2"})},
        {"manifest": Manifest(files={"a": "1"}, directories=("a",))},
        {"manifest": Manifest(files={"a": "1"}, directories=("a/b",))},
    ],
)
async def test_odd_arguments_of_a_session_are_refused_before_anything_is_created(
    api: Api, options: dict[str, Any]
) -> None:
    async with api.sandbox() as sandbox:
        with pytest.raises(InvalidRequestError):
            await sandbox.create_session(**options)


@pytest.mark.engines("docker", "memory")
async def test_a_manifest_larger_than_the_limit_is_refused_before_anything_is_created(
    api: Api, observer: Observer
) -> None:
    name = api.new_id()
    async with api.sandbox(limits=Limits(max_file_bytes=10)) as sandbox:
        with pytest.raises(FileTooLargeError, match="max_file_bytes"):
            await sandbox.create_session(id=name, manifest=Manifest(files={"a": "x" * 11}))
    assert await observer.container(name) is None


@pytest.mark.engines("docker", "memory")
@pytest.mark.parametrize(
    "path", ["/etc/passwd", "..", "a/../../b", "", "a\0b", "a\\b", "x" * 256, "a/" * 3000 + "b"]
)
async def test_paths_are_refused_by_their_spelling(session: AsyncSession, path: str) -> None:
    with pytest.raises(InvalidPathError):
        await session.read_file(path)
    with pytest.raises(InvalidPathError):
        await session.write_file(path, "x")
    with pytest.raises(InvalidPathError):
        await session.rename("a", path)


@pytest.mark.parametrize(
    ("target", "error"),
    [
        ("/etc/passwd", PathEscapesError),
        ("../../etc/passwd", PathEscapesError),
        ("/proc/1/environ", PathEscapesError),
        ("/proc/self/root/etc/passwd", PathEscapesError),
    ],
)
async def test_a_link_out_of_the_workspace_is_not_followed(
    session: AsyncSession, target: str, error: type[SandboxError]
) -> None:
    await session.exec(["ln", "-sfn", target, "link"], check=True)
    with pytest.raises(error, match="link"):
        await session.read_file("link")
    with pytest.raises(error):
        await session.write_file("link/x" if target.endswith("/") else "link", "overwritten")
    assert "root" in await session.read_text_file("/etc/passwd", root="/")
    await session.remove("link")


async def test_only_regular_files_are_read(session: AsyncSession) -> None:
    await session.shell("mkfifo fifo; mkdir directory", check=True)
    with pytest.raises(NotRegularFileError, match="fifo"):
        await session.read_file("fifo")
    with pytest.raises(FileIsDirectoryError, match="directory"):
        await session.read_file("directory")
    with pytest.raises(NotRegularFileError):
        await session.read_file("/dev/zero", root="/")
    with pytest.raises(FileMissingError, match="absent"):
        await session.read_file("absent")
    await session.shell("rm -r fifo directory", check=True)


@pytest.mark.engines("docker", "memory")
async def test_a_string_for_argv_names_the_shell_method(session: AsyncSession) -> None:
    with pytest.raises(InvalidRequestError, match=r"session\.shell"):
        await session.exec("echo hi")
    for argv in ([], [""], ["a\0b"], [1]):
        with pytest.raises(InvalidRequestError):
            await session.exec(argv)  # type: ignore[arg-type]


async def test_what_cannot_be_started_is_not_an_exit_code(session: AsyncSession) -> None:
    with pytest.raises(CommandNotFoundError, match="no-such-program"):
        await session.exec(["no-such-program"])
    assert (await session.shell("exit 127")).exit_code == 127
    with pytest.raises(WorkingDirectoryError, match="nowhere"):
        await session.exec(["true"], cwd="nowhere")
    with pytest.raises(UserNotFoundError, match="nobody-of-this-name"):
        await session.exec(["true"], user="nobody-of-this-name")


@pytest.mark.parametrize("address", ["unix:///nonexistent/docker.sock", "tcp://127.0.0.1:1"])
async def test_no_engine_is_said_with_its_address(api: Api, address: str) -> None:
    async with api.sandbox(docker_host=address) as sandbox:
        with pytest.raises(EngineUnavailableError, match=address.rpartition("/")[2]) as caught:
            await sandbox.create_session()
        assert caught.value.retryable
        assert isinstance(caught.value, ConnectionError)
