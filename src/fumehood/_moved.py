"""What a sandbox does with snapshots and files of this machine: export, import."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import aclosing
from pathlib import Path

from fumehood import options
from fumehood._moving import head as heads
from fumehood._moving.file import PARTS
from fumehood._moving.incoming import Incoming
from fumehood._moving.outgoing import write
from fumehood._stored import StoredPart
from fumehood._tether.cleanup import to_the_end
from fumehood._trees.local import explained
from fumehood.engines.state import Holding, TakeRequest
from fumehood.errors import EngineError, InvalidRequestError, SnapshotNotFoundError
from fumehood.options import Seconds, optional_seconds
from fumehood.snapshots import Snapshot, SnapshotExport, described
from fumehood.state import mover
from fumehood.text import brief
from fumehood.transfers import TransferProgress

logger: logging.Logger = logging.getLogger("fumehood.sandbox")


class MovedPart(StoredPart):
    """Write snapshots to files, and take them in from there."""

    async def export_snapshot(
        self,
        name: str | Snapshot,
        path: str | os.PathLike[str],
        *,
        progress: Callable[[TransferProgress], None] | None = None,
    ) -> SnapshotExport:
        """Write a snapshot to a file of this machine, whole, for :meth:`import_snapshot` anywhere.

        The file holds the container's whole file system, so that the other engine needs no image,
        and the workspace; neither environment nor labels of a session, and no extended attributes.
        It is not compressed. A file of that name is replaced, once the new one is whole; only its
        owner may read it. Memory does not grow with its size. On an error or a cancellation
        nothing is left; a client that is killed leaves ``PATH.….partial``.

        Args:
            name: the snapshot's, or the snapshot itself.
            path: the file. Its directory must be there.
            progress: called on the event loop with the bytes written so far, every 4 MiB.

        Raises:
            SnapshotNotFoundError: it is not on this engine, or was deleted meanwhile.
            LocalFileError: the file cannot be written.
        """
        target = _local(path)
        holding = await self._snapshot(name)
        started = time.monotonic()
        engine = mover(self._use())
        try:
            snapshot = await described(engine, holding)
            head = heads.write(snapshot, holding, await engine.held_config(holding))
            parts = dict(
                zip(
                    PARTS, (engine.held_files(holding), engine.held_workspace(holding)), strict=True
                )
            )
            size = await write(target, head, parts, progress)
        except EngineError as exc:
            if await engine.find_holding("snapshot", holding.name) is None:
                raise SnapshotNotFoundError(
                    f"snapshot {holding.name!r} was deleted while it was exported"
                ) from exc
            raise
        took = time.monotonic() - started
        logger.info("snapshot %s exported: %d bytes in %.1f s", holding.name, size, took)
        return SnapshotExport(snapshot=snapshot, path=target, size=size, duration=took)

    async def import_snapshot(
        self,
        path: str | os.PathLike[str],
        *,
        name: str | None = None,
        expires: Seconds | None = None,
        labels: Mapping[str, str] | None = None,
        progress: Callable[[TransferProgress], None] | None = None,
    ) -> Snapshot:
        """Take in a snapshot that :meth:`export_snapshot` has written, on this engine or another.

        The file may be anybody's: all of it is checked, what is in it is described anew, and none
        of it becomes a name, a label or a configuration of the engine's but through these checks.
        It is as safe, and as little trusted, as an image from a stranger. Memory does not grow with
        its size, and the engine needs no more room than the file has. When cancelled, or on an
        error, nothing is left.

        Args:
            path: the file.
            name: unique on the engine; the one it had when not given.
            expires: seconds after which it may be swept; None: it is kept until it is deleted.
            labels: noted with it; those it had when not given.
            progress: called on the event loop as the file is read.

        Raises:
            SnapshotFileError: the file holds no snapshot, or a damaged one, or one of another
                version, or something that is refused.
            SnapshotExistsError: the name is taken.
            EngineUnsupportedError: it is for another architecture.
            EngineDiskFullError: the engine has no room for it.
            LocalFileError: the file cannot be read.
        """
        source = _local(path)
        chosen = None if name is None else options.check_name(name, "snapshot name")
        wanted = optional_seconds(expires, "expires", minimum=1.0)
        marks = None if labels is None else options.check_labels(labels, "labels")
        engine = mover(self._use())
        started = time.monotonic()
        with explained(source, "read", "import_snapshot"):
            file = await to_the_end(asyncio.to_thread(open, source, "rb"))
        size = os.fstat(file.fileno()).st_size
        async with aclosing(Incoming(source, file, size or None, progress)) as incoming:
            head = await incoming.head()
            holding = await engine.take_in(
                TakeRequest(
                    kind="snapshot",
                    name=chosen or head.name,
                    token=secrets.token_hex(16),
                    image=head.image,
                    workdir=head.workdir,
                    expires=wanted,
                    metadata=head.labels if marks is None else marks,
                    config=head.config,
                ),
                files=incoming.files(),
                workspace=incoming.workspace(head.workdir),
                complete=incoming.complete,
            )
        took = time.monotonic() - started
        logger.info("snapshot %s imported in %.1f s", holding.name, took)
        return await self._told(holding)

    async def _told(self, holding: Holding) -> Snapshot:
        engine = mover(self._use())
        try:
            return await described(engine, holding)
        except BaseException:
            await to_the_end(engine.remove_holding(holding))
            raise


def _local(path: str | os.PathLike[str]) -> str:
    """Return a caller's path of this machine as text."""
    text = os.fspath(path) if isinstance(path, (str, os.PathLike)) else None
    if not isinstance(text, str) or not text or "\0" in text:
        raise InvalidRequestError(f"path {brief(path)} is not the path of a file")
    return str(Path(text).absolute())
