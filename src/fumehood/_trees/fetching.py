"""A download: a session's files on their way to this machine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from fumehood._core import CANCEL_PATIENCE, SessionCore
from fumehood._progress import of_file
from fumehood._tether.channel import Channel
from fumehood._tether.cleanup import to_the_end
from fumehood._transfer import blame, done
from fumehood._trees.blocking import blocking, settle
from fumehood._trees.plan import MAX_ENTRIES, Plan
from fumehood._trees.tally import Tally
from fumehood._trees.unpack import Unpacker
from fumehood._wire.codec import WireViolationError
from fumehood._wire.packed import END_RECORD
from fumehood._wire.requests import Request, file_request
from fumehood._wire.table import Operation, Root
from fumehood.transfers import TransferProgress

Report = Callable[[TransferProgress], None]
OP = "download"
_BATCH = 1 << 20
"""Bytes that are written in one step."""


class Fetching:
    """One download.

    Args:
        core: the session.
        unpacker: what takes the stream.
        tally: what is counted.
        local: the target's path, and
        name: the source's, for messages.
        progress: is called on the event loop, after each batch.
    """

    def __init__(
        self,
        core: SessionCore,
        unpacker: Unpacker,
        tally: Tally,
        *,
        local: str,
        name: str,
        progress: Report | None,
    ) -> None:
        self._core = core
        self._unpacker = unpacker
        self._tally = tally
        self._local = local
        self._name = name
        self._progress = progress

    async def file(self, request: bytes, where: Root) -> None:
        """Fetch the one file that a request names, from the top of its root."""
        channel = self._core.tether.open(file_request(Operation.GET_TREE, b".", where, follow=1))
        try:
            await channel.send(request + END_RECORD)
            channel.end_input()
            await self._land(channel)
        finally:
            await to_the_end(self._close(channel))

    async def tree(self, raw: bytes, where: Root, plan: Plan, *, follow: bool) -> None:
        """Fetch what a plan takes of a directory."""
        tether = self._core.tether
        scan = tether.open(file_request(Operation.SCAN_TREE, raw, where, limit=MAX_ENTRIES))
        channel: Channel | None = None
        try:
            channel = tether.open(self._tree_request(raw, where, follow=follow))
            async with asyncio.TaskGroup() as group:
                group.create_task(self._ask(scan, channel, plan))
                group.create_task(self._land(channel))
        except BaseExceptionGroup as failures:
            # The caller asked for a copy, not for tasks: the first thing that went wrong is it.
            raise failures.exceptions[0] from None
        finally:
            await to_the_end(self._close(scan, *(() if channel is None else (channel,))))

    def _tree_request(self, raw: bytes, where: Root, *, follow: bool) -> Request:
        return file_request(Operation.GET_TREE, raw, where, follow=int(follow))

    async def _close(self, *channels: Channel) -> None:
        for channel in channels:
            await channel.aclose(CANCEL_PATIENCE)
        await asyncio.to_thread(self._unpacker.close)

    async def _ask(self, scan: Channel, channel: Channel, plan: Plan) -> None:
        """Ask for what the scan finds, as fast as it is answered."""
        try:
            while True:
                with of_file(self._core, scan, OP, self._name):
                    item = await scan.receive()
                if item is None:
                    break
                requests = await blocking(OP, self._local, "looked at", plan.feed, item.data)
                with of_file(self._core, channel, OP, self._name):
                    if not await channel.send(requests):
                        return  # its answer says why
            done(self._core, await scan.answer(), OP, self._name)
            plan.finish()
        except WireViolationError as violation:
            raise blame(self._core, violation) from None
        await channel.send(END_RECORD)
        channel.end_input()

    async def _land(self, channel: Channel) -> None:
        """Take what comes and write it, batch by batch."""
        try:
            await self._write(channel)
            done(self._core, await channel.answer(), OP, self._name)
            await blocking(OP, self._local, "written", self._unpacker.finish)
        except WireViolationError as violation:
            raise blame(self._core, violation) from None

    async def _write(self, channel: Channel) -> None:
        """Write a batch while the next one comes."""
        writing: asyncio.Task[None] | None = None
        try:
            while batch := await self._gather(channel):
                if writing is not None:
                    await self._written(writing)
                writing = asyncio.create_task(
                    blocking(OP, self._local, "written", self._unpacker.feed, batch)
                )
            if writing is not None:
                await self._written(writing)
        finally:
            if writing is not None:
                await to_the_end(settle(writing))

    async def _written(self, writing: asyncio.Task[None]) -> None:
        await writing
        if self._progress is not None:
            self._progress(self._tally.progress())

    async def _gather(self, channel: Channel) -> list[bytes]:
        """Wait for something, and take what else is there already."""
        batch: list[bytes] = []
        size = 0
        while size < _BATCH and (not batch or channel.ready):
            with of_file(self._core, channel, OP, self._name):
                item = await channel.receive()
            if item is None:
                break
            batch.append(item.data)
            size += len(item.data)
        return batch
