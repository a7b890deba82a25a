"""A peer's process, seen from the driver: ask it for a job, wait so long, end it."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.peers.catalog import Entry
from benchmarks.peers.environments import BUILD
from uv_environments import ROOT

_LOOK_EVERY = 0.05


class PeerError(Exception):
    """The peer failed, or was not done in time; the message is for the page."""


class Worker:
    """One process of a peer."""

    def __init__(self, entry: Entry, python: str, variables: dict[str, str]) -> None:
        logs = BUILD / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        self.entry = entry
        self.ended = False
        self.lacks: dict[str, str] = {}
        """What the peer has no call for, once it has said so."""
        self.creates_at_once = 1
        """How many sessions it can make at a time, the same."""
        self._answers: queue.Queue[str] = queue.Queue()
        with (logs / f"{entry.client}.log").open("ab") as log:
            self._process = subprocess.Popen(
                [python, "-m", "benchmarks.peers.worker", entry.client],
                cwd=ROOT,
                env={**os.environ, **variables},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                # Its helpers (`docker exec`, a tunnel) are of its group, and end with it.
                start_new_session=True,
            )
        threading.Thread(target=self._listen, daemon=True).start()

    @property
    def pid(self) -> int:
        """The process's id, and its group's."""
        return self._process.pid

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._answers.put(line)
        self._answers.put("")

    def ask(self, job: str, seconds: float, **arguments: Any) -> dict[str, Any]:
        """Have a job done.

        Raises:
            PeerError: It failed, or took longer than ``seconds``; the process is ended then.
        """
        self.tell(job, **arguments)
        return self.answer(seconds)

    def tell(self, job: str, **arguments: Any) -> None:
        """Begin a job."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"job": job, **arguments}) + "\n")
            self._process.stdin.flush()
        except OSError as exc:
            self.end()
            raise PeerError("its process ended by itself") from exc

    def answer(self, seconds: float) -> dict[str, Any]:
        """Wait for the answer of a job that has begun; errors as of `ask`."""
        try:
            line = self._answers.get(timeout=seconds)
        except queue.Empty:
            self.end()
            raise PeerError(f"not done in {seconds:.0f} s") from None
        if not line:
            self.end()
            raise PeerError("its process ended by itself")
        answer: dict[str, Any] = json.loads(line)
        if "failed" in answer:
            raise PeerError(answer["failed"])
        return answer

    def answer_watched(self, seconds: float) -> tuple[dict[str, Any], float]:
        """Wait for an answer; also return the most memory that the children had meanwhile (MiB)."""
        most = 0.0
        stop = threading.Event()

        def look() -> None:
            nonlocal most
            while not stop.is_set():
                most = max(most, self.children_mib())
                stop.wait(_LOOK_EVERY)

        looking = threading.Thread(target=look)
        looking.start()
        try:
            return self.answer(seconds), most
        finally:
            stop.set()
            looking.join()

    def own_mib(self) -> float:
        """Return the resident memory of the process."""
        return _rss_mib(self.pid)

    def children_mib(self) -> float:
        """Return the resident memory of all processes below it."""
        return sum(_rss_mib(pid) for pid in self.children())

    def children(self) -> list[int]:
        """Return all processes below it."""
        return _below(self.pid)

    def close(self, seconds: float) -> None:
        """Let it destroy its session and end, or end it after so long."""
        if self.ended:
            return
        with contextlib.suppress(PeerError):
            self.ask("close", seconds)
        self.end()

    def kill_alone(self) -> None:
        """Kill the process and none of its helpers, as the kernel does when memory is short."""
        os.kill(self.pid, signal.SIGKILL)
        self._process.wait()

    def end(self) -> None:
        """End the process and its helpers."""
        self.ended = True
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()


def _below(pid: int) -> list[int]:
    found: list[int] = []
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text(encoding="ascii").split():
                found += [int(child), *_below(int(child))]
    except (FileNotFoundError, ProcessLookupError):
        pass  # it has just ended
    return found


def _rss_mib(pid: int) -> float:
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    for line in status.splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0  # a zombie


def processes_with(words: str) -> list[int]:
    """Return the processes of this machine, in containers or not, with this command line.

    What is looked for is of one case alone (`sleep 30074`).
    """
    found: list[int] = []
    wanted = words.encode().replace(b" ", b"\0")
    for place in Path("/proc").iterdir():
        if place.name.isdecimal():
            try:
                line = (place / "cmdline").read_bytes()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if line.rstrip(b"\0") == wanted:
                found.append(int(place.name))
    return found


def wait_for(condition: Callable[[], bool], seconds: float) -> bool:
    """Look again and again until it holds, for so long."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(_LOOK_EVERY)
    return condition()
