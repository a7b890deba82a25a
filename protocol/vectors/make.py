"""Write the golden vectors: bytes of the wire, and what both readers must make of them.

The encoder here is a third one: it knows tags and codes from ``wire.toml`` and shares nothing with either
implementation. Run it after a change of the table and read the difference; ``--check`` fails
when what is committed is not what it writes.
"""

from __future__ import annotations

import sys

from encoding import HERE, Case
from illegal import illegal
from legal import legal
from records import records


def render(cases: list[Case]) -> str:
    """The text of one file."""
    names = [case.name + case.side for case in cases]
    if len(set(names)) != len(names):
        raise SystemExit(f"two cases are called {max(names, key=names.count)!r}")
    head = "# Written by make.py; README.md describes the format.\n\n"
    return head + "\n".join(case.text() for case in cases)


def main(arguments: list[str]) -> int:
    """Write the files, or compare them with what is there."""
    stale = []
    for name, cases in (("legal", legal()), ("illegal", illegal()), ("records", records())):
        path, text = HERE / f"{name}.txt", render(cases)
        if "--check" not in arguments:
            path.write_text(text, encoding="utf-8")
            print(f"{path.name}: {len(cases)} cases")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(path.name)
    if stale:
        print(f"not what make.py writes: {', '.join(stale)}; run python protocol/vectors/make.py")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
