"""Check that uv.lock names PyPI and nothing else.

Whoever locks on a machine with a mirror, a proxy index or local wheels would otherwise commit
addresses that nobody else can reach.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

LOCK = Path(__file__).resolve().parent.parent / "uv.lock"
REGISTRY = "https://pypi.org/simple"
FILES = "https://files.pythonhosted.org/"


def strangers(lock: dict[str, Any]) -> Iterator[str]:
    """Yield a line for each package that does not come from PyPI, but for the project itself."""
    for package in lock["package"]:
        source: dict[str, str] = package["source"]
        if source == {"editable": "."}:
            continue
        if source != {"registry": REGISTRY}:
            yield f"{package['name']}: source {source}"
        for file in [package.get("sdist"), *package.get("wheels", [])]:
            if file and not str(file.get("url", "")).startswith(FILES):
                yield f"{package['name']}: file {file}"


def main() -> int:
    """Print what is wrong, and return the exit code."""
    found = list(strangers(tomllib.loads(LOCK.read_text())))
    for line in found:
        print(f"uv.lock: {line}", file=sys.stderr)
    if found:
        print(f"lock again with --default-index {REGISTRY}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
