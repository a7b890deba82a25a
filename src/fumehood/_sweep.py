"""The backstop of the backstop: a session that outlived its own deadline.

PID 1 ends itself in time. Should one be stuck, so that neither its timer nor its lease acts, any
client's sweep removes its container: by the engine's clock, and never before the supervisor has
been asked, because a session may have been given more time than its label says.
"""

from __future__ import annotations

import asyncio
import logging

from fumehood._start import open_tether
from fumehood.engines.base import Container, Engine, SweepReport
from fumehood.errors import SandboxError, SessionNotFoundError

logger = logging.getLogger("fumehood.sweep")

PATIENCE = 10.0
"""Seconds that a supervisor has to answer before it counts as stuck."""


async def sweep(engine: Engine, *, supervisors: bool = False) -> SweepReport:
    """Remove what no lease could: see :meth:`fumehood.engines.base.Engine.sweep`."""

    async def stuck(container: Container) -> bool:
        return not await _answers(engine, container)

    return await engine.sweep(supervisors=supervisors, expired=stuck)


async def sweep_once(engine: Engine) -> None:
    """Sweep beside a sandbox's first session; what does not work is only logged."""
    loop = asyncio.get_running_loop()
    try:
        await sweep(engine)
    except RuntimeError:
        # The loop was closed under it, and a connection that it held could not be closed there.
        if not loop.is_closed():
            raise
    except SandboxError as exc:
        logger.warning("the sweep at start-up failed: %s", exc)


async def _answers(engine: Engine, container: Container) -> bool:
    """Whether a session past its time lives: its supervisor knows of more time than its label."""
    try:
        tether = await open_tether(engine, container, timeout=PATIENCE)
    except SessionNotFoundError:
        return True  # it has just ended by itself
    except SandboxError as exc:
        logger.warning("session %s does not answer: %s", container.session_id, exc)
        return False
    await tether.close()
    return True
