"""The page that started it, statement by statement: create, stream, persist and clean up."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from contract.adapter import Api
from contract.observer import Observer
from fumehood import (
    AsyncSession,
    EndReason,
    Exit,
    InvalidPathError,
    Lifecycle,
    Limits,
    Manifest,
    Network,
    Stdout,
    Workspace,
)

SCRIPT = {"index.py": "print('hello sandbox')"}


async def test_the_pages_example_runs(api: Api, observer: Observer) -> None:
    async with api.sandbox(
        workspace=Workspace.ephemeral(),
        lifecycle=Lifecycle(ttl=10 * 60, idle_timeout=60),
        limits=Limits(
            timeout=30, max_output_bytes=64_000, max_file_bytes=5_000_000, memory_mb=512, cpus=1
        ),
        network=Network.none(),
    ) as sandbox:
        session = await sandbox.create_session(manifest=Manifest(files=SCRIPT))
        try:
            result = await session.exec(["python3", "index.py"])
            assert result.stdout == "hello sandbox\n"
        finally:
            await session.destroy(wait=True)
        assert await observer.container(session.id) is None
        assert await observer.volumes(session.id) == []


async def test_network_is_off_capabilities_are_dropped_and_privileges_cannot_be_gained(
    session: AsyncSession,
) -> None:
    status = await session.exec(["cat", "/proc/self/status", "/proc/net/dev"], check=True)
    fields = dict(line.split(":", 1) for line in status.stdout.splitlines() if ":" in line)
    for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert int(fields[name], 16) == 0
    assert fields["NoNewPrivs"].strip() == "1"
    assert fields["Seccomp"].strip() == "2"
    interfaces = {name.strip() for name in fields if name.startswith(" ")}
    assert "lo" in interfaces
    assert not any(name.startswith(("eth", "ens", "veth")) for name in interfaces)


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../../x", "", "a\0b", "a\\b"])
async def test_unsafe_paths_are_rejected(session: AsyncSession, path: str) -> None:
    operations: list[Callable[[], object]] = [
        lambda: session.read_file(path),
        lambda: session.write_file(path, "x"),
        lambda: session.remove(path),
        lambda: session.make_directory(path),
        lambda: session.list_files(path),
    ]
    for operation in operations:
        with pytest.raises(InvalidPathError):
            await operation()  # type: ignore[misc]


async def test_large_output_is_truncated_and_timeouts_are_enforced(api: Api) -> None:
    async with api.session(limits=Limits(timeout=1, max_output_bytes=64_000)) as session:
        result = await session.exec(["yes"])
        assert result.timed_out
        assert len(result.stdout) == 64_000
        assert result.stdout_truncated
        assert result.stdout_dropped > 0


async def test_an_ephemeral_workspace_is_new_for_each_session(api: Api) -> None:
    async with api.sandbox() as sandbox:
        async with sandbox.create_session() as first:
            await first.write_file("secret", "x")
        async with sandbox.create_session() as second:
            assert await second.list_files() == []


async def test_a_persistent_workspace_is_kept_and_reused(
    api: Api, persistent: Workspace, workspace_id: str, observer: Observer
) -> None:
    async with api.sandbox(workspace=persistent) as sandbox:
        async with sandbox.create_session() as first:
            await first.write_file("kept", "x")
        assert await observer.workspace_exists(workspace_id)
        async with sandbox.create_session() as second:
            assert await second.read_text_file("kept") == "x"


async def test_persistence_can_be_chosen_per_session(
    api: Api, persistent: Workspace, workspace_id: str, observer: Observer
) -> None:
    async with api.sandbox() as sandbox:
        async with sandbox.create_session(workspace=persistent) as session:
            await session.write_file("kept", "x")
        assert await observer.workspace_exists(workspace_id)


async def test_output_appears_while_the_command_runs(session: AsyncSession) -> None:
    # The command ends only after its first output was seen here and answered with a file.
    program = "echo first; while ! test -e go; do sleep 0.02; done; echo last; exit 7"
    seen: list[str] = []
    async for event in session.exec_stream(["sh", "-c", program], timeout=60):
        if isinstance(event, Stdout):
            seen.append(event.text)
            if event.text == "first\n":
                await session.write_file("go", "")
        if isinstance(event, Exit):
            assert event.result.exit_code == 7
            assert event.result.stdout == "first\nlast\n"
    assert "".join(seen) == "first\nlast\n"
    await session.remove("go")


@pytest.mark.engines("docker", "memory")
@pytest.mark.parametrize(
    ("lifecycle", "reason"),
    [
        (Lifecycle(ttl=1), EndReason.TTL),
        (Lifecycle(idle_timeout=1), EndReason.IDLE),
    ],
)
async def test_a_session_cleans_itself_up_when_nobody_destroys_it(
    api: Api, observer: Observer, lifecycle: Lifecycle, reason: EndReason
) -> None:
    async with api.sandbox(lifecycle=lifecycle) as sandbox:
        session = await sandbox.create_session()
        assert await session.wait_ended() is reason
        await observer.gone(session.id, within=30)
        assert session.end_reason is reason


@pytest.mark.engines("docker", "memory")
async def test_idle_time_starts_after_the_last_operation(api: Api) -> None:
    async with api.session(lifecycle=Lifecycle(idle_timeout=1)) as session:
        # Longer than the idle time: an active command keeps the session.
        result = await session.exec(["sleep", "2.5"], check=True)
        assert result.duration > 2
        assert session.end_reason is None
