"""What holds on an engine holds in memory: the same tests on both."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
import pytest_asyncio

from contract.adapter import Api
from contract.scripted import FAILS, FLOODS, HANGS, SAVES, WHO
from fumehood import (
    AsyncDockerSandbox,
    AsyncSession,
    CommandFailedError,
    CommandNotFoundError,
    CommandTimeoutError,
    EndReason,
    ExecReason,
    Exit,
    FileError,
    FileIsDirectoryError,
    FileMissingError,
    FileNotDirectoryError,
    FilePresentError,
    FileTooLargeError,
    Hooks,
    InvalidPathError,
    InvalidRequestError,
    Lifecycle,
    Limits,
    SessionEndedError,
    SessionExistsError,
    SessionNotFoundError,
    SnapshotNotFoundError,
    Stdout,
    UserNotFoundError,
    WorkingDirectoryError,
    Workspace,
    WorkspaceBusyError,
)

pytestmark = pytest.mark.engines("docker", "memory")

Make = Callable[..., AsyncDockerSandbox]


@pytest.fixture(scope="module")
def make(api: Api) -> Make:
    """Make sandboxes."""
    return api.sandbox


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def session(make: Make) -> AsyncIterator[AsyncSession]:
    async with make() as sandbox, sandbox.create_session() as session:
        yield session


@pytest.fixture
def one(make: Make, api: Api) -> Callable[..., AbstractAsyncContextManager[AsyncSession]]:
    """Make one session of a sandbox of its own."""

    @contextlib.asynccontextmanager
    async def session(**options: Any) -> AsyncIterator[AsyncSession]:
        async with make(**options) as sandbox, sandbox.create_session(id=api.new_id()) as made:
            yield made

    return session


# --- files ------------------------------------------------------------------------------------


async def test_what_is_written_is_read_listed_moved_and_removed(session: AsyncSession) -> None:
    await session.write_file("tree/a/one", b"\x00\xff", mode=0o600)
    await session.write_text_file("tree/two", "héé\n")
    assert await session.read_file("tree/a/one") == b"\x00\xff"
    found = await session.list_files("tree", recursive=True)
    assert [(entry.path, entry.type) for entry in found] == [
        ("tree/a", "directory"),
        ("tree/a/one", "file"),
        ("tree/two", "file"),
    ]
    stat = await session.stat("tree/a/one")
    assert (stat.size, stat.mode, stat.type) == (2, 0o600, "file")
    await session.write_file("tree/a/one", "new")
    assert (await session.stat("tree/a/one")).mode == 0o600
    await session.rename("tree/two", "tree/new/two")
    assert await session.read_text_file("tree/new/two") == "héé\n"
    await session.rename("tree/new/two", "tree/a/one")
    assert await session.read_text_file("tree/a/one") == "héé\n"
    await session.remove("tree", recursive=True)
    assert not await session.exists("tree")


async def test_streams_carry_what_no_window_holds(session: AsyncSession) -> None:
    block = bytes(range(256)) * 1024
    async with session.write_file_stream("large") as file:
        for _ in range(12):
            await file.write(block)
    data = b"".join([chunk async for chunk in session.read_file_stream("large", offset=7)])
    assert data == (block * 12)[7:]
    with pytest.raises(RuntimeError, match="mine"):
        async with session.write_file_stream("large") as file:
            await file.write(b"half")
            raise RuntimeError("mine")
    assert (await session.stat("large")).size == len(block) * 12


async def test_an_edit_and_a_page_are_of_what_is_there(session: AsyncSession) -> None:
    await session.write_file("text", "one\ntwo\nthree\n")
    await session.replace("text", "two", "2")
    page = await session.read_text_file_page("text", start_line=2, max_lines=1)
    assert (page.text, page.next_start_line) == ("2\n", 3)


async def test_files_that_cannot_be_had_are_typed_errors(session: AsyncSession) -> None:
    await session.write_file("dir/file", "x")
    for call, kind in (
        (session.read_file("none"), FileMissingError),
        (session.remove("none"), FileMissingError),
        (session.rename("none", "other"), FileMissingError),
        (session.read_file("dir"), FileIsDirectoryError),
        (session.write_file("dir", "x"), FileIsDirectoryError),
        (session.list_files("dir/file"), FileNotDirectoryError),
        (session.read_file("dir/file/below"), FileNotDirectoryError),
        (session.write_file("dir/file/below", "x"), FileNotDirectoryError),
        (session.make_directory("dir/file"), FilePresentError),
        (session.make_directory("dir", parents=False), FilePresentError),
        (session.make_directory("no/dir", parents=False), FileMissingError),
        (session.remove("dir"), FilePresentError),
        (session.rename("dir", "dir/file/x"), FileError),
        (session.read_file("../etc/passwd"), InvalidPathError),
        (session.write_file("n" * 256, "x"), InvalidPathError),
    ):
        with pytest.raises(kind) as caught:
            await call
        assert caught.value.session_id in (None, session.id)
    assert await session.read_file("dir/file") == b"x"


async def test_the_limit_of_a_file_holds(one: Any) -> None:
    async with one(limits=Limits(max_file_bytes=1000)) as session:
        with pytest.raises(FileTooLargeError, match="1001"):
            await session.write_file("f", bytes(1001))
        async with session.write_file_stream("f") as file:
            await file.write(bytes(1000))
        with pytest.raises(FileTooLargeError):
            async with session.write_file_stream("f") as file:
                await file.write(bytes(1001))
        assert await session.read_file("f") == bytes(1000)


# --- commands ---------------------------------------------------------------------------------


async def test_a_command_tells_its_output_and_its_end(session: AsyncSession) -> None:
    assert (await session.exec(["echo", "a", "b c"], check=True)).stdout == "a b c\n"
    assert (await session.exec(["/bin/false"])).exit_code == 1
    assert (await session.exec(["pwd"], cwd="/tmp")).stdout == "/tmp\n"
    result = await session.exec(FAILS)
    assert (result.exit_code, result.stdout, result.stderr) == (3, "out\n", "because\n")
    assert (result.reason, result.signal) == (ExecReason.EXITED, None)
    with pytest.raises(CommandFailedError, match="exit code 3: because"):
        await session.exec(FAILS, check=True)


async def test_input_and_environment_reach_a_command_and_its_file(session: AsyncSession) -> None:
    data = b"x" * 1_500_000
    await session.exec(SAVES, input=data, env={"WHERE": "saved"}, check=True)
    assert await session.read_file("saved") == data
    assert (await session.exec(["cat", "saved"], max_output_bytes=5)).stdout == "xxxxx"
    missing = await session.exec(["cat", "none"])
    assert (missing.exit_code, missing.stdout) == (1, "")
    assert "none" in missing.stderr


async def test_output_is_capped_and_counted_or_streamed_whole(session: AsyncSession) -> None:
    result = await session.exec(FLOODS, max_output_bytes=1001)
    assert (len(result.stdout_bytes), result.stdout_dropped) == (1001, 3_000_000 - 1001)
    size = 0
    async for event in session.exec_stream(FLOODS):
        if isinstance(event, Stdout):
            size += len(event.data)
        else:
            assert isinstance(event, Exit)
            assert event.result.ok
    assert size == 3_000_000


async def test_a_timeout_is_a_result_with_what_came_before(session: AsyncSession) -> None:
    result = await session.exec(HANGS, timeout=0.5)
    assert (result.timed_out, result.stdout, result.killed) == (True, "begun\n", 1)
    with pytest.raises(CommandTimeoutError):
        await session.exec(HANGS, timeout=0.2, check=True)


async def test_a_stream_that_is_left_ends_its_command(session: AsyncSession) -> None:
    async with session.exec_stream(HANGS, timeout=None) as stream:
        event = await anext(stream)
        assert isinstance(event, Stdout)
        assert event.text == "begun\n"
    assert session.statistics()["live"] == 0
    assert (await session.exec(["true"])).ok


async def test_a_command_that_cannot_start_is_a_typed_error(session: AsyncSession) -> None:
    with pytest.raises(CommandNotFoundError, match="no-such-program"):
        await session.exec(["no-such-program"])
    with pytest.raises(WorkingDirectoryError, match="missing"):
        await session.exec(["no-such-program"], cwd="missing")
    with pytest.raises(UserNotFoundError):
        await session.exec(["true"], user="nobody-of-this-name")
    with pytest.raises(InvalidRequestError, match=r"session\.shell"):
        await session.exec("echo hello")


# --- sessions ---------------------------------------------------------------------------------


async def test_the_hooks_tell_of_a_session_from_start_to_end(one: Any) -> None:
    told: list[str] = []

    def note(event: object) -> None:
        told.append(type(event).__name__)

    hooks = Hooks(
        on_session_create=note,
        on_exec_start=note,
        on_exec_end=note,
        on_file_write=note,
        on_destroy=note,
    )
    async with one(hooks=hooks) as session:
        await session.write_file("a", "x")
        await session.exec(["true"])
    assert told == [
        "SessionCreated",
        "FileWritten",
        "ExecStarted",
        "ExecEnded",
        "SessionDestroyed",
    ]


async def test_a_session_is_shared_by_its_id_until_it_is_destroyed(make: Make, api: Api) -> None:
    name = api.new_id()
    async with make() as sandbox, sandbox.create_session(id=name, metadata={"a": "b"}) as session:
        with pytest.raises(SessionExistsError):
            await sandbox.create_session(id=name)
        [info] = [item for item in await sandbox.list_sessions() if item.id == name]
        assert info.metadata == {"a": "b"}
        async with sandbox.connect(name) as other:
            await other.write_file("from", "other")
        assert await session.read_file("from") == b"other"
        await session.destroy()
        assert session.end_reason is EndReason.DESTROYED
        with pytest.raises(SessionEndedError):
            await session.exec(["true"])
        with pytest.raises(SessionNotFoundError):
            await sandbox.connect(name)


async def test_a_session_ends_with_its_time(one: Any) -> None:
    async with one(lifecycle=Lifecycle(ttl=1.5)) as session:
        assert await session.wait_ended() is EndReason.TTL
        with pytest.raises(SessionEndedError):
            await session.read_file("a")


async def test_a_persistent_workspace_outlives_its_session(
    make: Make, workspace_id: str, api: Api
) -> None:
    workspace = Workspace.persistent(workspace_id)
    async with make(workspace=workspace) as sandbox:
        async with sandbox.create_session(id=api.new_id()) as session:
            await session.write_file("kept", "x")
            with pytest.raises(WorkspaceBusyError):
                await sandbox.create_session(id=api.new_id())
        async with sandbox.create_session(id=api.new_id()) as session:
            assert await session.read_file("kept") == b"x"
        assert workspace_id in await sandbox.list_workspaces()
        await sandbox.remove_workspace(workspace_id)
        assert workspace_id not in await sandbox.list_workspaces()


# --- files without their session --------------------------------------------------------------


async def test_a_snapshot_is_of_its_moment_and_begins_sessions(make: Make, api: Api) -> None:
    async with make() as sandbox, sandbox.create_session(id=api.new_id()) as session:
        await session.write_file("a", "then")
        await session.write_file("/var/tmp/outside", "x", root="/")
        snapshot = await session.snapshot(labels={"step": "1"})
        try:
            await session.write_file("a", "now")
            assert (snapshot.workspace_bytes, snapshot.labels) == (4, {"step": "1"})
            async with sandbox.create_session(id=api.new_id(), from_snapshot=snapshot) as copy:
                assert await copy.read_text_file("a") == "then"
                assert await copy.read_file("/var/tmp/outside", root="/") == b"x"
                await copy.write_file("b", "of the copy")
            assert not await session.exists("b")
            assert await session.read_text_file("a") == "now"
        finally:
            await sandbox.delete_snapshot(snapshot)
        with pytest.raises(SnapshotNotFoundError):
            await sandbox.create_session(id=api.new_id(), from_snapshot=snapshot)


async def test_forks_begin_with_the_same_files_and_go_their_own_ways(make: Make, api: Api) -> None:
    async with (
        make(env={"WHO": "me"}) as sandbox,
        sandbox.create_session(id=api.new_id(), metadata={"of": "one"}) as session,
    ):
        await session.write_file("a", "of all")
        forks = await session.fork(2)
        try:
            for number, fork in enumerate(forks):
                assert await fork.read_text_file("a") == "of all"
                await fork.write_file("a", str(number))
                assert (await fork.exec(WHO)).stdout == "me\n"
                assert fork.metadata == {}
            assert await session.read_text_file("a") == "of all"
        finally:
            for fork in forks:
                await fork.destroy()


async def test_a_snapshot_of_a_persistent_workspace_is_a_copy(
    make: Make, workspace_id: str, api: Api
) -> None:
    async with make(workspace=Workspace.persistent(workspace_id)) as sandbox:
        async with sandbox.create_session(id=api.new_id()) as session:
            await session.write_file("a", "kept")
            snapshot = await session.snapshot()
        try:
            async with sandbox.create_session(
                id=api.new_id(), workspace=Workspace(), from_snapshot=snapshot
            ) as copy:
                await copy.write_file("a", "of the copy")
            async with sandbox.create_session(id=api.new_id()) as session:
                assert await session.read_text_file("a") == "kept"
        finally:
            await sandbox.delete_snapshot(snapshot)


async def test_a_session_that_was_stopped_comes_back_once_with_its_files(
    make: Make, api: Api
) -> None:
    async with make() as sandbox:
        session = await sandbox.create_session(id=api.new_id())
        await session.write_file("kept", "in the workspace")
        await session.write_file("/var/tmp/kept", "outside", root="/")
        await session.stop()
        async with sandbox.resume(session.id) as again:
            assert again.id == session.id
            assert await again.read_text_file("kept") == "in the workspace"
            assert await again.read_file("/var/tmp/kept", root="/") == b"outside"
        with pytest.raises(SessionNotFoundError, match=session.id):
            await sandbox.resume(session.id)
