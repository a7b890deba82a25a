"""A client of the soak, in a process of its own: it does as each line tells it, until it is killed.

In: ``{"begin": plan}``, ``{"end": id}``, and the end of the input, which ends whatever lives.
Out: ``{"made": id}``, ``{"over": id}``, ``{"step": name, "seconds": s}``, ``{"problem": text}``.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import AsyncIterator
from typing import Any

from contract.adapter import PYTHON, SCRATCH
from contract.observer import Observer
from fumehood import (
    AsyncDockerSandbox,
    AsyncSession,
    EndReason,
    Lifecycle,
    Limits,
    SandboxError,
    Workspace,
)
from soak.plan import End, Plan

GRACE = 1.0
TTL = 8.0
IDLE = 20.0
PACE = 4.0
"""Seconds between what a session does, on average."""


def say(**line: Any) -> None:
    print(json.dumps(line), flush=True)


@contextlib.asynccontextmanager
async def step(name: str) -> AsyncIterator[None]:
    """Report how long a step took that went well."""
    began = time.monotonic()
    yield
    say(step=name, seconds=time.monotonic() - began)


class Life:
    """One session, from its beginning to its end."""

    def __init__(self, plan: Plan, sandbox: AsyncDockerSandbox, observer: Observer) -> None:
        self._plan = plan
        self._sandbox = sandbox
        self._observer = observer
        self._chance = random.Random(plan.seed)
        self.may_end = asyncio.Event()

    async def live(self) -> None:
        """Live it, and report what went otherwise than it should."""
        try:
            if self._plan.end is End.NOT_BORN:
                await self._not_born()
            else:
                await self._whole()
        except Exception:  # noqa: BLE001 - whatever it is, it is what the soak looks for
            say(problem=f"{self._plan}\n{traceback.format_exc()}")
        finally:
            say(over=self._plan.id)

    def _request(self) -> Any:
        workspace = (
            Workspace.persistent(self._plan.id, destroy_with_session=True)
            if self._plan.persistent
            else None
        )
        return self._sandbox.create_session(id=self._plan.id, workspace=workspace)

    async def _not_born(self) -> None:
        creating = asyncio.ensure_future(self._request()._make())
        await asyncio.wait([creating], timeout=self._chance.random())
        if creating.done():
            await creating.result().destroy()
            return
        creating.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            session = await creating
            await session.destroy()  # it was made in the moment of its cancellation

    async def _whole(self) -> None:
        async with step("create"):
            session: AsyncSession = await self._request()
        say(made=session.id)
        if self._plan.end is End.TTL:
            await self._over(session, EndReason.TTL)
            return
        while not self.may_end.is_set():
            await self._act(session)
            with contextlib.suppress(TimeoutError):
                pause = min(self._chance.expovariate(1 / PACE), IDLE / 2)
                await asyncio.wait_for(self.may_end.wait(), pause)
        await _ENDINGS[self._plan.end](self, session)

    # --- what it does ----------------------------------------------------------------------------

    async def _act(self, session: AsyncSession) -> None:
        if self._plan.image == SCRATCH:
            action = self._chance.choice([self._run, self._write_and_read])
        else:
            action = self._chance.choice(
                [self._run, self._write_and_read, self._flood, self._echo, self._runs_out_of_time]
            )
        await action(session)

    async def _run(self, session: AsyncSession) -> None:
        argv = ["/hello"] if self._plan.image == SCRATCH else ["true"]
        async with step("exec"):
            result = await session.exec(argv)
        assert result.ok, result

    async def _write_and_read(self, session: AsyncSession) -> None:
        content = self._chance.randbytes(self._chance.choice([0, 100, 10_000, 1_000_000]))
        name = f"d{self._chance.randrange(3)}/f{self._chance.randrange(10)}"
        async with step("write"):
            await session.write_file(name, content)
        async with step("read"):
            found = await session.read_file(name)
        assert found == content

    async def _flood(self, session: AsyncSession) -> None:
        # More than is kept: the rest is counted.
        size = self._chance.randrange(1, 4_000_000)
        result = await session.exec(["head", "-c", str(size), "/dev/zero"])
        assert len(result.stdout_bytes) + result.stdout_dropped == size
        assert result.ok, result

    async def _echo(self, session: AsyncSession) -> None:
        content = self._chance.randbytes(self._chance.randrange(200_000))
        result = await session.exec(["cat"], input=content)
        assert result.stdout_bytes == content

    async def _runs_out_of_time(self, session: AsyncSession) -> None:
        result = await session.exec(["sh", "-c", "sleep 600 & sleep 600"], timeout=0.2)
        assert result.timed_out, result

    # --- how it ends -----------------------------------------------------------------------------

    async def _destroy(self, session: AsyncSession) -> None:
        async with step("destroy"):
            await session.destroy()
        assert session.end_reason is EndReason.DESTROYED

    def _busy(self, session: AsyncSession) -> asyncio.Task[Any]:
        async def floods() -> None:
            async for _ in session.exec_stream(["cat", "/dev/zero"], timeout=None):
                pass

        async def writes() -> None:
            async with session.write_file_stream("big") as file:
                while True:
                    await file.write(bytes(100_000))
                    await asyncio.sleep(0.01)

        async def waits() -> None:
            await session.exec(["sh", "-c", "sleep 600 & sleep 600"], timeout=None)

        busy = [writes] if self._plan.image == SCRATCH else [floods, writes, waits]
        return asyncio.ensure_future(self._chance.choice(busy)())

    async def _destroy_while_busy(self, session: AsyncSession) -> None:
        task = self._busy(session)
        await asyncio.wait([task], timeout=self._chance.random())
        await self._destroy(session)
        try:
            await task
        except SandboxError:
            return
        raise AssertionError("what was under way went well although its session was destroyed")

    async def _cancel_while_busy(self, session: AsyncSession) -> None:
        task = self._busy(session)
        await asyncio.wait([task], timeout=self._chance.random())
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        # Nothing of it is left in the way of the next.
        await self._run(session)
        await self._destroy(session)

    async def _idle(self, session: AsyncSession) -> None:
        await self._over(session, EndReason.IDLE)

    async def _removed(self, session: AsyncSession) -> None:
        await self._observer.call(
            "DELETE", f"containers/fumehood-{session.id}", force="1", v="1", absent=True
        )
        await self._over(session, EndReason.LOST, EndReason.STOPPED)

    async def _killed(self, session: AsyncSession) -> None:
        container = await self._observer.container(session.id)
        assert container is not None
        os.kill(container["State"]["Pid"], signal.SIGKILL)
        await self._over(session, EndReason.LOST, EndReason.STOPPED, EndReason.RESOURCES)

    async def _over(self, session: AsyncSession, *reasons: EndReason) -> None:
        reason = await session.wait_ended()
        assert reason in reasons, reason
        await session.destroy()


_ENDINGS = {
    End.DESTROYED: Life._destroy,
    End.BUSY: Life._destroy_while_busy,
    End.CANCELLED: Life._cancel_while_busy,
    End.IDLE: Life._idle,
    End.REMOVED: Life._removed,
    End.KILLED: Life._killed,
}


class Client:
    """Sandboxes of every kind, made when they are first needed, and the sessions that live."""

    def __init__(self, observer: Observer) -> None:
        self._sandboxes: dict[tuple[str, End], AsyncDockerSandbox] = {}
        self._observer = observer
        self._lives: dict[str, Life] = {}

    def _sandbox(self, plan: Plan) -> AsyncDockerSandbox:
        end = plan.end if plan.end in (End.TTL, End.IDLE) else End.DESTROYED
        if (plan.image, end) not in self._sandboxes:
            self._sandboxes[plan.image, end] = AsyncDockerSandbox(
                image=plan.image,
                pull="never",
                limits=Limits(timeout=60, memory_mb=128 if plan.image == PYTHON else 64, pids=64),
                lifecycle=Lifecycle(
                    ttl=TTL if end is End.TTL else None,
                    idle_timeout=IDLE if end is End.IDLE else None,
                    disconnect_grace=GRACE,
                ),
            )
        return self._sandboxes[plan.image, end]

    async def _live(self, life: Life, id: str) -> None:
        await life.live()
        del self._lives[id]

    async def run(self) -> None:
        """Obey until the input ends."""
        reader = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        async with asyncio.TaskGroup() as tasks:
            while line := await reader.readline():
                order = json.loads(line)
                if "begin" in order:
                    plan = Plan.from_json(order["begin"])
                    life = Life(plan, self._sandbox(plan), self._observer)
                    self._lives[plan.id] = life
                    tasks.create_task(self._live(life, plan.id))
                elif order["end"] in self._lives:
                    self._lives[order["end"]].may_end.set()
            for life in self._lives.values():
                life.may_end.set()
        for sandbox in self._sandboxes.values():
            await sandbox.close()


async def main() -> None:
    observer = Observer()
    await Client(observer).run()
    await observer.close()


if __name__ == "__main__":
    asyncio.run(main())
