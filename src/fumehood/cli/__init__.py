"""The command line ``fumehood``: run, list, enter and remove sessions, copy files, look around.

It stands on the public names of :mod:`fumehood` alone, and is the only part that needs the extra
``cli`` (typer and rich).
"""

from __future__ import annotations

import sys

_PARTS = {"typer", "rich"}


def main() -> None:
    """Run the command line with ``sys.argv``; never returns normally."""
    try:
        from fumehood.cli.app import app
    except ModuleNotFoundError as exc:
        if exc.name is None or exc.name.partition(".")[0] not in _PARTS:
            raise
        sys.stderr.write(
            f"fumehood: the command line needs {exc.name}, which is not installed: "
            "run pip install 'fumehood[cli]'\n"
        )
        sys.exit(1)
    app(prog_name="fumehood")
