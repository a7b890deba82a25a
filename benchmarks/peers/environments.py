"""What the peers run with: environments of their own in `.build/peers`, and programs."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from benchmarks.peers.catalog import Entry
from uv_environments import ROOT, environment, run

HERE = Path(__file__).resolve().parent
BUILD = ROOT / ".build" / "peers"


def python_of(entry: Entry) -> str:
    """Return the Python of a peer's environment, which is made when it is not there.

    Raises:
        NotMadeError: It cannot be installed.
    """
    if not entry.environment:
        return sys.executable
    requirements = HERE / "requirements" / f"{entry.environment}.txt"
    return str(environment(BUILD / entry.environment, requirements))


def tools() -> dict[str, str]:
    """Return the variables by which programs of `scripts/peer_tools.sh` are found."""
    place = Path(run(["scripts/peer_tools.sh"]).strip())
    found = {"PATH": f"{place / 'root/usr/bin'}{os.pathsep}{os.environ['PATH']}"}
    if (place / "docker").is_dir():
        found["DOCKER_CONFIG"] = str(place / "docker")
    return found
