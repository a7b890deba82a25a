"""A tether whose other end is test code, and the parts of a session on top of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

import pytest

from fakes.engine import MemoryEngine
from fakes.resuming import ResumingSupervisor
from fakes.supervisor import CONFIGURE, PATIENCE, FakeSupervisor, Script
from fumehood import AsyncDockerSandbox
from fumehood._core import SessionCore
from fumehood._tether.tether import Tether
from fumehood._wire.connection import Connection
from fumehood.exec import ExecPart
from fumehood.hooks import Hooks
from fumehood.options import Limits
from fumehood.trees import TreesPart


class Parts(ExecPart, TreesPart):
    """What a session can do, without an engine."""

    def __init__(self, core: SessionCore) -> None:
        self._core = core


@dataclass(slots=True)
class Link:
    """Both ends of one connection."""

    peer: FakeSupervisor
    tether: Tether
    session: Parts


Connect = Callable[..., AbstractAsyncContextManager[Link]]
Make = Callable[..., AsyncDockerSandbox]


def make_tether(peer: FakeSupervisor, *, heartbeat: float = 3600.0) -> Tether:
    """Return a tether that has not begun."""
    return Tether(
        peer.stream,
        Connection(nonce=bytes(32), client="test", resume=peer.stream.can_break),
        session_id="s1",
        heartbeat_timeout=heartbeat,
        reopen=peer.reopen if isinstance(peer, ResumingSupervisor) else None,
    )


@contextlib.asynccontextmanager
async def connected(
    *,
    script: Script | None = None,
    hooks: Hooks | None = None,
    limits: Limits | None = None,
    heartbeat: float = 3600.0,
    peer: FakeSupervisor | None = None,
) -> AsyncIterator[Link]:
    """A settled tether to a supervisor that greets well."""
    peer = peer or FakeSupervisor(script=script)
    tether = make_tether(peer, heartbeat=heartbeat)
    tether.begin(CONFIGURE)
    await tether.settle(PATIENCE)
    core = SessionCore(
        id="s1",
        workdir="/workspace",
        limits=limits or Limits(),
        hooks=hooks or Hooks(),
        tether=tether,
    )
    try:
        yield Link(peer, tether, Parts(core))
    finally:
        await tether.close()


@pytest.fixture
def connect() -> Connect:
    return connected


@pytest.fixture
async def link() -> AsyncIterator[Link]:
    async with connected() as made:
        yield made


@pytest.fixture
async def engine() -> MemoryEngine:
    return MemoryEngine()


@pytest.fixture
async def make(engine: MemoryEngine) -> AsyncIterator[Make]:
    """Make sandboxes on the engine in memory; what is still open is closed."""
    made: list[AsyncDockerSandbox] = []

    def sandbox(**options: object) -> AsyncDockerSandbox:
        new = AsyncDockerSandbox(**options)  # type: ignore[arg-type]
        new._engine = engine
        new._loop = asyncio.get_running_loop()
        made.append(new)
        return new

    yield sandbox
    engine.fail_removal = None
    for item in made:
        await item.close()
