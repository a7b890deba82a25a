"""The code on the pages runs as it stands, and what they point to is there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import fumehood

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PROGRAMS = [
    pytest.param(text, id=f"{page.stem}-{number}")
    for page in PAGES
    for number, text in enumerate(BLOCK.findall(page.read_text(encoding="utf-8")))
]


@pytest.mark.engine
@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_on_a_page_runs(program: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-W",
            "error",
            "-c",
            program.replace("python:3.13-slim", "fumehood/test-python"),
        ],
        env={**os.environ},
        cwd=tmp_path,  # some write files
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout != ""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_a_page_links_to_is_there(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_each_test_that_a_promise_names_is_there() -> None:
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:tests|supervisor/tests|src)/[^`]+)`", text)
    assert len(named) > 20
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_the_page_of_errors_names_each_of_them() -> None:
    text = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    bases = {"SandboxError", "SessionError", "CommandError", "FileError", "ProcessError"}
    errors = {name for name in fumehood.__all__ if name.endswith("Error")} - bases
    assert sorted(name for name in errors if f"`{name}`" not in text) == []
