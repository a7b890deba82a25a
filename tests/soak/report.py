"""What a soak has shown: one JSON document, and the table that people read."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from soak.conductor import Tally
from soak.gauges import Peaks, Usage

_KINDS = ("clients", "dockerd", "containerd", "shims", "supervisors")


def document(
    *,
    about: Mapping[str, object],
    tally: Tally,
    peaks: Peaks,
    before: Mapping[str, Usage],
    after: Mapping[str, Usage],
    swept: Sequence[str],
    left: Sequence[str],
) -> dict[str, Any]:
    """Return everything, for machines."""
    return {
        **about,
        "held": not (tally.problems or left),
        "counts": dict(sorted(tally.counts.items())),
        "alive_at_once": {"by clients": tally.alive_at_once, "by the engine": peaks.alive},
        "highest_load": round(peaks.load, 1),
        "steps": {name: timing(seconds) for name, seconds in sorted(tally.seconds.items())},
        "usage": {
            name: {
                "before": usage(before.get(name, Usage())),
                "peak": usage(peaks.usage.get(name, Usage())),
                "after": usage(after.get(name, Usage())),
            }
            for name in _KINDS
        },
        "swept": list(swept),
        "left": list(left),
        "problems": tally.problems,
    }


def timing(seconds: Sequence[float]) -> dict[str, float]:
    """Return how often a step was taken, and in what times, in milliseconds."""
    ordered = sorted(seconds)
    return {
        "times": len(ordered),
        "p50_ms": round(1000 * at(ordered, 0.50), 1),
        "p99_ms": round(1000 * at(ordered, 0.99), 1),
        "max_ms": round(1000 * ordered[-1], 1),
    }


def at(ordered: Sequence[float], share: float) -> float:
    """Return the value that so great a share of all does not exceed."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def usage(found: Usage) -> dict[str, float]:
    """Return what processes use, in units that people read."""
    return {
        "processes": found.processes,
        "memory_mib": round(found.memory_kib / 1024, 1),
        "largest_mib": round(found.largest_kib / 1024, 2),
        "descriptors": found.descriptors,
        "threads": found.threads,
    }


def table(found: Mapping[str, Any]) -> str:
    """Return the document as text."""
    counts = found["counts"]
    lines = [
        (
            f"{found['sessions']} sessions, {found['alive_at_once']['by the engine']} at once; "
            f"{counts['clients']} clients, {counts.get('clients killed', 0)} of them killed; "
            f"{found['seconds']:.0f} s; seed {found['seed']}"
        ),
        "",
        f"{'step':<22}{'times':>8}{'p50':>12}{'p99':>12}{'longest':>12}",
    ]
    lines += [
        f"{name:<22}{step['times']:>8}"
        + "".join(f"{step[key]:>9.1f} ms" for key in ("p50_ms", "p99_ms", "max_ms"))
        for name, step in found["steps"].items()
    ]
    lines += [
        "",
        (
            f"{'peak of':<14}{'processes':>10}{'memory':>13}{'largest':>13}{'descriptors':>13}"
            f"{'threads':>9}{'memory before, after':>25}"
        ),
    ]
    for name, at_times in found["usage"].items():
        peak = at_times["peak"]
        around = f"{at_times['before']['memory_mib']:.1f}, {at_times['after']['memory_mib']:.1f}"
        lines.append(
            f"{name:<14}{peak['processes']:>10}{peak['memory_mib']:>9.1f} MiB"
            f"{peak['largest_mib']:>9.2f} MiB{peak['descriptors']:>13}{peak['threads']:>9}"
            f"{around:>21} MiB"
        )
    lines += ["", f"swept at the end: {len(found['swept'])}; left: {len(found['left'])}"]
    lines += [f"LEFT {item}" for item in found["left"]]
    lines += [f"PROBLEM {item}" for item in found["problems"]]
    lines.append("everything held" if found["held"] else "NOT everything held")
    return "\n".join(lines)
