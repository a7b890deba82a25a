"""``fumehood pool``: both kinds of sessions, timed, and nothing left."""

from __future__ import annotations

import json

import pytest

from cli.program import Fumehood

pytestmark = pytest.mark.engine


def test_it_takes_sessions_from_a_pool_and_says_what_they_cost(fumehood: Fumehood) -> None:
    shown = fumehood("pool", "--min-idle", "1", "--sessions", "2")
    assert shown.code == 0, shown.errors
    for word in ("sessions in ", "from the pool ", "made for the call ", "(2 sessions)",
                 "the pool was full after", "claimed"):  # fmt: skip
        assert word in shown.text


def test_programs_get_the_same_as_json(fumehood: Fumehood) -> None:
    image = "fumehood/test-busybox"
    ended = fumehood("pool", "--image", image, "--min-idle", "1", "--sessions", "2", "--json")
    data = json.loads(ended.text)
    assert data["image"] == image
    assert (len(data["warm_ms"]), len(data["cold_ms"])) == (2, 2)
    # The session that came first is the one that found the pool empty.
    assert (data["stats"]["claimed"], data["stats"]["missed"]) == (2, 1)


@pytest.mark.parametrize("options", [["--min-idle", "0"], ["--sessions", "1001"]])
def test_numbers_out_of_range_are_refused(fumehood: Fumehood, options: list[str]) -> None:
    assert fumehood("pool", *options).code == 2
