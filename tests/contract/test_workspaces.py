"""Ephemeral workspaces go with their session; persistent ones stay, with one writer at a time."""

from __future__ import annotations

import asyncio
import sys

import pytest

from contract.adapter import BUSYBOX, NONROOT, PYTHON, SCRATCH, Api
from contract.observer import Observer
from fumehood import (
    DiskFullError,
    EngineError,
    FileError,
    FilePermissionError,
    InvalidRequestError,
    Lifecycle,
    Limits,
    Manifest,
    UserNotFoundError,
    Workspace,
    WorkspaceBusyError,
)

_HOLDER = """
import sys, signal
from fumehood import DockerSandbox, Lifecycle, Workspace
sandbox = DockerSandbox(image=sys.argv[1], pull="never", lifecycle=Lifecycle(disconnect_grace=0))
session = sandbox.create_session(id=sys.argv[2], workspace=Workspace.persistent(sys.argv[3]))
session.write_file("by the holder", "x")
print("ready", flush=True)
signal.pause()
"""


@pytest.mark.parametrize("image", [PYTHON, NONROOT, BUSYBOX, SCRATCH])
async def test_every_image_writes_to_an_ephemeral_workspace_that_goes_with_the_session(
    api: Api, observer: Observer, image: str
) -> None:
    async with api.session(image) as session:
        await session.write_file("a/b", "x")
        assert await session.read_file("a/b") == b"x"
        assert len(await observer.volumes(session.id)) == 1
    assert await observer.volumes(session.id) == []


@pytest.mark.parametrize("image", [PYTHON, NONROOT])
async def test_every_user_writes_to_a_persistent_workspace(
    api: Api, persistent: Workspace, image: str
) -> None:
    async with api.sandbox(image, workspace=persistent) as sandbox:
        async with sandbox.create_session() as first:
            await first.write_file("by the file api", "x")
            await first.shell("echo y > by-a-command", check=True)
        async with sandbox.create_session() as second:
            names = [entry.path for entry in await second.list_files()]
            await second.write_file("by the file api", "z")
    assert names == ["by the file api", "by-a-command"]


# Once is enough: the flavours of the API have nothing to do with whose files they are.
@pytest.mark.flavours("async")
async def test_a_workspace_is_handed_to_the_next_user_and_the_files_in_it_stay_whose_they_are(
    api: Api, persistent: Workspace
) -> None:
    async with (
        api.sandbox(user=1000, workspace=persistent) as sandbox,
        sandbox.create_session() as first,
    ):
        await first.write_file("open", "x")
        await first.write_file("closed", "x", mode=0o600)
    async with (
        api.sandbox(user=2000, workspace=persistent) as sandbox,
        sandbox.create_session() as other,
    ):
        await other.write_file("new", "y")
        assert await other.read_text_file("open") == "x"
        with pytest.raises(FilePermissionError):
            await other.read_file("closed")
        assert not (await other.shell("echo z >> open")).ok
        owners = {entry.path: entry.uid for entry in await other.list_files()}
        assert owners == {"closed": 1000, "new": 2000, "open": 1000}
        assert (await other.stat(".")).uid == 2000
    # Root is handed nothing: without capabilities it may what the modes say, and commands of the
    # workspace's own user are how it is asked for more.
    async with (
        api.sandbox(user=0, workspace=persistent) as sandbox,
        sandbox.create_session() as root,
    ):
        assert await root.read_text_file("new") == "y"
        with pytest.raises(FilePermissionError):
            await root.write_file("more", "z")
        await root.exec(["rm", "open"], user=2000, check=True)


async def test_the_workspace_is_mode_0755_and_belongs_to_the_user(api: Api) -> None:
    async with api.session(NONROOT) as session:
        assert (await session.exec(["stat", "-c", "%a %u", "."])).stdout == "755 1000\n"


async def test_a_second_session_on_a_workspace_is_refused_and_told_who_holds_it(
    api: Api, persistent: Workspace
) -> None:
    async with (
        api.sandbox(workspace=persistent) as sandbox,
        sandbox.create_session() as holder,
    ):
        with pytest.raises(WorkspaceBusyError, match=holder.id):
            await sandbox.create_session()
        await holder.write_file("still", "mine")


@pytest.mark.engines("docker", "memory")
async def test_of_ten_sessions_that_want_one_workspace_at_once_one_gets_it(
    api: Api, persistent: Workspace
) -> None:
    async def take() -> str | None:
        try:
            session = await sandbox.create_session()
        except WorkspaceBusyError:
            return None
        return session.id

    async with api.sandbox(workspace=persistent) as sandbox:
        taken = await asyncio.gather(*(take() for _ in range(10)))
        winners = [session_id for session_id in taken if session_id is not None]
        assert len(winners) == 1


async def test_a_workspace_is_free_again_when_its_holder_is_killed(
    api: Api, persistent: Workspace, workspace_id: str, observer: Observer
) -> None:
    session_id = api.new_id()
    holder = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        _HOLDER,
        PYTHON,
        session_id,
        workspace_id,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert holder.stdout is not None
        assert await asyncio.wait_for(holder.stdout.readline(), 60) == b"ready\n"
    finally:
        holder.kill()
        await holder.wait()
    await observer.gone(session_id, within=30)
    async with api.sandbox(workspace=persistent) as sandbox, sandbox.create_session() as session:
        assert await session.read_file("by the holder") == b"x"


async def test_a_workspace_that_goes_with_its_session_goes(
    api: Api, workspace_id: str, observer: Observer
) -> None:
    workspace = Workspace.persistent(workspace_id, destroy_with_session=True)
    async with api.sandbox() as sandbox:
        async with sandbox.create_session(workspace=workspace) as session:
            await session.write_file("a", "x")
            assert await observer.workspace_exists(workspace_id)
        assert not await observer.workspace_exists(workspace_id)


async def test_a_workspace_that_goes_with_its_session_goes_when_that_ends_by_itself(
    api: Api, workspace_id: str, observer: Observer
) -> None:
    workspace = Workspace.persistent(workspace_id, destroy_with_session=True)
    async with api.sandbox(lifecycle=Lifecycle(ttl=1)) as sandbox:
        session = await sandbox.create_session(workspace=workspace)
        await session.wait_ended()
        async with asyncio.timeout(30):
            while await observer.workspace_exists(workspace_id):
                await asyncio.sleep(0.05)


@pytest.mark.engines("docker", "memory")
async def test_workspaces_are_listed_and_removed_and_never_while_they_are_held(
    api: Api, persistent: Workspace, workspace_id: str
) -> None:
    async with api.sandbox() as sandbox:
        async with sandbox.create_session(workspace=persistent):
            assert workspace_id in await sandbox.list_workspaces()
            with pytest.raises(WorkspaceBusyError):
                await sandbox.remove_workspace(workspace_id)
        await sandbox.remove_workspace(workspace_id)
        assert workspace_id not in await sandbox.list_workspaces()
        await sandbox.remove_workspace(workspace_id)


async def test_a_quota_is_the_kernels_and_a_full_workspace_is_a_typed_error(api: Api) -> None:
    async with api.session(limits=Limits(workspace_mb=8)) as session:
        limits = session.effective_limits
        assert limits.workspace_tier == "tmpfs"
        assert limits.workspace_bytes == 8 << 20
        await session.write_file("old", "as it was")
        with pytest.raises(DiskFullError):
            await session.write_file("old", bytes(9 << 20))
        assert await session.read_text_file("old") == "as it was"
        assert [entry.path for entry in await session.list_files()] == ["old"]
        full = await session.shell("head -c 9000000 /dev/zero > big")
        assert not full.ok
        await session.remove("big")
        await session.write_file("small", bytes(1 << 20))


async def test_a_persistent_workspace_has_no_quota_and_says_so(
    api: Api, persistent: Workspace
) -> None:
    async with api.sandbox(workspace=persistent, limits=Limits(workspace_mb=8)) as sandbox:
        with pytest.raises(InvalidRequestError, match="quota"):
            await sandbox.create_session()


async def test_a_manifest_that_fails_half_way_leaves_nothing(api: Api, observer: Observer) -> None:
    name = api.new_id()
    manifest = Manifest(files={"a": "x", "b": bytes(2 << 20)})
    async with api.sandbox(limits=Limits(workspace_mb=1)) as sandbox:
        with pytest.raises(DiskFullError, match="'b'"):
            await sandbox.create_session(id=name, manifest=manifest)
        assert await observer.container(name) is None
        assert await observer.volumes(name) == []


async def test_a_foreign_volume_of_a_workspaces_name_is_never_used(
    api: Api, observer: Observer, workspace_id: str
) -> None:
    volume = f"fumehood-ws-{workspace_id}"
    await observer.call("POST", "volumes/create", body={"Name": volume})
    try:
        async with api.sandbox(workspace=Workspace.persistent(workspace_id)) as sandbox:
            with pytest.raises(EngineError, match="not a workspace of ours"):
                await sandbox.create_session()
    finally:
        await observer.call("DELETE", f"volumes/{volume}")


@pytest.mark.engines("docker", "memory")
@pytest.mark.parametrize("goes", [False, True])
async def test_a_creation_that_fails_late_takes_back_what_it_has_made_and_no_more(
    api: Api, goes: bool
) -> None:
    workspace = Workspace.persistent(api.new_id(), destroy_with_session=goes)
    kept = Workspace.persistent(workspace.id or "")
    async with api.sandbox(user="no-such-user") as nobodys, api.sandbox() as sandbox:
        with pytest.raises(UserNotFoundError):
            await nobodys.create_session(workspace=workspace)
        assert workspace.id not in await sandbox.list_workspaces(), "made for nobody"
        async with sandbox.create_session(workspace=kept) as session:
            await session.write_file("precious", "of an earlier session")
        manifest = Manifest(files={"precious/below": "y"})
        with pytest.raises(FileError):
            await sandbox.create_session(workspace=workspace, manifest=manifest)
        async with sandbox.create_session(workspace=kept) as session:
            assert await session.read_text_file("precious") == "of an earlier session"
        await sandbox.remove_workspace(workspace.id or "")
