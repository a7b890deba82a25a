"""What holds for every test: how hypothesis works, what may not block, what may not be left."""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from blockbuster import BlockBuster
from hypothesis import HealthCheck, settings

import fumehood.engines.docker  # noqa: F401 - late in the library; here before blocking is watched
from fumehood import _portal

settings.register_profile(
    "fumehood",
    # No wall-clock time is asserted anywhere, an example's neither.
    deadline=None,
    # Session fixtures (a compiled program) serve all examples.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    print_blob=True,
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fumehood"))

PATIENCE = 10.0
"""Seconds that threads which are about to end may take before they count as left behind."""


SLOW_SECONDS = 600
"""Before a slow test counts as hanging, where it does not say: a loaded machine needs many."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("slow") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(SLOW_SECONDS))


@pytest.fixture(autouse=True, scope="session")
def nothing_is_left_behind() -> Iterator[None]:
    """A thread or a descriptor that the run leaves behind is an error of the run."""
    before = _descriptors()
    yield
    portal = _portal._portal
    if portal is not None:
        portal.close()
    gc.collect()
    deadline = time.monotonic() + PATIENCE
    while (threads := _threads()) and time.monotonic() < deadline:
        threads[0].join(PATIENCE)
    assert threads == []
    left = {number: what for number, what in _descriptors().items() if before.get(number) != what}
    assert left == {}


def _threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread is not threading.main_thread()]


def _descriptors() -> dict[str, str]:
    """Open descriptors and what they are, this listing's own not counted."""
    found = {}
    for path in Path("/proc/self/fd").iterdir():
        try:
            found[path.name] = str(path.readlink())
        except FileNotFoundError:
            continue
    return found


@pytest.fixture(autouse=True, scope="session")
def nothing_blocks_the_loop(nothing_is_left_behind: None) -> Iterator[None]:
    """A blocking call of ours on any event loop, the portal's too, is an error."""
    guard = BlockBuster(scanned_modules=["fumehood"])
    guard.activate()
    yield
    guard.deactivate()
