"""Run the tests, each kind in processes of its own, some side by side, and end with one verdict.

python scripts/run_tests.py                     all kinds, also when one of them fails
python scripts/run_tests.py --no-engine         those that need no engine
python scripts/run_tests.py --jobs=1            one process at a time, with the terminal for itself
python scripts/run_tests.py --record            and write down what each file has taken
python scripts/run_tests.py --again=4           what failed runs once more, if it is so few
python scripts/run_tests.py --whole=hostile     these kinds, and their slow cases too
python scripts/run_tests.py --reports=DIR       and write what cases have shown, by kind
python scripts/run_tests.py -k truncated -x     what pytest understands, for each process
python scripts/run_tests.py tests/wire          exactly what is named, in one process
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import tests_again
from tests_plan import ROOT, Part, parts, read_table, whole, write_table
from tests_processes import FAILED, NOTHING_SELECTED, PASSED, Outcome, Runner, default_jobs

# With these, somebody sits at the terminal and wants to see one test.
_AT_TERMINAL = {"--pdb", "--trace", "-s", "--capture=no"}
# Of the tests that one broken fixture has taken along.
_NAMED = 8


def names_tests(arguments: Sequence[str]) -> bool:
    """Say whether an argument is a path of tests, with or without a test's name behind it."""
    return any(
        argument.startswith("tests/") and (ROOT / argument.partition("::")[0]).exists()
        for argument in arguments
    )


def what_runs(arguments: Sequence[str]) -> list[Part]:
    """Return what each process runs."""
    if names_tests(arguments):
        return [Part(name="what is named", arguments=(), seconds=0)]
    if (kinds := value_of("--whole", arguments)) is not None:
        return whole(kinds.split(","), read_table())
    return parts(read_table(), engine="--no-engine" not in arguments)


def value_of(option: str, arguments: Sequence[str]) -> str | None:
    """Return what an option of this program was last given as ``--option=value``."""
    given = [argument for argument in arguments if argument.startswith(f"{option}=")]
    return given[-1].partition("=")[2] if given else None


def jobs_of(arguments: Sequence[str]) -> int:
    """Return how many processes run at a time."""
    if names_tests(arguments) or _AT_TERMINAL.intersection(arguments):
        return 1
    given = value_of("--jobs", arguments)
    return max(1, int(given)) if given else default_jobs()


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


def show_bad(outcomes: Sequence[Outcome]) -> None:
    """List again what did not pass, and why: the first report of it may be a long way up."""
    for outcome in outcomes:
        for why, bads in outcome.causes():
            print(*bads[:_NAMED], sep="\n")
            more = f"and {len(bads) - _NAMED} more: " if len(bads) > _NAMED else ""
            print(f"    {more}{why or 'no reason was reported'}")
        for bad in set(outcome.bad).difference(outcome.failed):
            print(bad)
        if not outcome.bad and outcome.code not in (PASSED, NOTHING_SELECTED):
            # It could not begin, was interrupted, or failed as a whole.
            print(f"FAILED {outcome.part.name}: pytest ended with {outcome.code}")


def main(arguments: list[str]) -> int:
    """Run what is asked for, and return the exit code."""
    own = ("--no-engine", "--record", "--jobs=", "--whole=", "--again=", "--reports=")
    options = [argument for argument in arguments if not argument.startswith(own)]
    started = time.monotonic()
    wanted = what_runs(arguments)
    reports = value_of("--reports", arguments)
    runner = Runner(options, jobs=jobs_of(arguments), reports=Path(reports) if reports else None)
    outcomes = asyncio.run(runner.run(wanted))
    total: Counter[str] = Counter()
    seconds: dict[str, float] = {}
    for outcome in outcomes:
        total += outcome.counted
        seconds |= outcome.seconds
    if "--record" in arguments:
        write_table(read_table() | seconds)
    codes = [outcome.code for outcome in outcomes]
    at_most = int(value_of("--again", arguments) or 0)
    if len(wanted) > 1:
        show_bad(outcomes)
        if again := tests_again.second_parts(outcomes, at_most=at_most):
            second = asyncio.run(Runner(options, jobs=1).run(again))
            codes, total = tests_again.settled(outcomes, second)
            show_bad(second)
            print(*tests_again.unsteady(outcomes, second), sep="\n")
        print(closing_line(total, time.monotonic() - started), flush=True)
    if total["skipped"]:
        print("a skipped test fails here: what it needs must be there", file=sys.stderr)
    return verdict(codes, total)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
