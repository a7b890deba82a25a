"""A resume whose last step goes wrong: one of the two is left, the live session or the stopped one.

In memory, where an engine's answer can be lost at exactly that step.
"""

from __future__ import annotations

import asyncio

import pytest

from fumehood import EngineUnavailableError
from fumehood.engines.state import Holding
from fumehood.state import holder
from fumehood.testing import AsyncMemorySandbox


async def stopped(sandbox: AsyncMemorySandbox) -> None:
    """Leave a stopped session with a file."""
    session = await sandbox.create_session(id="s", metadata={"of": "mine"})
    await session.write_file("a", "kept")
    await session.stop()


async def states(sandbox: AsyncMemorySandbox) -> list[tuple[str, str]]:
    return [(info.id, info.state) for info in await sandbox.list_sessions()]


async def test_a_resume_whose_answer_is_lost_leaves_the_session_that_has_the_files(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with AsyncMemorySandbox() as sandbox:
        await stopped(sandbox)
        engine = holder(sandbox._use())
        remove = engine.remove_holding

        async def lost(holding: Holding) -> None:
            await remove(holding)
            raise EngineUnavailableError("no answer came")

        monkeypatch.setattr(engine, "remove_holding", lost)
        session = await sandbox.resume("s")
        assert await session.read_file("a") == b"kept"
        assert await states(sandbox) == [("s", "running")]


async def test_a_resume_that_cannot_remove_the_stopped_session_leaves_that_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with AsyncMemorySandbox() as sandbox:
        await stopped(sandbox)

        async def refuse(holding: Holding) -> None:
            raise EngineUnavailableError("not now")

        monkeypatch.setattr(holder(sandbox._use()), "remove_holding", refuse)
        with pytest.raises(EngineUnavailableError, match="not now"):
            await sandbox.resume("s")
        assert await states(sandbox) == [("s", "stopped")]


async def test_a_resume_that_neither_knows_nor_learns_what_is_left_ends_neither(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with AsyncMemorySandbox() as sandbox:
        await stopped(sandbox)
        engine = holder(sandbox._use())

        async def away(*args: object) -> None:
            monkeypatch.setattr(engine, "find_holding", away)
            raise EngineUnavailableError("away")

        with monkeypatch.context() as patch:
            patch.setattr(engine, "remove_holding", away)
            with pytest.raises(EngineUnavailableError, match="away"):
                await sandbox.resume("s")
        monkeypatch.undo()
        assert await states(sandbox) == [("s", "running")]
        assert await engine.find_holding("stopped", "s") is not None


async def test_a_resume_that_is_cancelled_at_its_last_step_leaves_the_stopped_session(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with AsyncMemorySandbox() as sandbox:
        await stopped(sandbox)
        engine = holder(sandbox._use())
        remove, begun, gate = engine.remove_holding, asyncio.Event(), asyncio.Event()

        async def slow(holding: Holding) -> None:
            # As an engine does: asked once, it goes on, whether somebody waits or not.
            begun.set()
            done = asyncio.ensure_future(remove(holding))
            await gate.wait()
            await done

        with monkeypatch.context() as patch:
            patch.setattr(engine, "remove_holding", slow)
            resuming = asyncio.ensure_future(sandbox.resume("s")._make())
            await begun.wait()
            resuming.cancel()
            gate.set()
            with pytest.raises(asyncio.CancelledError):
                await resuming
        assert await states(sandbox) == [("s", "stopped")]
        async with sandbox.resume("s") as session:
            assert await session.read_file("a") == b"kept"
            assert session.metadata == {"of": "mine"}
