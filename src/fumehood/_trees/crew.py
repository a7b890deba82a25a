"""Whole files that have come, written by two threads. Everything here blocks."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import groupby

from fumehood._trees import local
from fumehood._trees.landing import Landing

THREAD = "fumehood-landing"
"""What the second thread's name begins with."""


@dataclass(slots=True, eq=False)
class Whole:
    """A file with all that is in it: small enough to be held until its end has come."""

    parts: tuple[str, ...]
    mode: int
    modified_ns: int
    content: bytearray = field(default_factory=bytearray)
    fault: str | None = None
    """Why it could not be written, once that was tried."""

    @property
    def directory(self) -> tuple[str, ...]:
        """Where it goes."""
        return self.parts[:-1]


class Crew:
    """Puts files into their places, those of one directory by one thread.

    Making a file is nearly all of the time of a small one, and the kernel's work: it goes on in two
    directories at once, but not in one, which it locks. Where making one is cheap, two threads are
    as fast as one; where it has to look for a free inode (ext4 without a journal, which passes by
    all those that were freed within minutes), they take half of the time. More were no faster.

    Args:
        landing: where to; it stays open. Nobody else may use it during a call.
    """

    def __init__(self, landing: Landing) -> None:
        self._landing = landing
        self._second: tuple[ThreadPoolExecutor, Landing] | None = None

    def write(self, files: Sequence[Whole]) -> None:
        """Write files; each is in its place or has its ``fault`` when this returns.

        Raises:
            OSError: what every file would meet, such as a full disk. Some are written.
        """
        groups = deque(list(group) for _, group in groupby(files, key=lambda file: file.directory))
        if len(groups) < 2:
            _work(self._landing, groups)
            return
        pool, landing = self._helper()
        helping = pool.submit(_work, landing, groups)
        try:
            _work(self._landing, groups)
        finally:
            failure = helping.exception()  # waits: nothing is written once this has returned
        if failure is not None:
            raise failure

    def close(self) -> None:
        """Let go of the second thread."""
        if self._second is not None:
            pool, landing = self._second
            self._second = None
            pool.shutdown()
            landing.close()

    def _helper(self) -> tuple[ThreadPoolExecutor, Landing]:
        if self._second is None:
            landing = self._landing.another()
            self._second = (ThreadPoolExecutor(1, thread_name_prefix=THREAD), landing)
        return self._second


def _work(landing: Landing, groups: deque[list[Whole]]) -> None:
    """Take groups until none is left."""
    while True:
        try:
            group = groups.popleft()
        except IndexError:  # the other one has taken the last
            return
        try:
            for file in group:
                _put(landing, file)
        except BaseException:
            groups.clear()
            raise


def _put(landing: Landing, file: Whole) -> None:
    try:
        landing.put(file.parts, file.content, file.mode, file.modified_ns)
    except OSError as exc:
        if local.is_fatal(exc):
            raise
        file.fault = local.why(exc)
