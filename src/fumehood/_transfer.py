"""Operations on files that are one request and one answer, and what their answers mean."""

from __future__ import annotations

import posixpath
from datetime import UTC, datetime, timedelta

from fumehood import hooks
from fumehood._core import CANCEL_PATIENCE, SessionCore
from fumehood._failures import file_failure
from fumehood._progress import of_file
from fumehood._wire.codec import WireViolationError
from fumehood._wire.messages import Answer, Done, Fail
from fumehood._wire.records import Entry, EntryReader
from fumehood._wire.requests import Request
from fumehood._wire.table import FileCode, Violation
from fumehood.errors import FileError, FileTooLargeError
from fumehood.results import FileEntries, FileEntry, FileType

MAX_LISTING_BYTES = 64 << 20
"""What the records of one listing may take in the client's memory: names are up to 4 KiB each."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

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


async def transact(
    core: SessionCore,
    request: Request,
    op: str,
    name: str,
) -> bytes:
    """Run an operation to its end and return its output, which the request has bounded."""
    output = bytearray()
    channel = core.tether.open(request)
    try:
        with of_file(core, channel, op, name):
            while (item := await channel.receive()) is not None:
                output += item.data
            done(core, await channel.answer(), op, name)
    finally:
        await channel.aclose(CANCEL_PATIENCE)
    return bytes(output)


async def records(
    core: SessionCore, request: Request, op: str, name: str, *, most: int
) -> list[Entry]:
    """Run an operation that answers with records.

    Args:
        core: the session.
        request: what to ask for.
        op: for messages, like the next.
        name: the path.
        most: how many were asked for. More of them, or bytes that are none, break the session: what
            sends them is not our supervisor.
    """
    return (await _records(core, request, op, name, most))[0]


async def listing(
    core: SessionCore, request: Request, op: str, name: str, *, most: int, recursive: bool
) -> FileEntries:
    """List a directory; otherwise as :func:`records`."""
    entries, answer = await _records(core, request, op, name, most)
    base = "" if name == "." else name
    found = [_listed(core, base, entry, recursive=recursive) for entry in entries]
    found.sort(key=lambda entry: entry.path)
    # A supervisor of before this number fails where there would be one.
    return FileEntries(found, skipped_unreadable=answer.unreadable or 0)


async def _records(
    core: SessionCore, request: Request, op: str, name: str, most: int
) -> tuple[list[Entry], Done]:
    reader = EntryReader()
    entries: list[Entry] = []
    size = 0
    channel = core.tether.open(request)
    watch = of_file(core, channel, op, name)
    try:
        while (item := await channel.receive()) is not None:
            size += len(item.data)
            if size > MAX_LISTING_BYTES:
                raise FileError(
                    f"{op} {name!r}: the names take more than {MAX_LISTING_BYTES} bytes",
                    path=name,
                    op=op,
                    session_id=core.id,
                )
            entries.extend(reader.feed(item.data))
            if len(entries) > most:
                raise WireViolationError(Violation.BAD_VALUE, f"more than {most} records")
        answer = done(core, await channel.answer(), op, name)
        reader.finish()
    except WireViolationError as violation:
        raise blame(core, violation) from None
    finally:
        watch.stop()
        await channel.aclose(CANCEL_PATIENCE)
    return entries, answer


async def send_file(core: SessionCore, request: Request, data: bytes, op: str, name: str) -> None:
    """Write a file whole, and tell the hook. Cancelled, the old file is in place or the new one."""
    limit = core.limits.max_file_bytes
    if len(data) > limit:
        raise FileTooLargeError(
            f"{op} {name!r}: {len(data)} bytes are more than Limits.max_file_bytes ({limit})",
            path=name,
            op=op,
            session_id=core.id,
        )
    channel, sent = core.tether.open_with_input(request, data)
    try:
        with of_file(core, channel, op, name):
            if sent < len(data) and await channel.send(memoryview(data)[sent:]):
                channel.end_input()
            done(core, await channel.answer(), op, name)
    finally:
        await channel.aclose(CANCEL_PATIENCE)
    await tell_written(core, name, len(data))


def blame(core: SessionCore, violation: WireViolationError) -> WireViolationError:
    """End the tether to a supervisor whose output breaks the rules; return what to raise."""
    core.tether.violated(violation)
    violation.session_id = core.id
    return violation


def done(core: SessionCore, answer: Answer, op: str, name: str) -> Done:
    """Return a good answer, raise a bad one."""
    if isinstance(answer, Fail):
        raise file_failure(answer, op=op, path=name, session_id=core.id)
    assert isinstance(answer, Done)
    return answer


async def tell_written(core: SessionCore, name: str, size: int) -> None:
    """Tell the hook that a file is in place."""
    if core.hooks.on_file_write is not None:
        await hooks.tell(
            core.hooks.on_file_write,
            hooks.FileWritten(session_id=core.id, path=name, size=size),
        )


def _listed(core: SessionCore, base: str, entry: Entry, *, recursive: bool) -> FileEntry:
    """Return a record of a listing; its name must stay inside the directory that was listed."""
    name = entry.name.decode("utf-8", "surrogateescape")
    parts = name.split("/")
    if any(part in ("", ".", "..") for part in parts) or (len(parts) > 1 and not recursive):
        violation = WireViolationError(Violation.BAD_VALUE, f"record: name={name[:100]!r}")
        raise blame(core, violation)
    return file_entry(posixpath.join(base, name), entry)


def file_entry(path: str, entry: Entry) -> FileEntry:
    """Return a record as what a caller gets."""
    return FileEntry(
        path=path,
        type=_TYPES[entry.type],
        size=entry.size,
        mode=entry.mode & 0o7777,
        # 64 bits of nanoseconds end in the year 2554, which a datetime can say.
        modified=_EPOCH + timedelta(microseconds=entry.modified_ns // 1000),
        uid=entry.uid,
        gid=entry.gid,
        target=None if entry.link is None else entry.link.decode("utf-8", "surrogateescape"),
    )
