"""Check that every public name has a type: what a user's type checker sees of fumehood.

Left out are the adapters: their base classes are a framework's, and none is installed here.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

COMMAND = ("pyright", "--outputjson", "--ignoreexternal", "--verifytypes", "fumehood")
LEFT_OUT = "fumehood.adapters."


def main() -> int:
    """Ask pyright; print what has no type and return an exit code."""
    # It exits with 1 for any name without a type, and with more when it could not look.
    done = subprocess.run(COMMAND, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        print(done.stdout, done.stderr, sep="\n")
        return done.returncode
    symbols: list[dict[str, Any]] = json.loads(done.stdout)["typeCompleteness"]["symbols"]
    ours = [symbol for symbol in symbols if symbol["isExported"]]
    if not ours:
        print("pyright has seen no public name at all")
        return 1
    untyped = [
        symbol
        for symbol in ours
        if not symbol["isTypeKnown"] and not symbol["name"].startswith(LEFT_OUT)
    ]
    for symbol in untyped:
        print(symbol["name"], *(found["message"] for found in symbol["diagnostics"]), sep="\n    ")
    return 1 if untyped else 0


if __name__ == "__main__":
    sys.exit(main())
