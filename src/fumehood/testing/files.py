"""A file system of directories and regular files that lies in memory: no links, owners or devices.

Modes are kept and shown, and forbid nothing.
"""

from __future__ import annotations

import errno
import posixpath
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from fumehood._wire.table import ErrorCode, EventCode

_NAME_BYTES = 255


class RefusedError(Exception):
    """Why something cannot be done, as the wire says it."""

    def __init__(
        self, code: ErrorCode, number: int = 0, *, step: str = "", message: str = "", size: int = -1
    ) -> None:
        super().__init__(code.name.lower())
        self.code: ErrorCode = code
        self.number: int = number
        self.step: str = step
        self.message: str = message
        self.size: int = size


@dataclass(slots=True, eq=False)
class File:
    """A regular file. Its content is replaced and never changed, so a reader keeps what it has."""

    data: bytes
    mode: int
    modified_ns: int = field(default_factory=time.time_ns)


@dataclass(slots=True, eq=False)
class Directory:
    """A directory."""

    mode: int = 0o755
    entries: dict[str, File | Directory] = field(default_factory=dict[str, "File | Directory"])
    modified_ns: int = field(default_factory=time.time_ns)


Node = File | Directory


@dataclass(frozen=True, slots=True)
class Change:
    """Something that has happened, its paths from the root on."""

    event: EventCode
    path: str
    node: Node
    target: str = ""
    """Of a move."""


class MemoryFiles:
    """The files of one session, as commands' scripts see them.

    Paths are absolute or relative to the workspace; ``.`` and ``..`` are resolved. The names that
    scripts use raise the builtin errors that files do: :class:`FileNotFoundError` and so on.
    """

    def __init__(
        self, workdir: str, workspace: Directory | None = None, root: Directory | None = None
    ) -> None:
        self._workdir = workdir
        self._root = Directory() if root is None else root
        self.listeners: set[Callable[[Change], None]] = set()
        """Called with each change once it has happened; of what is removed, just before."""
        for path in ("/tmp", workdir):  # noqa: S108 - a name in memory
            self.make_directory(path)
        if workspace is not None:
            holder, name = self._place(workdir, parents=True)
            holder.entries[name] = workspace

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {sum(1 for _ in self.walk('/'))} entries>"

    # --- for scripts ---

    def read(self, path: str) -> bytes:
        """Return a file's bytes."""
        with _as_builtin(path):
            return self.file(path).data

    def write(self, path: str, data: bytes | str, *, mode: int = 0o644) -> None:
        """Put a file in its place, with the directories that are missing."""
        raw = data.encode("utf-8", "surrogateescape") if isinstance(data, str) else bytes(data)
        with _as_builtin(path):
            self.put(path, raw, mode, parents=True)

    def remove(self, path: str) -> None:
        """Remove a file, or a directory with all in it."""
        with _as_builtin(path):
            self.unlink(path, recursive=True)

    def mkdir(self, path: str) -> None:
        """Make a directory, with those above it; one that exists is fine."""
        with _as_builtin(path):
            self.make_directory(path)

    def move(self, source: str, target: str) -> None:
        """Give a file or a directory another name; a file that has it is replaced."""
        with _as_builtin(source):
            self.rename(source, target, parents=False)

    def exists(self, path: str) -> bool:
        """Whether something of this name is there."""
        try:
            self.find(path)
        except RefusedError:
            return False
        return True

    def names(self, path: str = ".") -> list[str]:
        """Return the names in a directory, sorted."""
        with _as_builtin(path):
            return sorted(self.directory(path).entries)

    # --- for the supervisor ---

    def absolute(self, path: str) -> str:
        """Return a path from the root on, without ``.`` and ``..``."""
        return "/" + posixpath.normpath(posixpath.join(self._workdir, path)).lstrip("/")

    def find(self, path: str) -> Node:
        """Return what a path names."""
        node: Node = self._root
        for part in self._parts(path):
            if not isinstance(node, Directory):
                raise RefusedError(ErrorCode.NOT_DIRECTORY, errno.ENOTDIR)
            found = node.entries.get(part)
            if found is None:
                raise RefusedError(ErrorCode.NOT_FOUND, errno.ENOENT)
            node = found
        return node

    def file(self, path: str) -> File:
        """Return a regular file."""
        node = self.find(path)
        if isinstance(node, Directory):
            raise RefusedError(ErrorCode.IS_DIRECTORY, errno.EISDIR)
        return node

    def directory(self, path: str) -> Directory:
        """Return a directory."""
        node = self.find(path)
        if not isinstance(node, Directory):
            raise RefusedError(ErrorCode.NOT_DIRECTORY, errno.ENOTDIR)
        return node

    def put(self, path: str, data: bytes, mode: int, *, parents: bool, whole: bool = False) -> None:
        """Give a file its content; one that is there keeps its mode.

        ``whole``: as the file API does, by another file that takes its place.
        """
        holder, name = self._place(path, parents=parents)
        old = holder.entries.get(name)
        if isinstance(old, Directory):
            raise RefusedError(ErrorCode.IS_DIRECTORY, errno.EISDIR)
        file = holder.entries[name] = File(data, mode if old is None else old.mode)
        holder.modified_ns = time.time_ns()
        replaced = old is not None and not whole
        self._tell(EventCode.MODIFIED if replaced else EventCode.CREATED, path, file)

    def place(self, path: str, file: File) -> None:
        """Put a file in its place as it is, with its mode and time."""
        holder, name = self._place(path, parents=True)
        if isinstance(holder.entries.get(name), Directory):
            raise RefusedError(ErrorCode.IS_DIRECTORY, errno.EISDIR)
        holder.entries[name] = file
        holder.modified_ns = time.time_ns()
        self._tell(EventCode.CREATED, path, file)

    def make_directory(self, path: str, mode: int = 0o755, *, parents: bool = True) -> None:
        """Make a directory; with ``parents`` one that exists is fine."""
        if not self._parts(path):
            if parents:
                return
            raise RefusedError(ErrorCode.EXISTS, errno.EEXIST)
        holder, name = self._place(path, parents=parents)
        found = holder.entries.get(name)
        if found is None:
            made = holder.entries[name] = Directory(mode)
            holder.modified_ns = time.time_ns()
            self._tell(EventCode.CREATED, path, made)
        elif not parents or not isinstance(found, Directory):
            raise RefusedError(ErrorCode.EXISTS, errno.EEXIST)

    def unlink(self, path: str, *, recursive: bool) -> None:
        """Remove a file or an empty directory; with ``recursive`` a whole tree."""
        node = self.find(path)
        holder, name = self._place(path, parents=False)
        if isinstance(node, Directory) and node.entries and not recursive:
            raise RefusedError(ErrorCode.NOT_EMPTY, errno.ENOTEMPTY)
        if self.absolute(path) in ("/", self.absolute(".")):
            raise RefusedError(ErrorCode.BUSY, errno.EBUSY)
        if isinstance(node, Directory):
            for below, child in reversed(list(self.walk(path))):
                self._tell(EventCode.DELETED, f"{path}/{below}", child)
        self._tell(EventCode.DELETED, path, node)
        del holder.entries[name]
        holder.modified_ns = time.time_ns()

    def rename(self, source: str, target: str, *, parents: bool) -> None:
        """Give a name to what another one names; a file that has it is replaced."""
        node = self.find(source)
        holder, name = self._place(source, parents=False)
        where, other = self._place(target, parents=parents)
        if f"{self.absolute(target)}/".startswith(f"{self.absolute(source)}/"):
            if self.absolute(target) == self.absolute(source):
                return
            raise RefusedError(ErrorCode.INVALID, errno.EINVAL)
        old = where.entries.get(other)
        if isinstance(old, Directory) and not isinstance(node, Directory):
            raise RefusedError(ErrorCode.IS_DIRECTORY, errno.EISDIR)
        if isinstance(old, File) and isinstance(node, Directory):
            raise RefusedError(ErrorCode.NOT_DIRECTORY, errno.ENOTDIR)
        if isinstance(old, Directory) and old.entries:
            raise RefusedError(ErrorCode.NOT_EMPTY, errno.ENOTEMPTY)
        del holder.entries[name]
        where.entries[other] = node
        holder.modified_ns = where.modified_ns = time.time_ns()
        self._tell(EventCode.MOVED, source, node, target)

    def walk(
        self, path: str, *, skip: Callable[[str], bool] = lambda _: False
    ) -> Iterator[tuple[str, Node]]:
        """Yield everything below a directory with its relative name, directories first.

        What ``skip`` says yes to is left out, with all that is beneath it.
        """
        waiting = [("", self.directory(path))]
        while waiting:
            prefix, directory = waiting.pop()
            # Scripts and other clients may change it between two steps.
            for name, node in list(directory.entries.items()):
                if skip(prefix + name):
                    continue
                yield prefix + name, node
                if isinstance(node, Directory):
                    waiting.append((f"{prefix}{name}/", node))

    # --- for the engine ---

    @property
    def workspace(self) -> Directory:
        """What is in the workspace."""
        return self.directory(".")

    def copy(self) -> MemoryFiles:
        """Return these files as they are now, whatever becomes of them."""
        return MemoryFiles(self._workdir, root=_copied(self._root))

    def outside(self, workdir: str, workspace: Directory | None) -> MemoryFiles:
        """Return a copy of all but the workspace, for a session that has another one."""
        root = _copied(self._root)
        MemoryFiles(self._workdir, root=root).workspace.entries.clear()
        return MemoryFiles(workdir, workspace, root)

    def fill(self, other: MemoryFiles) -> None:
        """Copy what is in another one's workspace into this one's."""
        copied = _copied(other.workspace)
        self.workspace.entries.update(copied.entries)

    def _parts(self, path: str) -> list[str]:
        parts = [part for part in self.absolute(path).split("/") if part]
        if any(len(part.encode("utf-8", "surrogateescape")) > _NAME_BYTES for part in parts):
            raise RefusedError(ErrorCode.NAME_TOO_LONG, errno.ENAMETOOLONG)
        return parts

    def _place(self, path: str, *, parents: bool) -> tuple[Directory, str]:
        """Return the directory that holds a name, made where it may be, and the name."""
        parts = self._parts(path)
        if not parts:
            raise RefusedError(ErrorCode.BUSY, errno.EBUSY)
        node = self._root
        for at, part in enumerate(parts[:-1], start=1):
            found = node.entries.get(part)
            if found is None and parents:
                found = node.entries[part] = Directory()
                self._tell(EventCode.CREATED, "/" + "/".join(parts[:at]), found)
            if found is None:
                raise RefusedError(ErrorCode.NOT_FOUND, errno.ENOENT)
            if not isinstance(found, Directory):
                raise RefusedError(ErrorCode.NOT_DIRECTORY, errno.ENOTDIR)
            node = found
        return node, parts[-1]

    def _tell(self, event: EventCode, path: str, node: Node, target: str = "") -> None:
        if not self.listeners:
            return
        change = Change(event, self.absolute(path), node, self.absolute(target) if target else "")
        for listener in tuple(self.listeners):
            listener(change)


def _copied(directory: Directory) -> Directory:
    """Return a copy of a tree; its files are shared, for nobody changes one."""
    copied = Directory(directory.mode, {}, directory.modified_ns)
    waiting = [(directory, copied)]
    while waiting:
        source, target = waiting.pop()
        for name, node in source.entries.items():
            if isinstance(node, Directory):
                below = Directory(node.mode, {}, node.modified_ns)
                waiting.append((node, below))
                target.entries[name] = below
            else:
                target.entries[name] = node
    return copied


class _as_builtin:  # noqa: N801 - reads as the statement that it is
    """Raise what Python's own files would."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, RefusedError):
            raise OSError(error.number, error.code.name.lower(), self._path) from None
