"""Measure the peers: ``make bench-peers``, or ``python -m benchmarks.peers`` in the root of the
checkout with ``scripts`` on the path.

The figures go to ``.build/peers/figures.json``, and the page is made from them and from those of
``make bench``. Needs Linux, and the engine on this machine: processes and memory are looked at in
/proc.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.peers import endings, memory, page, phases
from benchmarks.peers.catalog import CATALOG, Entry
from benchmarks.peers.crew import Crew, remove_leftovers
from benchmarks.peers.environments import BUILD, tools
from benchmarks.peers.figures import Run

FIGURES = BUILD / "figures.json"

PHASES = {
    "lives": phases.lives,
    "commands": phases.commands,
    "files": phases.files,
    "floods": phases.floods,
    "timeouts": endings.timeouts,
    "kills": endings.kills,
    "memory": memory.memory,
}
# Files are measured in the sessions of the commands.
_NEEDS = {"files": "commands"}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers", description="Measure fumehood beside other sandboxes."
    )
    parser.add_argument("--quick", action="store_true", help="few rounds; no page")
    parser.add_argument(
        "--peer",
        metavar="NAME",
        action="append",
        default=[],
        help=f"only these (repeatable); no page: {', '.join(e.client for e in CATALOG)}",
    )
    parser.add_argument(
        "--phase",
        metavar="NAME",
        action="append",
        default=[],
        help=f"only these (repeatable); no page: {', '.join(PHASES)}",
    )
    parser.add_argument(
        "--page", action="store_true", help="measure nothing: make the page from the last figures"
    )
    parser.add_argument("--json", type=Path, default=FIGURES, help="(default: %(default)s)")
    arguments = parser.parse_args()
    known = {entry.client for entry in CATALOG}
    if unknown := set(arguments.peer) - known:
        parser.error(f"no such peer: {', '.join(sorted(unknown))}")
    if unknown := set(arguments.phase) - set(PHASES):
        parser.error(f"no such phase: {', '.join(sorted(unknown))}")
    return arguments


def _machine() -> dict[str, str]:
    version = subprocess.run(
        ["docker", "version", "--format", "{{.Server.Version}}"],
        capture_output=True,
        text=True,
        check=True,
    )
    memory_kib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "engine": version.stdout.strip(),
        "kernel": platform.release(),
        "cpus": str(os.cpu_count()),
        "memory": f"{memory_kib / (1 << 30):.0f} GiB",
        "python": platform.python_version(),
        "load": f"{os.getloadavg()[0]:.1f}",
    }


def _measure(entries: Sequence[Entry], wanted: Sequence[str], amounts: phases.Amounts) -> Run:
    started = time.monotonic()

    def say(text: str) -> None:
        print(f"  [{time.monotonic() - started:5.0f} s] {text}", file=sys.stderr, flush=True)

    variables = tools()
    os.environ.update(variables)
    run = Run(machine=_machine(), amounts=asdict(amounts))
    remove_leftovers()
    # Peers that are killed leave temporary files behind; some of those belong to a container's
    # root, whom another user cannot clear up after.
    with tempfile.TemporaryDirectory(prefix="bench-peers-", ignore_cleanup_errors=True) as scratch:
        crew = Crew.gather(run, entries, {**variables, "TMPDIR": scratch}, say)
        try:
            for name, phase in PHASES.items():
                if name in wanted:
                    began = time.monotonic()
                    phase(crew, amounts)
                    say(f"{name}: {time.monotonic() - began:.0f} s")
        finally:
            crew.dismiss()
    run.machine["seconds"] = f"{time.monotonic() - started:.0f}"
    run.machine["load after"] = f"{os.getloadavg()[0]:.1f}"
    return run


def main() -> int:
    """Run what was asked for and return the exit status."""
    arguments = _arguments()
    whole = not (arguments.quick or arguments.peer or arguments.phase)
    if not arguments.page:
        entries = [e for e in CATALOG if not arguments.peer or e.client in arguments.peer]
        wanted = {*arguments.phase} or set(PHASES)
        wanted |= {_NEEDS[name] for name in wanted if name in _NEEDS}
        run = _measure(
            entries,
            [name for name in PHASES if name in wanted],
            phases.QUICK if arguments.quick else phases.FULL,
        )
        run.save(arguments.json)
        print(page.summary(run))
    if whole:
        made = page.write(Run.load(arguments.json))
        print(f"  wrote {', '.join(str(path) for path in made)}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
