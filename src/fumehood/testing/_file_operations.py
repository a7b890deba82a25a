"""What a session in memory does with requests for its files."""

from __future__ import annotations

import posixpath

from fumehood._wire.table import ErrorCode, Field, FileCode, Frame, Operation
from fumehood.testing import _search, _watch
from fumehood.testing._patterns import Filter
from fumehood.testing._talk import Place, Serve, Talk, number, path_of, record
from fumehood.testing.files import Directory, File, Node, RefusedError

_ABSENT = (1 << 64) - 1
"""As a time that a file must have: that it must not be there."""


class FileOperations:
    """Those on files.

    Args:
        place: the session's.
    """

    def __init__(self, place: Place) -> None:
        self._files = place.files
        self.table: dict[Operation, Serve] = {
            Operation.READ: self._read,
            Operation.WRITE: self._write,
            Operation.LIST: self._list,
            Operation.STAT: self._stat,
            Operation.MAKE_DIRECTORY: self._make_directory,
            Operation.REMOVE: self._remove,
            Operation.RENAME: self._rename,
            Operation.SEARCH: self._find,
            Operation.WATCH: self._watch,
        }

    async def _read(self, talk: Talk) -> None:
        data = self._files.file(self._path(talk)).data[number(talk, Field.OFFSET) :]
        if len(data) > number(talk, Field.LIMIT):
            raise RefusedError(ErrorCode.TOO_LARGE, size=len(data))
        await talk.output(Frame.STDOUT, data)
        talk.finish(Frame.DONE, {Field.SIZE: len(data)})

    async def _write(self, talk: Talk) -> None:
        path, limit = self._path(talk), number(talk, Field.LIMIT)
        data = await talk.whole_input(limit)
        if Field.MODIFIED_NS in talk.fields:
            self._check_unchanged(talk, path)
        parents = bool(talk.fields[Field.PARENTS])
        self._files.put(path, data, number(talk, Field.MODE), parents=parents, whole=True)
        talk.finish(Frame.DONE, {Field.SIZE: len(data)})

    def _check_unchanged(self, talk: Talk, path: str) -> None:
        wanted = number(talk, Field.MODIFIED_NS)
        if not self._files.exists(path):
            if wanted != _ABSENT:
                raise RefusedError(ErrorCode.CHANGED)
            return
        node = self._files.find(path)
        if not isinstance(node, File) or (node.modified_ns, len(node.data)) != (
            wanted,
            talk.fields.get(Field.SIZE),
        ):
            raise RefusedError(ErrorCode.CHANGED)

    async def _list(self, talk: Talk) -> None:
        path, limit = self._path(talk), number(talk, Field.LIMIT)
        chosen = Filter(
            _search.programs(talk, Field.INCLUDE), _search.programs(talk, Field.EXCLUDE)
        )
        if talk.fields[Field.RECURSIVE]:
            below = self._files.walk(path, skip=chosen.excludes)
        else:
            entries = self._files.directory(path).entries.items()
            below = ((name, node) for name, node in entries if not chosen.excludes(name))
        found = [(name, node) for name, node in below if chosen.includes(name)]
        if len(found) > limit:
            raise RefusedError(ErrorCode.TOO_MANY_ENTRIES)
        await talk.output(Frame.STDOUT, b"".join(_entry(name, node) for name, node in found))
        # Modes forbid nothing here.
        talk.finish(Frame.DONE, {Field.ENTRIES: len(found), Field.UNREADABLE: 0})

    async def _stat(self, talk: Talk) -> None:
        path = self._path(talk)
        node = self._files.find(path)
        await talk.output(Frame.STDOUT, _entry(posixpath.basename(path) or ".", node))
        talk.finish(Frame.DONE, {})

    async def _make_directory(self, talk: Talk) -> None:
        parents = bool(talk.fields[Field.PARENTS])
        self._files.make_directory(self._path(talk), number(talk, Field.MODE), parents=parents)
        talk.finish(Frame.DONE, {})

    async def _remove(self, talk: Talk) -> None:
        self._files.unlink(self._path(talk), recursive=bool(talk.fields[Field.RECURSIVE]))
        talk.finish(Frame.DONE, {})

    async def _rename(self, talk: Talk) -> None:
        parents = bool(talk.fields[Field.PARENTS])
        target = path_of(self._files, talk, Field.TARGET)
        self._files.rename(self._path(talk), target, parents=parents)
        talk.finish(Frame.DONE, {})

    async def _find(self, talk: Talk) -> None:
        await _search.search(self._files, talk)

    async def _watch(self, talk: Talk) -> None:
        await _watch.watch(self._files, talk)

    def _path(self, talk: Talk) -> str:
        return path_of(self._files, talk)


def _entry(name: str, node: Node) -> bytes:
    """Return the record of what is in a directory."""
    directory = isinstance(node, Directory)
    return record(
        {
            Field.TYPE: int(FileCode.DIRECTORY if directory else FileCode.FILE),
            Field.SIZE: 4096 if isinstance(node, Directory) else len(node.data),
            Field.MODE: node.mode,
            Field.MODIFIED_NS: node.modified_ns,
            Field.UID: 0,
            Field.GID: 0,
            Field.NAME: name.encode("utf-8", "surrogateescape"),
        }
    )
