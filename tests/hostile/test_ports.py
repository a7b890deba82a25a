"""Ports in hostile hands: servers that flood, stall, cut off and never answer."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from cases.invariants import descriptors, memory_mib
from cases.mark import case
from fumehood import OperationTimeoutError, PortError, SandboxError
from hostile.arena import Arena

OWN = "A server inside"
PORT = 8000

# What a server does with each connection `c`; it serves until its command is killed.
SERVER = """
import os, socket, struct, threading
def serve(c):
    try:
{body}
    except OSError:
        pass
s = socket.create_server(("127.0.0.1", 8000), backlog=512)
while True:
    threading.Thread(target=serve, args=(s.accept()[0],), daemon=True).start()
"""

FLOOD = "while True: c.sendall(bytes(65536))"
SILENT = "threading.Event().wait()"
# A reset in the middle of whatever is under way, each time at another place.
CUT = """
c.sendall(os.urandom(os.urandom(1)[0] * 100))
c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
c.close()
"""
NEVER_ACCEPTS = """
import socket, threading
s = socket.socket()
s.bind(("127.0.0.1", 8000))
s.listen(0)
threading.Event().wait()
"""


@contextlib.asynccontextmanager
async def serving(arena: Arena, program: str) -> AsyncIterator[None]:
    """Run a server's program while the block runs."""
    session = arena.session
    argv = ["python3", "-c", program]
    task = asyncio.create_task(session.exec(argv, timeout=None))
    try:
        await session.wait_for_port(PORT)
        yield
        assert not task.done(), task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def server(body: str) -> str:
    """Return the program of a server that runs ``body`` for each connection."""
    return SERVER.replace("{body}", "\n".join("        " + line for line in body.split("\n")))


@case("X90", OWN)
async def test_forty_floods_that_nobody_reads_stay_in_their_windows(python: Arena) -> None:
    session = python.session
    async with serving(python, server(FLOOD)), contextlib.AsyncExitStack() as stack:
        before = memory_mib()
        streams = [await stack.enter_async_context(session.connect_port(PORT)) for _ in range(40)]
        # Everybody has had something, and each command in between is as quick as ever.
        for stream in streams:
            assert await stream.read(1)
            assert (await session.exec(["true"], timeout=10)).ok
        # One window each at most, and Python's own.
        assert memory_mib() - before < 40 * 0.5 + 64
    assert await python.alive()


@case("X91", OWN)
async def test_connections_that_are_cut_off_anywhere_leave_nothing(python: Arena) -> None:
    session = python.session
    async with serving(python, server(CUT)), session.forward_port(PORT) as forward:
        before = descriptors()

        async def talk() -> None:
            try:
                reader, writer = await asyncio.open_connection(forward.host, forward.port)
            except ConnectionError:
                return
            with contextlib.suppress(ConnectionError):
                writer.write(bytes(1000))
                while await reader.read(65_536):
                    pass
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

        for _ in range(25):
            await asyncio.gather(*(talk() for _ in range(20)))
        async with asyncio.timeout(30):
            while forward.statistics()["connections"] or descriptors() - before:
                await asyncio.sleep(0.05)
        assert forward.statistics()["accepted"] == 500
    assert await python.alive()


@case("X92", OWN)
async def test_a_server_that_never_accepts_holds_nobody_for_ever(python: Arena) -> None:
    session = python.session
    async with serving(python, NEVER_ACCEPTS):

        async def attempt() -> BaseException | None:
            try:
                stream = await session.connect_port(PORT)
            except SandboxError as exc:
                return exc
            await stream.aclose()
            return None

        # What fits into its backlog is connected, and nobody ever serves it.
        held = asyncio.gather(*(attempt() for _ in range(50)))
        with pytest.raises(OperationTimeoutError):
            while True:
                await session.wait_for_port(PORT, timeout=0.2)
        assert (await session.exec(["true"], timeout=10)).ok
        async with asyncio.timeout(60):
            outcomes = await held
        late = [outcome for outcome in outcomes if outcome is not None]
        assert late
        assert all(isinstance(outcome, (OperationTimeoutError, PortError)) for outcome in late)
    assert await python.alive()


@case("X93", OWN)
async def test_a_server_that_reads_nothing_stalls_its_own_writer_alone(python: Arena) -> None:
    session = python.session
    async with serving(python, server(SILENT)), session.connect_port(PORT) as stream:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await stream.write(bytes(64 << 20))
        assert (await session.exec(["true"], timeout=10)).ok
    assert await python.alive()
