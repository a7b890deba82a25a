"""A client's program ends in any way: nothing stays, and the grace is what was asked for.

No process of ours runs when the container goes: the client is the only one, and it is dead. Clients
that are killed in the middle of something are in ``test_lost_clients.py``.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from contract.adapter import PYTHON
from contract.observer import Observer

GRACE = 1.0
PROMISE = 3.0
"""The promise: gone within the grace and so many seconds."""
SLACK = 20.0
"""For a loaded machine: a test must not fail because the engine had to wait for a processor."""

_SETUP = """
import asyncio, os, signal, sys, threading
from fumehood import AsyncDockerSandbox, DockerSandbox, Lifecycle, Limits
options = {
    "image": sys.argv[1], "pull": "never",
    "lifecycle": Lifecycle(disconnect_grace=float(sys.argv[3])),
    "limits": Limits(timeout=None),
}
def ready():
    print("ready", flush=True)
"""

IDLE = """
session = DockerSandbox(**options).create_session(id=sys.argv[2])
ready()
signal.pause()
"""

EXITS = {
    "os._exit": "os._exit(3)",
    "an unhandled exception": "raise RuntimeError('unhandled')",
    "sys.exit": "sys.exit(4)",
    "the end of the program": "",
    "sys.exit in a thread": (
        "thread = threading.Thread(target=sys.exit); thread.start(); thread.join()"
    ),
    "SIGTERM": "os.kill(os.getpid(), signal.SIGTERM); signal.pause()",
    "an interrupt": "signal.raise_signal(signal.SIGINT)",
}


@dataclass
class Client:
    """A program with a session, in a process of its own."""

    process: asyncio.subprocess.Process
    session_id: str

    async def is_ready(self) -> None:
        """Wait until it says that it is where the test wants it."""
        assert self.process.stdout is not None
        line = await asyncio.wait_for(self.process.stdout.readline(), 60)
        assert line == b"ready\n"

    async def ends(self) -> int:
        """Wait for its end and return its exit code."""
        return await asyncio.wait_for(self.process.wait(), 60)


@asynccontextmanager
async def client(program: str, session_id: str, grace: float = GRACE) -> AsyncIterator[Client]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        _SETUP + program,
        PYTHON,
        session_id,
        str(grace),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield Client(process, session_id)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest.mark.parametrize("way", EXITS)
async def test_a_client_that_exits_in_any_way_leaves_nothing(
    observer: Observer, prefix: str, way: str
) -> None:
    program = f"""
session = DockerSandbox(**options).create_session(id=sys.argv[2])
ready()
{EXITS[way]}
"""
    async with client(program, f"{prefix}-exited") as victim:
        await victim.is_ready()
        await victim.ends()
        await observer.gone(victim.session_id, within=GRACE + PROMISE + SLACK)


async def test_the_grace_is_as_long_as_was_asked_for(observer: Observer, prefix: str) -> None:
    async with client(IDLE, f"{prefix}-graced", grace=600) as victim:
        await victim.is_ready()
        victim.process.kill()
        await victim.ends()
        # The engine has seen the stream's end once the container reads no input any more; the
        # session is still there, and another client ends it.
        assert await observer.container(victim.session_id) is not None
        await observer.call("DELETE", f"containers/fumehood-{victim.session_id}", force="1", v="1")
        await observer.gone(victim.session_id, within=30)
