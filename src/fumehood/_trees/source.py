"""A tree of this machine as a stream of packed records. Everything here blocks."""

from __future__ import annotations

import os
import stat
import zlib
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from fumehood._trees import local
from fumehood._trees.ignore import Ignore
from fumehood._trees.names import link_target, name_fault
from fumehood._trees.tally import Tally, reason
from fumehood._wire import packed
from fumehood._wire.packed import CHECKED, Record
from fumehood._wire.table import ErrorCode, FileCode
from fumehood.transfers import Symlinks

BLOCK = 256 << 10
"""Bytes of small files that are sent at once."""
_PIECE = packed.MAX_PIECE
"""Bytes of a large one: each piece costs a change of threads."""
_SMALL = 64 << 10

Same = Mapping[bytes, tuple[int, int]]
"""Size and time of the files that are there already, by their paths."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a tree is copied, whichever way."""

    symlinks: Symlinks = "keep"
    ignore: Ignore
    special_bits: bool = False
    verify: bool = False
    skip_same: bool = False

    def mode(self, mode: int) -> int:
        """Return the permission bits that a copy gets."""
        return mode & (0o7777 if self.special_bits else 0o777)


class Found(NamedTuple):
    """One entry of the tree, in an open directory."""

    directory: int
    parts: tuple[str, ...]
    info: os.stat_result
    kind: FileCode
    link: str = ""
    """What a link says; of a file, that it is reached through one."""


Skip = Callable[[str, str], None]


class TreeSource:
    """What is in a directory.

    Args:
        root: the directory, open; it stays so.
        options: how.
        tally: what is counted.
    """

    def __init__(self, root: int, options: Options, tally: Tally) -> None:
        self._root = root
        self._options = options
        self._tally = tally
        self._out = bytearray()
        self.same: Same = {}
        self.limit: int | None = None
        """Bytes of a file, at most: of a larger one nothing is sent. The session decides."""

    def count(self) -> None:
        """Look at everything once, to know how much it is."""
        files = size = 0
        for found in self._walk(self._root, (), lambda _path, _why: None):
            if found.kind is FileCode.FILE:
                files += 1
                size += found.info.st_size
        self._tally.total_files, self._tally.total_bytes = files, size

    def blocks(self) -> Generator[bytes]:
        """Yield the stream, block by block."""
        for found in self._walk(self._root, (), self._tally.skip):
            if found.kind is FileCode.FILE:
                yield from self._file(found)
            elif found.kind is FileCode.DIRECTORY:
                self._record(found)
                self._tally.directories += 1
            else:
                self._record(found)
                self._tally.symlinks += 1
            if len(self._out) >= BLOCK:
                yield self._take()
        self._out += packed.END_RECORD
        yield self._take()

    # --- what there is ------------------------------------------------------------------------

    def _walk(self, directory: int, above: tuple[str, ...], skip: Skip) -> Iterator[Found]:
        """Find what is to be copied; what is not is named, and never opened."""
        with os.scandir(directory) as entries:
            for entry in entries:
                parts = (*above, entry.name)
                try:
                    info = entry.stat(follow_symlinks=False)
                except OSError as exc:
                    skip("/".join(parts), local.why(exc))
                    continue
                is_directory = stat.S_ISDIR(info.st_mode)
                if self._options.ignore.covers(parts, directory=is_directory):
                    continue
                if fault := name_fault(parts):
                    skip("/".join(parts), fault)
                elif stat.S_ISREG(info.st_mode):
                    yield Found(directory, parts, info, FileCode.FILE)
                elif is_directory:
                    yield from self._descend(
                        Found(directory, parts, info, FileCode.DIRECTORY), skip
                    )
                elif stat.S_ISLNK(info.st_mode):
                    yield from self._link(directory, parts, info, skip)
                else:
                    skip("/".join(parts), "no regular file")

    def _descend(self, found: Found, skip: Skip) -> Iterator[Found]:
        try:
            inner = os.open(
                found.parts[-1], local.DIRECTORY_FLAGS | local.NOFOLLOW, dir_fd=found.directory
            )
        except OSError as exc:
            if local.is_fatal(exc):
                raise
            skip("/".join(found.parts), local.why(exc))
            return
        try:
            yield found
            yield from self._walk(inner, found.parts, skip)
        finally:
            os.close(inner)

    def _link(
        self, directory: int, parts: tuple[str, ...], info: os.stat_result, skip: Skip
    ) -> Iterator[Found]:
        path = "/".join(parts)
        if self._options.symlinks == "skip":
            skip(path, "a symbolic link")
            return
        try:
            text = os.readlink(parts[-1], dir_fd=directory)
        except OSError as exc:
            skip(path, local.why(exc))
            return
        if link_target(parts, text) is None:
            skip(path, "a symbolic link that leads out of the tree")
        elif self._options.symlinks == "keep":
            yield Found(directory, parts, info, FileCode.SYMLINK, text)
        else:
            yield from self._followed(directory, parts, text, skip)

    def _followed(
        self, directory: int, parts: tuple[str, ...], text: str, skip: Skip
    ) -> Iterator[Found]:
        """A link to a file is that file; one to a directory would make a tree of any size."""
        path = "/".join(parts)
        try:
            opened = local.open_beneath(self._root, parts, links=local.MAX_LINKS)
        except OSError as exc:
            skip(path, f"a symbolic link: {local.why(exc)}")
            return
        try:
            info = os.fstat(opened)
        finally:
            os.close(opened)
        if local.is_regular(info):
            yield Found(directory, parts, info, FileCode.FILE, text)
        else:
            skip(path, "a symbolic link to something other than a file")

    # --- the stream ---------------------------------------------------------------------------

    def _take(self) -> bytes:
        block = bytes(self._out)
        self._out.clear()
        return block

    def _record(self, found: Found, *, flags: int = 0) -> None:
        info = found.info
        is_file = found.kind is FileCode.FILE
        self._out += Record(
            found.kind,
            flags,
            self._options.mode(info.st_mode),
            max(0, info.st_mtime_ns),
            info.st_size if is_file else 0,
            os.fsencode("/".join(found.parts)),
            b"" if is_file else os.fsencode(found.link),
        ).encode()

    def _file(self, found: Found) -> Iterator[bytes]:
        if self.same:
            size_and_time = (found.info.st_size, found.info.st_mtime_ns)
            if self.same.get(os.fsencode("/".join(found.parts))) == size_and_time:
                self._tally.unchanged += 1
                return
        try:
            if found.link:
                opened = local.open_beneath(self._root, found.parts, links=local.MAX_LINKS)
            else:
                opened = os.open(
                    found.parts[-1], local.FILE_FLAGS | local.NOFOLLOW, dir_fd=found.directory
                )
        except OSError as exc:
            if local.is_fatal(exc):
                raise
            self._tally.skip("/".join(found.parts), local.why(exc))
            return
        try:
            info = os.fstat(opened)
            if self.limit is not None and info.st_size > self.limit:
                self._tally.skip("/".join(found.parts), reason(ErrorCode.TOO_LARGE))
            elif local.is_regular(info):
                yield from self.content(opened, found._replace(info=info))
            else:
                self._tally.skip("/".join(found.parts), "no regular file")
        finally:
            os.close(opened)

    def content(self, opened: int, found: Found) -> Iterator[bytes]:
        """Yield an open file, as long as it was when it was opened, or shorter."""
        verify = self._options.verify
        checksum = 0
        left = found.info.st_size
        self._record(found, flags=CHECKED if verify else 0)
        while left > 0:
            try:
                data = os.read(opened, min(left, _PIECE))
            except OSError as exc:
                self._tally.skip("/".join(found.parts), local.why(exc))
                self._out += packed.file_broken(ErrorCode.IO)
                return
            if not data:
                break
            left -= len(data)
            self._tally.bytes += len(data)
            if verify:
                checksum = zlib.crc32(data, checksum)
            self._out += packed.piece_header(len(data))
            if len(data) < _SMALL:
                self._out += data
            else:
                yield self._take()
                yield data
        self._out += packed.file_end(checksum)
        self._tally.files += 1


class FileSource(TreeSource):
    """One file, under a name of the caller's.

    Args:
        opened: the file, open; it stays so.
        name: what it is called there.
        options: how.
        tally: what is counted.
    """

    def __init__(self, opened: int, name: str, options: Options, tally: Tally) -> None:
        super().__init__(opened, options, tally)
        self._name = name

    def count(self) -> None:
        """Look how much it is."""
        self._tally.total_files, self._tally.total_bytes = 1, os.fstat(self._root).st_size

    def blocks(self) -> Generator[bytes]:
        """Yield the stream, block by block."""
        info = os.fstat(self._root)
        found = Found(-1, (self._name,), info, FileCode.FILE)
        yield from self.content(self._root, found)
        self._out += packed.END_RECORD
        yield self._take()
