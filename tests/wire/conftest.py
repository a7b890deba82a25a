"""The C reader, as a program: compiled once for the run, by the supervisor's own Makefile."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

SUPERVISOR = Path(__file__).resolve().parents[2] / "supervisor"

Dump = Callable[[str, bytes], list[str]]


@pytest.fixture(scope="session")
def wire_dump(tmp_path_factory: pytest.TempPathFactory) -> Dump:
    """Call the C reader with who writes and the bytes; a machine without a compiler fails here."""
    build = tmp_path_factory.mktemp("wire-dump")
    program = build / "wire-dump"
    made = subprocess.run(
        ["make", "-C", str(SUPERVISOR), f"BUILD={build}", str(program)],
        check=False,
        capture_output=True,
        text=True,
    )
    assert made.returncode == 0, made.stdout + made.stderr

    def dump(sender: str, data: bytes) -> list[str]:
        done = subprocess.run(
            [str(program), sender], input=data, capture_output=True, check=True, timeout=60
        )
        return done.stdout.decode().splitlines()

    return dump
