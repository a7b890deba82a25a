"""Run the tests, each kind in a process of its own, and end with one line for all of them.

    python scripts/run_tests.py                     all kinds, also when one of them fails
    python scripts/run_tests.py --no-engine         those that need no engine
    python scripts/run_tests.py -k truncated -x     what pytest understands, for each kind
    python scripts/run_tests.py tests/wire          exactly what is named, in one process

The kinds are apart because some watch their process as a whole: for calls that block an event loop,
for threads and for descriptors. They must not see each other's.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TESTS = ROOT / "tests"
WITHOUT_ENGINE = ("unit", "wire", "tether", "supervisor", "typing")
ENGINE = ("engine",)
# Of these only the quick part; `make test-hostile` and `make test-faults` run all of them.
CASES = ("hostile", "faults")

# pytest's own exit codes.
PASSED, FAILED, NOTHING_SELECTED = 0, 1, 5


def kinds(*, engine: bool) -> list[list[str]]:
    """Return the directories of each process; a directory that no list names is among the last."""
    present = sorted({file.relative_to(TESTS).parts[0] for file in TESTS.rglob("test_*.py")})
    others = [name for name in present if name not in (*WITHOUT_ENGINE, *ENGINE, *CASES)]
    wanted = (WITHOUT_ENGINE, ENGINE, others) if engine else (WITHOUT_ENGINE,)
    found = [[f"tests/{name}" for name in kind if name in present] for kind in wanted]
    if engine:
        found += [[f"tests/{name}", "-m", "not slow"] for name in CASES if name in present]
    return [kind for kind in found if kind]


def names_tests(arguments: Sequence[str]) -> bool:
    """Say whether an argument is a path of tests, with or without a test's name behind it."""
    return any(
        argument.startswith("tests/") and (ROOT / argument.partition("::")[0]).exists()
        for argument in arguments
    )


def run(arguments: Sequence[str]) -> tuple[int, Counter[str]]:
    """Run pytest once; return its exit code and what it counted."""
    with tempfile.TemporaryDirectory() as directory:
        report = Path(directory) / "report.xml"
        command = [sys.executable, "-m", "pytest", f"--junit-xml={report}", *arguments]
        # Ctrl-C reaches pytest too: it tidies up and reports, and its exit code says so.
        process = subprocess.Popen(command, cwd=ROOT)
        while True:
            try:
                code = process.wait()
                break
            except KeyboardInterrupt:
                continue
        return code, count(report)


def count(report: Path) -> Counter[str]:
    """Read pytest's own report; there is none when it could not begin."""
    counted: Counter[str] = Counter()
    if report.exists():
        # Our own file: nothing foreign is parsed.
        for suite in ET.parse(report).getroot().iter("testsuite"):  # noqa: S314
            for name in ("tests", "failures", "errors", "skipped"):
                counted[name] += int(suite.get(name, "0"))
    return counted


def verdict(codes: Sequence[int], counted: Counter[str]) -> int:
    """Return one exit code: the first that is bad, and a failure for tests that were skipped."""
    bad = [code for code in codes if code not in (PASSED, NOTHING_SELECTED)]
    if bad:
        return bad[0]
    if counted["skipped"]:
        return FAILED
    return PASSED if PASSED in codes else NOTHING_SELECTED


def closing_line(counted: Counter[str], seconds: float) -> str:
    """Return a line in pytest's own form."""
    bad = {
        "failed": counted["failures"],
        "errors": counted["errors"],
        "skipped": counted["skipped"],
    }
    parts = [f"{number} {name}" for name, number in bad.items() if number]
    parts.append(f"{counted['tests'] - sum(bad.values())} passed")
    return f" {', '.join(parts)} in {seconds:.2f}s ".center(80, "=")


def main(arguments: list[str]) -> int:
    """Run what is asked for, and return the exit code."""
    engine = "--no-engine" not in arguments
    options = [argument for argument in arguments if argument != "--no-engine"]
    started = time.monotonic()
    processes: list[list[str]] = [[]] if names_tests(options) else kinds(engine=engine)
    codes: list[int] = []
    total: Counter[str] = Counter()
    for kind in processes:
        code, counted = run([*kind, *options])
        codes.append(code)
        total += counted
        if code not in (PASSED, FAILED, NOTHING_SELECTED):
            break  # interrupted, or pytest could not run at all: the next kind could not either
    if len(processes) > 1:
        print(closing_line(total, time.monotonic() - started), flush=True)
    if total["skipped"]:
        print("a skipped test fails here: what it needs must be there", file=sys.stderr)
    return verdict(codes, total)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
