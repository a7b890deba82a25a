"""A second run for the few tests that failed beside others, alone; it is never kept quiet.

The tests share one engine and all processors. One that fails there and passes alone has met a race:
in the test, or in what it tests. It does not fail the whole, but is named in the verdict, and is to
be mended. More than a few are no races; a fixture that fails once counts once, however many tests
share it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from tests_plan import Part
from tests_processes import FAILED, PASSED, Outcome


def second_part(outcomes: Sequence[Outcome], *, at_most: int) -> Part | None:
    """Return what is run once more; ``None`` when nothing failed, too much did, or a run broke."""
    failed = dict.fromkeys(bad.name for outcome in outcomes for bad in outcome.failed)
    broken = any(outcome.code == FAILED and not outcome.failed for outcome in outcomes)
    causes = {bads[0].name for outcome in outcomes for _, bads in outcome.causes()}
    if not failed or broken or len(causes) > at_most:
        return None
    return Part(name="once more, alone", arguments=tuple(failed), seconds=0)


def settled(outcomes: Sequence[Outcome], second: Outcome) -> tuple[list[int], Counter[str]]:
    """Return the exit codes and the counts of a whole whose failures ran a second time.

    A skipped test stays one: it was never run again.
    """
    codes = [PASSED if outcome.code == FAILED else outcome.code for outcome in outcomes]
    counted: Counter[str] = Counter()
    for outcome in outcomes:
        counted += outcome.counted
    for name in ("failures", "errors"):
        counted[name] = second.counted[name]
    return [*codes, second.code], counted


def unsteady(second: Part, outcome: Outcome) -> list[str]:
    """Return a line for each test that passed the second time only."""
    still = {bad.name for bad in outcome.failed}
    return [
        f"UNSTEADY {name}: failed beside others, passed alone"
        for name in second.arguments
        if outcome.code in (PASSED, FAILED) and name not in still
    ]
