"""One row of the table: a figure, what it is compared with, and what it must reach."""

from __future__ import annotations

from dataclasses import dataclass


class NotMeasurableError(Exception):
    """This machine or engine cannot show the figure; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A bound on the ratio to the baseline or, without a baseline, on the figure itself."""

    text: str
    limit: float
    at_most: bool = True

    def holds(self, value: float) -> bool:
        """Whether a ratio or figure is within the bound."""
        return value <= self.limit if self.at_most else value >= self.limit


def one_in(divisor: float) -> Target:
    """At most this fraction of the baseline."""
    return Target(text=f"≤ 1/{divisor:g}", limit=1 / divisor)


def at_most(factor: float) -> Target:
    """At most so many times the baseline."""
    return Target(text=f"≤ {factor:g} x", limit=factor)


def at_least(factor: float) -> Target:
    """At least so many times the baseline."""
    return Target(text=f"≥ {factor:g} x", limit=factor, at_most=False)


def below(limit: float, unit: str) -> Target:
    """A bound on the figure itself."""
    return Target(text=f"< {limit:g} {unit}", limit=limit)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What was measured."""

    name: str
    what: str
    unit: str
    ours: float
    target: Target
    samples: int
    baseline: float | None = None
    against: str = ""
    """What the baseline is; empty when the target bounds the figure itself."""
    points: tuple[tuple[float, float], ...] = ()
    """How the figure grows: so many of something, and the figure (in ``unit``) by then."""

    @property
    def ratio(self) -> float | None:
        """Ours divided by the baseline."""
        return self.ours / self.baseline if self.baseline else None

    @property
    def met(self) -> bool:
        """Whether the target is reached."""
        return self.target.holds(self.ours if self.ratio is None else self.ratio)

    def as_json(self) -> dict[str, object]:
        """Return the row as plain data."""
        return {
            "row": self.name,
            "what": self.what,
            "unit": self.unit,
            "ours": _rounded(self.ours),
            "baseline": _rounded(self.baseline),
            "against": self.against,
            "ratio": _rounded(self.ratio),
            "target": self.target.text,
            "met": self.met,
            "samples": self.samples,
            "points": [[_rounded(count), _rounded(value)] for count, value in self.points],
        }


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.5g}")
