"""What idle sessions cost their client: its own memory and that of its helper processes."""

from __future__ import annotations

import time

from benchmarks.peers.crew import Crew, remove_containers
from benchmarks.peers.driver import PeerError, Worker
from benchmarks.peers.phases import Amounts

_STARTING = 30.0
"""Seconds that sessions may need which are being made when the time is up."""
_QUIET = 1.0


def memory(crew: Crew, amounts: Amounts) -> None:
    """One peer at a time: dozens of containers made and removed at once stop some engines.

    Docker 20.10 was seen to wait for itself for ever when one peer's containers left a bridge while
    another one's were looked at, and to answer nothing about networks from then on.
    """
    crew.dismiss()
    for name in crew.names():
        _one(crew, amounts, name)


def _one(crew: Crew, amounts: Amounts, name: str) -> None:
    try:
        worker, container = crew.start(name)
    except PeerError as exc:
        for metric in ("memory_few", "memory_many"):
            crew.run.note(metric, name, str(exc))
        return
    containers = [container]
    try:
        _grow(crew, worker, amounts, containers)
    except PeerError as exc:
        crew.run.note("memory_many", name, str(exc))
        crew.say(f"{name}, many sessions: {exc}")
    finally:
        # Faster than the peers' own ways, some of which need ten seconds for each.
        worker.end()
        # Ours are gone by then, or about to be: that is no failure.
        remove_containers([one for one in containers if one is not None])


def _grow(crew: Crew, worker: Worker, amounts: Amounts, containers: list[str | None]) -> None:
    """Count from one session on: what the first one brings with it is not each session's."""
    name, run = worker.entry.name, crew.run
    before = worker.own_mib() + worker.children_mib()
    deadline = time.monotonic() + amounts.memory_seconds
    for metric, wanted in (("memory_few", amounts.few), ("memory_many", amounts.many)):
        left = max(0.0, deadline - time.monotonic())
        answer = worker.ask(
            "many",
            left + _STARTING,
            total=wanted,
            at_once=worker.creates_at_once,
            within=left,
        )
        containers += answer["containers"]
        time.sleep(_QUIET)
        reached = answer["sessions"]
        growth = max(0.0, worker.own_mib() + worker.children_mib() - before)
        crew.say(f"{name}: {reached} sessions, {growth:.1f} MiB more")
        if reached < wanted:
            why = answer["failure"] or f"no more in {amounts.memory_seconds:g} s"
            run.note(metric, name, f"{growth:.0f} MiB at {reached} sessions; {why}")
        else:
            run.add(metric, name, growth)
        run.idle[name] = {
            "sessions": reached,
            "threads": answer["threads"],
            "descriptors": answer["descriptors"],
            "helpers": len(worker.children()),
        }
