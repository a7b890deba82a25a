"""Calls that are under way when something breaks: one of each kind, and how each must end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import pytest

from faults.engine import OwnEngine
from faults.proxy import Proxy
from fumehood import AsyncSession, EndReason, SandboxError, SessionEndedError, SessionLostError

SECONDS = 10.0
"""In which a call must have ended once its session's stream has: anything longer is a hang."""

BLOCK = bytes(64 * 1024)
Ready = Callable[[], None]
SLACK = 20.0
"""On top of what is promised, for a loaded machine: a case must not fail because somebody had to
wait for a processor."""

OF_CALLS = frozenset({"cat", "sleep"})
"""Names of what runs for the calls below. Managed processes have others: they are the session's,
and stay where the session does."""


async def _command(session: AsyncSession, ready: Ready) -> None:
    async with aclosing(session.exec_stream(["sh", "-c", "echo up; sleep 600"])) as events:
        async for _ in events:
            ready()


async def _output(session: AsyncSession, ready: Ready) -> None:
    async with aclosing(session.exec_stream(["cat", "/dev/zero"])) as events:
        async for _ in events:
            ready()


async def _input(session: AsyncSession, ready: Ready) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for number in range(1 << 30):
            yield BLOCK
            if number == 20:
                ready()

    await session.exec(["sh", "-c", "cat >/dev/null"], input=pieces(), timeout=None)


async def _download(session: AsyncSession, ready: Ready) -> None:
    await session.exec(["truncate", "-s", "100G", "large"], check=True)
    async with aclosing(session.read_file_stream("large")) as chunks:
        async for _ in chunks:
            ready()


async def _upload(session: AsyncSession, ready: Ready) -> None:
    async with session.write_file_stream("upload") as file:
        await file.write(BLOCK)
        ready()
        while True:
            # So little that the file stays small, and so often that a loss meets a write.
            await file.write(b"x")
            await session.ping()


async def _terminal(session: AsyncSession, ready: Ready) -> None:
    async with session.open_terminal(["cat"], rows=24, cols=80) as terminal:
        await terminal.write("up\r")
        while await terminal.read():
            ready()


async def _process(session: AsyncSession, ready: Ready) -> None:
    process = await session.start_process(["sh", "-c", "echo up; exec tail -f /dev/null"])
    async with aclosing(process.stream()) as events:
        async for _ in events:
            ready()


async def _end_of_process(session: AsyncSession, ready: Ready) -> None:
    process = await session.start_process(["tail", "-f", "/dev/null"])
    waiting = asyncio.ensure_future(process.wait())
    await session.ping()
    ready()
    await waiting


async def _watch(session: AsyncSession, ready: Ready) -> None:
    async with session.watch() as changes:
        await session.write_file("watched", b"")
        async for _ in changes:
            ready()


async def _connection(session: AsyncSession, ready: Ready) -> None:
    await session.start_process(["nc", "-ll", "-p", "8000", "-e", "cat"])
    await session.wait_for_port(8000)
    async with session.connect_port(8000) as connection:
        await connection.write(b"up")
        while await connection.read():
            ready()


async def _port(session: AsyncSession, ready: Ready) -> None:
    waiting = asyncio.ensure_future(session.wait_for_port(9, timeout=None))
    await session.ping()
    ready()
    await waiting


async def _round_trips(session: AsyncSession, ready: Ready) -> None:
    while True:
        await session.ping()
        ready()


KINDS: dict[str, Callable[[AsyncSession, Ready], Awaitable[None]]] = {
    "a command": _command,
    "output": _output,
    "input": _input,
    "a download": _download,
    "an upload": _upload,
    "a terminal": _terminal,
    "a managed process": _process,
    "the end of a managed process": _end_of_process,
    "a watch": _watch,
    "a connection": _connection,
    "a port that nobody serves": _port,
    "round trips": _round_trips,
}


async def begin(session: AsyncSession) -> dict[str, asyncio.Task[None]]:
    """Start a call of each kind; all are in the middle of it when this returns."""
    tasks = {}
    for name, kind in KINDS.items():
        under_way = asyncio.Event()
        task = asyncio.ensure_future(kind(session, under_way.set))
        waiting = asyncio.ensure_future(under_way.wait())
        await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED, timeout=SECONDS)
        assert under_way.is_set(), f"{name}: {task}"
        tasks[name] = task
    return tasks


async def all_end(
    session: AsyncSession, tasks: dict[str, asyncio.Task[None]], *reasons: EndReason
) -> None:
    """Fail unless every call ends, by an error that says why, and so does the session."""
    _, hang = await asyncio.wait(set(tasks.values()), timeout=SECONDS)
    assert not hang, [name for name, task in tasks.items() if task in hang]
    for name, task in tasks.items():
        error = task.exception()
        assert isinstance(error, SessionEndedError), f"{name}: {error!r}"
        assert error.reason in reasons, f"{name}: {error!r}"
        assert isinstance(error, SessionLostError) is (error.reason is EndReason.LOST)
    async with asyncio.timeout(SECONDS):
        assert await session.wait_ended() in reasons
        with pytest.raises(SessionEndedError):
            await session.exec(["true"])


async def killed_under(task: asyncio.Future[Any], engine: OwnEngine, proxy: Proxy) -> None:
    """Kill the engine that a call waits for, which must end typed, and start it anew."""
    await engine.kill()
    proxy.cut_streams()
    await proxy.close()
    with pytest.raises(SandboxError):
        await task
    await engine.start()
