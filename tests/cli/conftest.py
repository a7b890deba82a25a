from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.program import Fumehood


@pytest.fixture
def fumehood(tmp_path: Path) -> Iterator[Fumehood]:
    made = Fumehood(tmp_path)
    yield made
    for process in made.running:
        with process:
            process.kill()


@pytest.fixture
def new_id() -> str:
    """An id of a session or workspace that nobody else has."""
    return f"cli-{secrets.token_hex(6)}"


@pytest.fixture
def session(fumehood: Fumehood, new_id: str) -> Iterator[str]:
    """A session that outlives the command that made it; gone at the end of the test."""
    made = fumehood("run", "--detach", "--ttl", "5m", "--id", new_id, "--max-file", "200m")
    assert made.code == 0, made.errors
    assert made.text == f"{new_id}\n"
    yield new_id
    assert fumehood("rm", "--force", new_id).code == 0
