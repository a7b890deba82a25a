"""The supervisor's binary, built once for the run, and containers around it."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from supervisor.container import Container

SOURCES = Path(__file__).resolve().parents[2] / "supervisor"

Containers = Callable[..., Container]


@pytest.fixture(scope="session")
def passable() -> Iterator[Path]:
    """A directory for programs that commands run, as other users than root.

    Not one of pytest's: each pytest that begins closes the directory above all of them to others.
    """
    with tempfile.TemporaryDirectory(prefix="fumehood-test-") as place:
        path = Path(place)
        path.chmod(0o755)
        yield path


@pytest.fixture(scope="session")
def binary(passable: Path) -> Path:
    """The supervisor: what FUMEHOOD_SUPERVISOR names (a sanitized one, say), or a fresh build."""
    chosen = os.environ.get("FUMEHOOD_SUPERVISOR")
    if chosen:
        return Path(chosen)
    build = passable / "build"
    program = build / "supervisor"
    made = subprocess.run(
        ["make", "-C", str(SOURCES), f"BUILD={build}", str(program)],
        check=False,
        capture_output=True,
        text=True,
    )
    assert made.returncode == 0, made.stdout + made.stderr
    return program


@pytest.fixture
def containers(binary: Path) -> Iterator[Containers]:
    """Make any number of containers; all are gone after the test."""
    assert os.geteuid() == 0, "these tests make namespaces: run them as root"
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(Container(binary, **options))


@pytest.fixture
def container(containers: Containers) -> Container:
    """One container, ready, without any limit of the lease."""
    return containers().begin()
