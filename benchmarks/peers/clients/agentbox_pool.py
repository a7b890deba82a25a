"""agentbox-rl with a warm pool of four."""

from __future__ import annotations

from typing import Any

from benchmarks.peers.clients.agentbox_rl import Client as Cold


class Client(Cold):
    """The same, with its own pool, which is full when a session is asked for."""

    warm_pool = 4

    async def open(self) -> None:
        await super().open()
        await self._manager.warm()

    async def gone(self, session: Any) -> None:
        await self._manager.warm()
