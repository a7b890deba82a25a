"""A second run for the few tests that failed beside others, alone; it is never kept quiet.

The tests share one engine and all processors. One that fails there and passes alone has met a race:
in the test, or in what it tests. It does not fail the whole, but is named in the verdict, and is to
be mended. More than a few are no races; a fixture that fails once counts once, however many tests
share it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from tests_plan import Part, kind_of
from tests_processes import FAILED, PASSED, Outcome


def second_parts(outcomes: Sequence[Outcome], *, at_most: int) -> list[Part]:
    """Return what is run once more; nothing when nothing failed, too much did, or a run broke.

    Kinds of tests are apart here too: their fixtures are not made for each other.
    """
    failed = dict.fromkeys(bad.name for outcome in outcomes for bad in outcome.failed)
    broken = any(outcome.code == FAILED and not outcome.failed for outcome in outcomes)
    causes = {bads[0].name for outcome in outcomes for _, bads in outcome.causes()}
    if broken or len(causes) > at_most:
        return []
    kinds: defaultdict[str, list[str]] = defaultdict(list)
    for name in failed:
        kinds[kind_of(name)].append(name)
    return [
        Part(name=f"{kind} once more, alone", arguments=tuple(names), seconds=0)
        for kind, names in kinds.items()
    ]


def settled(
    outcomes: Sequence[Outcome], second: Sequence[Outcome]
) -> tuple[list[int], Counter[str]]:
    """Return the exit codes and the counts of a whole whose failures ran a second time.

    A skipped test stays one: it was never run again.
    """
    codes = [PASSED if outcome.code == FAILED else outcome.code for outcome in outcomes]
    counted: Counter[str] = Counter()
    for outcome in outcomes:
        counted += outcome.counted
    for name in ("failures", "errors"):
        counted[name] = sum(outcome.counted[name] for outcome in second)
    return [*codes, *(outcome.code for outcome in second)], counted


def unsteady(first: Sequence[Outcome], second: Sequence[Outcome]) -> list[str]:
    """Return what is said of each test that passed the second time only, the first reason too."""
    why = {bad.name: bad.why for outcome in first for bad in outcome.failed}
    return [
        f"UNSTEADY {name}: failed beside others, passed alone\n    {why[name]}"
        for outcome in second
        if outcome.code in (PASSED, FAILED)
        for name in outcome.part.arguments
        if name not in {bad.name for bad in outcome.failed}
    ]
