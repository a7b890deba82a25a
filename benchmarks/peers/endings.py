"""What outlives a timeout and a killed client. No times: all peers at once."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.peers.crew import Crew
from benchmarks.peers.driver import PeerError, processes_with, wait_for
from benchmarks.peers.phases import Amounts

_LIMIT = 60.0
_AFTER_TIMEOUT = 3.0
"""Seconds between the end of the call and the look: time to tidy up."""
_AT_ONCE = 8

Case = Callable[[Crew, str, int], dict[str, Any]]


def timeouts(crew: Crew, amounts: Amounts) -> None:
    """A command with a timeout of a second, alone and with a child in a session of its own."""
    _each(crew, "a timeout", _timeout)


def kills(crew: Crew, amounts: Amounts) -> None:
    """`kill -9` of the client, in the middle of a command."""
    _each(crew, "kill -9 of the client", lambda crew, name, mark: _kill(crew, name, mark, amounts))


def _each(crew: Crew, title: str, case: Case) -> None:
    crew.dismiss()
    names = crew.names()

    def one(number: int) -> None:
        name = names[number]
        found = crew.run.ends.setdefault(name, {})
        try:
            # `sleep` with a number that no other process has: that is how it is found.
            found.update(case(crew, name, 30_000 + 10 * number))
        except PeerError as exc:
            found[f"failed: {title}"] = str(exc)
            crew.say(f"{name}, {title}: {exc}")
        crew.say(f"{title}: {name} done")

    with ThreadPoolExecutor(_AT_ONCE) as threads:
        list(threads.map(one, range(len(names))))
    crew.dismiss()


def _timeout(crew: Crew, name: str, mark: int) -> dict[str, Any]:
    alone, escaped, beside = (f"sleep {mark + more}" for more in (1, 2, 3))
    found: dict[str, Any] = {}
    for case, command in (("alone", alone), ("escaped", f"setsid {escaped} & {beside}")):
        worker, _ = crew.start(name)
        try:
            answer = worker.ask("late", _LIMIT, command=command)
            found[f"{case}: call took"] = answer["seconds"]
            found[f"{case}: call"] = answer["how"]
            time.sleep(_AFTER_TIMEOUT)
            if case == "alone":
                found["alone: survives"] = bool(processes_with(alone))
                with contextlib.suppress(PeerError):
                    found["usable"] = worker.ask("usable", 10)["usable"]
                found.setdefault("usable", False)
            else:
                found["child: survives"] = bool(processes_with(beside))
                found["escaped: survives"] = bool(processes_with(escaped))
        finally:
            worker.close(20)
            for words in (alone, escaped, beside):
                _kill_processes(words)
    return found


def _kill(crew: Crew, name: str, mark: int, amounts: Amounts) -> dict[str, Any]:
    words = f"sleep {mark + 4}"
    worker, container = crew.start(name)
    try:
        worker.tell("forever", command=words)
        if not wait_for(lambda: bool(processes_with(words)), _LIMIT):
            raise PeerError("the command that was to be interrupted did not begin")
        helpers = worker.children()
        worker.kill_alone()
        time.sleep(amounts.after_kill)
        return {
            "killed: command survives": bool(processes_with(words)),
            "killed: container is left": None if container is None else _is_there(container),
            "killed: helpers left": sum(Path(f"/proc/{pid}").exists() for pid in helpers)
            if container is not None
            else 0,
        }
    finally:
        worker.end()
        _kill_processes(words)


def _is_there(container: str) -> bool:
    shown = subprocess.run(
        ["docker", "container", "inspect", container], capture_output=True, check=False
    )
    return shown.returncode == 0


def _kill_processes(words: str) -> None:
    for pid in processes_with(words):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
