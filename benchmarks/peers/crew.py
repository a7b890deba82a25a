"""All peers of a run: their processes, by turns or at the same time."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from benchmarks.peers.catalog import Entry
from benchmarks.peers.driver import PeerError, Worker
from benchmarks.peers.environments import python_of
from benchmarks.peers.figures import Run
from benchmarks.peers.images import LABEL, image_of
from uv_environments import NotMadeError

OPEN_SECONDS = 60.0
"""For a peer's imports, and for its first session."""
CLOSE_SECONDS = 30.0
REMOVE_SECONDS = 180.0
"""For up to a hundred containers."""
# The engine tidies up behind an exec, a removal: whoever came next would pay for it.
_SETTLE = 0.1
_STARTING_AT_ONCE = 4
_TRIES = 3
_FAILURES = 2
"""So many failed turns end a peer's part in a phase."""

Say = Callable[[str], None]


@dataclass(slots=True)
class Crew:
    """Peers that can run here, and the run that they fill."""

    run: Run
    say: Say
    places: dict[str, tuple[Entry, str, dict[str, str]]]
    """By name: the entry, its Python, its variables."""
    workers: dict[str, Worker]

    @classmethod
    def gather(cls, run: Run, entries: Sequence[Entry], tools: dict[str, str], say: Say) -> Crew:
        """Make what the peers need; those that cannot be had are left out, with the reason."""
        crew = cls(run, say, {}, {})
        for entry in entries:
            started = time.monotonic()
            try:
                python = python_of(entry)
                variables = {**tools, "BENCH_IMAGE": image_of(entry.image)}
            except (NotMadeError, subprocess.TimeoutExpired) as exc:
                run.left_out[entry.name] = str(exc)
                say(f"{entry.name} is left out: {exc}")
                continue
            crew.places[entry.name] = (entry, python, variables)
            if time.monotonic() - started > 2:
                say(f"{entry.name}: made in {time.monotonic() - started:.0f} s")
        return crew

    def names(self, *, variants: bool = False) -> list[str]:
        """Return who takes part."""
        return [
            name
            for name, (entry, _, _) in self.places.items()
            if variants or entry.kind != "variant"
        ]

    def entry(self, name: str) -> Entry:
        """Return a peer's entry."""
        return self.places[name][0]

    def start(self, name: str, *, session: bool = True) -> tuple[Worker, str | None]:
        """Begin a new process of a peer; return it and the container of its session.

        Raises:
            PeerError: It does not come up.
        """
        worker = Worker(*self.places[name])
        try:
            opened = worker.ask("open", OPEN_SECONDS)
            self.run.versions[name] = opened["versions"]
            worker.lacks = opened["lacks"]
            worker.creates_at_once = opened["creates_at_once"]
            container = self._session(worker) if session else None
        except PeerError:
            worker.end()
            raise
        return worker, container

    def _session(self, worker: Worker) -> str | None:
        """Make a session, and try again: some do not always come up while others are starting."""
        for _ in range(_TRIES - 1):
            try:
                return _made(worker)
            except PeerError as exc:
                if worker.ended:
                    raise
                self.say(f"{worker.entry.name}, a session: {exc}; again")
        return _made(worker)

    def fresh(self, names: Sequence[str], *, session: bool = True) -> list[str]:
        """Begin a new process of each peer, some at a time; return those that came up."""
        self.dismiss()

        def one(name: str) -> tuple[str, Worker | None]:
            try:
                return name, self.start(name, session=session)[0]
            except PeerError as exc:
                self.run.left_out.setdefault(name, str(exc))
                self.say(f"{name} does not come up: {exc}")
                return name, None

        with ThreadPoolExecutor(_STARTING_AT_ONCE) as threads:
            for name, worker in threads.map(one, names):
                if worker is not None:
                    self.workers[name] = worker
        return list(self.workers)

    def at_once(self, title: str, call: Callable[[Worker], object]) -> None:
        """Have all do something that is not measured, some at a time; who fails is ended."""

        def one(worker: Worker) -> None:
            try:
                call(worker)
            except PeerError as exc:
                self.say(f"{worker.entry.name}, {title}: {exc}")

        with ThreadPoolExecutor(_STARTING_AT_ONCE) as threads:
            list(threads.map(one, list(self.workers.values())))
        self.say(title)

    def dismiss(self) -> None:
        """Let all processes end; some take ten seconds for a session, so at the same time."""
        workers = list(self.workers.values())
        self.workers.clear()
        if workers:
            with ThreadPoolExecutor(len(workers)) as threads:
                list(threads.map(lambda worker: worker.close(CLOSE_SECONDS), workers))
        remove_leftovers()

    def by_turns(
        self,
        title: str,
        names: Sequence[str],
        call: Callable[[Worker], None],
        *,
        metrics: Sequence[str],
        rounds: int,
        budget: float,
        least: int = 1,
    ) -> None:
        """Give each peer its turn in every round, every other round backwards.

        A peer whose turns have taken ``budget`` seconds has no more of them after ``least``. One
        that fails says so in a note, and has no more after the second time, or when it took too
        long.
        """
        failures = dict.fromkeys(names, 0)
        spent = dict.fromkeys(names, 0.0)
        order = [name for name in names if name in self.workers]
        for number in range(rounds):
            for name in order if number % 2 == 0 else order[::-1]:
                worker = self.workers.get(name)
                if worker is None or worker.ended or (number >= least and spent[name] > budget):
                    continue
                started = time.monotonic()
                try:
                    call(worker)
                except PeerError as exc:
                    for metric in metrics:
                        self.run.note(metric, name, str(exc))
                    self.say(f"{name}, {title}: {exc}")
                    failures[name] += 1
                    if worker.ended or failures[name] >= _FAILURES:
                        order = [other for other in order if other != name]
                spent[name] += time.monotonic() - started
                time.sleep(_SETTLE)
            self.say(f"{title}: round {number + 1} of {rounds}")
        self._replace_the_ended(names)

    def _replace_the_ended(self, names: Sequence[str]) -> None:
        for name in names:
            if name in self.workers and self.workers[name].ended:
                try:
                    self.workers[name], _ = self.start(name)
                except PeerError as exc:
                    del self.workers[name]
                    self.say(f"{name} does not come up again: {exc}")


def _made(worker: Worker) -> str | None:
    container: str | None = worker.ask("session", OPEN_SECONDS)["container"]
    return container


def remove_leftovers() -> int:
    """Remove all containers of the peers' images; return how many there were."""
    shown = subprocess.run(
        ["docker", "ps", "--all", "--quiet", "--filter", f"label={LABEL}"],
        capture_output=True,
        text=True,
        check=True,
    )
    left = shown.stdout.split()
    remove_containers(left)
    return len(left)


def remove_containers(names: Sequence[str]) -> None:
    """Remove containers with their volumes, faster than their peers do; any may be gone already.

    Raises:
        subprocess.TimeoutExpired: The engine does not get it done: nothing after it would be right.
    """
    if names:
        subprocess.run(
            ["docker", "rm", "--force", "--volumes", *names],
            capture_output=True,
            check=False,
            timeout=REMOVE_SECONDS,
        )
