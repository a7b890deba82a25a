"""Clean-up of a call that is cancelled, and cancelled again: over an engine that takes its time."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from aiohttp import web

from engine.fake_engine import FakeEngine, serving
from fumehood.engines.base import Container
from fumehood.engines.docker import DockerEngine
from fumehood.engines.docker_held import draft_name, holding_name
from fumehood.engines.state import HoldRequest

SECONDS = 30.0
TOKEN = "0123456789abcdef" * 2
REQUEST = HoldRequest(
    kind="snapshot",
    name="kept",
    token=TOKEN,
    image="image",
    workdir="/workspace",
    expires=None,
    container=Container(
        id="live",
        session_id="s1",
        nonce="0" * 64,
        state="running",
        created_at=0.0,
        image="image",
        workspace_id=None,
        detached=False,
        metadata={},
        workdir="/workspace",
    ),
)


class Slow(FakeEngine):
    """Shows a live session, and what was drafted of it, when the test lets it."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = {"live": asyncio.Event(), "draft": asyncio.Event()}
        self.may_answer = asyncio.Event()
        self.handlers = {
            "containers/live/json": self._live,
            f"containers/{draft_name(TOKEN)}/json": self._draft,
        }

    async def _live(self, _: web.Request) -> web.StreamResponse:
        self.asked["live"].set()
        await self.may_answer.wait()
        raise web.HTTPNotFound

    async def _draft(self, _: web.Request) -> web.StreamResponse:
        self.asked["draft"].set()
        await self.may_answer.wait()
        return web.json_response({"Id": "drafted"})


async def test_what_a_hold_has_made_is_removed_though_it_is_cancelled_twice(tmp_path: Path) -> None:
    slow = Slow()
    async with asyncio.timeout(SECONDS), serving(slow, tmp_path) as address:
        engine = DockerEngine(address)
        holding = asyncio.ensure_future(engine.hold(REQUEST))
        for asked in slow.asked.values():
            await asyncio.wait(
                {holding, waiting := asyncio.ensure_future(asked.wait())},
                return_when=asyncio.FIRST_COMPLETED,
            )
            assert waiting.done(), holding
            holding.cancel()
        with pytest.raises(asyncio.CancelledError):
            await holding
        closing = asyncio.ensure_future(engine.close())
        # It is not closed under the clean-up.
        done, _ = await asyncio.wait({closing}, timeout=0.1)
        assert not done
        slow.may_answer.set()
        await closing
    asked_at_last = [path.partition("/containers/") for path in slow.paths]
    assert ("DELETE", "drafted") in [(head[:6], path) for head, _, path in asked_at_last]
    assert any(holding_name("snapshot", "kept") in path for path in slow.paths)
