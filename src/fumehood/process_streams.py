"""The output of a managed process as it is read: from a byte on, whoever started it."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from fumehood._core import CANCEL_PATIENCE, SessionCore
from fumehood._failures import process_failure
from fumehood._run import STDOUT, result_of
from fumehood._tether.channel import Channel
from fumehood._wire.events import Output
from fumehood._wire.messages import Exit as ExitMessage
from fumehood._wire.messages import Fail
from fumehood._wire.requests import FROM_NOW_ON, process_request
from fumehood._wire.table import Operation
from fumehood.errors import InvalidRequestError
from fumehood.process_results import Gap, ProcessEvent
from fumehood.results import Exit, Stderr, Stdout
from fumehood.text import StreamDecoder


class LogReader:
    """Turn pieces of a log into events: texts whole, gaps told.

    Args:
        since: the offset that was asked for; None for the log's end, wherever that is.
    """

    def __init__(self, since: int | None) -> None:
        self.position = since
        self._decoders = (StreamDecoder(), StreamDecoder())

    def piece(self, item: Output) -> list[Stdout | Stderr | Gap]:
        """Return the events of one piece."""
        events = self.gap(item.offset)
        index = item.stream - STDOUT
        kind = Stdout if index == 0 else Stderr
        events.append(kind(item.data, self._decoders[index].feed(item.data), item.offset))
        self.position = item.offset + len(item.data)
        return events

    def gap(self, offset: int) -> list[Stdout | Stderr | Gap]:
        """Return the events before an offset at which the log goes on."""
        if self.position is None or offset <= self.position:
            return []
        events: list[Stdout | Stderr | Gap] = [*self.rest()]
        events.append(Gap(self.position, offset - self.position))
        self.position = offset
        return events

    def rest(self) -> list[Stdout | Stderr]:
        """Return the text of characters that never ended."""
        events: list[Stdout | Stderr] = []
        out, err = (decoder.finish() for decoder in self._decoders)
        if out:
            events.append(Stdout(b"", out, self.position))
        if err:
            events.append(Stderr(b"", err, self.position))
        self._decoders = (StreamDecoder(), StreamDecoder())
        return events


class ProcessStream:
    """The output of a managed process, then its end. Iterate it once; it is a context manager too.

    Leaving it, at whatever point, leaves the process alone.
    """

    def __init__(self, core: SessionCore, number: int, since: int | None) -> None:
        self._core = core
        self._number = number
        self._since = since
        self._log = LogReader(since)
        self._channel: Channel | None = None
        self._kept = (bytearray(), bytearray())
        self._pending: list[ProcessEvent] = []
        self._busy = False
        self._over = False

    @property
    def offset(self) -> int | None:
        """Where the next event begins: ``since`` for another stream that is to go on from here.

        None before the first event of a stream that began at the log's end.
        """
        event = self._pending[0] if self._pending else None
        if event is not None and not isinstance(event, Exit) and event.offset is not None:
            return event.offset
        return self._log.position

    def __aiter__(self) -> ProcessStream:
        """Return itself."""
        return self

    async def __anext__(self) -> ProcessEvent:
        """Return the next event. Cancelling it loses none."""
        if self._busy:
            raise InvalidRequestError("another task iterates over this stream already")
        if not self._pending:
            if self._over:
                raise StopAsyncIteration
            self._busy = True
            try:
                await self._more()
            finally:
                self._busy = False
        if not self._pending:
            raise StopAsyncIteration
        return self._pending.pop(0)

    async def _more(self) -> None:
        if self._channel is None:
            offset = FROM_NOW_ON if self._since is None else self._since
            self._channel = self._core.tether.open(
                process_request(Operation.ATTACH, self._number, offset=offset, at_end=0)
            )
        item = await self._channel.receive()
        if item is None:
            await self._finish(self._channel)
            return
        kept = self._kept[item.stream - STDOUT]
        kept += item.data[: max(0, self._core.limits.max_output_bytes - len(kept))]
        self._pending.extend(self._log.piece(item))

    async def _finish(self, channel: Channel) -> None:
        answer = await channel.answer()
        if self._over:
            return  # closed from elsewhere while this waited
        self._over = True
        if isinstance(answer, Fail):
            raise process_failure(
                answer,
                op="stream",
                process=f"p{self._number}",
                session_id=self._core.id,
                since=self._since,
            )
        assert isinstance(answer, ExitMessage)
        assert answer.offset is not None
        self._pending += self._log.gap(answer.offset)
        self._pending += self._log.rest()
        self._pending.append(Exit(result_of(answer, bytes(self._kept[0]), bytes(self._kept[1]))))

    async def aclose(self) -> None:
        """Stop reading. Idempotent."""
        self._over = True
        if self._channel is not None:
            await self._channel.aclose(CANCEL_PATIENCE)

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
        # As in ExecStream: `break` drops the iterator without a word.
        channel = getattr(self, "_channel", None)
        if channel is not None and not channel.finished:
            self._core.tether.call_soon(channel.abandon)


def last_lines(events: list[Stdout | Stderr | Gap], count: int) -> list[Stdout | Stderr | Gap]:
    """Return the events from the last ``count`` lines on; a line that has not ended is one."""
    kept: list[Stdout | Stderr | Gap] = []
    needed = count
    newest = True
    for event in reversed(events):
        if needed == 0:
            break
        if isinstance(event, Gap):
            break
        at = len(event.data)
        if newest and event.data:
            newest = False
            at -= event.data.endswith(b"\n")
        while needed and at >= 0:
            at = event.data.rfind(b"\n", 0, at)
            if at < 0:
                break
            needed -= 1
        if needed:
            kept.append(event)
        elif at + 1 < len(event.data):
            data = event.data[at + 1 :]
            offset = None if event.offset is None else event.offset + at + 1
            kept.append(type(event)(data, data.decode("utf-8", "replace"), offset))
    return kept[::-1]
