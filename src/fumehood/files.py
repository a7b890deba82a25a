"""Files of a session: whole, in pages, as streams; directories; and what is known of them.

All of it happens in the container with the rights of the session's user, and resolves beneath the
workspace; ``root="/"`` works on the container's whole file system instead, with the same rights.
"""

from __future__ import annotations

from fumehood._checks import flag, permission_bits, whole
from fumehood._core import FileRoot, SessionCore, SessionPart, locate
from fumehood._page import PageBuilder
from fumehood._transfer import blame, file_entry, listing, records, send_file, transact
from fumehood._wire.codec import WireViolationError
from fumehood._wire.requests import Request, file_request
from fumehood._wire.table import Operation, Violation
from fumehood.errors import (
    FileMissingError,
    FileNotDirectoryError,
    InvalidRequestError,
)
from fumehood.file_streams import FileReader, FileWriter
from fumehood.results import FileEntries, FileEntry, TextPage
from fumehood.text import check_codec, encode

DEFAULT_MODE = 0o644
MAX_ENTRIES = 100_000
PAGE_LINES = 500
PAGE_BYTES = 256 << 10

_UNLIMITED = (1 << 64) - 1


class FilesPart(SessionPart):
    """The files of a session.

    An operation may take any time as long as it moves. Without any progress for 30 seconds the
    supervisor ends it, and without a word from the supervisor for 60 this side does: with
    :class:`~fumehood.errors.OperationTimeoutError` in both cases. Of a write it is then not known
    whether the old file or the new one is in place.
    """

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
        return await transact(self._core, request, "read_file", name)

    async def read_text_file(
        self, path: str, *, encoding: str = "utf-8", errors: str = "strict", root: FileRoot = None
    ) -> str:
        """Return a file as text, line ends as they are; otherwise as :meth:`read_file`.

        Raises:
            InvalidRequestError: Python knows no such encoding, or no such way with ``errors``.
            UnicodeDecodeError: the file is not text of this encoding, with ``errors="strict"``.
        """
        check_codec(encoding, errors)
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
        content: bytes | bytearray | memoryview | str,
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
        data = encode(content, "content") if isinstance(content, str) else content
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise InvalidRequestError(f"content must be bytes or str, not {type(content).__name__}")
        name, request = self._write_request(path, mode, root)
        await send_file(self._core, request, bytes(data), "write_file", name)

    async def write_text_file(
        self,
        path: str,
        text: str,
        *,
        encoding: str = "utf-8",
        mode: int = DEFAULT_MODE,
        root: FileRoot = None,
    ) -> None:
        """Write text, line ends as they are; otherwise as :meth:`write_file`.

        Raises:
            InvalidRequestError: Python knows no such encoding, or the text does not fit it.
        """
        if not isinstance(text, str):
            raise InvalidRequestError(f"text must be str, not {type(text).__name__}")
        check_codec(encoding)
        try:
            data = text.encode(encoding)
        except UnicodeEncodeError as exc:
            raise InvalidRequestError(f"text cannot be written as {encoding}: {exc}") from exc
        await self.write_file(path, data, mode=mode, root=root)

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
        permission_bits(mode)
        limit = self._core.limits.max_file_bytes
        return name, file_request(Operation.WRITE, raw, where, limit=limit, mode=mode, parents=1)

    async def list_files(
        self, path: str = ".", *, recursive: bool = False, root: FileRoot = None
    ) -> FileEntries:
        """Return what is in a directory, sorted by path; links are shown and not followed.

        With ``recursive``, what lies deeper and may not be read by the session's user is passed by
        and counted, in ``skipped_unreadable`` of what is returned.

        Raises:
            FileNotDirectoryError: ``path`` is not a directory.
            FilePermissionError: ``path`` may not be read, or not be searched for its entries.
            FileError: there are more than 100,000 entries.
        """
        name, raw, where = locate(path, root, allow_root=True)
        deep = flag(recursive, "recursive")
        request = file_request(Operation.LIST, raw, where, limit=MAX_ENTRIES, recursive=int(deep))
        return await listing(
            self._core, request, "list_files", name, most=MAX_ENTRIES, recursive=deep
        )

    async def stat(
        self, path: str, *, follow_symlinks: bool = True, root: FileRoot = None
    ) -> FileEntry:
        """Return what is known of one file, directory or link.

        Raises:
            FileMissingError: there is none.
        """
        follow = flag(follow_symlinks, "follow_symlinks")
        return await look_at(self._core, path, root, op="stat", follow=follow)

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
        permission_bits(mode)
        request = file_request(
            Operation.MAKE_DIRECTORY, raw, where, mode=mode, parents=int(flag(parents, "parents"))
        )
        await transact(self._core, request, "make_directory", name)

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
        request = file_request(
            Operation.REMOVE, raw, where, recursive=int(flag(recursive, "recursive"))
        )
        await transact(self._core, request, "remove", name)

    async def rename(self, source: str, target: str, *, root: FileRoot = None) -> None:
        """Give a file or directory another name, replacing a file of that name in one step.

        The target's missing parent directories are made.
        """
        name, raw, where = locate(source, root)
        _, raw_target, _ = locate(target, root)
        request = file_request(Operation.RENAME, raw, where, target=raw_target, parents=1)
        await transact(self._core, request, "rename", name)


async def look_at(
    core: SessionCore, path: str, root: FileRoot, *, op: str, follow: bool
) -> FileEntry:
    """Return what is known of a file, for the call that messages name."""
    name, raw, where = locate(path, root, allow_root=True)
    request = file_request(Operation.STAT, raw, where, follow=int(follow))
    entries = await records(core, request, op, name, most=1)
    if not entries:
        raise blame(core, WireViolationError(Violation.BAD_VALUE, "stat without a record"))
    return file_entry(name, entries[0])
