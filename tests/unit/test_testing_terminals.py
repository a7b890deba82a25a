"""Terminals of sessions in memory."""

from __future__ import annotations

import asyncio

import pytest

from fumehood import (
    CommandError,
    CommandNotFoundError,
)
from fumehood.terminals import AsyncTerminal
from fumehood.testing import (
    AsyncMemorySandbox,
    CommandCall,
)


async def test_without_a_program_a_terminal_has_the_scripted_shell() -> None:
    async def shell(call: CommandCall) -> int:
        while line := await call.read_line():
            await call.write(f"{call.argv[0]} {line}")
        return 3

    async with AsyncMemorySandbox() as sandbox, sandbox.create_session() as session:
        async with session.open_terminal() as terminal:
            with pytest.raises(CommandNotFoundError, match="no shell"):
                await terminal.wait()
        sandbox.on("bash", shell)
        async with session.open_terminal() as terminal:
            await terminal.write("a\x07b\r")
            await terminal.send_eof()
            assert b"".join([data async for data in terminal]) in (
                b"a^Gb\r\n/bin/bash a\x07b\r\n",
                b"/bin/bash a\x07b\r\na^Gb\r\n",
            )
            assert (await terminal.wait()).exit_code == 3


async def test_what_is_typed_ahead_is_bounded_and_arrives_whole() -> None:
    begun = asyncio.Event()

    async def count(call: CommandCall) -> str:
        await begun.wait()
        size = 0
        while line := await call.read_line():
            size += len(line)
        return f"<{size}>"

    async with (
        AsyncMemorySandbox(commands={"count": count}) as sandbox,
        sandbox.create_session() as session,
        session.open_terminal(["count"]) as terminal,
    ):
        shown = asyncio.ensure_future(_all(terminal))
        await terminal.write(b"0123456789\r" * 10_000)
        begun.set()
        await terminal.send_eof()
        assert b"<110000>" in await shown


async def _all(terminal: AsyncTerminal) -> bytes:
    return b"".join([data async for data in terminal])


async def test_a_command_without_a_terminal_has_no_size(caplog: pytest.LogCaptureFixture) -> None:
    async def look(call: CommandCall) -> None:
        assert call.size is None
        await call.resized()

    async with (
        AsyncMemorySandbox(commands={"look": look}) as sandbox,
        sandbox.create_session() as session,
    ):
        with pytest.raises(CommandError, match="not a terminal"):
            await session.exec(["look"])
        async with session.open_terminal(["cat"]) as terminal:
            await terminal.resize(1, 2)
            await terminal.send_eof()
            assert (await terminal.wait()).ok
