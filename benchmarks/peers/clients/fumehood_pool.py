"""fumehood with a warm pool of four: sessions are started before they are asked for."""

from __future__ import annotations

from benchmarks.peers.clients.fumehood_client import Client as Cold
from fumehood import AsyncSession, Pool


class Client(Cold):
    """The same, with the pool that its documentation begins with."""

    pool = Pool(min_idle=4)

    async def open(self) -> None:
        await super().open()
        await self._sandbox.warm_up()

    async def gone(self, session: AsyncSession) -> None:
        await super().gone(session)
        # The next one is made while nobody waits; what comes after must not find it in the way.
        await self._sandbox.warm_up()
