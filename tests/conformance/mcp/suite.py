"""The protocol's public scenarios that ask for nothing but a server, against ``fumehood mcp``.

The others ask for the tools, prompts and resources of a server that was written for them. Two of
those, ``tools-call-error`` and ``tools-call-simple-text``, pass without them, and prove nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
BUILD = HERE.parents[2] / ".build" / "conformance"
TOOLS = Path(sys.executable).parent
IMAGE = os.environ.get("FUMEHOOD_IMAGE", "fumehood/test-python")
PATIENCE = 120.0
CHECKS = {
    "server-initialize": ["server-initialize"],
    "ping": ["ping"],
    "tools-list": ["tools-list"],
    "resources-list": ["resources-list"],
    "server-sse-multiple-streams": [
        "server-accepts-multiple-post-streams",
        "server-sse-streams-functional",
    ],
    "dns-rebinding-protection": [
        "localhost-host-rebinding-rejected",
        "localhost-host-valid-accepted",
    ],
}


@pytest.fixture(scope="module")
def program() -> Path:
    """The program at its locked version, installed once; Node.js is the environment's."""
    lock = (HERE / "package-lock.json").read_bytes()
    place = BUILD / f"mcp-scenarios-{hashlib.sha256(lock).hexdigest()[:12]}"
    if not place.is_dir():
        made = place.with_suffix(".new")
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir(parents=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / name, made)
        _run(TOOLS / "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", cwd=made)
        made.rename(place)
    return place / "node_modules" / ".bin" / "conformance"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A server as a user starts it, for this machine's loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command: list[str | Path] = [
        TOOLS / "fumehood",
        "mcp",
        f"--http=127.0.0.1:{port}",
        "--no-token",
        "--image",
        IMAGE,
    ]
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + PATIENCE
        while True:
            assert server.poll() is None, "the server has ended"
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                assert time.monotonic() < deadline
                time.sleep(0.05)
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        server.terminate()
        server.wait(PATIENCE)


@pytest.mark.parametrize("scenario", CHECKS)
def test_a_scenario_passes_all_of_its_checks(
    scenario: str, url: str, program: Path, tmp_path: Path
) -> None:
    _run(
        TOOLS / "node", program, "server",
        "--url", url, "--scenario", scenario, "--output-dir", tmp_path,
        cwd=tmp_path,
    )  # fmt: skip
    [report] = tmp_path.glob("*/checks.json")
    checks = json.loads(report.read_text(encoding="utf-8"))
    assert [(check["id"], check["status"]) for check in checks] == [
        (name, "SUCCESS") for name in CHECKS[scenario]
    ]


def _run(*command: str | Path, cwd: Path) -> None:
    environment = {**os.environ, "PATH": f"{TOOLS}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
