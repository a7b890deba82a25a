"""Where a peer is ahead. No metric is left out; floors are no peers, and pools meet pools."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.peers.catalog import CATALOG
from benchmarks.peers.figures import METRICS, Run, quartiles

OURS = "fumehood"
OUR_POOL, THEIR_POOL = "fumehood, pool", "agentbox-rl, pool"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ahead:
    """A peer whose median is better than ours."""

    metric: str
    peer: str
    theirs: float
    ours: float
    close: bool
    """The ranges between the quartiles have something in common."""


def who_is_ahead(run: Run) -> list[Ahead]:
    """Return the best peer of each metric in which ours is not the best.

    Pools are compared with pools: a session that was made before is no creation.
    """
    peers = [entry.name for entry in CATALOG if entry.kind == "peer"]
    found: list[Ahead] = []
    for metric in METRICS:
        sides: list[tuple[str, list[str]]] = [(OURS, peers)]
        if metric.name == "create":
            sides.append((OUR_POOL, [THEIR_POOL]))
        for ours, theirs in sides:
            best = _best(run, metric.name, theirs, more=metric.more_is_better)
            mine = run.median(metric.name, ours)
            if best is None or mine is None:
                continue
            value = run.median(metric.name, best)
            assert value is not None
            if value > mine if metric.more_is_better else value < mine:
                found.append(
                    Ahead(
                        metric=metric.name,
                        peer=best,
                        theirs=value,
                        ours=mine,
                        close=_overlap(run.of(metric.name, best), run.of(metric.name, ours)),
                    )
                )
    return found


def _best(run: Run, metric: str, names: list[str], *, more: bool) -> str | None:
    medians = {name: value for name in names if (value := run.median(metric, name)) is not None}
    if not medians:
        return None
    return (max if more else min)(medians, key=lambda name: medians[name])


def _overlap(one: list[float], other: list[float]) -> bool:
    if len(one) < 2 or len(other) < 2:
        return False
    (low, high), (other_low, other_high) = quartiles(one), quartiles(other)
    return low <= other_high and other_low <= high
