"""What happens to a session's files, as it happens."""

from __future__ import annotations

import posixpath
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import Self

from fumehood import _globs
from fumehood._checks import flag, whole
from fumehood._core import CANCEL_PATIENCE, FileRoot, SessionCore, SessionPart, locate
from fumehood._opening import Opening
from fumehood._progress import of_file
from fumehood._tether.channel import Channel
from fumehood._tether.cleanup import to_the_end
from fumehood._transfer import blame, done
from fumehood._wire.codec import WireViolationError
from fumehood._wire.records import Event, EventReader
from fumehood._wire.requests import Request, file_request
from fumehood._wire.table import EventCode, FileCode, Operation, Violation
from fumehood.errors import InvalidRequestError

MAX_DIRECTORIES = 10_000
_MOST_DIRECTORIES = 65_536


class WatchKind(StrEnum):
    """What has happened."""

    CREATED = "created"
    """It is there now: made, linked, written by fumehood, or moved in from where nobody watches. A
    file that was there before has been replaced."""
    MODIFIED = "modified"
    """Its content, mode, owner or times have changed; many changes at once are one event."""
    DELETED = "deleted"
    """It is gone: removed, or moved to where nobody watches. Of the watched directory itself
    (``path`` is what was watched) it is the last event."""
    MOVED = "moved"
    """It has another name now: ``target``."""
    OVERFLOW = "overflow"
    """More has happened than could be told: look at the files anew. What comes after it is whole
    again."""


_KINDS = {
    EventCode.CREATED: WatchKind.CREATED,
    EventCode.MODIFIED: WatchKind.MODIFIED,
    EventCode.DELETED: WatchKind.DELETED,
    EventCode.MOVED: WatchKind.MOVED,
    EventCode.OVERFLOW: WatchKind.OVERFLOW,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchEvent:
    """One thing that has happened."""

    kind: WatchKind
    path: str
    """Relative to the workspace (absolute with ``root="/"``). Of an overflow: what is watched."""
    target: str | None = None
    """Of ``MOVED``: the new path."""
    is_directory: bool = False


class WatchPart(SessionPart):
    """Watching the files of a session."""

    def watch(
        self,
        path: str = ".",
        *,
        recursive: bool = True,
        ignore: Iterable[str] = (),
        max_directories: int = MAX_DIRECTORIES,
        root: FileRoot = None,
    ) -> Opening[Watch]:
        """Watch a directory: ``await`` it, or use it with ``async with``, and iterate.

        Nothing that happens after it is there is missed. What happens to one file within 50
        milliseconds is put together. Directories that appear are watched, and what was made in them
        before they were is told too; links are told and not followed. What fumehood writes is told
        once, as created under its own name, also where it replaces a file. It ends when the
        directory itself is gone, with an event that says so. A watch is no activity: an idle
        session ends all the same.

        It is the kernel's inotify, so some things are not seen: reads, writes through ``mmap``,
        what other machines do on a network file system, what happens in a directory that the
        session's user may not read, files without a name (``O_TMPFILE``) or called like fumehood's
        drafts (``.fumehood-`` and eight hexadecimal digits), and the names of what happened before
        an overflow.

        Args:
            path: the directory.
            recursive: also all that is beneath it.
            ignore: globs of what is not watched or told, directories with all that is in them: as
                ``exclude`` of :meth:`SearchPart.search`.
            max_directories: how many can be watched, at most 65,536; each takes about a kilobyte of
                the engine's kernel, which counts them for each user over all containers.
            root: ``"/"`` for a path on the container's whole file system.

        Example::

            async with session.watch("src", ignore=["__pycache__"]) as events:
                async for event in events:
                    print(event.kind, event.path)

        Raises:
            InvalidRequestError: for a value, before anything is tried.
            FileMissingError, FileNotDirectoryError, FilePermissionError: of ``path``.
            ResourceLimitError: more directories are there than can be watched.
            SessionEndedError: the session is over.
        """
        name, raw, where = locate(path, root, allow_root=True)
        most = whole(max_directories, "max_directories", minimum=1, maximum=_MOST_DIRECTORIES)
        request = file_request(
            Operation.WATCH,
            raw,
            where,
            limit=most,
            recursive=int(flag(recursive, "recursive")),
            exclude=_globs.programs(ignore, "ignore"),
        )
        return Opening(lambda: _start(self._core, request, name))


async def _start(core: SessionCore, request: Request, name: str) -> Watch:
    channel = core.tether.open(request)
    reader = EventReader()
    events: deque[Event] = deque()
    try:
        with of_file(core, channel, "watch", name):
            while not events and (item := await channel.receive()) is not None:
                events.extend(reader.feed(item.data))
            if not events:
                done(core, await channel.answer(), "watch", name)
        if not events or events.popleft().event is not EventCode.READY:
            raise WireViolationError(Violation.BAD_VALUE, "watch: it did not begin with READY")
    except WireViolationError as violation:
        raise blame(core, violation) from None
    except BaseException:
        await to_the_end(channel.aclose(CANCEL_PATIENCE))
        raise
    return Watch(core, channel, name, reader, events)


class Watch:
    """The events of a watch, as they come. Iterate it once; it is a context manager too.

    A reader that stalls loses nothing of what it has: what does not fit meanwhile is told as an
    overflow.
    """

    def __init__(
        self,
        core: SessionCore,
        channel: Channel,
        name: str,
        reader: EventReader,
        events: deque[Event],
    ) -> None:
        self._core = core
        self._channel = channel
        self._name = name
        self._base = "" if name == "." else name
        self._reader = reader
        self._pending = events
        self._busy = False
        self._over = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._name!r}{' over' if self._over else ''}>"

    def __aiter__(self) -> Watch:
        """Return itself."""
        return self

    async def __anext__(self) -> WatchEvent:
        """Return the next event. Cancelling it loses none.

        Raises:
            FileError: the helper that watches was killed inside.
            SessionEndedError: the session is over.
        """
        if self._busy:
            raise InvalidRequestError("another task iterates over this watch already")
        self._busy = True
        try:
            event = await self._next()
        finally:
            self._busy = False
        if event is None:
            raise StopAsyncIteration
        return self._public(event)

    async def _next(self) -> Event | None:
        while not self._pending:
            if self._over:
                return None
            item = await self._channel.receive()
            if item is None:
                await self._finish()
                return None
            try:
                self._pending.extend(self._reader.feed(item.data))
            except WireViolationError as violation:
                raise blame(self._core, violation) from None
        return self._pending.popleft()

    async def _finish(self) -> None:
        if self._over:
            return  # closed from elsewhere while this waited
        self._over = True
        done(self._core, await self._channel.answer(), "watch", self._name)

    def _public(self, event: Event) -> WatchEvent:
        kind = _KINDS.get(event.event)
        if kind is None or (kind is WatchKind.MOVED) != (event.target is not None):
            raise self._blame(f"watch: a record of {event.event.name}")
        return WatchEvent(
            kind=kind,
            path=self._name if event.name is None else self._path(event.name),
            target=None if event.target is None else self._path(event.target),
            is_directory=event.type is FileCode.DIRECTORY,
        )

    def _path(self, raw: bytes) -> str:
        text = raw.decode("utf-8", "surrogateescape")
        if text == ".":
            return self._name
        if any(part in ("", ".", "..") for part in text.split("/")):
            raise self._blame(f"watch: name={text[:100]!r}")
        return posixpath.join(self._base, text)

    def _blame(self, what: str) -> WireViolationError:
        return blame(self._core, WireViolationError(Violation.BAD_VALUE, what))

    async def aclose(self) -> None:
        """Stop watching. Idempotent; an iteration under way ends."""
        self._over = True
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
        """Stop watching."""
        await self.aclose()

    def __del__(self) -> None:
        # As in ExecStream: a watch that everybody has dropped leaves nothing in the session.
        channel = getattr(self, "_channel", None)
        if channel is not None and not channel.finished:
            self._core.tether.call_soon(channel.abandon)
