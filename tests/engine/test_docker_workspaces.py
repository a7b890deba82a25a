"""One writer at a time: workspaces under contention, dead creators and foreign volumes."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from engine.conftest import MakeRequest, client
from engine.peer import SECONDS, Peer, eventually
from fumehood.engines import container_spec, docker_listing, docker_workspaces
from fumehood.engines.base import Container
from fumehood.engines.container_spec import workspace_volume
from fumehood.engines.docker import DockerEngine
from fumehood.engines.docker_create import Creator
from fumehood.engines.docker_removal import Remover
from fumehood.errors import EngineError, WorkspaceBusyError

Open = Callable[..., Awaitable[tuple[Any, Peer]]]


async def volume_exists(name: str) -> bool:
    async with client() as api:
        return await api.find(f"volumes/{name}", doing="looking") is not None


@pytest.fixture
async def workspace(engine: DockerEngine, unique: Callable[[], str]) -> AsyncIterator[str]:
    workspace_id = unique()
    yield workspace_id
    for session in await engine.list_sessions():
        if session.workspace_id == workspace_id:
            await engine.remove_session(session.session_id)
    await engine.remove_workspace(workspace_id)


async def test_a_workspace_outlives_its_session_until_it_is_to_go(
    engine: DockerEngine, open_session: Open, workspace: str
) -> None:
    first, peer = await open_session(workspace_id=workspace)
    assert await peer.ask("put /workspace/kept from the first") == "ok"
    await engine.remove_session(first.session_id)
    assert workspace in await engine.list_workspaces()

    second, peer = await open_session(workspace_id=workspace)
    peer.stream.write(b"cat /workspace/kept\n")
    assert await peer.take(len("from the first")) == b"from the first"
    await engine.remove_session(second.session_id, destroy_workspace=True)
    assert workspace not in await engine.list_workspaces()
    assert not await volume_exists(workspace_volume(workspace))


async def test_a_workspace_goes_with_a_session_that_ended_by_itself(
    engine: DockerEngine, open_session: Open, workspace: str
) -> None:
    request, peer = await open_session(workspace_id=workspace, destroy_workspace=True)
    peer.stream.write(b"exit 66\n")
    await peer.ended()

    async def gone() -> bool:
        return await engine.find_session(request.session_id) is None

    await eventually(gone)
    # Nothing on the engine says any more which workspace it had.
    await engine.remove_session(request.session_id, destroy_workspace=True)
    assert not await volume_exists(workspace_volume(workspace))


async def test_files_that_were_to_go_with_their_session_are_not_found_by_a_later_one(
    engine: DockerEngine, open_session: Open, workspace: str
) -> None:
    request, peer = await open_session(workspace_id=workspace, destroy_workspace=True)
    assert await peer.ask("put /workspace/secret of the first") == "ok"
    # As if its owner had died: nobody destroys the workspace.
    await engine.remove_session(request.session_id)
    assert await volume_exists(workspace_volume(workspace))
    _, peer = await open_session(workspace_id=workspace)
    peer.stream.write(b"cat /workspace/secret\n")
    assert await peer.take(len("No such file")) == b"No such file"


async def test_a_second_session_is_told_who_holds_the_workspace(
    engine: DockerEngine, open_session: Open, make_request: MakeRequest, workspace: str
) -> None:
    holder, peer = await open_session(workspace_id=workspace)
    refused = make_request(workspace_id=workspace)
    with pytest.raises(WorkspaceBusyError, match=holder.session_id) as caught:
        await engine.create_session(refused)
    assert caught.value.retryable
    assert await engine.find_session(refused.session_id) is None
    assert await peer.ask("echo unharmed") == "unharmed"
    with pytest.raises(WorkspaceBusyError, match=holder.session_id):
        await engine.remove_workspace(workspace)
    await engine.remove_session(holder.session_id)
    _, peer = await open_session(workspace_id=workspace)
    assert await peer.ask("echo mine now") == "mine now"


async def test_of_many_at_once_exactly_one_gets_the_workspace(
    engine: DockerEngine, make_request: MakeRequest, workspace: str
) -> None:
    requests = [make_request(workspace_id=workspace) for _ in range(6)]
    results = await asyncio.gather(
        *(engine.create_session(request) for request in requests), return_exceptions=True
    )
    refused = [item for item in results if isinstance(item, BaseException)]
    assert {type(item) for item in refused} == {WorkspaceBusyError}
    assert len(refused) == len(requests) - 1
    left = [item for item in await engine.list_sessions() if item.workspace_id == workspace]
    assert [item.state for item in left] == ["running"]
    for item in results:
        if not isinstance(item, BaseException):
            await item.close()


@pytest.mark.parametrize("lower_is_second", [True, False])
async def test_two_containers_that_are_both_ready_to_start_do_not_both_start(
    engine: DockerEngine,
    make_request: MakeRequest,
    workspace: str,
    monkeypatch: pytest.MonkeyPatch,
    lower_is_second: bool,
) -> None:
    # The first has passed its check and is about to start when the second one comes: the order that
    # a lock by "look, then start" gets wrong. Which of them has the lower id is told by the double.
    real_start = Creator._start
    real_holders = Remover.holders
    about_to_start, may_start = asyncio.Event(), asyncio.Event()
    first = make_request(workspace_id=workspace)
    second = make_request(workspace_id=workspace)
    order = [second, first] if lower_is_second else [first, second]
    ranks = {request.session_id: f"{rank:064d}" for rank, request in enumerate(order)}
    real_ids: dict[str, str] = {}

    async def holders(self: Any, workspace_id: str) -> list[Container]:
        found = await real_holders(self, workspace_id)
        real_ids.update({ranks[item.session_id]: item.id for item in found})
        return [replace(item, id=ranks[item.session_id]) for item in found]

    async def hold(self: Any, workspace_id: str, engine_id: str) -> None:
        ours = next(
            item.session_id
            for item in await real_holders(self._remover, workspace_id)
            if item.id == engine_id
        )
        await real_hold(self, workspace_id, ranks[ours])

    async def start(self: Any, request: Any, engine_id: str) -> None:
        if request.session_id == first.session_id:
            about_to_start.set()
            await may_start.wait()
        await real_start(self, request, engine_id)

    real_hold = docker_workspaces.WorkspaceLock.hold
    monkeypatch.setattr(Remover, "holders", holders)
    monkeypatch.setattr(docker_workspaces.WorkspaceLock, "hold", hold)
    monkeypatch.setattr(Creator, "_start", start)

    one = asyncio.ensure_future(engine.create_session(first))
    async with asyncio.timeout(SECONDS):
        await about_to_start.wait()
    two = asyncio.ensure_future(engine.create_session(second))
    if lower_is_second:
        # It waits for the first to start or to go.
        done, _ = await asyncio.wait({two}, timeout=0.3)
        assert not done
    else:
        with pytest.raises(WorkspaceBusyError):
            await two
    may_start.set()
    stream = await one
    with pytest.raises(WorkspaceBusyError, match=first.session_id):
        await two
    await stream.close()


async def test_one_that_waits_for_its_turn_goes_on_when_the_other_gives_up(
    engine: DockerEngine, make_request: MakeRequest, workspace: str
) -> None:
    # A container that is created and not started, with the higher of all possible places.
    async with client() as api:
        other = await create_unstarted(api, engine, make_request(workspace_id=workspace))
        lock = docker_workspaces.WorkspaceLock(api, engine._remover)
        waiting = asyncio.ensure_future(lock.hold(workspace, "0" * 64))
        done, _ = await asyncio.wait({waiting}, timeout=0.3)
        assert not done
        await api.request("DELETE", f"containers/{other}", doing="removing", params={"v": "1"})
        async with asyncio.timeout(SECONDS):
            await waiting


async def create_unstarted(api: Any, engine: DockerEngine, request: Any) -> str:
    """Do what a creator does until it dies between create and start."""
    creator = await engine._creating()
    spec = container_spec.build(request, creator._facts)
    made = await api.request(
        "POST", "containers/create", params={"name": spec.name}, body=spec.body, doing="creating"
    )
    return str(docker_listing.mapping(made)["Id"])


async def test_a_creator_that_died_before_the_start_does_not_keep_the_workspace(
    engine: DockerEngine,
    open_session: Open,
    make_request: MakeRequest,
    workspace: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with client() as api:
        dead = make_request(workspace_id=workspace)
        await create_unstarted(api, engine, dead)
    # Young: its creator may only be slow.
    monkeypatch.setattr(docker_workspaces, "TURN_SECONDS", 0.2)
    with pytest.raises(WorkspaceBusyError):
        await engine.create_session(make_request(workspace_id=workspace))
    monkeypatch.setattr(docker_workspaces, "STALE_SECONDS", 0.0)
    _, peer = await open_session(workspace_id=workspace)
    assert await peer.ask("echo got it") == "got it"
    assert await engine.find_session(dead.session_id) is None


async def test_a_creator_that_died_before_the_start_does_not_keep_the_sessions_id(
    engine: DockerEngine,
    open_session: Open,
    make_request: MakeRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dead = make_request()
    async with client() as api:
        await create_unstarted(api, engine, dead)
    monkeypatch.setattr(docker_workspaces, "STALE_SECONDS", 0.0)
    _, peer = await open_session(session_id=dead.session_id)
    assert await peer.ask("echo got it") == "got it"


CREATOR = """
    import asyncio, os, sys
    from fumehood.engines.base import SessionRequest
    from fumehood.engines.docker import DockerEngine
    from fumehood.engines.docker_create import Creator
    from fumehood.options import Limits, Network, Security

    async def stop_here(self, request, engine_id):
        print(engine_id, flush=True)
        await asyncio.Event().wait()

    async def main():
        session_id, nonce, workspace, image, step = sys.argv[1:]
        engine = DockerEngine()
        if step == "before the start":
            Creator._start = stop_here
        stream = await engine.create_session(SessionRequest(
            session_id=session_id, nonce=nonce, workspace_id=workspace,
            image=await engine.prepare_image(image, pull="never"), workdir="/workspace",
            network=Network.none(), limits=Limits(memory_mb=64), security=Security()))
        print("running", flush=True)
        await asyncio.Event().wait()

    asyncio.run(main())
"""


@pytest.mark.parametrize("step", ["before the start", "after the start"])
async def test_a_creator_that_is_killed_leaves_the_workspace_to_the_next(
    engine: DockerEngine,
    open_session: Open,
    make_request: MakeRequest,
    workspace: str,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
) -> None:
    killed = make_request(workspace_id=workspace)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        textwrap.dedent(CREATOR),
        *(killed.session_id, killed.nonce, workspace, killed.image.reference, step),
        stdout=subprocess.PIPE,
        env=dict(os.environ),
    )
    assert process.stdout is not None
    async with asyncio.timeout(SECONDS):
        assert await process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    await process.wait()
    monkeypatch.setattr(docker_workspaces, "STALE_SECONDS", 0.0)

    # After the start, PID 1 sees the end of its input and goes: its container is the lock.
    async def got_it() -> bool:
        try:
            _, peer = await open_session(workspace_id=workspace)
        except WorkspaceBusyError:
            return False
        return bool(await peer.ask("echo got it") == "got it")

    await eventually(got_it)


async def test_a_volume_that_is_not_ours_is_neither_used_nor_removed(
    engine: DockerEngine, make_request: MakeRequest, unique: Callable[[], str]
) -> None:
    workspace_id = unique()
    name = workspace_volume(workspace_id)
    async with client() as api:
        await api.request("POST", "volumes/create", body={"Name": name}, doing="creating")
        try:
            with pytest.raises(EngineError, match="not a workspace of ours"):
                await engine.create_session(make_request(workspace_id=workspace_id))
            with pytest.raises(EngineError, match="not a workspace of ours"):
                await engine.remove_workspace(workspace_id)
            assert workspace_id not in await engine.list_workspaces()
            assert await volume_exists(name)
        finally:
            await api.request("DELETE", f"volumes/{name}", doing="removing")


async def test_a_volume_with_our_label_that_is_a_host_directory_is_refused(
    engine: DockerEngine, make_request: MakeRequest, unique: Callable[[], str], tmp_path: Any
) -> None:
    workspace_id = unique()
    name = workspace_volume(workspace_id)
    async with client() as api:
        await api.request(
            "POST",
            "volumes/create",
            body={
                "Name": name,
                "Labels": {"fumehood.workspace": workspace_id},
                "DriverOpts": {"type": "none", "o": "bind", "device": str(tmp_path)},
            },
            doing="creating",
        )
        try:
            with pytest.raises(EngineError, match="not a workspace of ours"):
                await engine.create_session(make_request(workspace_id=workspace_id))
        finally:
            await api.request("DELETE", f"volumes/{name}", doing="removing")


async def test_a_failed_create_takes_along_the_volume_that_it_made_and_no_other(
    engine: DockerEngine,
    make_request: MakeRequest,
    open_session: Open,
    workspace: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def fail(self: Any, request: Any, engine_id: str) -> None:
        raise EngineError("the start failed")

    with monkeypatch.context() as patch:
        patch.setattr(Creator, "_start", fail)
        with pytest.raises(EngineError, match="the start failed"):
            await engine.create_session(make_request(workspace_id=workspace))
    assert not await volume_exists(workspace_volume(workspace))

    request, peer = await open_session(workspace_id=workspace)
    assert await peer.ask("put /workspace/kept x") == "ok"
    await engine.remove_session(request.session_id)
    monkeypatch.setattr(Creator, "_start", fail)
    with pytest.raises(EngineError, match="the start failed"):
        await engine.create_session(make_request(workspace_id=workspace))
    assert await volume_exists(workspace_volume(workspace))


async def test_removing_an_unknown_workspace_is_no_error(
    engine: DockerEngine, unique: Callable[[], str]
) -> None:
    await engine.remove_workspace(unique())


async def test_a_workspace_label_on_another_volume_is_no_workspace(
    engine: DockerEngine, unique: Callable[[], str]
) -> None:
    claimed = unique()
    async with client() as api:
        made = docker_listing.mapping(
            await api.request(
                "POST",
                "volumes/create",
                body={"Labels": {"fumehood.workspace": claimed}},
                doing="creating",
            )
        )
        try:
            assert claimed not in await engine.list_workspaces()
        finally:
            await api.request("DELETE", f"volumes/{made['Name']}", doing="removing")


def test_the_token_of_a_volume_does_not_tell_the_nonce() -> None:
    nonce = "ab" * 32
    token = container_spec.creation_token(nonce)
    assert token != container_spec.creation_token("ac" * 32)
    assert nonce[:8] not in token
