"""Which sessions a message history may name: it may come from a user, so only those made here."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from pydantic_ai.tools import RunContext
from pydantic_ai.workspaces import WorkspaceRef, WorkspaceUnavailableError

from fumehood import AsyncDockerSandbox
from fumehood.adapters.pydantic_ai import PROVIDER, FumehoodBackend, FumehoodWorkspace

IMAGE = os.environ.get("FUMEHOOD_IMAGE", "fumehood/test-python")
# The capability does not look at it: whose run it is says nothing of whose session it may have.
CONTEXT = cast("RunContext[Any]", None)

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def sandbox() -> AsyncIterator[AsyncDockerSandbox]:
    async with AsyncDockerSandbox(image=IMAGE) as made:
        yield made


async def test_a_ref_joins_only_what_this_capability_has_made(sandbox: AsyncDockerSandbox) -> None:
    ours, others = FumehoodWorkspace(sandbox), FumehoodWorkspace(sandbox)
    made = ours.get_workspace(CONTEXT, ref=None)
    assert isinstance(made, FumehoodBackend)
    await made.write_bytes("/workspace/secret", b"of the first")
    assert made.ref is not None
    again = ours.get_workspace(CONTEXT, ref=made.ref)
    assert isinstance(again, FumehoodBackend)
    assert await again.read_bytes("/workspace/secret") == b"of the first"
    # Of another capability on the same engine, a live session's true name is not enough.
    assert others.get_workspace(CONTEXT, ref=made.ref) is None


async def test_a_session_that_was_made_elsewhere_needs_a_yes(sandbox: AsyncDockerSandbox) -> None:
    async with sandbox.create_session() as session:
        ref = WorkspaceRef(provider=PROVIDER, id=session.id)
        assert FumehoodWorkspace(sandbox).get_workspace(CONTEXT, ref=ref) is None
        refusing = FumehoodWorkspace(sandbox, accept=lambda _: False)
        assert refusing.get_workspace(CONTEXT, ref=ref) is None
        asked: list[WorkspaceRef] = []

        def accept(asking: WorkspaceRef) -> bool:
            asked.append(asking)
            return True

        accepting = FumehoodWorkspace(sandbox, accept=accept)
        joined = accepting.get_workspace(CONTEXT, ref=ref)
        assert asked == [ref]
        assert isinstance(joined, FumehoodBackend)
        assert (await joined.session()).id == session.id


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
async def test_an_answer_that_is_only_truthy_is_no_yes(sandbox: AsyncDockerSandbox) -> None:
    async def later(_: WorkspaceRef) -> bool:
        return False

    ref = WorkspaceRef(provider=PROVIDER, id="s-1")
    for accept in (later, lambda _: "yes", lambda _: None):
        asking = FumehoodWorkspace(sandbox, accept=cast("Any", accept))
        with pytest.raises(TypeError, match="True or False"):
            asking.get_workspace(CONTEXT, ref=ref)


async def test_a_ref_of_another_provider_is_never_joined(sandbox: AsyncDockerSandbox) -> None:
    async with sandbox.create_session() as session:
        foreign = WorkspaceRef(provider="another", id=session.id)
        welcoming = FumehoodWorkspace(sandbox, accept=lambda _: True)
        assert welcoming.get_workspace(CONTEXT, ref=foreign) is None
        with pytest.raises(ValueError, match="another"):
            FumehoodBackend(sandbox, ref=foreign)


async def test_a_session_that_is_gone_is_not_replaced(sandbox: AsyncDockerSandbox) -> None:
    capability = FumehoodWorkspace(sandbox)
    made = capability.get_workspace(CONTEXT, ref=None)
    assert isinstance(made, FumehoodBackend)
    await made.working_dir()
    assert made.ref is not None
    await sandbox.destroy_session(made.ref.id)
    later = capability.get_workspace(CONTEXT, ref=made.ref)
    assert isinstance(later, FumehoodBackend)
    with pytest.raises(WorkspaceUnavailableError):
        await later.run(["true"])
