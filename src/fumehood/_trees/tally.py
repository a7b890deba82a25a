"""What a transfer has done so far, counted as it goes."""

from __future__ import annotations

import os
import time

from fumehood._wire.table import ErrorCode
from fumehood.transfers import MAX_SKIPPED, Skipped, TransferProgress, TransferResult

_REASONS: dict[ErrorCode, str] = {
    ErrorCode.NOT_FOUND: "it is not there any more",
    ErrorCode.PERMISSION: "the session's user may not do this",
    ErrorCode.READ_ONLY: "the session's file system is read-only",
    ErrorCode.IS_DIRECTORY: "a directory has its name",
    ErrorCode.NOT_DIRECTORY: "a part of its path is not a directory",
    ErrorCode.EXISTS: "its name is taken",
    ErrorCode.NOT_EMPTY: "its name is taken by a directory",
    ErrorCode.ESCAPES: "it leads out of the tree",
    ErrorCode.NOT_REGULAR: "no regular file",
    ErrorCode.TOO_LARGE: "larger than the session's limit (Limits.max_file_bytes)",
    ErrorCode.NAME_TOO_LONG: "a name that is too long",
    ErrorCode.TOO_MANY_LINKS: "it goes through a symbolic link",
    ErrorCode.INVALID: "a path that the session does not take",
}


def reason(error: ErrorCode, errno: int = 0) -> str:
    """Say why the supervisor has left something out."""
    text = _REASONS.get(error, error.name.lower().replace("_", " "))
    return f"{text} ({os.strerror(errno)})" if error not in _REASONS and errno else text


class Tally:
    """Counts of one transfer. One thread at a time changes it."""

    def __init__(self) -> None:
        self.files = 0
        self.directories = 0
        self.symlinks = 0
        self.unchanged = 0
        self.bytes = 0
        self.total_files: int | None = None
        self.total_bytes: int | None = None
        self.skipped: list[Skipped] = []
        self.skipped_count = 0
        self._began = time.monotonic()

    def skip(self, path: str, why: str) -> None:
        """Note that something is left out."""
        self.skipped_count += 1
        if len(self.skipped) < MAX_SKIPPED:
            self.skipped.append(Skipped(path=path, reason=why))

    def progress(self) -> TransferProgress:
        """Return how far it is. What has come is never more than there is to come in all."""
        total = self.total_bytes
        return TransferProgress(
            bytes=self.bytes,
            files=self.files,
            total_bytes=None if total is None else max(total, self.bytes),
            total_files=self.total_files,
        )

    def result(self, path: str) -> TransferResult:
        """Return what has come of it."""
        return TransferResult(
            path=path,
            files=self.files,
            directories=self.directories,
            symlinks=self.symlinks,
            unchanged=self.unchanged,
            bytes=self.bytes,
            skipped=tuple(self.skipped),
            skipped_count=self.skipped_count,
            duration=time.monotonic() - self._began,
        )
