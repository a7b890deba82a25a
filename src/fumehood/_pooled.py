"""What a sandbox does with containers that wait for sessions, started and never used."""

from __future__ import annotations

import asyncio
import logging

from fumehood._claim import (
    Warm,
    WarmLostError,
    claim,
    claim_configuration,
    discard,
    prepare,
    why_cold,
)
from fumehood._pool import WarmPool
from fumehood._settings import Order, Settings
from fumehood._steps import Steps
from fumehood.engines.base import Engine, Image
from fumehood.errors import InvalidRequestError
from fumehood.pool import Pool, PoolStats
from fumehood.session import AsyncSession
from fumehood.state import Maker
from fumehood.text import brief

logger: logging.Logger = logging.getLogger("fumehood.sandbox")


class PooledPart:
    """Keep a stock, and make sessions of it."""

    _settings: Settings
    _engine: Engine | None

    def _stock(self, pool: Pool | None) -> None:
        """Say what is to wait; nothing is made yet."""
        if pool is not None and not isinstance(pool, Pool):
            raise InvalidRequestError(f"pool must be a Pool, not {brief(pool)}")
        self._pool: WarmPool | None = None
        if pool is not None:
            hook = self._settings.hooks.on_pool_change
            self._pool = WarmPool(pool, fill=self._fill, discard=self._discard, hook=hook)
        self._naming: set[asyncio.Task[None]] = set()

    async def warm_up(self) -> None:
        """Wait until the pool holds ``Pool.min_idle`` containers that wait.

        When cancelled, filling goes on in the background.

        Raises:
            InvalidRequestError: the sandbox has no pool.
            SandboxError: a container could not be made; the pool goes on trying by itself.
        """
        if self._pool is None:
            raise InvalidRequestError("this sandbox has no pool: make it with pool=Pool(...)")
        self._use()
        await self._pool.warm_up()

    def pool_stats(self) -> PoolStats | None:
        """Return what the pool holds and has done; None without one."""
        return None if self._pool is None else self._pool.stats()

    # --- how ----------------------------------------------------------------------------------

    def _use(self) -> Engine:
        raise NotImplementedError

    async def _image(self, engine: Engine) -> Image:
        """Return the image of every session, there."""
        raise NotImplementedError

    def _forget(self, session: AsyncSession) -> None:
        """Know of a session no more."""
        raise NotImplementedError

    async def _create_warm(
        self, engine: Engine, order: Order, steps: Steps, maker: Maker
    ) -> AsyncSession | str:
        """Return a session from the pool, or why there is none."""
        pool = self._pool
        if pool is None:
            return "the sandbox has no pool"
        if reason := why_cold(self._settings, order):
            return reason
        while (warm := pool.take()) is not None:
            try:
                configure = claim_configuration(self._settings, order, warm)
            except BaseException:
                pool.give_back(warm)
                raise
            try:
                session = await claim(
                    engine,
                    self._settings,
                    order,
                    warm,
                    configure,
                    steps=steps,
                    forget=self._forget,
                    maker=maker,
                )
            except WarmLostError as exc:
                pool.lost(warm, str(exc))
                continue
            except (Exception, asyncio.CancelledError):
                pool.spent()
                raise
            self._name(session)
            pool.claimed()
            return session
        return "the pool was empty"

    def _name(self, session: AsyncSession) -> None:
        naming = session.naming
        if naming is not None:
            self._naming.add(naming)
            naming.add_done_callback(self._named)

    async def _named_all(self) -> None:
        """Wait until each session from the pool has its name, or cannot get it."""
        if self._naming:
            await asyncio.wait(self._naming)

    def _named(self, naming: asyncio.Task[None]) -> None:
        self._naming.discard(naming)
        if not naming.cancelled() and (error := naming.exception()) is not None:
            # Its owner has it all the same; others do not find it, unless it is over anyway.
            logger.info("a session from the pool did not get its name: %s", error)

    async def _fill(self) -> Warm:
        engine = self._use()
        return await prepare(engine, self._settings, await self._image(engine))

    async def _discard(self, warm: Warm) -> None:
        assert self._engine is not None
        await discard(self._engine, warm)
