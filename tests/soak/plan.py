"""What becomes of each session of a soak, all of it drawn from one seed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, TypeVar

from contract.adapter import BUSYBOX, NONROOT, PYTHON, SCRATCH

T = TypeVar("T")


class End(StrEnum):
    """The ways in which a session comes to its end, besides its client's death."""

    DESTROYED = "destroyed"
    BUSY = "destroyed while busy"
    CANCELLED = "cancelled while busy"
    NOT_BORN = "cancelled while it is made"
    TTL = "out of time"
    IDLE = "idle"
    REMOVED = "removed by the engine's user"
    KILLED = "process 1 killed from outside"


# Most end well; each other way is met some dozens of times in a soak of 2,000.
_ENDS = {
    End.DESTROYED: 40,
    End.BUSY: 15,
    End.CANCELLED: 15,
    End.NOT_BORN: 8,
    End.TTL: 8,
    End.IDLE: 4,
    End.REMOVED: 5,
    End.KILLED: 5,
}
_IMAGES = {PYTHON: 30, NONROOT: 20, BUSYBOX: 40, SCRATCH: 10}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One session."""

    id: str
    image: str
    end: End
    persistent: bool
    """Whether its workspace has a name, and goes with the session."""
    seed: int
    """Of everything that it does in between."""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> Plan:
        return cls(**{**found, "end": End(found["end"])})


def plans(prefix: str, count: int, seed: int) -> Iterator[Plan]:
    """Yield the plan of every session."""
    chance = random.Random(seed)
    for number in range(count):
        yield Plan(
            id=f"{prefix}-{number}",
            image=_drawn(chance, _IMAGES),
            end=_drawn(chance, _ENDS),
            persistent=chance.random() < 0.2,
            seed=chance.randrange(1 << 32),
        )


def _drawn(chance: random.Random, weights: dict[T, int]) -> T:
    return chance.choices(list(weights), list(weights.values()))[0]
