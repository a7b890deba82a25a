"""Files of a session: whole, in pages, as streams; directories; and what is known of them.

All of it happens in the container with the rights of the session's user, and resolves beneath the
workspace; ``root="/"`` works on the container's whole file system instead, with the same rights.
"""

from __future__ import annotations

import posixpath
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from fumehood import hooks
from fumehood._core import CANCEL_PATIENCE, FileRoot, SessionCore, SessionPart, locate
from fumehood._failures import file_failure
from fumehood._page import PageBuilder
from fumehood._tether.channel import Channel
from fumehood._wire.codec import WireViolationError
from fumehood._wire.messages import Answer, Done, Entry, EntryReader, Fail, Request, file_request
from fumehood._wire.table import FileCode, Operation, Violation
from fumehood.errors import (
    FileMissingError,
    FileNotDirectoryError,
    FileTooLargeError,
    InvalidRequestError,
)
from fumehood.options import whole
from fumehood.results import FileEntry, FileType, TextPage

DEFAULT_MODE = 0o644
MAX_ENTRIES = 100_000
PAGE_LINES = 500
PAGE_BYTES = 256 << 10

_UNLIMITED = (1 << 64) - 1

_TYPES: dict[FileCode, FileType] = {
    FileCode.UNKNOWN: "unknown",
    FileCode.FILE: "file",
    FileCode.DIRECTORY: "directory",
    FileCode.SYMLINK: "symlink",
    FileCode.FIFO: "fifo",
    FileCode.SOCKET: "socket",
    FileCode.BLOCK: "block",
    FileCode.CHARACTER: "character",
}


class FilesPart(SessionPart):
    """The files of a session."""

    async def read_file(self, path: str, *, root: FileRoot = None) -> bytes:
        """Return the content of a regular file of at most ``Limits.max_file_bytes``.

        Raises:
            FileMissingError, FilePermissionError, FileIsDirectoryError: as they say.
            PathEscapesError: a link leads out of the workspace.
            NotRegularFileError: a FIFO, device or socket; nothing is read from it.
            FileTooLargeError: :meth:`read_file_stream` reads files of any size.
        """
        name, raw, where = locate(path, root)
        request = file_request(
            Operation.READ, raw, where, offset=0, limit=self._core.limits.max_file_bytes
        )
        chunks: list[bytes] = []
        await _transact(self._core, request, "read_file", name, chunks)
        return b"".join(chunks)

    async def read_text_file(
        self, path: str, *, encoding: str = "utf-8", errors: str = "strict", root: FileRoot = None
    ) -> str:
        """Return a file as text, line ends as they are; otherwise as :meth:`read_file`.

        Raises:
            UnicodeDecodeError: the file is not text of this encoding, with ``errors="strict"``.
        """
        return (await self.read_file(path, root=root)).decode(encoding, errors)

    async def read_text_file_page(
        self,
        path: str,
        *,
        start_line: int = 1,
        max_lines: int = PAGE_LINES,
        max_bytes: int = PAGE_BYTES,
        root: FileRoot = None,
    ) -> TextPage:
        r"""Return some lines of a text file of any size; memory is bounded by ``max_bytes``.

        Lines end with ``\n``. Bytes that are not UTF-8 become U+FFFD. At least one line comes,
        cut where it is longer than ``max_bytes``; ``next_start_line`` says where to go on.
        """
        whole(start_line, "start_line", minimum=1, maximum=1 << 62)
        whole(max_lines, "max_lines", minimum=1, maximum=1 << 31)
        whole(max_bytes, "max_bytes", minimum=1, maximum=1 << 31)
        page = PageBuilder(start_line, max_lines, max_bytes)
        async with self.read_file_stream(path, root=root) as reader:
            async for chunk in reader:
                if page.feed(chunk):
                    break
        return page.result()

    def read_file_stream(self, path: str, *, offset: int = 0, root: FileRoot = None) -> FileReader:
        """Iterate over the content of a regular file of any size, in pieces of at most 64 KiB.

        It goes as fast as the pieces are taken; leaving early is fine.

        Example::

            async for chunk in session.read_file_stream("dump.bin"):
                out.write(chunk)
        """
        name, raw, where = locate(path, root)
        whole(offset, "offset", minimum=0, maximum=1 << 62)
        request = file_request(Operation.READ, raw, where, offset=offset, limit=_UNLIMITED)
        return FileReader(self._core, request, name)

    async def write_file(
        self,
        path: str,
        content: bytes | str,
        *,
        mode: int = DEFAULT_MODE,
        root: FileRoot = None,
    ) -> None:
        """Write a file whole, making its parent directories: readers see the old one or the new.

        Args:
            path: where, relative to the workspace.
            content: bytes, or text that is written as UTF-8.
            mode: permission bits of a new file; an existing one keeps its own.
            root: ``"/"`` for a path on the container's whole file system.

        Raises:
            FileTooLargeError: more than ``Limits.max_file_bytes``; nothing was sent.
            DiskFullError: no space was left; the old file is as it was.
        """
        data = content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise InvalidRequestError(f"content must be bytes or str, not {type(content).__name__}")
        name, request = self._write_request(path, mode, root)
        data = bytes(data)
        limit = self._core.limits.max_file_bytes
        if len(data) > limit:
            raise FileTooLargeError(
                f"write_file {name!r}: {len(data)} bytes are more than "
                f"Limits.max_file_bytes ({limit})",
                path=name,
                op="write_file",
                session_id=self._core.id,
            )
        channel, sent = self._core.tether.open_with_input(request, data)
        try:
            if sent < len(data) and await channel.send(memoryview(data)[sent:]):
                channel.end_input()
            _done(self._core, await channel.answer(), "write_file", name)
        finally:
            await channel.aclose(CANCEL_PATIENCE)
        await self._written(name, len(data))

    async def write_text_file(
        self,
        path: str,
        text: str,
        *,
        encoding: str = "utf-8",
        mode: int = DEFAULT_MODE,
        root: FileRoot = None,
    ) -> None:
        """Write text, line ends as they are; otherwise as :meth:`write_file`."""
        if not isinstance(text, str):
            raise InvalidRequestError(f"text must be str, not {type(text).__name__}")
        await self.write_file(path, text.encode(encoding), mode=mode, root=root)

    def write_file_stream(
        self, path: str, *, mode: int = DEFAULT_MODE, root: FileRoot = None
    ) -> FileWriter:
        """Write a file piece by piece; it takes its place when the ``async with`` block ends well.

        When the block is left by an exception, or the client dies, the old file is as it was. At
        most ``Limits.max_file_bytes`` bytes can be written.

        Example::

            async with session.write_file_stream("data.bin") as file:
                for chunk in chunks:
                    await file.write(chunk)
        """
        name, request = self._write_request(path, mode, root)
        return FileWriter(self._core, request, name)

    def _write_request(self, path: str, mode: int, root: FileRoot) -> tuple[str, Request]:
        name, raw, where = locate(path, root)
        whole(mode, "mode", minimum=0, maximum=0o777)
        limit = self._core.limits.max_file_bytes
        return name, file_request(Operation.WRITE, raw, where, limit=limit, mode=mode, parents=1)

    async def _written(self, name: str, size: int) -> None:
        await _tell_written(self._core, name, size)

    async def list_files(
        self, path: str = ".", *, recursive: bool = False, root: FileRoot = None
    ) -> list[FileEntry]:
        """Return what is in a directory, sorted by path; links are shown and not followed.

        Raises:
            FileNotDirectoryError: ``path`` is not a directory.
            FileError: there are more than 100,000 entries.
        """
        name, raw, where = locate(path, root, allow_root=True)
        request = file_request(
            Operation.LIST, raw, where, limit=MAX_ENTRIES, recursive=int(recursive)
        )
        entries = await self._entries(request, "list_files", name)
        base = "" if name == "." else name
        found = [
            _file_entry(posixpath.join(base, _entry_name(entry, recursive)), entry)
            for entry in entries
        ]
        return sorted(found, key=lambda entry: entry.path)

    async def stat(
        self, path: str, *, follow_symlinks: bool = True, root: FileRoot = None
    ) -> FileEntry:
        """Return what is known of one file, directory or link.

        Raises:
            FileMissingError: there is none.
        """
        name, raw, where = locate(path, root, allow_root=True)
        request = file_request(Operation.STAT, raw, where, follow=int(follow_symlinks))
        entries = await self._entries(request, "stat", name)
        if len(entries) != 1:
            raise WireViolationError(Violation.BAD_VALUE, f"stat with {len(entries)} records")
        return _file_entry(name, entries[0])

    async def exists(self, path: str, *, root: FileRoot = None) -> bool:
        """Return whether there is anything of this name; a dangling link counts."""
        try:
            await self.stat(path, follow_symlinks=False, root=root)
        except (FileMissingError, FileNotDirectoryError):
            return False
        return True

    async def make_directory(
        self, path: str, *, parents: bool = True, mode: int = 0o755, root: FileRoot = None
    ) -> None:
        """Make a directory; with ``parents`` also those above it, and one that exists is fine.

        Raises:
            FilePresentError: the name is taken (by anything with ``parents=False``).
        """
        name, raw, where = locate(path, root)
        whole(mode, "mode", minimum=0, maximum=0o777)
        request = file_request(
            Operation.MAKE_DIRECTORY, raw, where, mode=mode, parents=int(parents)
        )
        await _transact(self._core, request, "make_directory", name)

    async def remove(self, path: str, *, recursive: bool = False, root: FileRoot = None) -> None:
        """Remove a file, a link (never what it points to) or an empty directory.

        Args:
            path: what to remove.
            recursive: also a directory with everything in it.
            root: ``"/"`` for a path on the container's whole file system.

        Raises:
            FileMissingError: there is none.
            FilePresentError: a directory that is not empty, without ``recursive``.
        """
        name, raw, where = locate(path, root)
        request = file_request(Operation.REMOVE, raw, where, recursive=int(recursive))
        await _transact(self._core, request, "remove", name)

    async def rename(self, source: str, target: str, *, root: FileRoot = None) -> None:
        """Give a file or directory another name, replacing a file of that name in one step.

        The target's missing parent directories are made.
        """
        name, raw, where = locate(source, root)
        _, raw_target, _ = locate(target, root)
        request = file_request(Operation.RENAME, raw, where, target=raw_target, parents=1)
        await _transact(self._core, request, "rename", name)

    async def _entries(self, request: Request, op: str, name: str) -> list[Entry]:
        reader = EntryReader()
        entries: list[Entry] = []
        async with _Call(self._core, request, op, name) as call:
            async for data in call:
                entries.extend(reader.feed(data))
        reader.finish()
        return entries


class _Call:
    """One operation without input: open, take its output, check its answer, clean up."""

    def __init__(self, core: SessionCore, request: Request, op: str, name: str) -> None:
        self._core = core
        self._request = request
        self._op = op
        self._name = name
        self._channel: Channel | None = None

    async def __aenter__(self) -> Self:
        self._channel = self._core.tether.open(self._request)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._channel is not None:
            await self._channel.aclose(CANCEL_PATIENCE)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        assert self._channel is not None
        while (item := await self._channel.receive()) is not None:
            yield item.data
        _done(self._core, await self._channel.answer(), self._op, self._name)


async def _transact(
    core: SessionCore,
    request: Request,
    op: str,
    name: str,
    chunks: list[bytes] | None = None,
) -> None:
    """Run an operation to its end, keeping its output in ``chunks``."""
    channel = core.tether.open(request)
    try:
        while (item := await channel.receive()) is not None:
            if chunks is not None:
                chunks.append(item.data)
        _done(core, await channel.answer(), op, name)
    finally:
        await channel.aclose(CANCEL_PATIENCE)


def _done(core: SessionCore, answer: Answer, op: str, name: str) -> Done:
    if isinstance(answer, Fail):
        raise file_failure(answer, op=op, path=name, session_id=core.id)
    assert isinstance(answer, Done)
    return answer


async def _tell_written(core: SessionCore, name: str, size: int) -> None:
    if core.hooks.on_file_write is not None:
        await hooks.tell(
            core.hooks.on_file_write,
            hooks.FileWritten(session_id=core.id, path=name, size=size),
        )


class FileReader:
    """The content of a file, piece by piece. Iterate it once; it is a context manager too."""

    def __init__(self, core: SessionCore, request: Request, name: str) -> None:
        self._core = core
        self._request = request
        self._name = name
        self._channel: Channel | None = None
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
        item = await self._channel.receive()
        if item is not None:
            return item.data
        self._over = True
        _done(self._core, await self._channel.answer(), "read_file_stream", self._name)
        raise StopAsyncIteration

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
        self._size = 0

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return self._size

    async def __aenter__(self) -> Self:
        """Open the file."""
        self._channel = self._core.tether.open(self._request)
        return self

    async def write(self, data: bytes) -> None:
        """Send a piece; returns when it is on its way, which is as fast as the disk takes it.

        Raises:
            FileTooLargeError, DiskFullError: the file cannot be finished; the old one is as it was.
        """
        if self._channel is None:
            raise InvalidRequestError("a FileWriter is used in an 'async with' block")
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise InvalidRequestError(f"data must be bytes, not {type(data).__name__}")
        if not await self._channel.send(data):
            _done(self._core, await self._channel.answer(), "write_file_stream", self._name)
        self._size += len(data)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Put the file in its place, or forget it where the block failed."""
        assert self._channel is not None
        channel, self._channel = self._channel, None
        try:
            if error is None:
                channel.end_input()
                _done(self._core, await channel.answer(), "write_file_stream", self._name)
        finally:
            await channel.aclose(CANCEL_PATIENCE)
        if error is None:
            await _tell_written(self._core, self._name, self._size)


def _entry_name(entry: Entry, recursive: bool) -> str:
    """Return a record's name, which must stay inside the directory that was listed."""
    name = entry.name.decode("utf-8", "surrogateescape")
    parts = name.split("/")
    if any(part in ("", ".", "..") for part in parts) or (len(parts) > 1 and not recursive):
        raise WireViolationError(Violation.BAD_VALUE, f"record: name={name!r}")
    return name


def _file_entry(path: str, entry: Entry) -> FileEntry:
    try:
        modified = datetime.fromtimestamp(entry.modified_ns / 1e9, UTC)
    except (ValueError, OverflowError, OSError):
        # A file may claim any time; what a datetime cannot say is shown as its end of range.
        modified = datetime.max.replace(tzinfo=UTC)
    return FileEntry(
        path=path,
        type=_TYPES[entry.type],
        size=entry.size,
        mode=entry.mode & 0o7777,
        modified=modified,
        uid=entry.uid,
        gid=entry.gid,
        target=None if entry.link is None else entry.link.decode("utf-8", "surrogateescape"),
    )
