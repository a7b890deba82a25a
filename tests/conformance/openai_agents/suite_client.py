"""What is fumehood's own: whole runs, what ends a session, what a state reaches, hostile trees."""

from __future__ import annotations

import asyncio
import io
import os
import subprocess
import sys
import tarfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from agents import RunConfig, Runner
from agents.sandbox import Manifest, SandboxAgent, SandboxRunConfig
from agents.sandbox.capabilities import Shell
from agents.sandbox.entries import File
from agents.sandbox.errors import (
    ExecTransportError,
    WorkspaceArchiveReadError,
    WorkspaceArchiveWriteError,
)
from agents.sandbox.session import SandboxSession
from agents.sandbox.snapshot import LocalSnapshotSpec
from agents.sandbox.workspace_paths import SandboxPathGrant
from agents.testing import ScriptedModel, assistant_message, function_call
from ours import IMAGE

from fumehood import AsyncDockerSandbox, InvalidRequestError
from fumehood.adapters import _openai_archive
from fumehood.adapters._openai_state import OWNER
from fumehood.adapters.openai_agents import (
    FumehoodSandboxClient,
    FumehoodSandboxClientOptions,
    FumehoodSandboxSessionState,
)

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "openai_agent.py"
OPTIONS = FumehoodSandboxClientOptions(image=IMAGE)

pytest_plugins = ["ours"]
pytestmark = pytest.mark.anyio


@pytest.fixture
async def client() -> AsyncIterator[FumehoodSandboxClient]:
    """A client, after whose test no session is left."""
    yield FumehoodSandboxClient()
    async with AsyncDockerSandbox() as sandbox:
        left = [info.id for info in await sandbox.list_sessions() if OWNER in info.metadata]
    assert left == []


@pytest.fixture
async def session(client: FumehoodSandboxClient) -> AsyncIterator[SandboxSession]:
    made = await client.create(options=OPTIONS)
    try:
        async with made:
            yield made
    finally:
        await client.delete(made)


def number_of(session: SandboxSession) -> str:
    assert isinstance(session.state, FumehoodSandboxSessionState)
    return session.state.fumehood_session_id


# --- whole runs -----------------------------------------------------------------------------------


async def test_an_agent_runs_commands_in_a_session_that_ends_with_the_run(
    client: FumehoodSandboxClient,
) -> None:
    model = ScriptedModel(
        [
            [function_call("exec_command", {"cmd": "cat question.txt"}, call_id="1")],
            [function_call("exec_command", {"cmd": "python3 -c 'print(6 * 7)'"}, call_id="2")],
            [assistant_message("42")],
        ]
    )
    agent = SandboxAgent(
        name="Mathematician",
        model=model,
        capabilities=[Shell()],
        default_manifest=Manifest(entries={"question.txt": File(content=b"six times seven")}),
    )
    config = RunConfig(
        sandbox=SandboxRunConfig(client=client, options=OPTIONS), tracing_disabled=True
    )
    result = await Runner.run(agent, "What is the answer?", run_config=config)
    model.assert_complete()
    assert result.final_output == "42"
    told = [str(item.output) for item in result.new_items if item.type == "tool_call_output_item"]
    assert "six times seven" in told[0]
    assert "42" in told[1]


async def test_the_example_finds_its_answer_in_the_session(client: FumehoodSandboxClient) -> None:
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, str(EXAMPLE)],
        env={**os.environ, "FUMEHOOD_IMAGE": IMAGE},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "\n3\n" in done.stdout
    assert "three of them" in done.stdout


async def test_a_session_of_ones_own_serves_several_runs(session: SandboxSession) -> None:
    for number in range(2):
        call = {"cmd": "echo x >> runs; wc -l < runs"}
        model = ScriptedModel(
            [[function_call("exec_command", call, call_id="1")], [assistant_message("done")]]
        )
        agent = SandboxAgent(name="Counter", model=model, capabilities=[Shell()])
        config = RunConfig(sandbox=SandboxRunConfig(session=session), tracing_disabled=True)
        result = await Runner.run(agent, "Count.", run_config=config)
        told = [i.output for i in result.new_items if i.type == "tool_call_output_item"]
        assert f"\n{number + 1}\n" in f"{told[0]}\n"


# --- commands -------------------------------------------------------------------------------------


async def test_cancelling_a_command_kills_it_with_what_it_has_started(
    session: SandboxSession,
) -> None:
    task = asyncio.ensure_future(session.exec("sleep 1000 & echo $! > pid; mv pid begun; wait"))
    await _until(session, "begun")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not (await session.exec("kill -0 $(cat begun)")).ok()


async def test_ending_the_terminals_kills_what_they_have_started(session: SandboxSession) -> None:
    command = "sleep 1000 & echo $! > pid; mv pid begun; wait"
    started = await session.pty_exec_start(command, tty=True, yield_time_s=0.25)
    assert started.exit_code is None
    await _until(session, "begun")
    await session.pty_terminate_all()
    assert not (await session.exec("kill -0 $(cat begun)")).ok()


async def test_output_that_nobody_asks_for_waits_and_none_of_it_is_lost(
    session: SandboxSession,
) -> None:
    size = 3 * 4 * 1024 * 1024
    update = await session.pty_exec_start(
        f"head -c {size} /dev/zero; echo written > done", yield_time_s=0.25
    )
    taken = len(update.output)
    while update.exit_code is None:
        assert update.process_id is not None
        update = await session.pty_write_stdin(session_id=update.process_id, chars="")
        taken += len(update.output)
    assert (taken, update.exit_code) == (size, 0)


async def test_a_command_with_more_output_than_is_kept_is_an_error(session: SandboxSession) -> None:
    with pytest.raises(ExecTransportError, match="more than"):
        await session.exec("head -c 20000000 /dev/zero")


# --- what ends, and what does not -----------------------------------------------------------------


async def test_a_session_that_is_over_says_so_and_starts_anew(
    session: SandboxSession,
) -> None:
    first = number_of(session)
    await session.write(Path("lost"), io.BytesIO(b"x"))
    async with AsyncDockerSandbox() as sandbox:
        await sandbox.destroy_session(first)
    with pytest.raises(ExecTransportError):
        await session.exec("true")
    assert not await session.running()
    await session.start()
    assert number_of(session) != first
    assert await session.running()
    assert not (await session.exec("test -e lost")).ok()


async def test_a_detached_session_is_resumed_with_its_files_and_processes(
    client: FumehoodSandboxClient,
) -> None:
    options = FumehoodSandboxClientOptions(image=IMAGE, detached=True, ttl=300)
    session = await client.create(options=options)
    try:
        async with session:
            await session.exec("sleep 1000 </dev/null >/dev/null 2>&1 & echo $! > pid")
        state = client.serialize_session_state(session.state)
        other = FumehoodSandboxClient()
        resumed = await other.resume(other.deserialize_session_state(state))
        async with resumed:
            assert number_of(resumed) == number_of(session)
            assert (await resumed.exec("kill -0 $(cat pid)")).ok()
    finally:
        await client.delete(session)


async def test_a_session_that_is_not_detached_is_resumed_as_a_new_one(
    client: FumehoodSandboxClient,
) -> None:
    session = await client.create(options=OPTIONS)
    async with session:
        pass
    resumed = await client.resume(session.state)
    try:
        async with resumed:
            assert (await resumed.exec("pwd")).stdout == b"/workspace\n"
    finally:
        await client.delete(resumed)


async def test_a_state_that_names_a_session_of_somebody_else_does_not_get_it(
    client: FumehoodSandboxClient, session: SandboxSession
) -> None:
    await session.write(Path("secret"), io.BytesIO(b"x"))
    stranger = await client.create(options=OPTIONS)
    try:
        assert isinstance(stranger.state, FumehoodSandboxSessionState)
        await stranger.shutdown()
        forged = stranger.state.model_copy(update={"fumehood_session_id": number_of(session)})
        resumed = await client.resume(forged)
        try:
            async with resumed:
                assert number_of(resumed) != number_of(session)
                assert not (await resumed.exec("test -e secret")).ok()
        finally:
            await client.delete(resumed)
        assert await session.running()
    finally:
        await client.delete(stranger)


async def test_a_directory_of_the_host_is_refused(client: FumehoodSandboxClient) -> None:
    grant = SandboxPathGrant(path="/data", host_path="/etc")
    with pytest.raises(InvalidRequestError, match="no directory of the host"):
        await client.create(manifest=Manifest(extra_path_grants=(grant,)), options=OPTIONS)


# --- snapshots ------------------------------------------------------------------------------------


async def test_a_snapshot_leaves_out_what_is_no_file_and_what_the_manifest_calls_passing(
    client: FumehoodSandboxClient, tmp_path: Path
) -> None:
    manifest = Manifest(
        entries={
            "kept.txt": File(content=b"kept"),
            "passing.txt": File(content=b"1", ephemeral=True),
        }
    )
    spec = LocalSnapshotSpec(base_path=tmp_path)
    session = await client.create(options=OPTIONS, manifest=manifest, snapshot=spec)
    async with session:
        await session.exec(
            "mkfifo pipe; mkdir -p d; echo in > d/file; ln -s /workspace/d/file d/link;"
            "echo 2 > passing.txt; chmod 640 kept.txt"
        )
    resumed = await client.resume(session.state)
    try:
        async with resumed:
            found = (await resumed.exec("find . -type f -o -type l -o -type p | sort")).stdout
            assert found.split() == [b"./d/file", b"./d/link", b"./kept.txt", b"./passing.txt"]
            assert (await resumed.exec("cat d/link; readlink d/link")).stdout == b"in\nfile\n"
            assert (await resumed.exec("stat -c %a kept.txt")).stdout == b"640\n"
            # Made anew, as the manifest has it.
            assert (await resumed.exec("cat passing.txt")).stdout == b"1"
    finally:
        await client.delete(resumed)


async def test_a_workspace_that_is_too_large_for_a_snapshot_is_an_error(
    session: SandboxSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_openai_archive, "MAX_ARCHIVE_BYTES", 1 << 20)
    await session.exec("truncate -s 100G huge")
    with pytest.raises(WorkspaceArchiveReadError):
        await session.persist_workspace()


async def test_a_workspace_of_which_a_part_is_closed_is_no_snapshot(
    session: SandboxSession,
) -> None:
    await session.exec("mkdir -p open closed/in; chmod 0 closed")
    with pytest.raises(WorkspaceArchiveReadError) as caught:
        await session.persist_workspace()
    assert caught.value.context["reason"] == "1 entries may not be read"
    await session.exec("chmod 700 closed")
    await session.persist_workspace()


async def test_no_program_of_the_container_has_a_word_in_what_is_stored_here(
    session: SandboxSession,
) -> None:
    # Names of all kinds, and a tar that answers for them: with 16 TiB of nothing, say.
    await session.exec("printf '#!/bin/sh\\necho forged\\n' > /usr/local/bin/tar")
    await session.exec("chmod 755 /usr/local/bin/tar; tar > forged")
    await session.exec("mkdir 'a b'; printf y > 'a b/ä'; chmod 600 'a b/ä'")
    await session.exec("printf x > \"$(printf '\\377')\"; mkfifo pipe; ln -s /etc/passwd out")
    assert (await session.exec("cat forged; rm forged")).stdout == b"forged\n"
    with tarfile.open(fileobj=await session.persist_workspace()) as archive:
        members = {member.name: member for member in archive}
        assert sorted(members) == sorted(["a b", "a b/ä", "out", "\udcff"])
        assert members["a b/ä"].mode == 0o600
        assert members["out"].linkname == "/etc/passwd"
        held = archive.extractfile(members["a b/ä"])
        assert held is not None
        assert held.read() == b"y"


def _outside(name: str, target: str | None) -> Callable[[], io.BytesIO]:
    def make() -> io.BytesIO:
        held = io.BytesIO()
        with tarfile.open(fileobj=held, mode="w") as archive:
            member = tarfile.TarInfo(name)
            if target is not None:
                member.type, member.linkname = tarfile.SYMTYPE, target
            archive.addfile(member)
        held.seek(0)
        return held

    return make


@pytest.mark.parametrize(
    "make",
    [
        _outside("../outside", None),
        _outside("/outside", None),
        _outside("link", "/etc/passwd"),
        _outside("link", "../../etc/passwd"),
        lambda: io.BytesIO(b"no archive at all" * 100),
    ],
)
async def test_an_archive_that_leads_out_of_the_workspace_is_refused_whole(
    session: SandboxSession, make: Callable[[], io.BytesIO]
) -> None:
    with pytest.raises(WorkspaceArchiveWriteError):
        await session.hydrate_workspace(make())
    assert (await session.exec("ls -A")).stdout == b""


async def _until(session: SandboxSession, name: str) -> None:
    """Wait until a command has made a file."""
    async with asyncio.timeout(30):
        while not (await session.exec(f"test -e {name}")).ok():
            await asyncio.sleep(0.02)
