"""A sandbox that is closed while it makes a session: the session does not outlive it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from cases.invariants import PATIENCE
from fumehood import AsyncSession, InvalidRequestError
from fumehood.session import SessionRequest
from fumehood.testing import AsyncMemorySandbox

Make = Callable[[AsyncMemorySandbox], SessionRequest]


@pytest.mark.parametrize(
    "make",
    [
        lambda box: box.create_session(id="s"),
        lambda box: box.create_session(id="s", from_snapshot="kept"),
    ],
    ids=["created", "of a snapshot"],
)
async def test_a_session_that_is_being_made_goes_with_its_sandbox(
    monkeypatch: pytest.MonkeyPatch, make: Make
) -> None:
    begun = asyncio.Event()
    order: list[str] = []
    sandbox = AsyncMemorySandbox()
    async with sandbox.create_session() as session:
        await session.snapshot("kept")
    engine = sandbox._use()
    close = engine.close

    async def wait(session: AsyncSession, manifest: object) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            order.append("the create ends")

    async def note() -> None:
        order.append(f"the engine closes with {len(await engine.list_sessions())} sessions")
        await close()

    monkeypatch.setattr("fumehood._start.stage", wait)
    monkeypatch.setattr(engine, "close", note)
    making = asyncio.ensure_future(make(sandbox)._make())
    await begun.wait()
    await sandbox.close()
    with pytest.raises(InvalidRequestError, match="has been closed"):
        async with asyncio.timeout(PATIENCE):
            await making
    assert order == ["the create ends", "the engine closes with 0 sessions"]
