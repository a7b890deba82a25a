"""A session that is reached over a network, and its stream as it breaks and comes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Unpack

from faults.conftest import MakeSandbox, OpenProxy
from faults.pending import SECONDS
from faults.proxy import Proxy
from fumehood import AsyncSession, Lifecycle, SessionState
from fumehood.sandbox import SandboxOptions

PATIENT = Lifecycle(disconnect_grace=60)


@asynccontextmanager
async def reached(
    sandbox: MakeSandbox, open_proxy: OpenProxy, **options: Unpack[SandboxOptions]
) -> AsyncIterator[tuple[Proxy, AsyncSession]]:
    """Give a session whose client is patient, and the proxy in which its stream can be cut."""
    options.setdefault("lifecycle", PATIENT)
    async with (
        open_proxy(tcp=True) as (proxy, address),
        sandbox(docker_host=address, **options) as box,
        box.create_session() as session,
    ):
        yield proxy, session


async def noticed(session: AsyncSession) -> None:
    """Wait until the client has noticed that its stream is broken."""
    async with asyncio.timeout(SECONDS):
        while session.state is SessionState.RUNNING:
            await asyncio.sleep(0.005)


async def back(session: AsyncSession, times: int) -> None:
    """Wait until it has another one."""
    async with asyncio.timeout(6 * SECONDS):
        while session.statistics()["resumed"] < times or session.state is not SessionState.RUNNING:
            assert session.end_reason is None, session
            await asyncio.sleep(0.01)


async def cut_twice(proxy: Proxy, session: AsyncSession) -> None:
    """Cut its stream, and the one that takes its place."""
    for time in (1, 2):
        assert proxy.cut_streams() == 1
        await noticed(session)
        await back(session, time)
