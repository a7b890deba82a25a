"""Tells clients what to do, so that as many sessions live as are wanted, and kills some clients."""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from contract.observer import Observer
from soak.gauges import Gauges
from soak.plan import Plan

CLIENT = Path(__file__).with_name("client.py")
MAKING = 8
"""How many sessions are made at once, and how many are ended."""
A_CLIENT_HOLDS = 12
"""Sessions that one client has at most."""
KILLED = 0.5
"""The share of clients that is killed; the others are told that it is over."""
TOLD = 20.0
"""Seconds between two lines that say how far it is."""
STALLED = 180.0
"""Seconds without any event that end a soak: something hangs."""
GONE = 120.0
"""Seconds in which what a killed client had must be gone, on a machine at its limit."""


@dataclass(eq=False)
class _Client:
    process: Process
    serves: int
    """How many sessions it is given before it comes to its own end."""
    given: int = 0
    making: set[str] = field(default_factory=set)
    alive: set[str] = field(default_factory=set)
    ending: set[str] = field(default_factory=set)

    @property
    def holds(self) -> int:
        return len(self.making) + len(self.alive) + len(self.ending)

    @property
    def can_be_told(self) -> bool:
        """Whether it has a session that it can be told to end."""
        assert self.process.stdin is not None
        return bool(self.alive) and not self.process.stdin.is_closing()

    def send(self, **order: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order).encode() + b"\n")


@dataclass
class Tally:
    """What has happened."""

    seconds: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """How long each step took, each time."""
    problems: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    alive_at_once: int = 0


class Conductor:
    """One soak."""

    def __init__(
        self,
        plans: Iterator[Plan],
        *,
        alive: int,
        chance: random.Random,
        gauges: Gauges,
        observer: Observer,
    ) -> None:
        self._plans = plans
        self._wanted = alive
        self._chance = chance
        self._gauges = gauges
        self._observer = observer
        self._clients: set[_Client] = set()
        self._more = True
        self._happened = asyncio.Event()
        self._tasks: asyncio.TaskGroup | None = None
        self.tally = Tally()

    async def run(self) -> None:
        """Have all plans lived; what hangs for too long is a problem, and its client is killed."""
        async with asyncio.TaskGroup() as self._tasks:
            while True:
                self._happened.clear()
                await self._decide()
                if not (self._more or self._clients):
                    break
                try:
                    async with asyncio.timeout(STALLED):
                        await self._happened.wait()
                except TimeoutError:
                    for client in self._clients:
                        hanging = sorted(client.making | client.alive | client.ending)
                        self.tally.problems.append(f"hang for {STALLED} s: {hanging}")
                        client.process.kill()

    async def tell(self) -> None:
        """Print now and then how far it is; ends when it is cancelled."""
        while True:
            await asyncio.sleep(TOLD)
            counts = self.tally.counts
            print(
                f"  {counts['sessions begun']} begun, {self._alive} alive, {len(self._clients)} "
                f"clients, {counts['clients killed']} killed, {len(self.tally.problems)} problems",
                flush=True,
            )

    # --- decisions -------------------------------------------------------------------------------

    async def _decide(self) -> None:
        while self._more and self._alive < self._wanted and self._count("making") < MAKING:
            plan = next(self._plans, None)
            if plan is None:
                self._more = False
                for client in self._clients:
                    self._dismiss(client)
                break
            await self._begin(plan)
        full = self._alive + self._count("making") >= self._wanted
        while (full or not self._more) and self._count("ending") < MAKING and self._can_end:
            self._end_one()
            full = False

    @property
    def _can_end(self) -> bool:
        return any(client.can_be_told for client in self._clients)

    @property
    def _alive(self) -> int:
        return self._count("alive")

    def _count(self, what: str) -> int:
        return sum(len(getattr(client, what)) for client in self._clients)

    async def _begin(self, plan: Plan) -> None:
        open_ = [
            client
            for client in self._clients
            if client.given < client.serves and client.holds < A_CLIENT_HOLDS
        ]
        client = self._chance.choice(open_) if open_ else await self._start()
        client.given += 1
        client.making.add(plan.id)
        client.send(begin=plan.as_json())
        self.tally.counts["sessions begun"] += 1
        self.tally.counts[f"to be {plan.end}"] += 1
        if client.given == client.serves:
            self._dismiss(client)

    def _end_one(self) -> None:
        client = self._chance.choice([client for client in self._clients if client.can_be_told])
        id = self._chance.choice(sorted(client.alive))
        client.alive.remove(id)
        client.ending.add(id)
        client.send(end=id)

    def _dismiss(self, client: _Client) -> None:
        """Let a client come to its end, in one way or the other."""
        assert client.process.stdin is not None
        if client.process.stdin.is_closing():
            return
        if self._chance.random() < KILLED:
            delay = self._chance.uniform(0, 5)
            asyncio.get_running_loop().call_later(delay, self._kill, client)
            client.serves = client.given
        else:
            client.process.stdin.close()

    def _kill(self, client: _Client) -> None:
        if client.process.returncode is None:
            self.tally.counts["clients killed"] += 1
            client.process.kill()

    # --- clients ---------------------------------------------------------------------------------

    async def _start(self) -> _Client:
        assert self._tasks is not None
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(CLIENT), stdin=PIPE, stdout=PIPE
        )
        client = _Client(process, serves=self._chance.randrange(5, 60))
        self._clients.add(client)
        self._gauges.clients.add(process.pid)
        self.tally.counts["clients"] += 1
        self._tasks.create_task(self._listen(client))
        return client

    async def _listen(self, client: _Client) -> None:
        assert client.process.stdout is not None
        async for line in client.process.stdout:
            if line.endswith(b"\n"):  # what a killed one was saying is left unsaid
                self._hear(client, json.loads(line))
        code = await client.process.wait()
        self._gauges.clients.discard(client.process.pid)
        self._clients.discard(client)
        lost = client.making | client.alive | client.ending
        self.tally.counts["sessions of killed clients"] += len(lost)
        if code not in (0, -9):
            self.tally.problems.append(f"a client ended with {code}")
        if code == 0 and lost:
            self.tally.problems.append(f"a client forgot {sorted(lost)}")
        self._happened.set()
        if lost:
            await self._gone(sorted(client.alive | client.ending))

    async def _gone(self, ids: list[str]) -> None:
        """Wait until the supervisors have ended what a killed client had alive."""
        began = time.monotonic()
        for id in ids:
            try:
                await self._observer.gone(id, within=GONE)
            except TimeoutError:
                self.tally.problems.append(f"{id} has outlived its killed client by {GONE} s")
        if ids:
            self.tally.seconds["gone after a kill -9"].append(time.monotonic() - began)

    def _hear(self, client: _Client, line: dict[str, object]) -> None:
        if "made" in line:
            id = str(line["made"])
            client.making.remove(id)
            client.alive.add(id)
            self.tally.alive_at_once = max(self.tally.alive_at_once, self._alive)
        elif "over" in line:
            for stage in (client.making, client.alive, client.ending):
                stage.discard(str(line["over"]))
            self.tally.counts["sessions over"] += 1
        elif "step" in line:
            self.tally.seconds[str(line["step"])].append(float(str(line["seconds"])))
        elif "problem" in line:
            self.tally.problems.append(str(line["problem"]))
        self._happened.set()
