from __future__ import annotations

import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.program import PATIENCE, Fumehood


@pytest.fixture(scope="session")
def zygote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """What becomes each command that is run to its end."""
    address = tmp_path_factory.mktemp("zygote") / "socket"
    tests = Path(__file__).resolve().parents[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "cli.zygote", str(address)],
        cwd=tests,
        stdin=subprocess.PIPE,
        # As a command's own would be: no terminal, so that nothing is written by lines.
        stdout=subprocess.DEVNULL,
    )
    while not address.is_socket():
        assert process.poll() is None, "the zygote did not begin"
        time.sleep(0.01)
    yield str(address)
    process.communicate(timeout=PATIENCE)


@pytest.fixture
def fumehood(tmp_path: Path, zygote: str) -> Iterator[Fumehood]:
    made = Fumehood(tmp_path, zygote)
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
