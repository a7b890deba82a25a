"""Calls that are under way when a stream breaks and must not notice: each checks its own bytes."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

from faults.pending import SECONDS
from fumehood import AsyncSession, Exit, Stdout

LINES = 300_000
"""Lines of output: a few windows of it, so that each stream is in the middle when it breaks."""
TEXT = b"".join(b"%d\n" % number for number in range(1, LINES + 1))
DIGEST = hashlib.sha256(TEXT).hexdigest()
_PIECE = 50_000
_FIRST = 3
"""Pieces before the break."""


class Steady:
    """A call of each kind, held in its middle until :meth:`go_on`."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session
        self._on = asyncio.Event()
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def begin(self) -> None:
        """Start them all; each is under way when this returns."""
        await self._session.write_file("text", TEXT)
        kinds: dict[str, Callable[[asyncio.Event], Awaitable[None]]] = {
            "a command": self._command,
            "output": self._output,
            "input": self._input,
            "a download": self._download,
            "an upload": self._upload,
            "a watch": self._watch,
        }
        for name, kind in kinds.items():
            under_way = asyncio.Event()
            task = asyncio.ensure_future(kind(under_way))
            waiting = asyncio.ensure_future(under_way.wait())
            await asyncio.wait(
                {task, waiting}, return_when=asyncio.FIRST_COMPLETED, timeout=SECONDS
            )
            assert under_way.is_set(), f"{name}: {task}"
            self._tasks[name] = task

    async def go_on(self) -> None:
        """Let them come to their ends, whole."""
        self._on.set()
        await self._session.write_file("go", b"")
        async with asyncio.timeout(6 * SECONDS):
            await asyncio.gather(*self._tasks.values())
        result = await self._session.exec(["sha256sum", "text", "upload"], check=True)
        assert result.stdout.split() == [DIGEST, "text", DIGEST, "upload"]

    def let_go(self) -> None:
        """Let them go on only as far as their session does."""
        self._on.set()

    @property
    def tasks(self) -> dict[str, asyncio.Task[None]]:
        """The calls, by what they are."""
        return self._tasks

    # --- the kinds ------------------------------------------------------------------------------

    async def _command(self, under_way: asyncio.Event) -> None:
        script = "echo one; until [ -e go ]; do sleep 0.05; done; echo two; exit 7"
        seen = b""
        async with aclosing(self._session.exec_stream(["sh", "-c", script])) as events:
            async for event in events:
                if isinstance(event, Exit):
                    assert event.result.exit_code == 7
                elif isinstance(event, Stdout):
                    seen += event.data
                    under_way.set()
        assert seen == b"one\ntwo\n"

    async def _output(self, under_way: asyncio.Event) -> None:
        seen = hashlib.sha256()
        command = ["seq", "1", str(LINES)]
        events = self._session.exec_stream(command, max_output_bytes=1 << 30)
        async with aclosing(events):
            async for event in events:
                if isinstance(event, Exit):
                    assert event.result.exit_code == 0
                elif isinstance(event, Stdout):
                    seen.update(event.data)
                    under_way.set()
                    await self._on.wait()
        assert seen.hexdigest() == DIGEST

    async def _pieces(self, under_way: asyncio.Event) -> AsyncGenerator[bytes, None]:
        for number, at in enumerate(range(0, len(TEXT), _PIECE)):
            if number == _FIRST:
                under_way.set()
                await self._on.wait()
            yield TEXT[at : at + _PIECE]

    async def _input(self, under_way: asyncio.Event) -> None:
        result = await self._session.exec(["sha256sum"], input=self._pieces(under_way))
        assert result.stdout.split()[0] == DIGEST

    async def _download(self, under_way: asyncio.Event) -> None:
        seen = hashlib.sha256()
        async with aclosing(self._session.read_file_stream("text")) as chunks:
            async for chunk in chunks:
                seen.update(chunk)
                under_way.set()
                await self._on.wait()
        assert seen.hexdigest() == DIGEST

    async def _upload(self, under_way: asyncio.Event) -> None:
        async with (
            self._session.write_file_stream("upload") as file,
            aclosing(self._pieces(under_way)) as pieces,
        ):
            async for piece in pieces:
                await file.write(piece)

    async def _watch(self, under_way: asyncio.Event) -> None:
        async with self._session.watch() as events:
            under_way.set()
            await self._on.wait()
            async for event in events:
                if event.path == "go":
                    return
        raise AssertionError("the watch has ended before its file has come")
