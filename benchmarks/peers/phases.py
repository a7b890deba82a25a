"""The measurements that take turns: lives, commands, files, floods."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.peers.crew import Crew
from benchmarks.peers.driver import Worker

_LINE = "012345678901234567890123456789012345678901234567890123456789abc"
_LIMIT = 60.0
"""Seconds that one job may take where nothing else is said."""
_CROWD = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Amounts:
    """How much of each; the two that there are, are below."""

    lives: int
    life_budget: float
    commands: int
    commands_each: int
    crowds: int
    crowd_total: int
    small_files: int
    large_files: int
    large_bytes: int
    floods: int
    flood_bytes: int
    flood_seconds: float
    few: int
    many: int
    memory_seconds: float
    after_kill: float
    """Seconds between the end of a client and the look at what is left."""


FULL = Amounts(
    lives=8,
    life_budget=25,
    commands=20,
    commands_each=3,
    crowds=2,
    crowd_total=32,
    small_files=10,
    large_files=2,
    large_bytes=32_000_000,
    floods=3,
    flood_bytes=100_000_000,
    flood_seconds=25,
    few=20,
    many=100,
    memory_seconds=50,
    after_kill=20,
)
QUICK = Amounts(
    lives=2,
    life_budget=5,
    commands=3,
    commands_each=2,
    crowds=1,
    crowd_total=16,
    small_files=2,
    large_files=1,
    large_bytes=32_000_000,
    floods=1,
    flood_bytes=100_000_000,
    flood_seconds=10,
    few=3,
    many=6,
    memory_seconds=15,
    after_kill=15,
)


def lives(crew: Crew, amounts: Amounts) -> None:
    """Create to first result, and destroy; the pools too."""
    crew.fresh(crew.names(variants=True), session=False)

    def call(worker: Worker) -> None:
        taken = worker.ask("life", _LIMIT)
        for metric in ("create", "destroy", "gone"):
            crew.run.add(metric, worker.entry.name, taken[metric])

    # The first one of each is not counted: modules that are imported late, connections, caches.
    crew.at_once("a first life of each", lambda worker: worker.ask("life", _LIMIT))
    crew.by_turns(
        "create, first result, destroy",
        list(crew.workers),
        call,
        metrics=("create", "destroy", "gone"),
        rounds=amounts.lives,
        budget=amounts.life_budget,
        least=min(2, amounts.lives),
    )


def commands(crew: Crew, amounts: Amounts) -> None:
    """One command at a time, and several."""
    run = crew.run

    def one(worker: Worker) -> None:
        for seconds in worker.ask("run", _LIMIT, times=amounts.commands_each)["seconds"]:
            run.add("exec", worker.entry.name, seconds)

    def crowd(worker: Worker) -> None:
        answer = worker.ask("crowd", _LIMIT, total=amounts.crowd_total, at_once=_CROWD)
        run.add("crowd", worker.entry.name, answer["per_second"])

    crew.fresh(crew.names())
    crew.by_turns(
        "one command at a time",
        list(crew.workers),
        one,
        metrics=("exec",),
        rounds=amounts.commands,
        budget=30,
    )
    crew.by_turns(
        f"commands, {_CROWD} at a time",
        _able(crew, "crowd", ("crowd",)),
        crowd,
        metrics=("crowd",),
        rounds=amounts.crowds,
        budget=20,
    )


def files(crew: Crew, amounts: Amounts) -> None:
    """Small files and large ones, in the sessions of the commands."""
    run = crew.run

    def small(worker: Worker) -> None:
        taken = worker.ask("files", _LIMIT, size=1024)
        run.add("write_small", worker.entry.name, taken["write"])
        run.add("read_small", worker.entry.name, taken["read"])

    def large(worker: Worker) -> None:
        taken = worker.ask("files", _LIMIT, size=amounts.large_bytes)
        megabytes = amounts.large_bytes / 1e6
        run.add("write_large", worker.entry.name, megabytes / taken["write"])
        run.add("read_large", worker.entry.name, megabytes / taken["read"])

    small_metrics, large_metrics = ("write_small", "read_small"), ("write_large", "read_large")
    able = _able(crew, "files", small_metrics + large_metrics)
    crew.by_turns(
        "files of 1 KB",
        able,
        small,
        metrics=small_metrics,
        rounds=amounts.small_files,
        budget=20,
    )
    crew.by_turns(
        f"files of {amounts.large_bytes / 1e6:g} MB",
        able,
        large,
        metrics=large_metrics,
        rounds=amounts.large_files,
        budget=10,
    )


def floods(crew: Crew, amounts: Amounts) -> None:
    """Much output, in processes that have done nothing else: their memory is looked at."""
    run = crew.run
    command = f"yes {_LINE} | head -c {amounts.flood_bytes}"

    def call(worker: Worker) -> None:
        name = worker.entry.name
        before = worker.children_mib()
        worker.tell("flood", command=command, size=amounts.flood_bytes)
        answer, children = worker.answer_watched(amounts.flood_seconds)
        if not run.of("flood", name):
            # Later ones find memory that the first one has left in the process.
            run.add("flood_memory", name, answer["growth"] + max(0.0, children - before))
        run.add("flood", name, amounts.flood_bytes / 1e6 / answer["seconds"])

    crew.fresh(crew.names())
    crew.by_turns(
        f"{amounts.flood_bytes / 1e6:g} MB of output",
        list(crew.workers),
        call,
        metrics=("flood", "flood_memory"),
        rounds=amounts.floods,
        budget=10,
    )


def _able(crew: Crew, what: str, metrics: tuple[str, ...]) -> list[str]:
    """Return the peers that have a call for it; say of the others what they lack."""
    able: list[str] = []
    for name, worker in crew.workers.items():
        lack = worker.lacks.get(what)
        if lack is None:
            able.append(name)
        else:
            for metric in metrics:
                crew.run.note(metric, name, lack)
    return able
