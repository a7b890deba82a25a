"""``watch`` over files in memory: the events that a kernel would tell, put together likewise."""

from __future__ import annotations

import asyncio
import posixpath
from dataclasses import dataclass

from fumehood._wire import table
from fumehood._wire.table import ErrorCode, EventCode, Field, FileCode, Frame
from fumehood.testing._changes import Changes
from fumehood.testing._patterns import Filter
from fumehood.testing._search import programs
from fumehood.testing._talk import Talk, number, path_of, record
from fumehood.testing.files import Change, Directory, MemoryFiles, RefusedError

_WINDOW = 0.05
"""Seconds from the first change on in which more is waited for."""
_MOST_NOTES = 16_384
"""As many as a kernel keeps for a reader who stalls."""


async def watch(files: MemoryFiles, talk: Talk) -> None:
    """Carry out a request: tell what happens until it is cancelled, or what is watched is gone.

    Raises:
        RefusedError: there is no such directory, or there are more in it than may be watched.
    """
    watcher = _Watcher(files, talk)
    files.listeners.add(watcher.hear)
    try:
        await talk.output(Frame.STDOUT, _Note(EventCode.READY, "", directory=True).encode())
        while not watcher.over or watcher.notes:
            if not watcher.notes:
                await watcher.changed.wait()
            if not watcher.over:
                await asyncio.sleep(_WINDOW)
            await talk.output(Frame.STDOUT, watcher.notes.take())
    finally:
        files.listeners.discard(watcher.hear)
    talk.finish(Frame.DONE, {})


@dataclass(slots=True)
class _Note:
    """What is told of one change."""

    event: EventCode
    name: str
    target: str = ""
    directory: bool = False

    def encode(self) -> bytes:
        fields: dict[Field, int | bytes] = {
            Field.EVENT: int(self.event),
            Field.TYPE: int(FileCode.DIRECTORY if self.directory else FileCode.UNKNOWN),
        }
        for field, text in ((Field.NAME, self.name), (Field.TARGET, self.target)):
            if text:
                fields[field] = text.encode("utf-8", "surrogateescape")
        return record(fields)

    def says(self, event: EventCode) -> bool:
        """Whether a later event of the same path adds nothing to this one."""
        if event is EventCode.MODIFIED:
            return self.event in (EventCode.MODIFIED, EventCode.CREATED)
        return event is self.event and event is not EventCode.MOVED


class _Notes:
    """What is still to be told, at most so much; what does not fit is told as an overflow."""

    def __init__(self) -> None:
        self._all: list[_Note] = []
        self._last: dict[str, _Note] = {}
        self._lost = False

    def __bool__(self) -> bool:
        return bool(self._all)

    def add(self, note: _Note) -> None:
        names = [name for name in (note.name, note.target) if name]
        longest = max((len(name.encode("utf-8", "surrogateescape")) for name in names), default=0)
        if self._lost or len(self._all) >= _MOST_NOTES:
            self._lost = True
        elif longest > table.MAX_PATH:
            self.add(_Note(EventCode.OVERFLOW, ""))
        elif (last := self._last.get(note.name)) is None or not last.says(note.event):
            self._all.append(note)
            for name in names or [""]:
                self._last[name] = note

    def take(self) -> bytes:
        """Return all records, and forget them."""
        notes = self._all
        if self._lost:
            notes.append(_Note(EventCode.OVERFLOW, ""))
        self._all, self._last, self._lost = [], {}, False
        return b"".join(note.encode() for note in notes)


class _Watcher:
    """One watch: which directories it watches, and what it has noted.

    Args:
        files: the session's.
        talk: its request.
    """

    def __init__(self, files: MemoryFiles, talk: Talk) -> None:
        self.notes = _Notes()
        self.changed = Changes()
        self.over = False
        self._files = files
        self._base = files.absolute(path_of(files, talk)).rstrip("/")
        self._filter = Filter((), programs(talk, Field.EXCLUDE))
        self._limit = number(talk, Field.LIMIT)
        self._recursive = bool(talk.fields[Field.RECURSIVE])
        self._root = files.directory(self._base or "/")
        # By identity: a directory that is renamed is the same one.
        self._watched = {self._root}
        if self._recursive and not self._enter("", tell=False):
            raise RefusedError(ErrorCode.WATCH_LIMIT, step="watch")

    def hear(self, change: Change) -> None:
        """Take note of a change, if it is of something that is watched."""
        if self.over or self._is_end(change):
            return
        source, directory = self._name(change.path), isinstance(change.node, Directory)
        if change.event is EventCode.MOVED:
            self._move(change, source, self._name(change.target))
        elif source is not None:
            self._note(_Note(change.event, source, directory=directory))
            if change.event is EventCode.CREATED:
                self._appear(change, source)
        if change.event is EventCode.DELETED and isinstance(change.node, Directory):
            self._watched.discard(change.node)

    def _is_end(self, change: Change) -> bool:
        """Whether what is watched is gone itself; what its own directories become moves it only."""
        gone = change.event in (EventCode.DELETED, EventCode.MOVED) and change.node is self._root
        if gone or (change.event is EventCode.MOVED and change.target == self._base):
            self._note(_Note(EventCode.DELETED, ".", directory=True))
            self.over = True
            return True
        if change.event is EventCode.MOVED and self._base.startswith(f"{change.path}/"):
            self._base = change.target + self._base.removeprefix(change.path)
        return False

    def _name(self, path: str) -> str | None:
        """Return what a path is called here; None: it is not watched, or ignored."""
        if not path.startswith(f"{self._base}/"):
            return None
        parent, name = self._files.find(posixpath.dirname(path)), path[len(self._base) + 1 :]
        watched = isinstance(parent, Directory) and parent in self._watched
        return name if watched and not self._filter.excludes(name) else None

    def _move(self, change: Change, source: str | None, target: str | None) -> None:
        directory = isinstance(change.node, Directory)
        if source is not None and target is not None:
            self._note(_Note(EventCode.MOVED, source, target, directory))
        elif source is not None:
            self._note(_Note(EventCode.DELETED, source, directory=directory))
            self._leave(change)
        elif target is not None:
            self._note(_Note(EventCode.CREATED, target, directory=directory))
        if target is not None and change.node not in self._watched:
            self._appear(change, target)

    def _leave(self, change: Change) -> None:
        """Watch a directory no more that was moved away, with all beneath it."""
        if isinstance(change.node, Directory):
            below = [node for _, node in self._files.walk(change.target)]
            self._watched.difference_update([change.node, *below])

    def _appear(self, change: Change, name: str) -> None:
        """Watch a directory that has appeared, and tell what is in it already."""
        if not self._recursive or not isinstance(change.node, Directory):
            return
        if not self._watch(change.node) or not self._enter(name, tell=True):
            self._note(_Note(EventCode.OVERFLOW, ""))

    def _enter(self, name: str, *, tell: bool) -> bool:
        """Watch all beneath a directory; False: those are more than may be."""
        prefix = f"{name}/" if name else ""
        found = self._files.walk(
            f"{self._base}/{name}", skip=lambda below: self._filter.excludes(prefix + below)
        )
        for below, node in found:
            directory = isinstance(node, Directory)
            if tell:
                self._note(_Note(EventCode.CREATED, prefix + below, directory=directory))
            if isinstance(node, Directory) and not self._watch(node):
                return False
        return True

    def _watch(self, directory: Directory) -> bool:
        if len(self._watched) >= self._limit and directory not in self._watched:
            return False
        self._watched.add(directory)
        return True

    def _note(self, note: _Note) -> None:
        self.notes.add(note)
        self.changed.tell()
