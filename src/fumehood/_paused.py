"""How long a session was paused: asked of a supervisor that does not move, before it is blamed."""

from __future__ import annotations

import asyncio

from fumehood._core import SessionCore
from fumehood._wire.messages import Done
from fumehood._wire.requests import Request
from fumehood._wire.table import Operation
from fumehood.errors import SandboxError

ANSWER = 5.0
"""Seconds in which the supervisor must say it."""


async def paused_ms(core: SessionCore) -> int:
    """Return the milliseconds that it was paused in all, since it began; no answer is no pause."""
    try:
        channel = core.tether.open(Request(Operation.STATUS, {}))
        async with asyncio.timeout(ANSWER):
            answer = await channel.answer()
    except (TimeoutError, SandboxError):
        return 0
    return (answer.paused_ms or 0) if isinstance(answer, Done) else 0
