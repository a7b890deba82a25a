"""A peer's process: does what it is asked on standard input, one line of JSON for each job.

Runs in the peer's own environment, so it imports nothing but the standard library and the peer's
module. The clock is read here, around the peer's calls alone.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.peers.peer import Peer

_LINE = 1 << 20
_MIB = 1 << 20
_TEXT = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-\n"


class Worker:
    """The jobs. Each returns what becomes its line of JSON."""

    def __init__(self, client: Peer) -> None:
        self._client = client
        self._session: Any = None
        self._sessions: list[Any] = []

    async def open(self) -> dict[str, Any]:
        """Make what all sessions share."""
        await _called(self._client.open)
        return {
            "versions": self._client.versions(),
            "lacks": self._client.lacks,
            "creates_at_once": self._client.creates_at_once,
            "pid": os.getpid(),
        }

    async def session(self) -> dict[str, Any]:
        """Make the session that the jobs below work in."""
        self._session = await self._first_result()
        return {"container": self._client.container(self._session)}

    async def life(self) -> dict[str, float]:
        """Create, first result, destroy."""
        start = time.perf_counter()
        session = await self._first_result()
        ready = time.perf_counter()
        await _called(self._client.destroy, session)
        returned = time.perf_counter()
        await _called(self._client.gone, session)
        gone = time.perf_counter()
        return {"create": ready - start, "destroy": returned - ready, "gone": gone - ready}

    async def _first_result(self) -> Any:
        session = await _called(self._client.create)
        output = await _called(self._client.run, session, "echo ready")
        if b"ready" not in output:
            raise RuntimeError(f"the first command printed {output[:200]!r}")
        return session

    async def run(self, times: int) -> dict[str, list[float]]:
        """Run `true`; the first time does not count."""
        taken = [await self._timed(self._client.run, self._session, "true")]
        for _ in range(times):
            seconds = await self._timed(self._client.run, self._session, "true")
            taken.append(seconds)
        return {"seconds": taken[1:]}

    async def crowd(self, total: int, at_once: int) -> dict[str, float]:
        """Run `true` so many times, several at once."""
        start = time.perf_counter()
        await self._at_once(
            lambda _: self._client.run(self._session, "true"), list(range(total)), at_once
        )
        return {"per_second": total / (time.perf_counter() - start)}

    async def files(self, size: int) -> dict[str, float]:
        """Write a file and read it again."""
        content = (_TEXT * (size // len(_TEXT) + 1))[:size]
        write = await self._timed(self._client.write, self._session, "bench.txt", content)
        start = time.perf_counter()
        back = await _called(self._client.read, self._session, "bench.txt")
        read = time.perf_counter() - start
        if back != content:
            raise RuntimeError(f"{len(back)} bytes came back of {size}, or others")
        return {"write": write, "read": read}

    async def flood(self, command: str, size: int) -> dict[str, float]:
        """Take much output. The memory is this process's own: the driver looks at its children."""
        _forget_peak()
        before = _status_mib("VmRSS")
        start = time.perf_counter()
        received = await _called(self._client.flood, self._session, command)
        seconds = time.perf_counter() - start
        if received != size:
            raise RuntimeError(f"{received:,} bytes came of {size:,}")
        return {"seconds": seconds, "growth": max(0.0, _status_mib("VmHWM") - before)}

    async def late(self, command: str) -> dict[str, Any]:
        """Run a command with a timeout of one second, and say how that went."""
        start = time.perf_counter()
        try:
            if "timeout" in self._client.lacks:
                how = await self._abandoned(command)
            else:
                await _called(self._client.run, self._session, command, 1.0)
                how = "returned"
        except Exception as exc:  # noqa: BLE001 - each peer has an error of its own for it
            how = type(exc).__name__
        return {"seconds": time.perf_counter() - start, "how": how}

    async def _abandoned(self, command: str) -> str:
        """Do what is left to a caller whose call takes no timeout: stop waiting for it."""
        ended = threading.Event()

        def call() -> None:
            self._client.run(self._session, command)
            ended.set()

        threading.Thread(target=call, daemon=True).start()
        return "returned" if ended.wait(1.0) else "left behind"

    async def usable(self) -> dict[str, bool]:
        """Say whether the session still runs commands."""
        output = await _called(self._client.run, self._session, "echo ready")
        return {"usable": b"ready" in output}

    async def forever(self, command: str) -> dict[str, bool]:
        """Run a command in which this process will be killed."""
        await _called(self._client.run, self._session, command)
        return {"ended": True}

    async def many(self, total: int, at_once: int, within: float) -> dict[str, Any]:
        """Create sessions up to a number, and no new one after so many seconds; then hold them."""
        deadline = time.monotonic() + within
        failures: list[str] = []

        def may_go_on() -> bool:
            return time.monotonic() < deadline and len(failures) < at_once

        async def one(_: int) -> None:
            if may_go_on():
                try:
                    session = await self._client.create()
                    await self._client.run(session, "true")
                    self._sessions.append(session)
                except Exception as exc:  # noqa: BLE001 - said in the answer
                    failures.append(repr(exc)[:200])

        def one_blocking(_: int) -> None:
            if may_go_on():
                try:
                    session = self._client.create()
                    self._client.run(session, "true")
                    self._sessions.append(session)
                except Exception as exc:  # noqa: BLE001 - said in the answer
                    failures.append(repr(exc)[:200])

        missing = range(total - len(self._sessions))
        blocking = not inspect.iscoroutinefunction(self._client.create)
        await self._at_once(one_blocking if blocking else one, list(missing), at_once)
        return {
            "sessions": len(self._sessions),
            "containers": [self._client.container(session) for session in self._sessions],
            "failures": len(failures),
            "failure": failures[0] if failures else "",
            "threads": int(_status("Threads")),
            "descriptors": _descriptors(),
        }

    async def close(self) -> dict[str, bool]:
        """Destroy the session of the jobs, and let go of all."""
        if self._session is not None:
            await _called(self._client.destroy, self._session)
            await _called(self._client.gone, self._session)
        await _called(self._client.close)
        return {"closed": True}

    async def _timed(self, call: Callable[..., Any], *arguments: Any) -> float:
        start = time.perf_counter()
        await _called(call, *arguments)
        return time.perf_counter() - start

    async def _at_once(self, call: Callable[[int], Any], items: list[int], width: int) -> None:
        """Run a call for each item, a number of them at a time: in tasks, or in threads."""
        if inspect.iscoroutinefunction(self._client.run):
            left = iter(items)

            async def work() -> None:
                for item in left:
                    await call(item)

            await asyncio.gather(*(work() for _ in range(width)))
            return
        with ThreadPoolExecutor(width) as threads:
            for done in [threads.submit(call, item) for item in items]:
                done.result()


async def _called(call: Callable[..., Any], *arguments: Any) -> Any:
    result = call(*arguments)
    return await result if inspect.isawaitable(result) else result


def _status(field: str) -> str:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{field}:"):
            return line.split()[1]
    raise RuntimeError(f"/proc/self/status has no {field}")


def _status_mib(field: str) -> float:
    return int(_status(field)) * 1024 / _MIB


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def _serve(worker: Worker, answers: Any) -> None:
    loop = asyncio.get_running_loop()
    jobs = asyncio.StreamReader(limit=_LINE)
    # Read by the loop: a client's heartbeats go on while another peer has its turn.
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(jobs), sys.stdin)
    while line := await jobs.readline():
        asked = json.loads(line)
        try:
            answer = await getattr(worker, asked.pop("job"))(**asked)
        except Exception as exc:  # noqa: BLE001 - told to the driver, which drops the peer
            traceback.print_exc()
            answer = {"failed": f"{type(exc).__name__}: {str(exc)[:300]}"}
        print(json.dumps(answer), file=answers, flush=True)


def main() -> None:
    """Serve the client whose module is named on the command line."""
    # What a peer prints must not come between the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    module = importlib.import_module(f"benchmarks.peers.clients.{sys.argv[1]}")
    asyncio.run(_serve(Worker(module.Client()), answers))
    # A peer's threads that were left behind must not keep the process.
    os._exit(0)


if __name__ == "__main__":
    main()
