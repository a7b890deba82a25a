"""What clients, engine, shims and supervisors cost this machine, looked at again and again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from contract.observer import Observer

PERIOD = 2.0
"""Seconds between two looks."""

_PROC = Path("/proc")
_CONTAINER = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Usage:
    """What some processes use together."""

    processes: int = 0
    memory_kib: int = 0
    """Resident; of supervisors and shims their proportional share, since they share most pages."""
    largest_kib: int = 0
    descriptors: int = 0
    threads: int = 0

    def __or__(self, other: Usage) -> Usage:
        """Return the higher of each figure."""
        return Usage(*(max(getattr(self, name), getattr(other, name)) for name in Usage.__slots__))


@dataclass
class Peaks:
    """The highest figures seen."""

    usage: dict[str, Usage] = field(default_factory=dict)
    alive: int = 0
    """Containers of the soak that ran at once."""
    load: float = 0.0
    looks: int = 0


def engine_pid(address: str) -> int | None:
    """Return the process behind a unix socket; ``None`` for an engine that is elsewhere."""
    scheme, _, path = address.partition("://")
    if scheme != "unix":
        return None
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    pid: int = struct.unpack("3i", credentials)[0]
    return pid


class Gauges:
    """Looks at the machine until it is told to end."""

    def __init__(self, observer: Observer, prefix: str, engine: int | None) -> None:
        self._observer = observer
        self._prefix = prefix
        self._engine = engine
        self.clients: set[int] = set()
        """Process ids of the clients that live, kept by whoever starts them."""
        self.peaks = Peaks()

    async def watch(self) -> None:
        """Look now and then; ends when it is cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(PERIOD)

    async def look(self) -> dict[str, Usage]:
        """Look once, keep the highest figures, and return these."""
        ids = await self._containers()
        seen = await asyncio.to_thread(self._usage, ids)
        peaks = self.peaks
        for name, usage in seen.items():
            peaks.usage[name] = peaks.usage.get(name, Usage()) | usage
        peaks.alive = max(peaks.alive, len(ids))
        peaks.load = max(peaks.load, os.getloadavg()[0])
        peaks.looks += 1
        return seen

    async def _containers(self) -> set[str]:
        found = await self._observer.call("GET", "containers/json")
        start = f"/fumehood-{self._prefix}"
        return {item["Id"] for item in found if any(n.startswith(start) for n in item["Names"])}

    def _usage(self, ids: set[str]) -> dict[str, Usage]:
        shims, supervisors, runtime = set(), set(), set()
        for entry in _PROC.iterdir():
            if not entry.name.isdigit():
                continue
            name = _read(entry / "comm").strip()
            if name == "containerd-shim" and ids.intersection(
                _CONTAINER.findall(_read(entry / "cmdline"))
            ):
                shims.add(int(entry.name))
            elif name == "supervisor" and ids.intersection(
                _CONTAINER.findall(_read(entry / "cgroup"))
            ):
                supervisors.add(int(entry.name))
            elif name == "containerd" and _parent(entry) == self._engine:
                runtime.add(int(entry.name))
        kinds: Mapping[str, tuple[Iterable[int], bool]] = {
            "clients": (set(self.clients), False),
            "dockerd": ({self._engine} if self._engine else set(), False),
            "containerd": (runtime, False),
            "shims": (shims, True),
            "supervisors": (supervisors, True),
        }
        return {name: _together(pids, shared=shared) for name, (pids, shared) in kinds.items()}


def _together(pids: Iterable[int], *, shared: bool) -> Usage:
    processes = memory = largest = descriptors = threads = 0
    for pid in pids:
        entry = _PROC / str(pid)
        if shared:
            kib = _field(_read(entry / "smaps_rollup"), "Pss:")
        else:
            kib = _field(_read(entry / "status"), "VmRSS:")
        with contextlib.suppress(OSError):  # it ends while it is looked at
            descriptors += len(os.listdir(entry / "fd"))  # noqa: PTH208
        processes += 1
        memory += kib
        largest = max(largest, kib)
        threads += _field(_read(entry / "status"), "Threads:")
    return Usage(processes, memory, largest, descriptors, threads)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""  # it has ended meanwhile


def _field(text: str, name: str) -> int:
    for line in text.splitlines():
        if line.startswith(name):
            return int(line.split()[1])
    return 0


def _parent(entry: Path) -> int:
    return _field(_read(entry / "status"), "PPid:")


def mounts() -> set[str]:
    """Return what is mounted on this machine."""
    lines = _read(_PROC / "self/mountinfo").splitlines()
    return {line.split()[4] for line in lines}
