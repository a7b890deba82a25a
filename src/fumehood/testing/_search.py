"""``search`` over files in memory: the same records in the same bounds as the supervisor's."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator
from typing import cast

from fumehood._wire.table import EventCode, Field, Frame
from fumehood.testing._patterns import Filter, LateError, Pattern
from fumehood.testing._talk import Talk, number, path_of, record
from fumehood.testing.files import File, MemoryFiles

_SHOWN = 4096
_SHOWN_BEFORE = 1024
_LONGEST = 1 << 20
_FIRST_PIECE = 256 << 10
_MAX_OUTPUT = 16 << 20
_STOP_MATCHES, _STOP_OUTPUT, _STOP_TIME = 1, 2, 3


async def search(files: MemoryFiles, talk: Talk) -> None:
    """Carry out a request.

    Raises:
        RefusedError: there is no such file, or the pattern is none.
    """
    path = path_of(files, talk)
    run = _Search(talk)
    node = files.find(path)
    if isinstance(node, File):
        await run.file(".", node)
    else:
        chosen = Filter(programs(talk, Field.INCLUDE), programs(talk, Field.EXCLUDE))
        async for name, file in _chosen(files, path, chosen):
            if run.stop:
                break
            await run.file(name, file)
    await run.counts()
    talk.finish(Frame.DONE, {Field.ENTRIES: run.matches})


async def _chosen(files: MemoryFiles, path: str, chosen: Filter) -> AsyncIterator[tuple[str, File]]:
    for name, node in files.walk(path, skip=chosen.excludes):
        if isinstance(node, File) and chosen.includes(name):
            yield name, node
            await asyncio.sleep(0)  # one loop serves the client too


def programs(talk: Talk, name: Field) -> list[bytes]:
    """Return the programs of the request's globs."""
    return cast("list[bytes]", talk.fields.get(name) or [])


class _Search:
    def __init__(self, talk: Talk) -> None:
        self._talk = talk
        self._pattern = Pattern(cast("bytes", talk.fields[Field.PROGRAM]))
        self._limit = number(talk, Field.LIMIT)
        self._largest = number(talk, Field.MAX_FILE_BYTES)
        self._before = number(talk, Field.BEFORE)
        self._after = number(talk, Field.AFTER)
        self._deadline = time.monotonic() + number(talk, Field.TIMEOUT_MS) / 1000
        self._sent = 0
        self._counts = dict.fromkeys(
            (
                EventCode.SEARCHED,
                EventCode.BINARY,
                EventCode.TOO_LARGE,
                EventCode.UNREADABLE,
                EventCode.LONG_LINES,
            ),
            0,
        )
        self.matches = 0
        self.stop = 0

    def _late(self) -> bool:
        return time.monotonic() >= self._deadline

    async def file(self, name: str, file: File) -> None:
        """Search one file."""
        if self._late():
            self.stop = _STOP_TIME
        elif len(file.data) > self._largest:
            self._counts[EventCode.TOO_LARGE] += 1
        elif b"\0" in file.data[:_FIRST_PIECE]:
            self._counts[EventCode.BINARY] += 1
        else:
            try:
                await self._lines(name.encode("utf-8", "surrogateescape"), file.data)
            except LateError:
                self.stop = _STOP_TIME
            if not self.stop:
                self._counts[EventCode.SEARCHED] += 1

    async def _lines(self, name: bytes, data: bytes) -> None:
        lines = data.split(b"\n")
        if not lines[-1]:
            lines.pop()
        before: deque[tuple[int, bytes]] = deque(maxlen=self._before)
        owed = 0
        for count, whole in enumerate(lines, 1):
            line = whole.removesuffix(b"\r")
            if len(line) > _LONGEST:
                self._counts[EventCode.LONG_LINES] += 1
                line = line[:_LONGEST]
            place = self._pattern.find(line, self._late)
            if place is not None:
                for earlier, shown in before:
                    await self._line(name, earlier, shown, None)
                before.clear()
                await self._line(name, count, line, place)
                owed = self._after
            elif owed:
                owed -= 1
                await self._line(name, count, line, None)
            else:
                before.append((count, line))
            if self.stop:
                return

    async def _line(
        self, name: bytes, count: int, line: bytes, place: tuple[int, int] | None
    ) -> None:
        if place is not None and self.matches == self._limit:
            self.stop = _STOP_MATCHES
        elif self._sent > _MAX_OUTPUT:
            self.stop = _STOP_OUTPUT
        if self.stop:
            return
        first = _first_shown(line, place)
        shown = _whole(line, first)
        fields: dict[Field, int | bytes] = {
            Field.EVENT: int(EventCode.CONTEXT if place is None else EventCode.MATCH),
            Field.NAME: name,
            Field.LINE: shown,
            Field.ENTRIES: count,
            Field.SIZE: len(line),
        }
        if place is not None:
            self.matches += 1
            fields[Field.OFFSET] = place[0] - first
            fields[Field.LIMIT] = min(place[1] - first, len(shown))
        raw = record(fields)
        self._sent += len(raw)
        await self._talk.output(Frame.STDOUT, raw)

    async def counts(self) -> None:
        """Tell what was looked at, and why it ended early."""
        told: list[tuple[EventCode, int]] = list(self._counts.items())
        if self.stop:
            told.append((EventCode.STOPPED, self.stop))
        for event, count in told:
            raw = record({Field.EVENT: int(event), Field.ENTRIES: count})
            await self._talk.output(Frame.STDOUT, raw)


def _first_shown(line: bytes, place: tuple[int, int] | None) -> int:
    """Return where the part of a line begins that is sent: so that the match is in it."""
    if place is None or len(line) <= _SHOWN or place[0] <= _SHOWN_BEFORE:
        return 0
    first = place[0] - _SHOWN_BEFORE
    while first < place[0] and line[first] & 0xC0 == 0x80:
        first += 1
    return first


def _whole(line: bytes, first: int) -> bytes:
    """Return what is sent from there on, of whole characters where there are any."""
    end = min(len(line), first + _SHOWN)
    for _ in range(3):
        if end < len(line) and line[end] & 0xC0 == 0x80:
            end -= 1
    return line[first:end]
