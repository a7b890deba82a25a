"""An upload: blocks of this machine's files on their way into a session."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from fumehood._core import CANCEL_PATIENCE, SessionCore
from fumehood._progress import of_file
from fumehood._tether.channel import Channel
from fumehood._tether.cleanup import stop, to_the_end
from fumehood._transfer import blame, done
from fumehood._trees.blocking import blocking, settle
from fumehood._trees.source import TreeSource
from fumehood._trees.tally import Tally, reason
from fumehood._wire.codec import WireViolationError
from fumehood._wire.messages import Done, Fail
from fumehood._wire.packed import FAILED, PackedReader, Record, error_code
from fumehood._wire.requests import Request
from fumehood._wire.table import FileCode, Violation
from fumehood.transfers import TransferProgress

Report = Callable[[TransferProgress], None]
OP = "upload"


class Sending:
    """One upload.

    Args:
        core: the session.
        source: what is sent.
        tally: what is counted.
        local: the source's path, and
        name: the target's, for messages.
        progress: is called on the event loop, after each block.
    """

    def __init__(
        self,
        core: SessionCore,
        source: TreeSource,
        tally: Tally,
        *,
        local: str,
        name: str,
        progress: Report | None,
    ) -> None:
        self._core = core
        self._source = source
        self._tally = tally
        self._local = local
        self._name = name
        self._progress = progress
        self._blocks = source.blocks()
        self.refused: Fail | None = None
        """What the supervisor said of the entry that it refused last."""

    async def run(self, request: Request) -> None:
        """Send everything.

        Raises:
            DiskFullError: what is whole stays.
        """
        channel = self._core.tether.open(request)
        listener = asyncio.create_task(self._listen(channel))
        try:
            await self._send(channel)
            channel.end_input()
            with of_file(self._core, channel, OP, self._name):
                await listener
                answer = done(self._core, await channel.answer(), OP, self._name)
            self._conclude(answer)
        finally:
            await to_the_end(self._close(channel, listener))

    async def _close(self, channel: Channel, listener: asyncio.Task[None]) -> None:
        await channel.aclose(CANCEL_PATIENCE)
        await stop(listener)
        await asyncio.to_thread(self._blocks.close)

    async def _send(self, channel: Channel) -> None:
        """Read a block while the one before it is on its way."""
        ahead = self._read()
        try:
            while (block := await ahead) is not None:
                ahead = self._read()
                # Only while this waits for the supervisor is it the supervisor that may be late.
                with of_file(self._core, channel, OP, self._name):
                    taken = await channel.send(block)
                if not taken:
                    return
                if self._progress is not None:
                    self._progress(self._tally.progress())
        finally:
            # A generator that is running cannot be closed.
            with suppress(asyncio.CancelledError):
                await to_the_end(settle(ahead))

    def _read(self) -> asyncio.Task[bytes | None]:
        return asyncio.create_task(blocking(OP, self._local, "read", next, self._blocks, None))

    async def _listen(self, channel: Channel) -> None:
        """Take the supervisor's word for what could not be put in its place."""
        reader = PackedReader(content=False)
        try:
            while (item := await channel.receive()) is not None:
                for event in reader.feed(item.data):
                    self._refused(event)
            if isinstance(channel.outcome, Done):
                reader.finish()
        except WireViolationError as violation:
            raise blame(self._core, violation) from None

    def _refused(self, record: object) -> None:
        if not isinstance(record, Record) or record.type != FAILED:
            raise WireViolationError(Violation.BAD_VALUE, "an upload answered with an entry")
        error = error_code(record.mode)
        path = record.path.decode("utf-8", "surrogateescape")
        self.refused = Fail(
            error=error, errno=min(record.size, 4095), step="", message="", size=None
        )
        self._tally.skip(path, reason(error, record.size))
        # Counted when it was sent.
        if record.flags == FileCode.FILE:
            self._tally.files -= 1
        elif record.flags == FileCode.DIRECTORY:
            self._tally.directories -= 1
        else:
            self._tally.symlinks -= 1

    def _conclude(self, answer: Done) -> None:
        self._tally.bytes = answer.size or 0
        if self._progress is not None:
            self._progress(self._tally.progress())
