"""What must hold after every case, whatever the case itself has looked at."""

from __future__ import annotations

import asyncio
import gc
import os
import secrets
import subprocess
import threading
import time
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

from contract.observer import Observer

PATIENCE = 30.0
"""Seconds that clean-up which goes on in the background may take before it counts as a leak."""

MEMORY_MIB = 64
"""By how much a case may make this process grow."""


class Canary:
    """A file and a process of the machine that nothing in a session may reach."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "canary"
        self._content = secrets.token_hex(32)
        self._path.write_text(self._content, encoding="ascii")
        self._path.chmod(0o600)
        self._process = subprocess.Popen(["sleep", "infinity"])
        self._before = self._state()

    def _state(self) -> tuple[int, int, int, int]:
        status = self._path.stat()
        return status.st_mode, status.st_uid, status.st_size, status.st_mtime_ns

    def check(self) -> None:
        """Fail if either was touched."""
        assert self._path.read_text(encoding="ascii") == self._content
        assert self._state() == self._before
        assert self._process.poll() is None, "the canary process is dead"
        assert os.getpriority(os.PRIO_PROCESS, self._process.pid) == os.getpriority(
            os.PRIO_PROCESS, 0
        )

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()


class Watch:
    """This process and the engine, before a case and after it.

    Args:
        observer: looks at the engine.
        prefix: what the ids of the case's sessions begin with.
        before: what the engine held before: others keep snapshots there, which have no such names.
    """

    def __init__(self, observer: Observer, prefix: str, *, before: Iterable[str] = ()) -> None:
        self._observer = observer
        self._prefix = prefix
        self._before = frozenset(before)
        self._began = time.time()
        gc.collect()
        self._threads = threads()
        self._descriptors = descriptors()
        self._memory = memory_mib()

    async def check(self) -> None:
        """Fail if the case has left anything."""
        left = await never_gone(self._left, before=self._before)
        assert left == [], f"left, on the engine: {left}"
        for what, find in {
            "processes on the machine": self._processes,
            "threads": lambda: now(threads() - self._threads),
            "descriptors": lambda: now(descriptors() - self._descriptors),
        }.items():
            left = await eventually_none(find)
            assert left == [], f"left, {what}: {left}"
        gc.collect()
        grown = memory_mib() - self._memory
        assert grown < MEMORY_MIB, f"this process has grown by {grown:.0f} MiB"

    async def _left(self) -> list[str]:
        return await self._observer.left(self._prefix)

    async def _processes(self) -> list[str]:
        """Return the machine's processes that belong to a container of the case.

        Of the case alone: there may be other engines on this machine, and other runs on this one.
        """
        ids = await self._observer.made(self._prefix, self._began)
        return [line for line in contained() if any(id in line for id in ids)]


async def now(found: set[str]) -> list[str]:
    """Return what is known at once, for :func:`eventually_none`."""
    return sorted(found)


async def eventually_none(find: Callable[[], object], *, within: float = PATIENCE) -> list[str]:
    """Look until nothing is found, or patience ends; return what is still there."""
    deadline = time.monotonic() + within
    while True:
        found: list[str] = await find()  # type: ignore[misc]
        if not found or time.monotonic() > deadline:
            return found
        gc.collect()
        await asyncio.sleep(0.05)


async def never_gone(
    find: Callable[[], Awaitable[list[str]]], *, before: Iterable[str] = ()
) -> list[str]:
    """Return what was not there before, and is at every look until patience ends: a leak stays.

    On an engine that others use too, what is theirs comes and goes under our looks.
    """
    deadline = time.monotonic() + PATIENCE
    left = set(await find()) - set(before)
    while left and time.monotonic() < deadline:
        gc.collect()
        await asyncio.sleep(0.05)
        left &= set(await find())
    return sorted(left)


def contained() -> list[str]:
    """Return the processes of this machine that are in some container's control group."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            groups = (entry / "cgroup").read_text(encoding="ascii", errors="replace")
            name = (entry / "comm").read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            continue  # gone meanwhile
        line = next((line for line in groups.splitlines() if "docker" in line), None)
        if line is not None:
            found.append(f"{entry.name} {name} {line}")
    return found


def threads() -> set[str]:
    """Return this process's threads, without those that live as long as it does."""
    return {
        f"{thread.name} {thread.ident}"
        for thread in threading.enumerate()
        if thread.name != "fumehood-portal" and not thread.name.startswith("asyncio_")
    }


def descriptors() -> set[str]:
    """Return this process's open descriptors and what they are."""
    found: set[str] = set()
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found.add(f"{entry.name} {entry.readlink()}")
        except FileNotFoundError:
            continue  # the listing's own
    return found


def memory_mib() -> float:
    """Return this process's resident size."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise AssertionError("/proc/self/status has no VmRSS")
