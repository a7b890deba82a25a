"""Run pytest in several processes side by side, and show what each has printed in one piece."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import tests_reports
from tests_plan import ROOT, Part

# pytest's own exit codes.
PASSED, FAILED, NOTHING_SELECTED = 0, 1, 5

MOST_JOBS = 6
_CASES = "cases.json"

PROGRESS_SECONDS = 20.0
"""How often a line says how far the processes are."""

_BECAME = {"failure": "FAILED", "error": "ERROR", "skipped": "SKIPPED"}
_PERCENT = re.compile(rb"\[ *(\d+)%\]")


@dataclass(frozen=True, slots=True)
class Bad:
    """A test that did not pass."""

    became: str
    """``FAILED``; ``ERROR``, before the test or behind it; or ``SKIPPED``."""
    name: str
    """By this pytest runs it once more."""
    why: str
    """The first line of what was reported."""

    def __str__(self) -> str:
        return f"{self.became} {self.name}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What has become of one part."""

    part: Part
    code: int
    counted: Counter[str]
    bad: tuple[Bad, ...]
    seconds: dict[str, float]
    """What each file has taken."""

    @property
    def failed(self) -> tuple[Bad, ...]:
        """What did not pass although it ran, or was to."""
        return tuple(bad for bad in self.bad if bad.became != "SKIPPED")

    def causes(self) -> list[tuple[str, list[Bad]]]:
        """Return what did not pass by what was reported of it.

        A fixture that many tests share fails once, and each of them is an error for the same
        reason. Two failures that read alike are still two.
        """
        errors: dict[str, list[Bad]] = {}
        causes: list[tuple[str, list[Bad]]] = []
        for bad in self.failed:
            if bad.became != "ERROR":
                causes.append((bad.why, [bad]))
            elif bad.why in errors:
                errors[bad.why].append(bad)
            else:
                errors[bad.why] = [bad]
                causes.append((bad.why, errors[bad.why]))
        return causes


@dataclass
class _Running:
    part: Part
    process: asyncio.subprocess.Process
    output: Path
    began: float = field(default_factory=time.monotonic)

    def percent(self) -> str:
        found = _PERCENT.findall(self.output.read_bytes())
        return f"{found[-1].decode()} %" if found else "begins"


class Runner:
    """Runs parts, so many at a time; Ctrl-C reaches each process, and none is begun after it.

    Args:
        options: for pytest, in every process.
        jobs: how many processes run at a time. One has the terminal for itself.
        reports: where what the cases among the tests have shown is written, if anywhere.
    """

    def __init__(self, options: Sequence[str], *, jobs: int, reports: Path | None = None) -> None:
        self._options = options
        self._jobs = jobs
        self._reports = reports
        self._waiting: deque[Part] = deque()
        self._running: list[_Running] = []
        self._outcomes: list[Outcome] = []
        self._interrupted = False
        self._began = time.monotonic()

    async def run(self, parts: Sequence[Part]) -> list[Outcome]:
        """Run all parts and return what has become of them, in the order in which they ended."""
        self._waiting.extend(parts)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._interrupt, number)
        with tempfile.TemporaryDirectory(prefix="fumehood-tests-") as directory:
            progress = asyncio.create_task(self._report_progress()) if self._apart else None
            try:
                async with asyncio.TaskGroup() as workers:
                    for _ in range(min(self._jobs, len(parts))):
                        workers.create_task(self._work(Path(directory)))
            finally:
                if progress is not None:
                    progress.cancel()
            self._write_reports(Path(directory))
        return self._outcomes

    def _write_reports(self, directory: Path) -> None:
        if self._reports is not None:
            tests_reports.write(self._reports, directory.glob(f"*/{_CASES}"))

    @property
    def _apart(self) -> bool:
        """Whether processes run side by side, and what they print must be kept apart."""
        return self._jobs > 1

    def _interrupt(self, number: int) -> None:
        self._waiting.clear()
        if number == signal.SIGINT and not self._apart:
            return  # the terminal sends it to that process too
        self._interrupted = True
        for running in self._running:
            if running.process.returncode is None:
                # pytest tidies up and reports, and its exit code says so.
                running.process.send_signal(signal.SIGINT)

    async def _work(self, directory: Path) -> None:
        while self._waiting:
            part = self._waiting.popleft()
            place = Path(tempfile.mkdtemp(dir=directory))
            outcome = await self._run_part(part, place)
            self._outcomes.append(outcome)
            if outcome.code not in (PASSED, FAILED, NOTHING_SELECTED):
                # Interrupted, or pytest could not run at all: the others could not either.
                self._waiting.clear()

    async def _run_part(self, part: Part, place: Path) -> Outcome:
        output, report = place / "output", place / "report.xml"
        environment = dict(os.environ)
        if self._reports is not None:
            environment["FUMEHOOD_CASE_REPORT"] = str(place / _CASES)
        command = (sys.executable, "-m", "pytest", f"--junit-xml={report}", *part.arguments)
        if not self._apart:
            process = await asyncio.create_subprocess_exec(
                *command, *self._options, cwd=ROOT, env=environment
            )
        else:
            with output.open("wb") as file:
                # A process group of its own: what it gets of Ctrl-C, it gets from here, once.
                process = await asyncio.create_subprocess_exec(
                    *command,
                    *self._options,
                    cwd=ROOT,
                    env=environment,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=file,
                    stderr=asyncio.subprocess.STDOUT,
                    process_group=0,
                )
        running = _Running(part, process, output)
        self._running.append(running)
        if self._interrupted:  # while this one was being started
            process.send_signal(signal.SIGINT)
        code = await process.wait()
        self._running.remove(running)
        outcome = read_report(part, code, report)
        if self._apart:
            self._show(running, outcome)
        return outcome

    def _show(self, running: _Running, outcome: Outcome) -> None:
        title = f"#### {running.part.name}, {time.monotonic() - running.began:.0f} s "
        print(f"\n{title.ljust(80, '#')}", flush=True)
        sys.stdout.buffer.write(running.output.read_bytes())
        print(f"{self._clock()} {running.part.name}: {describe(outcome)}", flush=True)

    async def _report_progress(self) -> None:
        while True:
            await asyncio.sleep(PROGRESS_SECONDS)
            now = ", ".join(f"{running.part.name} {running.percent()}" for running in self._running)
            bad = sum(len(outcome.bad) for outcome in self._outcomes)
            print(
                f"{self._clock()} {now}; {len(self._waiting)} more to begin"
                + (f"; {bad} bad so far" if bad else ""),
                flush=True,
            )

    def _clock(self) -> str:
        minutes, seconds = divmod(int(time.monotonic() - self._began), 60)
        return f"[{minutes:3}:{seconds:02}]"


def describe(outcome: Outcome) -> str:
    """Say in a few words what has become of a part."""
    counted = outcome.counted
    bad = len(outcome.bad)
    words = f"{counted['tests'] - bad} passed" + (f", {bad} did not" if bad else "")
    normal = outcome.code in (PASSED, FAILED, NOTHING_SELECTED)
    return words if normal else f"{words}; pytest ended with {outcome.code}"


def read_report(part: Part, code: int, report: Path) -> Outcome:
    """Read pytest's own report; there is none when it could not begin."""
    counted: Counter[str] = Counter()
    bad: list[Bad] = []
    seconds: defaultdict[str, float] = defaultdict(float)
    if report.exists():
        # Our own file: nothing foreign is parsed.
        root = ET.parse(report).getroot()  # noqa: S314
        for suite in root.iter("testsuite"):
            for name in ("tests", "failures", "errors", "skipped"):
                counted[name] += int(suite.get(name, "0"))
        for case in root.iter("testcase"):
            path, *classes = _place(case)
            name = "::".join([path, *classes, case.get("name", "")])
            seconds[path] += float(case.get("time", "0"))
            bad += _bad(case, name)
    return Outcome(part, code, counted, tuple(bad), dict(seconds))


def _place(case: ET.Element) -> list[str]:
    """Return the file that a test is in, and its classes: pytest's report joins all of it."""
    names = case.get("classname", "").split(".")
    for end in range(len(names), 0, -1):
        path = f"{'/'.join(names[:end])}.py"
        if (ROOT / path).is_file():
            return [path, *names[end:]]
    # A file elsewhere, or one that could not even be read: that one is reported without a class.
    return [case.get("classname", "") or case.get("name", "")]


def _bad(case: ET.Element, name: str) -> Iterator[Bad]:
    for child in case:
        if child.tag in _BECAME:
            first, *_ = [*child.get("message", "").strip().splitlines(), ""]
            yield Bad(_BECAME[child.tag], name, first)


def default_jobs() -> int:
    """Return how many processes run side by side.

    One more than there are cores, since tests wait for the engine as much as they compute; and not
    very many, since that is one engine for all of them.
    """
    return min((os.cpu_count() or 1) + 1, MOST_JOBS)
