"""Clients in processes of their own, with what they have said."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from faults.conftest import IMAGE

PROGRAM = Path(__file__).parent / "client.py"
SECONDS = 30.0
"""In which a client on a loaded machine has come up, or has ended."""


class Client:
    """One client."""

    def __init__(self, process: asyncio.subprocess.Process, session_id: str) -> None:
        self.process = process
        self.id = session_id

    def send(self, *signals: int) -> None:
        """Send signals, in a row."""
        for number in signals:
            self.process.send_signal(number)

    def go_on(self) -> None:
        """Let a scene that waits for a line have it."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")

    async def line(self) -> str:
        """Take a line that it prints."""
        assert self.process.stdout is not None
        line = await asyncio.wait_for(self.process.stdout.readline(), SECONDS)
        return line.decode().strip()

    async def ends(self) -> tuple[int, str]:
        """Wait for its end; return its exit code and what it has written to stderr."""
        assert self.process.stderr is not None
        error = await asyncio.wait_for(self.process.stderr.read(), SECONDS)
        return await asyncio.wait_for(self.process.wait(), SECONDS), error.decode()


@contextlib.asynccontextmanager
async def client(
    scene: str, address: str, *, id: str, grace: float = 1.0, heartbeat: float = 60.0
) -> AsyncIterator[Client]:
    """Start a client and wait until it is in the middle of its scene; it never outlives this."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(PROGRAM),
        scene,
        address,
        IMAGE,
        id,
        str(grace),
        str(heartbeat),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    client = Client(process, id)
    try:
        line = await client.line()
        assert line == "ready", (line, process.stderr and (await process.stderr.read()).decode())
        yield client
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()
