"""A name that another session has taken: what comes late from the first never hits the second.

In memory, where it can be said exactly when the name changes hands.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from fumehood import AsyncSession, EndReason, Workspace
from fumehood.engines.docker_client import ApiClient
from fumehood.engines.docker_removal import Remover
from fumehood.testing import AsyncMemorySandbox


def held(work: Callable[[], Awaitable[None]], gate: asyncio.Event) -> Callable[[], Awaitable[None]]:
    """Return the same work, begun once the gate is open."""

    async def later() -> None:
        await gate.wait()
        await work()

    return later


async def test_what_follows_a_sessions_own_end_leaves_the_next_of_its_name_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    passing = Workspace.persistent("w", destroy_with_session=True)
    async with AsyncMemorySandbox() as sandbox:
        first = await sandbox.create_session(id="s", workspace=passing)
        gate = asyncio.Event()
        monkeypatch.setattr(first, "_leave", held(first._leave, gate))
        await sandbox._use().discard(first.nonce)
        second = await sandbox.create_session(id="s", workspace=Workspace.persistent("w"))
        await second.write_file("a", "mine")
        gate.set()
        assert await first.wait_ended() is EndReason.STOPPED
        assert await second.read_file("a") == b"mine"
        assert await sandbox.list_workspaces() == ["w"]


async def test_a_create_that_fails_late_removes_its_own_container_and_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with AsyncMemorySandbox() as sandbox:
        thieves: list[AsyncSession] = []

        async def lose_the_name(session: AsyncSession, manifest: object) -> None:
            monkeypatch.undo()
            await sandbox._use().discard(session.nonce)
            thieves.append(await sandbox.create_session(id="s"))
            raise RuntimeError("the manifest")

        monkeypatch.setattr("fumehood._start.stage", lose_the_name)
        with pytest.raises(RuntimeError, match="the manifest"):
            await sandbox.create_session(id="s")
        assert [info.id for info in await sandbox.list_sessions()] == ["s"]
        await thieves[0].ping()


async def test_what_goes_with_a_session_stays_noted_when_an_older_one_of_its_name_is_removed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    destroyed: list[str] = []
    remover = Remover(ApiClient("unix:///nowhere"))

    async def nothing(*args: object) -> None:
        return None

    async def destroy(workspace_id: str) -> bool:
        destroyed.append(workspace_id)
        return True

    monkeypatch.setattr(remover, "find", nothing)
    monkeypatch.setattr(remover, "remove_by_nonce", nothing)
    monkeypatch.setattr(remover, "destroy_workspace", destroy)
    remover.remember("s", nonce="2", workspace_id="second", layer="")
    await remover.remove("s", destroy_workspace=True, nonce="1")
    assert destroyed == []
    await remover.remove("s", destroy_workspace=True, nonce="2")
    assert destroyed == ["second"]
