"""Stop and resume, snapshots, forks: a session's files beyond its processes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from contract.adapter import BUSYBOX, NONROOT, PYTHON, SCRATCH, Api
from contract.observer import Observer
from contract.scripted import KEEPS_OUTSIDE, REWRITES
from fumehood import (
    AsyncDockerSandbox,
    AsyncSession,
    EndReason,
    InvalidRequestError,
    Lifecycle,
    Limits,
    Manifest,
    Security,
    SessionEndedError,
    SessionExistsError,
    SessionNotFoundError,
    SessionState,
    SnapshotExistsError,
    SnapshotNotFoundError,
    Workspace,
    WorkspaceBusyError,
)


@contextlib.asynccontextmanager
async def stopped(sandbox: AsyncDockerSandbox, **options: object) -> AsyncIterator[str]:
    """Give the id of a session that was stopped with a file in each place."""
    session = await sandbox.create_session(**options)  # type: ignore[arg-type]
    try:
        await session.write_file("kept", "in the workspace")
        await session.shell(KEEPS_OUTSIDE, check=True)
        await session.stop()
        yield session.id
    finally:
        await sandbox.destroy_session(session.id)


async def test_a_stopped_session_comes_back_with_its_files(api: Api, observer: Observer) -> None:
    async with api.sandbox(PYTHON) as sandbox, stopped(sandbox) as id:
        assert await observer.container(id) is None
        layer = await observer.layer_of(id)
        assert layer in await observer.layers()
        async with sandbox.resume(id) as session:
            assert session.id == id
            assert await session.read_text_file("kept") == "in the workspace"
            assert (await session.exec(["cat", "/var/tmp/kept"])).stdout == "outside\n"
            assert [info.state for info in await sandbox.list_sessions() if info.id == id] == [
                "running"
            ]
        with pytest.raises(SessionNotFoundError, match=id):
            await sandbox.resume(id)
    assert layer not in await observer.layers()


@pytest.mark.parametrize("image", [NONROOT, BUSYBOX, SCRATCH])
async def test_every_image_can_be_stopped_and_resumed(api: Api, image: str) -> None:
    async with api.sandbox(image) as sandbox:
        session = await sandbox.create_session()
        await session.write_file("a/b", b"\0" * 100_000)
        before = await session.stat("a/b")
        await session.stop()
        async with sandbox.resume(session.id) as again:
            assert await again.read_file("a/b") == b"\0" * 100_000
            assert await again.stat("a/b") == before
            await again.write_file("a/c", "more")


@pytest.mark.engines("docker", "memory")
async def test_stopping_ends_the_session_for_this_object(api: Api) -> None:
    async with api.sandbox() as sandbox:
        session = await sandbox.create_session()
        await session.stop()
        assert session.state is SessionState.ENDED
        assert session.end_reason is EndReason.STOPPED
        assert await session.wait_ended() is EndReason.STOPPED
        with pytest.raises(SessionEndedError, match="resume"):
            await session.exec(["true"])
        with pytest.raises(SessionEndedError):
            await session.stop()
        await session.destroy()  # which is idempotent, and leaves the stopped session alone
        states = {info.id: info.state for info in await sandbox.list_sessions()}
        assert states[session.id] == "stopped"
        await sandbox.destroy_session(session.id)
        assert session.id not in {info.id for info in await sandbox.list_sessions()}


async def test_any_process_resumes_with_the_sessions_own_settings(api: Api) -> None:
    metadata = {"for": "somebody"}
    async with api.sandbox(
        NONROOT,
        env={"SECRET": "s3cret"},
        user="1000:0",
        limits=Limits(memory_mb=96, pids=64, timeout=17, cpus=0.5, max_processes=3),
        lifecycle=Lifecycle(ttl=500, idle_timeout=400, disconnect_grace=3),
        security=Security(workload_capabilities=("CHOWN",)),
    ) as first:
        session = await first.create_session(metadata=metadata)
        limits, id = session.effective_limits, session.id
        await session.stop(expires=1000)
        (info,) = [info for info in await first.list_sessions() if info.id == id]
        assert info.metadata == metadata
        assert info.ttl == 500
        assert info.expires_at is not None
        assert 0 < (info.expires_at - info.created_at).total_seconds() <= 1010
    async with (
        api.sandbox(BUSYBOX, limits=Limits(memory_mb=64)) as second,
        second.resume(id) as again,
    ):
        assert again.effective_limits == limits
        assert again.metadata == metadata
        done = await again.exec(["sh", "-c", "echo $SECRET $(id -u):$(id -g)"], check=True)
        assert done.stdout == "s3cret 1000:0\n"
        (info,) = [info for info in await second.list_sessions() if info.id == id]
        assert (info.ttl, info.idle_timeout) == (500, 400)


async def test_a_client_that_only_joined_stops_with_the_environment_too(api: Api) -> None:
    value = "x" * 100_000  # more than one answer holds
    async with api.sandbox(env={"LONG": value}) as sandbox:
        session = await sandbox.create_session(manifest=Manifest(env={"OF": "the manifest"}))
        async with sandbox.connect(session.id) as joined:
            await joined.stop()
        assert await session.wait_ended() is not None
        async with sandbox.resume(session.id) as again:
            done = await again.exec(["sh", "-c", 'echo "${#LONG} $OF"'], check=True)
            assert done.stdout == "100000 the manifest\n"


async def test_nothing_secret_is_in_what_the_engine_shows_of_a_stopped_session(
    api: Api, observer: Observer
) -> None:
    async with (
        api.sandbox(env={"SECRET": "s3cret-of-env"}) as sandbox,
        stopped(sandbox) as id,
    ):
        layer = await observer.layer_of(id)
        shown = [
            await observer.call("GET", f"containers/fumehood.stopped.{id}/json"),
            await observer.call("GET", f"images/{layer}/json"),
            await observer.call("GET", f"images/{layer}/history"),
        ]
        assert "s3cret-of-env" not in str(shown)


async def test_what_is_kept_for_a_time_goes_with_a_sweep_after_it_and_nothing_else_does(
    api: Api, observer: Observer
) -> None:
    async with api.sandbox() as sandbox, stopped(sandbox) as kept:
        session = await sandbox.create_session()
        snapshot = await session.snapshot(expires=1)
        layers = {f"fumehood-layer:{snapshot.id}"}
        # Its workspace lies in a volume that the engine made for the session, and for it alone.
        volume = (await observer.volumes(session.id))[0]
        await session.stop(expires=1)
        layers.add(await observer.layer_of(session.id))
        assert session.id in {info.id for info in await sandbox.list_sessions()}
        async with asyncio.timeout(60):
            while await _there(sandbox, session.id, snapshot.name):
                # The engine's clock decides, and its own sweep is any client's.
                await asyncio.sleep(0.2)
                assert (await sandbox.gc()).failed == {}
        with pytest.raises(SessionNotFoundError):
            await sandbox.resume(session.id)
        assert layers.isdisjoint(await observer.layers())
        assert await observer.call("GET", f"volumes/{volume}", absent=True) is None
        # One that is kept for a week is there, whole.
        async with sandbox.resume(kept) as again:
            assert await again.read_text_file("kept") == "in the workspace"


async def _there(sandbox: AsyncDockerSandbox, id: str, name: str) -> bool:
    return id in {info.id for info in await sandbox.list_sessions()} or name in {
        item.name for item in await sandbox.list_snapshots()
    }


@pytest.mark.engines("docker", "memory")
async def test_an_id_is_taken_while_its_session_is_stopped(api: Api) -> None:
    async with api.sandbox() as sandbox, stopped(sandbox) as id:
        with pytest.raises(SessionExistsError, match="stopped"):
            await sandbox.create_session(id=id)
        with pytest.raises(SessionNotFoundError, match="resume"):
            await sandbox.connect(id)


@pytest.mark.engines("docker", "memory")
async def test_of_two_who_resume_at_once_one_gets_the_session(api: Api) -> None:
    async with api.sandbox() as sandbox, stopped(sandbox) as id:
        found = await asyncio.gather(
            *(_resumed(sandbox, id) for _ in range(2)),
            return_exceptions=True,
        )
        errors = [item for item in found if isinstance(item, BaseException)]
        assert len(errors) == 1
        assert isinstance(errors[0], (SessionExistsError, SessionNotFoundError))
        (session,) = [item for item in found if not isinstance(item, BaseException)]
        assert await session.read_text_file("kept") == "in the workspace"
        await session.destroy()


async def _resumed(sandbox: AsyncDockerSandbox, id: str) -> AsyncSession:
    return await sandbox.resume(id)


async def test_a_workspace_in_memory_is_kept_too(api: Api) -> None:
    async with api.sandbox(limits=Limits(workspace_mb=16)) as sandbox:
        session = await sandbox.create_session()
        await session.write_file("kept", b"x" * 5_000_000)
        await session.stop()
        async with sandbox.resume(session.id) as again:
            assert again.effective_limits.workspace_tier == "tmpfs"
            assert await again.read_file("kept") == b"x" * 5_000_000


async def test_a_session_with_a_read_only_root_is_kept_without_an_image(
    api: Api, observer: Observer
) -> None:
    async with api.sandbox(security=Security(readonly_rootfs=True)) as sandbox:
        session = await sandbox.create_session()
        await session.write_file("kept", "x")
        await session.stop()
        assert await observer.layer_of(session.id) == ""
        async with sandbox.resume(session.id) as again:
            assert await again.read_text_file("kept") == "x"


@pytest.mark.engines("docker", "memory")
async def test_a_persistent_workspace_stays_where_it_is(api: Api, persistent: Workspace) -> None:
    async with api.sandbox(workspace=persistent) as sandbox:
        session = await sandbox.create_session()
        await session.write_file("kept", "x")
        await session.stop()
        assert persistent.id is not None
        with pytest.raises(WorkspaceBusyError, match="stopped session"):
            await sandbox.remove_workspace(persistent.id)
        async with sandbox.create_session() as other:
            await other.write_file("by another", "y")
            with pytest.raises(WorkspaceBusyError):
                await sandbox.resume(session.id)
        async with sandbox.resume(session.id) as again:
            names = [entry.path for entry in await again.list_files()]
        assert names == ["by another", "kept"]


async def test_a_snapshot_begins_sessions_and_lets_its_own_live_on(
    api: Api, observer: Observer
) -> None:
    async with api.sandbox() as sandbox, sandbox.create_session() as session:
        await session.write_file("a", b"x" * 1_000_000)
        await session.shell("head -c 3000000 /dev/urandom > /var/tmp/layer", check=True)
        snapshot = await session.snapshot(labels={"step": "1"})
        await session.write_file("a", "changed")
        try:
            async with sandbox.create_session(from_snapshot=snapshot) as copy:
                assert await copy.read_file("a") == b"x" * 1_000_000
                assert (await copy.exec(["stat", "-c%s", "/var/tmp/layer"])).stdout == "3000000\n"
                await copy.write_file("b", "of the copy")
            # Its layer goes with the last that uses it: see below.
            await copy.destroy(wait=True)
            assert [entry.path for entry in await session.list_files()] == ["a"]
            assert snapshot in await sandbox.list_snapshots()
            assert snapshot.workspace_bytes == 1_000_000
            assert 3_000_000 <= snapshot.layer_bytes < 4_000_000
            assert snapshot.image == PYTHON
            assert snapshot.labels == {"step": "1"}
            assert snapshot.duration > 0
        finally:
            await sandbox.delete_snapshot(snapshot)
        assert snapshot not in await sandbox.list_snapshots()
        assert not await observer.has_layer(snapshot)
        with pytest.raises(SnapshotNotFoundError, match=snapshot.name):
            await sandbox.create_session(from_snapshot=snapshot)


async def test_a_snapshots_layer_goes_with_the_last_session_that_uses_it(
    api: Api, observer: Observer
) -> None:
    async with api.sandbox() as sandbox, sandbox.create_session() as session:
        snapshot = await session.snapshot()
        one = await sandbox.create_session(from_snapshot=snapshot)
        two = await sandbox.create_session(from_snapshot=snapshot)
        await sandbox.delete_snapshot(snapshot)
        await one.destroy(wait=True)
        assert await observer.has_layer(snapshot), "a session runs on it still"
        # The other one ends by itself: the engine has forgotten it before anybody asks.
        await two.extend(ttl=0.2)
        await observer.gone(two.id, within=30)
        await two.destroy(wait=True)
        assert not await observer.has_layer(snapshot)


@pytest.mark.engines("docker", "memory")
async def test_a_snapshots_name_is_taken_once(api: Api) -> None:
    name = api.new_id()
    async with api.sandbox() as sandbox, sandbox.create_session() as session:
        await session.snapshot(name)
        with pytest.raises(SnapshotExistsError, match=name):
            await session.snapshot(name)
        await sandbox.delete_snapshot(name)
        await sandbox.delete_snapshot(name)
        with pytest.raises(InvalidRequestError):
            await session.snapshot("../x")
        with pytest.raises(InvalidRequestError):
            await sandbox.create_session(from_snapshot="../x")


@pytest.mark.engines("docker", "memory")
async def test_commands_stand_still_during_a_snapshot_and_go_on_after_it(api: Api) -> None:
    async with api.sandbox() as sandbox, sandbox.create_session() as session:
        process = await session.start_process(REWRITES)
        snapshot = await session.snapshot()
        try:
            async with sandbox.create_session(from_snapshot=snapshot) as copy:
                assert await copy.list_processes() == []
            before = await session.read_file("n")
            async with asyncio.timeout(30):
                while await session.read_file("n") == before:
                    await asyncio.sleep(0.01)
            await process.stop()
        finally:
            await sandbox.delete_snapshot(snapshot)


@pytest.mark.engines("docker", "memory")
async def test_a_session_that_was_paused_stays_so_over_a_snapshot(api: Api) -> None:
    async with api.sandbox() as sandbox, sandbox.create_session() as session:
        await session.pause()
        snapshot = await session.snapshot()
        await sandbox.delete_snapshot(snapshot)
        with pytest.raises(Exception, match="paus"):
            await session.exec(["true"])
        await session.unpause()
        assert (await session.exec(["true"])).ok


async def test_forks_have_the_files_and_nothing_else_of_the_original(
    api: Api, observer: Observer
) -> None:
    async with (
        api.sandbox(env={"A": "b"}, labels={"team": "x"}) as sandbox,
        sandbox.create_session(metadata={"for": "one"}) as session,
    ):
        await session.write_file("a", "of all")
        forks = await session.fork(3)
        try:
            names = [snapshot.name for snapshot in await sandbox.list_snapshots()]
            assert [name for name in names if name.startswith("fork-")] == []
            marks = (await observer.container(forks[0].id) or {})["Config"]["Labels"]
            layer = f"fumehood-layer:{marks['fumehood.layer']}"
            hosts = {(await fork.exec(["hostname"])).stdout for fork in [session, *forks]}
            assert len(hosts) == 4
            assert len({fork.id for fork in [session, *forks]}) == 4
            for number, fork in enumerate(forks):
                assert await fork.read_text_file("a") == "of all"
                await fork.write_file("a", str(number))
                assert (await fork.exec(["sh", "-c", "echo $A"])).stdout == "b\n"
            assert await session.read_text_file("a") == "of all"
            own = (await observer.container(session.id) or {})["Config"]["Labels"]
            for fork in forks:
                marks = (await observer.container(fork.id) or {})["Config"]["Labels"]
                assert fork.metadata == {}
                assert "x" not in marks.values()
                assert own["fumehood.nonce"] != marks["fumehood.nonce"]
                assert session.id not in str(marks)
        finally:
            for fork in forks:
                await fork.destroy(wait=True)
        assert layer not in await observer.layers()


async def test_what_docker_commit_makes_of_a_session_is_never_taken_for_one(
    api: Api, observer: Observer
) -> None:
    async with api.sandbox() as sandbox, sandbox.create_session() as session:
        name = f"{api.prefix}-copy"
        made = await observer.call(
            "POST", "commit", container=f"fumehood-{session.id}", repo=name, tag="x", body={}
        )
        copy = await observer.call(
            "POST",
            "containers/create",
            name=name,
            body={"Image": made["Id"], "Entrypoint": ["sleep", "60"], "User": "0:0"},
        )
        try:
            await observer.call("POST", f"containers/{copy['Id']}/start")
            ids = [info.id for info in await sandbox.list_sessions()]
            assert ids.count(session.id) == 1
            snapshot = await session.snapshot()
            await sandbox.delete_snapshot(snapshot)
            async with sandbox.connect(session.id) as joined:
                assert (await joined.exec(["true"])).ok
            # Its end is not the session's.
            await observer.call("POST", f"containers/{copy['Id']}/kill")
            report = await sandbox.gc()
            assert name not in str(report)
            assert (await session.exec(["true"])).ok
            assert await observer.call("GET", f"containers/{copy['Id']}/json", absent=True)
        finally:
            await observer.call("DELETE", f"containers/{copy['Id']}", force="1")
            await observer.call("DELETE", f"images/{name}:x")
