"""A pool of warm containers: what it is to hold, and what it has done."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from fumehood import _checks as checks
from fumehood._checks import Seconds
from fumehood.errors import InvalidRequestError

MAX_POOL = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """How many containers wait, started and never used, for a sandbox's next sessions.

    Each serves one session and goes with it. They are the sandbox's own: they end when it is closed
    and when its process dies, in whatever way.

    Example::

        DockerSandbox(image="python:3.13-slim", pool=Pool(min_idle=4))
    """

    min_idle: int = 4
    """So many wait when nothing goes on."""
    max_idle: int = 16
    """The most that wait: what a burst of creates may raise their number to, for a while."""
    max_age: Seconds = 600.0
    """Seconds after which one that was not used is replaced: by the image as it is then."""

    def __post_init__(self) -> None:
        checks.whole(self.min_idle, "Pool.min_idle", minimum=1, maximum=MAX_POOL)
        checks.whole(self.max_idle, "Pool.max_idle", minimum=1, maximum=MAX_POOL)
        if self.max_idle < self.min_idle:
            raise InvalidRequestError(
                f"Pool.max_idle must be at least min_idle ({self.min_idle}), not {self.max_idle}"
            )
        age = checks.seconds(self.max_age, "Pool.max_age", minimum=1.0)
        object.__setattr__(self, "max_age", age)


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolStats:
    """A pool at one moment, and what it has done since its sandbox was made."""

    idle: int
    """Containers that wait."""
    filling: int
    """Containers that are being made."""
    target: int
    """How many are to wait at present: from ``min_idle`` to ``max_idle``, by demand."""
    filled: int
    claimed: int
    """Sessions that came from the pool."""
    missed: int
    """Sessions that could have come from it, and found it empty."""
    recycled: int
    """Containers that grew too old."""
    lost: int
    """Containers that ended, or broke the rules, while they waited or when they were claimed; and
    those that went with a create that failed after its claim, or was cancelled."""
    failed: int
    """Containers that could not be made."""
    last_error: str = ""
    """Why the last one could not; empty once one could again."""


class PoolChange(StrEnum):
    """What has happened to a pool."""

    FILLED = "filled"
    CLAIMED = "claimed"
    MISSED = "missed"
    RECYCLED = "recycled"
    LOST = "lost"
    FAILED = "failed"
