"""Files and trees between this machine and a session: any size, any number, in flat memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import get_args

from fumehood._checks import flag, whole
from fumehood._core import FileRoot
from fumehood._trees import downloading, uploading
from fumehood._trees.ignore import Ignore
from fumehood._trees.local import local_path
from fumehood._trees.source import Options
from fumehood.errors import InvalidRequestError
from fumehood.files import FilesPart
from fumehood.text import brief
from fumehood.transfers import Symlinks, TransferProgress, TransferResult

MAX_BYTES = 4 << 30
_MOST = 1 << 62


class TreesPart(FilesPart):
    """Trees of a session."""

    async def upload(
        self,
        local: str | os.PathLike[str],
        remote: str = ".",
        *,
        root: FileRoot = None,
        symlinks: Symlinks = "keep",
        ignore: Iterable[str] = (),
        special_bits: bool = False,
        skip_same: bool = False,
        verify: bool = False,
        progress: Callable[[TransferProgress], None] | None = None,
    ) -> TransferResult:
        """Copy a file, or a directory with all that is in it, into the session.

        It goes as cp does: into ``remote`` under its own name where that is a directory or ends
        with ``/``, under the name ``remote`` otherwise. ``local`` with ``/.`` at its end (and
        ``"."``, ``".."``) means what is in the directory, which then goes into ``remote`` itself,
        there already or not. Missing directories are made; what is there is kept, but files and
        links of the same names are replaced.

        Regular files, directories and links are copied, with their modes and times; they belong to
        the session's user. Anything else, and whatever goes wrong with one file, is named in the
        result and does not stop the rest. A file takes its place when it is whole. When it is
        cancelled, or the session ends, what was whole by then stays. While the stream of a session
        that can come back is being looked for, it waits.

        Args:
            local: what is copied. A link that is named here is followed.
            remote: where to, in the workspace.
            root: ``"/"`` for a path on the container's whole file system.
            symlinks: what becomes of links: ``"keep"``, ``"follow"`` or ``"skip"``. None that leads
                out of the tree is ever copied or followed.
            ignore: patterns of what is left out, as in a ``.gitignore``: ``("*.pyc", ".git/")``.
            special_bits: keep setuid, setgid and sticky bits, which are dropped otherwise.
            skip_same: leave out files that are there with the same size and time.
            verify: compare a checksum (CRC-32) of each file before it takes its place.
            progress: is called on the event loop after every block of 256 KiB. The tree is looked
                through once more for it, so that the totals are known.

        Example::

            result = await session.upload("project", ignore=[".git/", "*.pyc"])
            print(result.files, result.skipped)

        Raises:
            InvalidRequestError: for a value, before anything is sent.
            LocalFileError: ``local``, or a directory of this machine, cannot be read.
            FileError: ``remote`` cannot be used; of one file, whatever is wrong with it.
            DiskFullError: no space is left; what is whole stays.
            SessionEndedError: the session is over.
        """
        return await uploading.upload(
            self,
            self._core,
            local_path(local),
            remote,
            root=root,
            options=_options(
                symlinks, ignore, special_bits=special_bits, skip_same=skip_same, verify=verify
            ),
            progress=progress,
        )

    async def download(
        self,
        remote: str,
        local: str | os.PathLike[str],
        *,
        root: FileRoot = None,
        symlinks: Symlinks = "keep",
        ignore: Iterable[str] = (),
        special_bits: bool = False,
        skip_same: bool = False,
        verify: bool = False,
        max_bytes: int | None = MAX_BYTES,
        progress: Callable[[TransferProgress], None] | None = None,
    ) -> TransferResult:
        """Copy a file, or a directory with all that is in it, out of the session.

        It goes as cp does: into ``local`` under its own name where that is a directory or ends with
        ``/``, under the name ``local`` otherwise, in a directory that is there. ``remote`` with
        ``/.`` at its end (and ``"."``, the workspace) means what is in the directory, which then
        goes into ``local`` itself. What is there is kept, but files and links of the same names
        are replaced.

        Everything that comes is hostile. Nothing is ever written outside of ``local``, whatever
        names the tree holds and whatever else changes that directory meanwhile. Regular files,
        directories and links are copied, with their modes (subject to the umask) and times; they
        belong to the caller. Devices, FIFOs, sockets, names with control characters or
        backslashes, names that this file system takes for one, paths of more than 64 names, and
        whatever goes wrong with one file, are named in the result and do not stop the rest. A
        file takes its place when it is whole. When it is cancelled, or the session ends, what was
        whole by then stays.

        Args:
            remote: what is copied. A link that is named here is followed.
            local: where to.
            root: ``"/"`` for a path on the container's whole file system.
            symlinks: what becomes of links: ``"keep"``, ``"follow"`` or ``"skip"``. None that leads
                out of the tree is ever copied or followed.
            ignore: patterns of what is left out, as in a ``.gitignore``: ``("*.pyc", ".git/")``.
            special_bits: keep setuid, setgid and sticky bits, which are dropped otherwise.
            skip_same: leave out files that are here with the same size and time.
            verify: compare a checksum (CRC-32) of each file before it takes its place.
            max_bytes: the most that may come: a file of a container can be of any size and take
                none of its disk. ``None``: no limit.
            progress: is called on the event loop after every batch of at most 1 MiB. The totals are
                known once the whole tree has been listed, which goes ahead of its content.

        Example::

            result = await session.download("out", "results", ignore=["*.tmp"])
            print(result.path, result.bytes)

        Raises:
            InvalidRequestError: for a value, before anything is asked for.
            FileError: ``remote`` cannot be read, or holds more than 1,000,000 entries.
            FileTooLargeError: more than ``max_bytes`` would come; what is whole stays.
            LocalFileError: ``local`` cannot be written, or this machine's disk is full.
            SessionEndedError: the session is over.
        """
        most = _MOST if max_bytes is None else max_bytes
        return await downloading.download(
            self._core,
            remote,
            local_path(local),
            root=root,
            options=_options(
                symlinks, ignore, special_bits=special_bits, skip_same=skip_same, verify=verify
            ),
            max_bytes=whole(most, "max_bytes", minimum=0, maximum=_MOST),
            progress=progress,
        )


def _options(
    symlinks: Symlinks,
    ignore: Iterable[str],
    *,
    special_bits: bool,
    skip_same: bool,
    verify: bool,
) -> Options:
    if symlinks not in get_args(Symlinks):
        raise InvalidRequestError(
            f"symlinks must be 'keep', 'follow' or 'skip', not {brief(symlinks)}"
        )
    return Options(
        symlinks=symlinks,
        ignore=Ignore(ignore),
        special_bits=flag(special_bits, "special_bits"),
        skip_same=flag(skip_same, "skip_same"),
        verify=flag(verify, "verify"),
    )
