"""Environments of the peers, by uv, from files of exact versions; made once, in `.build/peers`."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.peers.catalog import Entry

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
BUILD = ROOT / ".build" / "peers"
SECONDS = 600


class NotRunnableError(Exception):
    """A peer cannot be had on this machine; the message says why."""


def uv() -> str:
    """Return the uv that made .venv."""
    for candidate in (shutil.which("uv"), str(ROOT / ".uv" / "bin" / "uv")):
        # A version manager's shim is there and may not run.
        if candidate and Path(candidate).exists():
            ran = subprocess.run([candidate, "--version"], capture_output=True, check=False)
            if ran.returncode == 0:
                return candidate
    raise SystemExit("there is no uv: run 'make venv' first")


def key_of(*paths: Path) -> str:
    """Return a hash of files, by which what is made from them is known."""
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in paths)).hexdigest()[:16]


def python_of(entry: Entry) -> str:
    """Return the Python of a peer's environment, which is made when it is not there.

    Raises:
        NotRunnableError: It cannot be installed.
    """
    if not entry.environment:
        return sys.executable
    requirements = HERE / "requirements" / f"{entry.environment}.txt"
    place = BUILD / entry.environment
    python = place / "bin" / "python"
    stamp = place / "made-from"
    key = key_of(requirements)
    if stamp.exists() and stamp.read_text(encoding="ascii") == key:
        return str(python)
    tool = uv()
    for command in (
        [tool, "venv", "--quiet", "--clear", "--python", sys.executable, str(place)],
        [tool, "pip", "install", "--quiet", "--python", str(python), "-r", str(requirements)],
    ):
        run(command)
    stamp.write_text(key, encoding="ascii")
    return str(python)


def run(command: list[str], **options: str) -> str:
    """Run a command that makes something, and return its output.

    Raises:
        NotRunnableError: It failed; the message has its last lines.
    """
    done = subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
        env={**os.environ, **options},
    )
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()[-3:]
        raise NotRunnableError(f"{' '.join(command[:4])} …: {' '.join(said)}")
    return done.stdout


def tools() -> dict[str, str]:
    """Return the variables by which programs of `scripts/peer_tools.sh` are found."""
    place = Path(run(["scripts/peer_tools.sh"]).strip())
    found = {"PATH": f"{place / 'root/usr/bin'}{os.pathsep}{os.environ['PATH']}"}
    if (place / "docker").is_dir():
        found["DOCKER_CONFIG"] = str(place / "docker")
    return found
