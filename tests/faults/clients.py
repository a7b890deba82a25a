"""Clients in processes of their own, with what they have said."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from faults.conftest import IMAGE

PROGRAM = Path(__file__).parent / "client.py"
SECONDS = 30.0
"""In which a client on a loaded machine has come up, or has ended."""
PATIENCE = 5.0
"""Seconds after which somebody who has pressed Ctrl-C presses it again."""


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

    async def is_made_to_end(self) -> tuple[int, str, int]:
        """Wait for its end, and press Ctrl-C again when it lasts; return also how often.

        An interrupt that hits the code of asyncio's loop makes it lose a task, for which the end of
        ``asyncio.run`` then waits: its documentation warns of that, and nothing that runs on the
        loop can help. One more ends it.
        """
        ending = asyncio.ensure_future(self.ends())
        presses = 0
        while not (await asyncio.wait({ending}, timeout=PATIENCE))[0]:
            presses += 1
            with contextlib.suppress(ProcessLookupError):  # it ends just now
                self.send(signal.SIGINT)
        return *await ending, presses


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
