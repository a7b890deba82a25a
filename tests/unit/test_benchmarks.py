"""What the page of benchmarks says follows from the figures, whoever looks better by it."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pytest
from benchmarks.measure import by_count
from benchmarks.peers import plots
from benchmarks.peers.ahead import who_is_ahead
from benchmarks.peers.figures import Run, quartiles


def run_of(**values: dict[str, list[float]]) -> Run:
    return Run(machine={}, amounts={"few": 20, "many": 100}, values=values)


def test_a_peer_with_less_time_is_ahead() -> None:
    run = run_of(exec={"fumehood": [0.002, 0.002, 0.002], "SWE-ReX": [0.001, 0.001, 0.001]})
    (one,) = who_is_ahead(run)
    assert (one.metric, one.peer, one.ours, one.theirs) == ("exec", "SWE-ReX", 2.0, 1.0)
    assert not one.close


def test_a_peer_with_a_higher_rate_is_ahead_and_one_with_a_lower_is_not() -> None:
    run = run_of(
        flood={"fumehood": [100.0], "docker CLI": [120.0], "docker-py": [140.0]},
        crowd={"fumehood": [100.0], "docker CLI": [10.0]},
    )
    assert [(one.metric, one.peer) for one in who_is_ahead(run)] == [("flood", "docker-py")]


def test_a_lead_within_the_quartiles_is_said_to_be_a_draw() -> None:
    run = run_of(exec={"fumehood": [1.0, 2.0, 3.0], "aiodocker": [0.9, 1.9, 2.9]})
    (one,) = who_is_ahead(run)
    assert one.close


def test_floors_are_no_peers_and_pools_meet_pools() -> None:
    run = run_of(
        create={
            "fumehood": [0.1],
            "fumehood, pool": [0.004],
            "agentbox-rl, pool": [0.003],
            "subprocess": [0.001],
        }
    )
    (one,) = who_is_ahead(run)
    assert one.peer == "agentbox-rl, pool"
    assert one.ours == pytest.approx(4.0)


def test_who_has_no_figure_is_not_ahead() -> None:
    assert who_is_ahead(run_of(exec={"fumehood": [1.0]})) == []


def test_quartiles_of_one_value_are_that_value() -> None:
    assert quartiles([3.0]) == (3.0, 3.0)
    assert quartiles([1.0, 2.0, 3.0, 4.0, 5.0]) == (2.0, 4.0)


def test_growth_has_a_point_for_each_half_more_and_the_last_one() -> None:
    points = by_count([float(number) for number in range(1, 101)], 10.0)
    assert [count for count, _ in points] == [10, 20, 30, 45, 67, 100]
    assert points[0] == (10, 50.0)
    assert points[-1][1] == pytest.approx(840.0)


@pytest.mark.parametrize("more_is_better", [True, False])
def test_bars_begin_with_the_best_and_survive_a_zero(*, more_is_better: bool) -> None:
    found = [
        plots.Bar(name=name, kind="peer", value=value, low=value, high=value)
        for name, value in (("none", 0.0), ("<some>", 1.0), ("much", 1000.0))
    ]
    drawn = plots.bars("title", "ms", found, more_is_better=more_is_better)
    texts = ["".join(each.itertext()) for each in ElementTree.fromstring(drawn)]
    names = [text for text in texts if text in {"none", "<some>", "much"}]
    assert names == (["much", "<some>", "none"] if more_is_better else ["none", "<some>", "much"])
    assert "logarithmic" in drawn


def test_a_line_has_a_dot_for_each_point() -> None:
    drawn = plots.line("title", "ms", "sessions", [(1.0, 2.0), (10.0, 0.0), (200.0, 4.0)])
    root = ElementTree.fromstring(drawn)
    assert len(root.findall("{http://www.w3.org/2000/svg}circle")) == 3
