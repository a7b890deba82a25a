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

Checker = Callable[[Path, Path], dict[str, set[int]]]


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


def mypy(*paths: Path) -> dict[str, set[int]]:
    """The lines of each file that mypy refuses."""
    done = run(
        sys.executable,
        *("-m", "mypy", "--strict", "--output", "json", "--no-error-summary"),
        # The package's own settings are for its own code; users have the defaults.
        *("--config-file", "", "--cache-dir", str(ROOT / ".mypy_cache" / "users")),
        *map(str, paths),
    )
    assert done.stderr == "", done.stderr
    refused: dict[str, set[int]] = {path.name: set() for path in paths}
    for item in map(json.loads, done.stdout.splitlines()):
        # A file that is not one of these is none of the user's.
        lines = refused[Path(item["file"]).name]
        if item["severity"] == "error":
            lines.add(item["line"])
    return refused


def pyright(*paths: Path) -> dict[str, set[int]]:
    """The lines of each file that pyright refuses."""
    done = run(str(BIN / "pyright"), "--outputjson", *map(str, paths))
    report = json.loads(done.stdout)
    assert report["summary"]["filesAnalyzed"] >= len(paths), done.stdout
    refused: dict[str, set[int]] = {path.name: set() for path in paths}
    for item in report["generalDiagnostics"]:
        if item["severity"] == "error":
            refused[Path(item["file"]).name].add(item["range"]["start"]["line"] + 1)
    return refused


@pytest.mark.parametrize("checker", [mypy, pyright])
def test_what_users_write_is_well_typed_and_what_they_get_wrong_is_found(
    checker: Checker, tmp_path: Path
) -> None:
    # One run for both: to begin takes a checker longer than to read them. The second under a name
    # that the checks of this repository itself do not read.
    right, wrong = HERE / "user_code.py", tmp_path / "mistakes.py"
    wrong.write_bytes((HERE / "mistakes.py.txt").read_bytes())
    lines = wrong.read_text(encoding="utf-8").splitlines()
    marked = {number for number, line in enumerate(lines, 1) if line.endswith("# error")}
    assert checker(right, wrong) == {right.name: set(), wrong.name: marked}
