"""Servers as their users start them, and the search for what they leave on the engine."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
from mcp import StdioServerParameters

from fumehood import AsyncDockerSandbox

FUMEHOOD = str(Path(sys.executable).with_name("fumehood"))
PATIENCE = 60.0
TOKEN = "a-token-for-the-tests"

Start = Callable[..., AbstractAsyncContextManager[str]]


def environment(label: str) -> dict[str, str]:
    return {**os.environ, "FUMEHOOD_IMAGE": "fumehood/test-python", "FUMEHOOD_MCP_TOKEN": TOKEN}


def stdio(*arguments: str) -> StdioServerParameters:
    return StdioServerParameters(
        command=FUMEHOOD, args=["mcp", *arguments], env=environment("stdio")
    )


@asynccontextmanager
async def http(
    *arguments: str, stderr: int | None = None
) -> AsyncIterator[tuple[str, asyncio.subprocess.Process]]:
    """A server at a port of its own, and its process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        FUMEHOOD,
        "mcp",
        f"--http=127.0.0.1:{port}",
        *arguments,
        env=environment("http"),
        stdin=asyncio.subprocess.DEVNULL,
        stderr=stderr,
    )
    try:
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except ConnectionRefusedError:
                    await asyncio.sleep(0.05)
                else:
                    writer.close()
                    await writer.wait_closed()
                    break
        yield f"http://127.0.0.1:{port}/mcp", process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def sessions() -> set[str]:
    """Return the ids of the sessions that servers have made and that are still there."""
    async with AsyncDockerSandbox() as sandbox:
        return {info.id for info in await sandbox.list_sessions() if info.metadata.get("mcp")}


@pytest.fixture(autouse=True)
async def nothing_is_left() -> AsyncIterator[None]:
    """After each test every session of a server is gone, however the server ended."""
    before = await sessions()
    yield
    async with asyncio.timeout(PATIENCE):
        while await sessions() - before:
            await asyncio.sleep(0.1)
