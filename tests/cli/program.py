"""The command line as a user runs it, and a look at the engine from outside."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

IMAGE = "fumehood/test-python"
PATIENCE = 60.0
_ASK = str(Path(__file__).with_name("ask.py"))


def environment(**extra: str) -> dict[str, str]:
    """What a command runs with: this environment, the tests' image, a plain wide terminal."""
    kept = {key: value for key, value in os.environ.items() if key != "FUMEHOOD_DEBUG"}
    return kept | {"FUMEHOOD_IMAGE": IMAGE, "COLUMNS": "120", "NO_COLOR": "1"} | extra


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    code: int
    out: bytes
    err: bytes

    @property
    def text(self) -> str:
        return self.out.decode()

    @property
    def errors(self) -> str:
        return self.err.decode()


@dataclass
class Fumehood:
    """Runs ``fumehood …`` to its end, or starts it."""

    cwd: Path
    zygote: str | None = None
    """Where the process listens that becomes each command; ``None``: each is begun from nothing."""
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @staticmethod
    def words(*arguments: str | Path) -> list[str]:
        return [sys.executable, "-m", "fumehood.cli", *map(str, arguments)]

    def _quick(self, *arguments: str | Path) -> list[str]:
        if self.zygote is None:
            return self.words(*arguments)
        return [sys.executable, "-I", "-S", _ASK, self.zygote, *map(str, arguments)]

    def __call__(self, *arguments: str | Path, input: bytes = b"", **env: str) -> Outcome:
        done = subprocess.run(
            self._quick(*arguments),
            input=input,
            capture_output=True,
            timeout=PATIENCE,
            cwd=self.cwd,
            env=environment(**env),
            check=False,
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    def start(self, *arguments: str | Path, **env: str) -> subprocess.Popen[bytes]:
        """Start it with pipes; what still runs at the end of the test is killed."""
        process = subprocess.Popen(
            self.words(*arguments),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self.cwd,
            env=environment(**env),
        )
        self.running.append(process)
        return process


def docker(*arguments: str) -> str:
    done = subprocess.run(
        ["docker", *arguments], capture_output=True, text=True, timeout=PATIENCE, check=True
    )
    return done.stdout


def containers(id: str) -> list[str]:
    """The names of a session's containers, in whatever state they are."""
    return docker(
        "ps", "-a", "--filter", f"label=fumehood.session={id}", "--format", "{{.Names}}"
    ).split()


def volumes(id: str) -> list[str]:
    """The names of a session's ephemeral volumes."""
    return docker("volume", "ls", "-q", "--filter", f"label=fumehood.session={id}").split()


def wait_until_gone(id: str, patience: float = 30.0) -> None:
    """Ask the engine until it knows nothing of a session any more."""
    deadline = time.monotonic() + patience
    while containers(id) or volumes(id):
        assert time.monotonic() < deadline, f"session {id} is still there after {patience} s"
