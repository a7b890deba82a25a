"""Suites whose sessions outlive a test: all of their tests run on one event loop."""

from __future__ import annotations

from pathlib import Path

import pytest

_one_loop = pytest.mark.asyncio(loop_scope="session")


def share_loop(items: list[pytest.Item], directory: Path) -> None:
    """Mark the tests below a directory: they need an engine, and share a loop."""
    for item in items:
        if item.path.is_relative_to(directory):
            item.add_marker(pytest.mark.engine)
            item.add_marker(_one_loop, append=False)
