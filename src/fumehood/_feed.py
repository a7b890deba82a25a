"""A command's standard input, given as fast as the command takes it."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import AsyncGenerator, AsyncIterable, Iterable

from fumehood._command import Pieces
from fumehood._tether.channel import Channel
from fumehood.errors import InvalidRequestError


async def feed(channel: Channel, rest: memoryview) -> None:
    """Give all of it, then end the input."""
    if await channel.send(rest):
        channel.end_input()


async def feed_pieces(channel: Channel, source: Pieces) -> None:
    """Give one piece after the other, then end the input.

    What the source raises ends the command: its input will never be whole, so it might never end.
    """
    try:
        if isinstance(source, AsyncIterable):
            await _give(channel, source)
        else:
            async with contextlib.aclosing(_in_thread(source)) as pieces:
                await _give(channel, pieces)
    except Exception:
        channel.abandon()
        raise


async def _give(channel: Channel, pieces: AsyncIterable[bytes]) -> None:
    async for piece in pieces:
        if not isinstance(piece, (bytes, bytearray, memoryview)):
            raise InvalidRequestError(f"input holds {type(piece).__name__}, which is not bytes")
        if not await channel.send(piece):
            return
    channel.end_input()


async def _in_thread(source: Iterable[bytes]) -> AsyncGenerator[bytes, None]:
    """Step an iterable that may block, such as a file or a pipe, in a thread of its own.

    A daemon, and not one of the loop's executor: a step that never returns (a terminal at which
    nobody types) must not hold up the end of the loop or of the interpreter.
    """
    loop = asyncio.get_running_loop()
    steps: queue.SimpleQueue[asyncio.Future[tuple[bool, bytes]] | None] = queue.SimpleQueue()

    def settle(
        step: asyncio.Future[tuple[bool, bytes]],
        outcome: tuple[bool, bytes],
        error: BaseException | None,
    ) -> None:
        if not step.done() and error is not None:
            step.set_exception(error)
        elif not step.done():
            step.set_result(outcome)

    def work() -> None:
        iterator = iter(source)
        while (step := steps.get()) is not None:
            outcome, error = (False, b""), None
            try:
                outcome = (True, next(iterator))
            except StopIteration:
                pass
            except BaseException as exc:  # noqa: BLE001 - raised where the piece is awaited
                error = exc
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(settle, step, outcome, error)

    threading.Thread(target=work, name="fumehood-input", daemon=True).start()
    try:
        while True:
            step: asyncio.Future[tuple[bool, bytes]] = loop.create_future()
            steps.put(step)
            more, piece = await step
            if not more:
                return
            yield piece
    finally:
        steps.put(None)
