"""What a list of sessions says of one. Of one from a pool, its supervisor has to be asked."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from fumehood._start import known_metadata, open_tether
from fumehood.engines.base import Container, Engine
from fumehood.errors import SandboxError
from fumehood.results import SessionInfo

logger: logging.Logger = logging.getLogger("fumehood.sandbox")

PATIENCE = 5.0
"""Seconds that a supervisor has to answer."""
_AT_ONCE = 8


async def pooled_metadata(
    engine: Engine, containers: Sequence[Container], *, known: Mapping[str, Mapping[str, str]]
) -> dict[str, Mapping[str, str]]:
    """Return the metadata of sessions that came from pools, by nonce.

    Args:
        engine: where they are.
        containers: all sessions; the others' metadata is in their labels.
        known: by nonce, what need not be asked.
    """
    found = dict(known)
    limit = asyncio.Semaphore(_AT_ONCE)

    async def ask(container: Container) -> None:
        async with limit:
            try:
                tether = await open_tether(engine, container, timeout=PATIENCE)
            except SandboxError as exc:
                # It may have ended meanwhile; whatever it is, the others are listed.
                logger.info("session %s has not told its metadata: %s", container.session_id, exc)
                return
            found[container.nonce] = known_metadata(container, tether)
            await tether.close()

    async with asyncio.TaskGroup() as group:
        for container in containers:
            if container.pool_id and container.nonce not in found and container.state == "running":
                group.create_task(ask(container))
    return found


def described(container: Container, metadata: Mapping[str, str]) -> SessionInfo:
    """Return what a list says of a session."""
    return SessionInfo(
        id=container.session_id,
        state=container.state,
        image=container.image,
        created_at=datetime.fromtimestamp(container.created_at, UTC),
        workspace_id=container.workspace_id,
        detached=container.detached,
        owner=container.owner,
        metadata=dict(metadata),
        ttl=container.ttl,
        idle_timeout=container.idle_timeout,
    )
