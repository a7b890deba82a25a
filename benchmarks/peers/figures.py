"""What a run came to: every single value, so that any summary can be made again from the file."""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One column: what is measured, and how it is shown."""

    name: str
    title: str
    unit: str
    factor: float = 1.0
    """From what was stored to the unit."""
    more_is_better: bool = False


METRICS = (
    Metric(name="create", title="create to first result", unit="ms", factor=1e3),
    Metric(name="destroy", title="destroy returns", unit="ms", factor=1e3),
    Metric(name="gone", title="destroy, until nothing is left", unit="ms", factor=1e3),
    Metric(name="exec", title="run `true`", unit="ms", factor=1e3),
    Metric(name="crowd", title="run `true`, 8 at a time", unit="/s", more_is_better=True),
    Metric(name="write_small", title="write 1 KB", unit="ms", factor=1e3),
    Metric(name="read_small", title="read 1 KB", unit="ms", factor=1e3),
    Metric(name="write_large", title="write {large_bytes} MB", unit="MB/s", more_is_better=True),
    Metric(name="read_large", title="read {large_bytes} MB", unit="MB/s", more_is_better=True),
    Metric(name="flood", title="{flood_bytes} MB of stdout", unit="MB/s", more_is_better=True),
    Metric(name="flood_memory", title="client memory for it", unit="MiB"),
    Metric(name="memory_few", title="client memory, {few} idle sessions", unit="MiB"),
    Metric(name="memory_many", title="client memory, {many} idle sessions", unit="MiB"),
)
METRIC = {metric.name: metric for metric in METRICS}


@dataclass(slots=True, kw_only=True)
class Run:
    """All figures of one run."""

    machine: dict[str, Any]
    amounts: dict[str, Any]
    versions: dict[str, dict[str, str]] = field(default_factory=dict)
    """By peer, what was measured."""
    left_out: dict[str, str] = field(default_factory=dict)
    """By peer, why it did not run at all."""
    values: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    """By metric and peer, in the order of measuring; in seconds, rates and MiB."""
    notes: dict[str, dict[str, str]] = field(default_factory=dict)
    """By metric and peer, why there is no value, or what is to be said of it."""
    ends: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By peer, what outlived a timeout and a killed client."""
    idle: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By peer, threads, descriptors and helpers of the most sessions."""

    def add(self, metric: str, peer: str, value: float) -> None:
        """Keep one value."""
        self.values.setdefault(metric, {}).setdefault(peer, []).append(value)

    def note(self, metric: str, peer: str, text: str) -> None:
        """Keep what is to be said where a value is missing."""
        self.notes.setdefault(metric, {})[peer] = text

    def of(self, metric: str, peer: str) -> list[float]:
        """Return the values of one cell, in the metric's unit."""
        factor = METRIC[metric].factor
        return [value * factor for value in self.values.get(metric, {}).get(peer, [])]

    def title(self, metric: str) -> str:
        """Return a metric's title, with the amounts of this run."""
        amounts = {
            name: f"{value / 1e6:g}" if name.endswith("_bytes") else value
            for name, value in self.amounts.items()
        }
        return METRIC[metric].title.format(**amounts)

    def median(self, metric: str, peer: str) -> float | None:
        """Return the middle of a cell, if it has any values."""
        values = self.of(metric, peer)
        return statistics.median(values) if values else None

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Run:
        """Read it again."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))


def quartiles(values: list[float]) -> tuple[float, float]:
    """Return the 25th and the 75th percentile."""
    if len(values) < 2:
        return values[0], values[0]
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, high
