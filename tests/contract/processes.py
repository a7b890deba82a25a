"""Clients in processes of their own, for tests in which a client dies or several meet."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

HERE = Path(__file__).parent


@contextlib.asynccontextmanager
async def client(
    flavour: str, scene: str, session_id: str, *, grace: float = 1.0, lease: tuple[str, ...] = ()
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Start a client and wait until it is in the middle of its scene; it never outlives this."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(HERE / "client.py"),
        flavour,
        scene,
        session_id,
        str(grace),
        *lease,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(HERE.parent)},
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        line = await process.stdout.readline()
        assert line == b"ready\n", (await process.stderr.read()).decode()
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()
