"""The types that users see: their code is checked as they would check it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BIN = Path(sys.executable).parent

Checker = Callable[[Path], set[int]]


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
        # pyright takes the packages of the python that it finds first.
        env={**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"},
    )


def mypy(path: Path) -> set[int]:
    """The lines of a file that mypy refuses."""
    done = run(
        sys.executable,
        *("-m", "mypy", "--strict", "--output", "json", "--no-error-summary"),
        # The package's own settings are for its own code; users have the defaults.
        *("--config-file", "", "--cache-dir", str(ROOT / ".mypy_cache" / "users")),
        str(path),
    )
    assert done.stderr == "", done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert all(Path(item["file"]).name == path.name for item in found), done.stdout
    return {item["line"] for item in found if item["severity"] == "error"}


def pyright(path: Path) -> set[int]:
    """The lines of a file that pyright refuses."""
    done = run(str(BIN / "pyright"), "--outputjson", str(path))
    report = json.loads(done.stdout)
    assert report["summary"]["filesAnalyzed"] >= 1, done.stdout
    return {
        item["range"]["start"]["line"] + 1
        for item in report["generalDiagnostics"]
        if item["severity"] == "error"
    }


@pytest.mark.parametrize("checker", [mypy, pyright])
def test_what_users_write_is_well_typed(checker: Checker) -> None:
    assert checker(HERE / "user_code.py") == set()


@pytest.mark.parametrize("checker", [mypy, pyright])
def test_what_users_get_wrong_is_found(checker: Checker, tmp_path: Path) -> None:
    # Under a name that the checks of this repository itself do not read.
    path = tmp_path / "mistakes.py"
    path.write_bytes((HERE / "mistakes.py.txt").read_bytes())
    lines = path.read_text(encoding="utf-8").splitlines()
    marked = {number for number, line in enumerate(lines, 1) if line.endswith("# error")}
    assert checker(path) == marked
