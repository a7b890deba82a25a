"""Create, use and end very many sessions, many at once, and see that nothing is left.

Every session is used in random ways and ends at a random point in a random way; clients are
processes of their own, of which half are killed with ``kill -9``. ``make soak`` runs it; the seed
in the report repeats what was drawn, though not the machine's own timing.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import random
import secrets
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cases.invariants import contained, eventually_none
from contract.observer import Observer
from fumehood.engines.docker import DockerEngine
from soak.conductor import Conductor
from soak.gauges import Gauges, engine_pid, mounts
from soak.plan import plans
from soak.report import document, table

ROOT = Path(__file__).resolve().parents[2]
SETTLE = 120.0
"""Seconds in which what ends by itself must have ended: the grace, the first word's deadline."""


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--sessions", type=int, default=2000, help="how many (%(default)s)")
    parser.add_argument("--alive", type=int, default=200, help="at once (%(default)s)")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1 << 32))
    parser.add_argument(
        "--report", type=Path, default=ROOT / ".build/reports/soak.json", help="(%(default)s)"
    )
    found = parser.parse_args()
    if not (found.sessions > 0 and found.alive > 0):
        parser.error("at least one session, and one alive at a time")
    return found


async def soak(sessions: int, alive: int, seed: int) -> dict[str, Any]:
    """Run one soak and return its document."""
    address = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    prefix = f"soak-{secrets.token_hex(4)}"
    observer = Observer()
    began = time.time()
    mounted = mounts()
    others = await observer.left(prefix)
    gauges = Gauges(observer, prefix, engine_pid(address))
    before = await gauges.look()
    chance = random.Random(seed)
    conductor = Conductor(
        plans(prefix, sessions, seed), alive=alive, chance=chance, gauges=gauges, observer=observer
    )
    watching = asyncio.create_task(gauges.watch())
    telling = asyncio.create_task(conductor.tell())
    try:
        await conductor.run()
    finally:
        watching.cancel()
        telling.cancel()
    took = time.time() - began
    swept, left = await _left(observer, prefix, began, mounted, others, address)
    version = await observer.call("GET", "version")
    result = document(
        about={
            "date": datetime.now(UTC).date().isoformat(),
            "engine": f"Docker {version['Version']}, API {version['ApiVersion']}",
            "kernel": platform.release(),
            "cores": os.cpu_count(),
            "memory_gib": round(
                os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30), 1
            ),
            "seed": seed,
            "sessions": sessions,
            "seconds": round(took, 1),
        },
        tally=conductor.tally,
        peaks=gauges.peaks,
        before=before,
        after=await gauges.look(),
        swept=swept,
        left=left,
    )
    await observer.close()
    return result


async def _left(
    observer: Observer,
    prefix: str,
    began: float,
    mounted: set[str],
    others: list[str],
    address: str,
) -> tuple[list[str], list[str]]:
    """Sweep as any later client does; return what it took, and what is there nevertheless."""
    swept: list[str] = []
    client = DockerEngine(address)

    async def still_there() -> list[str]:
        report = await client.sweep(minimum_age=0)
        swept.extend(name for name in (*report.containers, *report.volumes) if prefix in name)
        return [name for name in await observer.left(prefix) if name not in others]

    made = await observer.made(prefix, began)

    async def processes() -> list[str]:
        return [line for line in contained() if any(id in line for id in made)]

    async def mounts_of_containers() -> list[str]:
        return sorted(path for path in mounts() - mounted if any(id in path for id in made))

    left: list[str] = []
    for name, find in {
        "on the engine": still_there,
        "process": processes,
        "mount": mounts_of_containers,
    }.items():
        left += [f"{name}: {item}" for item in await eventually_none(find, within=SETTLE)]
    await client.close()
    return swept, left


def main() -> int:
    """Run it, write the report, and say with the exit code whether everything held."""
    options = arguments()
    print(f"seed {options.seed}", flush=True)
    found = asyncio.run(soak(options.sessions, options.alive, options.seed))
    options.report.parent.mkdir(parents=True, exist_ok=True)
    options.report.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(table(found))
    print(f"the report: {options.report}")
    return 0 if found["held"] else 1


if __name__ == "__main__":
    sys.exit(main())
