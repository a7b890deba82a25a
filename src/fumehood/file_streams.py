"""Files of any size, piece by piece: what is read and what is written never has to fit memory."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from fumehood._core import CANCEL_PATIENCE, SessionCore
from fumehood._progress import Progress, of_file
from fumehood._tether.channel import Channel
from fumehood._transfer import done, tell_written
from fumehood._wire.requests import Request
from fumehood.errors import InvalidRequestError


class FileReader:
    """The content of a file, piece by piece. Iterate it once; it is a context manager too."""

    def __init__(self, core: SessionCore, request: Request, name: str) -> None:
        self._core = core
        self._request = request
        self._name = name
        self._channel: Channel | None = None
        self._watch: Progress | None = None
        self._over = False

    def __aiter__(self) -> FileReader:
        """Return itself."""
        return self

    async def __anext__(self) -> bytes:
        """Return the next piece."""
        if self._over:
            raise StopAsyncIteration
        if self._channel is None:
            self._channel = self._core.tether.open(self._request)
            self._watch = of_file(self._core, self._channel, "read_file_stream", self._name)
        item = await self._channel.receive()
        if item is not None:
            return item.data
        if self._over:  # closed from elsewhere while this waited
            raise StopAsyncIteration
        self._over = True
        self._stop_watch()
        done(self._core, await self._channel.answer(), "read_file_stream", self._name)
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Stop reading. Idempotent."""
        self._over = True
        self._stop_watch()
        if self._channel is not None:
            await self._channel.aclose(CANCEL_PATIENCE)

    def _stop_watch(self) -> None:
        if self._watch is not None:
            self._watch.stop()

    async def __aenter__(self) -> Self:
        """Return itself."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop reading."""
        await self.aclose()

    def __del__(self) -> None:
        channel = getattr(self, "_channel", None)
        if channel is not None and not self._over:
            self._core.tether.call_soon(channel.abandon)


class FileWriter:
    """A file that is being written; see :meth:`FilesPart.write_file_stream`."""

    def __init__(self, core: SessionCore, request: Request, name: str) -> None:
        self._core = core
        self._request = request
        self._name = name
        self._channel: Channel | None = None
        self._watch: Progress | None = None
        self._used = False
        self._interrupted = False
        self._size = 0

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return self._size

    async def __aenter__(self) -> Self:
        """Open the file."""
        if self._used:
            raise InvalidRequestError("a FileWriter writes one file, once")
        self._used = True
        self._channel = self._core.tether.open(self._request)
        self._watch = of_file(self._core, self._channel, "write_file_stream", self._name)
        return self

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send a piece; returns when it is on its way, which is as fast as the disk takes it.

        Raises:
            FileTooLargeError, DiskFullError: the file cannot be finished; the old one is as it was.
        """
        if self._channel is None:
            raise InvalidRequestError("a FileWriter is used in an 'async with' block")
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise InvalidRequestError(f"data must be bytes, not {type(data).__name__}")
        view = memoryview(data)
        whole, self._interrupted = not self._interrupted, True
        if not await self._channel.send(view):
            done(self._core, await self._channel.answer(), "write_file_stream", self._name)
        # Only now: who catches an exception out of here does not know how much was sent.
        self._interrupted = not whole
        self._size += view.nbytes

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Put the file in its place, or forget it where the block, or a write in it, failed."""
        if self._channel is None:
            return
        channel, self._channel = self._channel, None
        try:
            if error is None and self._interrupted:
                if channel.finished:
                    done(self._core, await channel.answer(), "write_file_stream", self._name)
                raise InvalidRequestError(
                    f"write_file_stream {self._name!r}: a write was interrupted, so the file is "
                    "not whole; the old one is as it was"
                )
            if error is None:
                channel.end_input()
                done(self._core, await channel.answer(), "write_file_stream", self._name)
        finally:
            if self._watch is not None:
                self._watch.stop()
            await channel.aclose(CANCEL_PATIENCE)
        if error is None:
            await tell_written(self._core, self._name, self._size)
