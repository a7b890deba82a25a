"""The soak's own arithmetic: what is drawn, and what a report says."""

from __future__ import annotations

from typing import Any

import pytest

from soak.conductor import Tally
from soak.gauges import Peaks, Usage
from soak.plan import End, Plan, plans
from soak.report import at, document, table


def report(**changes: Any) -> dict[str, Any]:
    peaks = Peaks(usage={"shims": Usage(3, 2048, 1024, 60, 30)}, alive=3)
    tally = changes.pop("tally", None) or Tally()
    tally.counts.update({"clients": 2, "clients killed": 1})
    return document(
        about={"sessions": 10, "seconds": 4.5, "seed": 7},
        tally=tally,
        peaks=peaks,
        before={},
        after={},
        swept=["fumehood-x"],
        **{"left": [], **changes},
    )


def test_a_seed_draws_the_same_again() -> None:
    assert list(plans("p", 50, 7)) == list(plans("p", 50, 7))
    assert list(plans("p", 50, 7)) != list(plans("p", 50, 8))


def test_every_way_to_end_is_drawn_in_a_soak_of_the_usual_size() -> None:
    assert {plan.end for plan in plans("p", 2000, 1)} == set(End)


def test_a_plan_reaches_its_client_as_it_is() -> None:
    for plan in plans("p", 20, 3):
        assert Plan.from_json(plan.as_json()) == plan


@pytest.mark.parametrize("share, value", [(0.5, 50), (0.99, 99), (1.0, 100), (0.001, 1), (0.0, 1)])
def test_a_share_of_all_does_not_exceed_its_percentile(share: float, value: int) -> None:
    assert at(range(1, 101), share) == value


def test_the_highest_of_each_figure_is_kept() -> None:
    assert Usage(1, 20, 3, 40, 5) | Usage(2, 10, 4, 30, 6) == Usage(2, 20, 4, 40, 6)


def test_a_report_holds_when_nothing_is_left_and_nothing_went_wrong() -> None:
    assert report()["held"]
    assert table(report()).endswith("everything held")
    assert not report(left=["mount: /x"])["held"]
    broken = report(tally=Tally(problems=["it hung"]))
    assert not broken["held"]
    assert "PROBLEM it hung" in table(broken)
    assert "LEFT mount: /x" in table(report(left=["mount: /x"]))


def test_a_table_shows_steps_and_peaks() -> None:
    tally = Tally()
    tally.seconds["create"] += [0.1, 0.2, 0.3]
    text = table(report(tally=tally))
    assert "10 sessions, 3 at once; 2 clients, 1 of them killed; 4 s; seed 7" in text
    assert ["create", "3", "200.0", "ms", "300.0", "ms", "300.0", "ms"] in [
        line.split() for line in text.splitlines()
    ]
    assert ["shims", "3", "2.0", "MiB", "1.00", "MiB", "60", "30", "0.0,", "0.0", "MiB"] in [
        line.split() for line in text.splitlines()
    ]
