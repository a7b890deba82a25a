"""A session is found, joined and ended from another process; leaving it does not end it."""

from __future__ import annotations

import asyncio
import json
import sys

import pytest

from contract.adapter import PYTHON, Api
from contract.observer import Observer
from fumehood import (
    EndReason,
    Lifecycle,
    Limits,
    Manifest,
    SessionEndedError,
    SessionExistsError,
    SessionNotFoundError,
    SessionState,
)

_OTHER = """
import json, sys
from fumehood import DockerSandbox
with DockerSandbox(image=sys.argv[1], pull="never") as sandbox:
    found = {info.id: info for info in sandbox.list_sessions()}[sys.argv[2]]
    with sandbox.connect(sys.argv[2]) as session:
        result = session.exec(["cat", "note"])
        session.write_file("answer", "from another process")
        limits = session.effective_limits
    print(json.dumps({
        "metadata": dict(found.metadata), "state": found.state, "note": result.stdout,
        "file_limit": limits.max_file_bytes, "degraded": limits.degraded,
    }))
    if "destroy" in sys.argv:
        sandbox.destroy_session(sys.argv[2])
"""


async def another_process(*arguments: str) -> dict[str, object]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _OTHER, PYTHON, *arguments, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0
    return dict(json.loads(out))


async def test_another_process_lists_joins_and_leaves_a_session(api: Api) -> None:
    async with api.sandbox(limits=Limits(max_file_bytes=12_345)) as sandbox:
        made = await sandbox.create_session(
            manifest=Manifest(files={"note": "left here"}), metadata={"task": "t-1"}
        )
        async with made as session:
            seen = await another_process(session.id)
            assert seen["metadata"] == {"task": "t-1"}
            assert seen["state"] == "running"
            assert seen["note"] == "left here"
            # The session's own limit, not the default of the one who joins.
            assert seen["file_limit"] == 12_345
            assert await session.read_text_file("answer") == "from another process"
            assert session.state is SessionState.RUNNING


async def test_a_session_that_another_process_destroys_is_over_with_its_reason(
    api: Api, observer: Observer
) -> None:
    async with api.sandbox() as sandbox:
        session = await sandbox.create_session(manifest=Manifest(files={"note": "x"}))
        running = asyncio.ensure_future(session.exec(["sleep", "600"], timeout=None))
        await another_process(session.id, "destroy")
        with pytest.raises(SessionEndedError):
            await asyncio.wait_for(running, 30)
        assert await session.wait_ended() in (EndReason.STOPPED, EndReason.DESTROYED)
        with pytest.raises(SessionEndedError, match=session.id):
            await session.exec(["true"])
        await observer.gone(session.id, within=30)


@pytest.mark.engines("docker", "memory")
async def test_two_clients_work_side_by_side(api: Api) -> None:
    async with api.sandbox() as sandbox, sandbox.create_session() as session:
        async with sandbox.connect(session.id) as guest:
            commands = [
                client.shell(f"echo {number}", check=True)
                for number in range(10)
                for client in (session, guest)
            ]
            results = await asyncio.gather(*commands)
            assert sorted(int(result.stdout) for result in results) == sorted([*range(10)] * 2)
        assert guest.state is SessionState.DETACHED
        with pytest.raises(SessionEndedError, match="left"):
            await guest.exec(["true"])
        await session.exec(["true"], check=True)


async def test_what_a_guest_has_running_ends_when_it_leaves(api: Api, observer: Observer) -> None:
    async with api.sandbox() as sandbox, sandbox.create_session() as session:
        guest = await sandbox.connect(session.id)
        running = asyncio.ensure_future(guest.exec(["sleep", "31338"], timeout=None))
        async with asyncio.timeout(30):
            while not any("31338" in line for line in await observer.processes(session.id)):
                await asyncio.sleep(0.02)
        await guest.detach()
        with pytest.raises(SessionEndedError):
            await running
        async with asyncio.timeout(30):
            while any("31338" in line for line in await observer.processes(session.id)):
                await asyncio.sleep(0.02)


@pytest.mark.engines("docker", "memory")
async def test_a_detached_session_outlives_its_client_until_its_time(
    api: Api, observer: Observer
) -> None:
    lifecycle = Lifecycle(ttl=600, detached=True, disconnect_grace=0)
    async with api.sandbox(lifecycle=lifecycle) as sandbox:
        session = await sandbox.create_session()
        await session.detach()
        async with sandbox.connect(session.id) as again:
            await again.exec(["true"], check=True)
            await again.extend(ttl=1)
            assert await again.wait_ended() is EndReason.TTL
        await observer.gone(session.id, within=30)


@pytest.mark.engines("docker", "memory")
async def test_an_id_is_used_once(api: Api) -> None:
    async with api.sandbox() as sandbox, sandbox.create_session() as session:
        with pytest.raises(SessionExistsError, match=session.id):
            await sandbox.create_session(id=session.id)
        await session.exec(["true"], check=True)


@pytest.mark.engines("docker", "memory")
async def test_joining_what_is_not_there_says_so(api: Api) -> None:
    async with api.sandbox() as sandbox:
        with pytest.raises(SessionNotFoundError, match="no-such-session"):
            await sandbox.connect("no-such-session")


@pytest.mark.parametrize("method", ["kill", "remove"])
async def test_a_container_that_is_ended_from_outside_gives_a_typed_end(
    api: Api, observer: Observer, method: str
) -> None:
    async with api.sandbox() as sandbox:
        session = await sandbox.create_session()
        running = asyncio.ensure_future(session.exec(["sleep", "600"], timeout=None))
        container = f"containers/fumehood-{session.id}"
        if method == "kill":
            await observer.call("POST", f"{container}/kill")
        else:
            await observer.call("DELETE", container, force="1", v="1")
        with pytest.raises(SessionEndedError):
            await asyncio.wait_for(running, 30)
        assert await session.wait_ended() is EndReason.STOPPED
        await observer.gone(session.id, within=30)
