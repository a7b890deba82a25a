"""What the reports of all suites say: on whose backend a test ran, where both are timed."""

from __future__ import annotations

from collections.abc import Callable

import pytest


@pytest.fixture(autouse=True)
def side(request: pytest.FixtureRequest, record_property: Callable[[str, object], None]) -> None:
    for mark in ("compared", "baseline"):
        if request.node.get_closest_marker(mark):
            record_property("side", mark)
