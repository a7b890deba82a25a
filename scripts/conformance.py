"""Run the suites that agent frameworks and protocols have for those who plug into them.

python scripts/conformance.py                    all suites
python scripts/conformance.py --quick            those that CI runs
python scripts/conformance.py inspect_ai         the named ones
python scripts/conformance.py --write            and put the table into docs/conformance.md

Each suite is a directory of tests/conformance with a requirements.txt of exact versions, from which
an environment of its own is made in .build/conformance, once. What a suite must come to is written
here: more, fewer, skipped or failing otherwise is a failure.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SUITES = ROOT / "tests" / "conformance"
BUILD = ROOT / ".build" / "conformance"
PAGE = ROOT / "docs" / "conformance.md"
MARKS = ("<!-- conformance -->", "<!-- /conformance -->")
SUITE_SECONDS = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """One framework's rules, and what they must come to."""

    name: str
    """Its directory, and its argument on the command line."""
    package: str
    """The distribution whose version the table shows."""
    what: str
    passed: int
    skipped: int = 0
    xfailed: int = 0
    why: str = ""
    """The reason for what is skipped or expected to fail, which is always the framework's; or what
    else is to be known."""
    quick: bool = False
    baselines: int = 0
    """How many of those that pass measure the framework's own backend; --quick leaves them out."""
    options: tuple[str, ...] = ()
    """What pytest is told besides."""


AUTO = ("-o", "asyncio_mode=auto", "-o", "asyncio_default_fixture_loop_scope=function")
"""For suites whose asynchronous tests are pytest-asyncio's, unmarked."""

TABLE = (
    Suite(
        name="pydantic_ai",
        package="pydantic-ai-slim",
        what="`WorkspaceBackendSuite`, 40 rules as root and as another user, and 5 tests of our "
        "own of which sessions a ref may name",
        passed=84,
        skipped=1,
        why="one rule is about permissions, and the suite leaves it out for root",
        quick=True,
    ),
    Suite(
        name="inspect_ai",
        package="inspect-ai",
        what="`self_check`, 44 rules as root and as another user, and 2 tests with whole evals",
        passed=90,
        quick=True,
    ),
    Suite(
        name="mcp",
        package="mcp",
        what="`@modelcontextprotocol/conformance` 0.1.16, the 6 scenarios that apply to any server",
        passed=6,
        why="the others need the tools, prompts and resources of a server written for them",
        quick=True,
    ),
    Suite(
        name="deepagents",
        package="deepagents",
        what="`SandboxIntegrationTests` of langchain-tests, 86 rules, and 19 tests of our own",
        passed=98,
        xfailed=7,
        why="7 rules are of deepagents 0.6: since 0.7 `write` overwrites and `glob` returns "
        "absolute paths of files alone, and langchain-tests 1.1.9 does not know it",
        quick=True,
        options=AUTO,
    ),
    Suite(
        name="openai_agents",
        package="openai-agents",
        what="one script of 52 steps by fumehood's client and by the framework's own for Docker, "
        "and 29 tests of our own, whole runs with `ScriptedModel` and `ShellTool` among them",
        passed=31,
        baselines=1,
        quick=True,
    ),
    Suite(
        name="anthropic",
        package="anthropic",
        what="the SDK's types for tools and their results, on every schema that it is given",
        passed=5,
        quick=True,
    ),
    Suite(
        name="smolagents",
        package="smolagents",
        what="`CommonDockerExecutorIntegration`, 10 cases, and 28 tests of our own, a whole agent "
        "among them",
        passed=38,
        why="its own Docker executor builds on an image of a registry, and is not measured",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a suite came to."""

    suite: Suite
    quick: bool
    version: str
    counts: Counter[str]
    seconds: float
    code: int
    baselines: dict[str, str] = field(default_factory=dict)
    """What a suite noted of the framework's own Docker backend in the same run."""

    @property
    def good(self) -> bool:
        """Whether that is exactly what it must come to."""
        suite, counts = self.suite, self.counts
        passed = suite.passed - (suite.baselines if self.quick else 0)
        wanted = Counter(passed=passed, skipped=suite.skipped, xfailed=suite.xfailed)
        return self.code == 0 and +counts == +wanted

    def row(self) -> str:
        """Return the line of the table."""
        counts = ", ".join(f"{number} {kind}" for kind, number in self.counts.items() if number)
        notes = [self.suite.why] if self.suite.why else []
        notes += [f"{name}: {value}" for name, value in self.baselines.items()]
        return (
            f"| {self.suite.package} {self.version} | {self.suite.what} | {counts} "
            f"| {self.seconds:.0f} s | {'; '.join(notes)} |"
        )


def uv() -> str:
    """Return the uv that made .venv."""
    for candidate in (shutil.which("uv"), str(ROOT / ".uv" / "bin" / "uv")):
        # A version manager's shim is there and may not run.
        if candidate and Path(candidate).exists():
            ran = subprocess.run([candidate, "--version"], capture_output=True, check=False)
            if ran.returncode == 0:
                return candidate
    raise SystemExit("there is no uv: run 'make venv' first")


def environment(suite: Suite) -> Path:
    """Return the Python of the suite's environment, which is made when it is not there."""
    requirements = SUITES / suite.name / "requirements.txt"
    # The entry point is read from what is installed, so that belongs to the key as well.
    key = hashlib.sha256(
        requirements.read_bytes() + (ROOT / "pyproject.toml").read_bytes()
    ).hexdigest()[:12]
    place = BUILD / suite.name
    python = place / "bin" / "python"
    stamp = place / "made-from"
    if stamp.exists() and stamp.read_text(encoding="ascii") == key:
        return python
    started = time.monotonic()
    tool = uv()
    for command in (
        [tool, "venv", "--quiet", "--clear", "--python", sys.executable, str(place)],
        [tool, "pip", "install", "--quiet", "--python", str(python), "-r", str(requirements)],
        [tool, "pip", "install", "--quiet", "--python", str(python), "--no-deps", "-e", str(ROOT)],
    ):
        subprocess.run(command, check=True, cwd=ROOT)
    stamp.write_text(key, encoding="ascii")
    print(f"  {suite.name}: environment made in {time.monotonic() - started:.0f} s", flush=True)
    return python


def run(suite: Suite, *, quick: bool) -> Outcome:
    """Run a suite and return what it came to; show its output when that is not as it must be."""
    python = environment(suite)
    report = BUILD / f"{suite.name}.xml"
    report.unlink(missing_ok=True)
    started = time.monotonic()
    done = subprocess.run(
        [
            str(python),
            "-m",
            "pytest",
            "-c",
            str(SUITES / "pytest.ini"),
            f"--confcutdir={SUITES}",
            f"--junitxml={report}",
            "-q",
            *suite.options,
            *(("-m", "not baseline") if quick and suite.baselines else ()),
            str(SUITES / suite.name),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=SUITE_SECONDS,
        check=False,
    )
    seconds = time.monotonic() - started
    counts, baselines = read_report(report)
    outcome = Outcome(
        suite=suite,
        quick=quick,
        version=version(suite),
        counts=counts,
        seconds=seconds,
        code=done.returncode,
        baselines=baselines,
    )
    verdict = "as it must be" if outcome.good else "FAILED"
    print(f"  {suite.name:<18} {dict(counts)} in {seconds:.0f} s: {verdict}", flush=True)
    if not outcome.good:
        print(done.stdout[-20_000:], done.stderr[-4_000:], sep="\n", flush=True)
    return outcome


def read_report(report: Path) -> tuple[Counter[str], dict[str, str]]:
    """Count a report's tests by how they ended, and return the properties that they noted."""
    counts: Counter[str] = Counter()
    noted: dict[str, str] = {}
    if not report.exists():
        return counts, noted
    # It was written by pytest here, a moment ago.
    for case in ElementTree.parse(report).iter("testcase"):  # noqa: S314
        skipped = case.find("skipped")
        if case.find("failure") is not None or case.find("error") is not None:
            counts["failed"] += 1
        elif skipped is not None:
            counts["xfailed" if skipped.get("type") == "pytest.xfail" else "skipped"] += 1
        else:
            counts["passed"] += 1
        for noticed in case.iter("property"):
            noted[noticed.get("name", "")] = noticed.get("value", "")
    return counts, noted


def version(suite: Suite) -> str:
    """Return the version that the suite's requirements pin."""
    text = (SUITES / suite.name / "requirements.txt").read_text(encoding="utf-8")
    found = re.search(rf"^{re.escape(suite.package)}(?:\[[^]]*\])?==(\S+)", text, re.MULTILINE)
    if found is None:
        raise SystemExit(f"{suite.name}/requirements.txt does not pin {suite.package}")
    return found[1]


def write(outcomes: list[Outcome]) -> None:
    """Put the table between the page's marks."""
    head = ["| framework | suite | result | wall time | |", "|---|---|---|---:|---|"]
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(MARKS[0])
    _, _, after = rest.partition(MARKS[1])
    table = "\n".join([MARKS[0], *head, *(outcome.row() for outcome in outcomes), MARKS[1]])
    PAGE.write_text(f"{before}{table}{after}", encoding="utf-8")


def main() -> int:
    """Run what was asked for; return an exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="SUITE")
    parser.add_argument("--quick", action="store_true", help="only those that CI runs")
    parser.add_argument("--write", action="store_true", help="put the table into the docs")
    options = parser.parse_args()
    known = {suite.name for suite in TABLE}
    if unknown := set(options.names) - known:
        parser.error(f"no such suite: {', '.join(sorted(unknown))}; there are {sorted(known)}")
    chosen = [
        suite
        for suite in TABLE
        if (not options.names or suite.name in options.names) and (suite.quick or not options.quick)
    ]
    if options.write and (options.quick or len(chosen) != len(TABLE)):
        parser.error("--write needs all suites")
    os.environ.setdefault("FUMEHOOD_IMAGE", "fumehood/test-python")
    outcomes = [run(suite, quick=options.quick) for suite in chosen]
    bad = [outcome.suite.name for outcome in outcomes if not outcome.good]
    if bad:
        print(f"conformance: {', '.join(bad)} FAILED")
        return 1
    if options.write:
        write(outcomes)
    passed = sum(outcome.counts["passed"] for outcome in outcomes)
    print(f"conformance: {len(outcomes)} suites, {passed} passed, all as they must be")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
