"""Every example runs, as a newcomer would run it, and says what its page promises."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

SAYS = {
    "quickstart.py": ["hello sandbox", "test 3 ... ok", "timed out: True", "sessions of ours: 0"],
    "streaming.py": ["exit code 3", "lines counted: 20000", r"b'y\ny\n'"],
    "persistent_workspace.py": ["busy: one session", "still there: day one", "kept: False"],
    "async_fanout.py": ["sum of squares: 40425"],
    "coding_agent.py": ["writable: src", "replaced once", "the model is done: fixed"],
    "data_analyst.py": ["best month: Apr", "downloaded plot.svg: 4 bars"],
    "mcp_client.py": ["search_files", "hello over MCP", "1 match; 1 file searched"],
    "detached.py": ["found a session for: example", "ended: destroyed"],
}

# These need a framework that is not in this environment; their suites run them.
IN_CONFORMANCE = {
    "anthropic_agent.py": "anthropic",
    "inspect_eval.py": "inspect_ai",
    "openai_agent.py": "openai_agents",
}


def test_every_example_is_listed_here() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == {*SAYS, *IN_CONFORMANCE}


@pytest.mark.parametrize("name", sorted(IN_CONFORMANCE))
def test_an_example_for_a_framework_is_run_by_its_suite(name: str) -> None:
    suites = EXAMPLES.parent / "tests" / "conformance" / IN_CONFORMANCE[name]
    assert any(name in suite.read_text(encoding="utf-8") for suite in suites.glob("suite*.py"))


@pytest.mark.engine
@pytest.mark.parametrize("name", sorted(SAYS))
def test_an_example_does_what_it_says(name: str) -> None:
    done = subprocess.run(
        [sys.executable, EXAMPLES / name],
        env={**os.environ, "FUMEHOOD_IMAGE": "fumehood/test-python"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert [line for line in SAYS[name] if line not in done.stdout] == []
