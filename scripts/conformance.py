"""Run the suites that agent frameworks and protocols have for those who plug into them.

make conformance                       all suites
make conformance ARGS=--quick          those that CI runs
make conformance ARGS=inspect_ai       the named ones
make conformance ARGS=--write          and put the table into docs/conformance.md

Each suite is a directory of tests/conformance with a requirements.txt of exact versions, from which
an environment of its own is made in .build/conformance, once. What a suite must come to is written
in conformance_table.py: more, fewer, skipped or failing otherwise is a failure. Where a framework
has a backend for Docker of its own, the same rules run on that as well, to be timed, unless --quick
is given. What those need is made by modules of benchmarks/, so the root of the checkout has to be
on the path.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import time

from conformance_report import HEAD, Outcome, read_report
from conformance_table import TABLE, Own, Suite
from uv_environments import ROOT, NotMadeError, environment

SUITES = ROOT / "tests" / "conformance"
BUILD = ROOT / ".build" / "conformance"
PAGE = ROOT / "docs" / "conformance.md"
MARKS = ("<!-- conformance -->", "<!-- /conformance -->")
SUITE_SECONDS = 600


def run(suite: Suite, *, quick: bool) -> Outcome:
    """Run a suite and return what it came to; show its output when that is not as it must be.

    Raises:
        NotMadeError: its environment cannot be made.
    """
    started = time.monotonic()
    python = environment(
        BUILD / suite.name, SUITES / suite.name / "requirements.txt", editable=ROOT
    )
    own, variables = other_side(suite, quick=quick)
    variables |= suite.needs()
    if (made := time.monotonic() - started) > 1:
        print(f"  {suite.name}: made what it needs in {made:.0f} s", flush=True)
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
            *(("-m", "not baseline") if isinstance(own, str) else ()),
            str(SUITES / suite.name),
        ],
        cwd=ROOT,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=SUITE_SECONDS,
        check=False,
    )
    outcome = Outcome(
        suite=suite,
        own=own,
        version=version(suite),
        report=read_report(report),
        seconds=time.monotonic() - started,
        code=done.returncode,
    )
    verdict = "as it must be" if outcome.good else "FAILED"
    print(
        f"  {suite.name:<18} {outcome.report.ours} in {outcome.seconds:.0f} s: {verdict}",
        flush=True,
    )
    if outcome.comparison:
        print(f"  {'':<18} {outcome.comparison}", flush=True)
    if not outcome.good:
        print(done.stdout[-20_000:], done.stderr[-4_000:], sep="\n", flush=True)
    return outcome


def other_side(suite: Suite, *, quick: bool) -> tuple[Own | str, dict[str, str]]:
    """Return the framework's own backend, or why it is left out, and the variables it needs."""
    if isinstance(suite.own, str):
        return suite.own, {}
    if quick:
        return "not asked for", {}
    try:
        return suite.own, dict(suite.own.needs())
    except NotMadeError as exc:
        print(f"  {suite.name}: its own {suite.own.name} is left out: {exc}", flush=True)
        return f"its own {suite.own.name} cannot be had on this machine", {}


def version(suite: Suite) -> str:
    """Return the version that the suite's requirements pin."""
    text = (SUITES / suite.name / "requirements.txt").read_text(encoding="utf-8")
    found = re.search(rf"^{re.escape(suite.package)}(?:\[[^]]*\])?==(\S+)", text, re.MULTILINE)
    if found is None:
        raise SystemExit(f"{suite.name}/requirements.txt does not pin {suite.package}")
    return found[1]


def write(outcomes: list[Outcome]) -> None:
    """Put the table between the page's marks."""
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(MARKS[0])
    _, _, after = rest.partition(MARKS[1])
    table = "\n".join([MARKS[0], *HEAD, *(outcome.row() for outcome in outcomes), MARKS[1]])
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
    try:
        outcomes = [run(suite, quick=options.quick) for suite in chosen]
    except NotMadeError as exc:
        print(f"conformance: {exc}")
        return 1
    bad = [outcome.suite.name for outcome in outcomes if not outcome.good]
    if bad:
        print(f"conformance: {', '.join(bad)} FAILED")
        return 1
    if options.write:
        write(outcomes)
    passed = sum(outcome.report.ours.counts["passed"] for outcome in outcomes)
    print(f"conformance: {len(outcomes)} suites, {passed} passed, all as they must be")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
