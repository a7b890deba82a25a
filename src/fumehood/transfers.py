"""What comes of a transfer of files: its result, what it left out, and how far it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Symlinks = Literal["keep", "follow", "skip"]
"""``keep``: links that stay in the tree are copied as links. ``follow``: those that lead to a file
in the tree are copied as that file. ``skip``: none is copied. Every other one
is in the list of what was skipped."""

MAX_SKIPPED = 1000
"""How many a result names; it counts all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferProgress:
    """How far a transfer is."""

    bytes: int
    """Of files' contents, until now."""
    files: int
    """That are through, until now."""
    total_bytes: int | None
    """Of all files; None while that is not known. It is what the other side says, and a file that
    changes meanwhile makes it wrong; it is never less than ``bytes``."""
    total_files: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """Something that was left out. Both texts may hold what a container made up."""

    path: str
    """In the tree, with ``/`` between its parts; ``.`` is the tree itself."""
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferResult:
    """What an upload or a download did."""

    path: str
    """Where the file, or the tree, is now: in the session's terms for an upload, this machine's for
    a download."""
    files: int
    """That were copied."""
    directories: int
    """That are there now because of it, or were there already; the tree's own is not counted."""
    symlinks: int
    """That were copied as links."""
    unchanged: int
    """Files that were not copied, since ``skip_same`` found them the same."""
    bytes: int
    """Of the contents of the files that were copied."""
    skipped: tuple[Skipped, ...]
    """What was left out, other than by ``ignore``: the first 1,000."""
    skipped_count: int
    """How many were left out; ``len(skipped)`` unless there were more."""
    duration: float
    """Seconds."""
