"""Python environments by uv, from files of exact versions; each is made once, and known by a key.

Read by `make conformance` and by `make bench-peers`.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SECONDS = 600
"""What making one thing may take."""
_LAST_LINES = 3


class NotMadeError(Exception):
    """What is needed cannot be had on this machine; the message says why."""


def run(command: list[str], **variables: str) -> str:
    """Run a command that makes something in the root of the checkout, and return its output.

    Raises:
        NotMadeError: it failed; the message has its last lines.
        subprocess.TimeoutExpired: it took too long.
    """
    done = subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
        env={**os.environ, **variables},
    )
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()[-_LAST_LINES:]
        raise NotMadeError(f"{' '.join(command[:4])} …: {' '.join(said)}")
    return done.stdout


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


def environment(place: Path, requirements: Path, *, editable: Path | None = None) -> Path:
    """Return the Python of an environment, which is made when it is not there as it must be.

    Args:
        place: its directory.
        requirements: what is in it, at exact versions.
        editable: a checkout that is installed besides, without what it asks for.

    Raises:
        NotMadeError: it cannot be installed.
        subprocess.TimeoutExpired: it takes too long.
    """
    python = place / "bin" / "python"
    stamp = place / "made-from"
    # Entry points are read from what is installed, so those of the checkout are in the key as well.
    key = key_of(requirements, *([editable / "pyproject.toml"] if editable else []))
    if stamp.exists() and stamp.read_text(encoding="ascii") == key:
        return python
    install = [uv(), "pip", "install", "--quiet", "--python", str(python)]
    run([uv(), "venv", "--quiet", "--clear", "--python", sys.executable, str(place)])
    run([*install, "-r", str(requirements)])
    if editable:
        run([*install, "--no-deps", "-e", str(editable)])
    stamp.write_text(key, encoding="ascii")
    return python
