"""Many clients that sweep at once, while others create and work."""

from __future__ import annotations

import asyncio
import secrets
from typing import Any

import pytest

from cases.mark import case
from faults.conftest import IMAGE, MakeSandbox
from faults.engine import OwnEngine
from fumehood.engines.base import SweepReport
from fumehood.engines.docker import DockerEngine

CREATION = "A failed or cancelled creation leaves nothing"
SWEEPERS = 10


async def never_started(engine: OwnEngine, number: int) -> str:
    """Make what a client leaves that dies between a create and its start."""
    session_id = f"left-{number}"
    await engine.observer.call(
        "POST",
        "containers/create",
        name=f"fumehood-{session_id}",
        body={
            "Image": IMAGE,
            "Cmd": ["true"],
            "Labels": {
                "fumehood": "0",
                "fumehood.session": session_id,
                "fumehood.nonce": secrets.token_hex(32),
            },
        },
    )
    return f"fumehood-{session_id}"


@case("F11", CREATION)
async def test_ten_sweeps_at_once_take_the_same_leftovers_without_an_error(
    engine: OwnEngine, sandbox: MakeSandbox
) -> None:
    left = {await never_started(engine, number) for number in range(20)}
    clients = [DockerEngine(engine.address) for _ in range(SWEEPERS)]
    async with sandbox() as box, box.create_session() as live:
        reports: list[SweepReport] = await asyncio.gather(
            *(client.sweep(minimum_age=0) for client in clients)
        )
        for report in reports:
            assert report.failed == {}
            assert live.id not in str(report.containers)
        assert left <= {name for report in reports for name in report.containers}
        assert (await live.exec(["echo", "well"], check=True)).stdout == "well\n"
    for client in clients:
        await client.close()


@case("F11", CREATION)
@pytest.mark.slow
async def test_sweeps_during_creations_harm_no_session(
    engine: OwnEngine, sandbox: MakeSandbox, caplog: Any
) -> None:
    clients = [sandbox() for _ in range(SWEEPERS)]
    done = asyncio.Event()
    over: set[str] = set()

    async def sweeps(client: Any) -> None:
        while not done.is_set():
            report = await client.gc(supervisors=True)
            assert report.failed == {}
            # A session that has ended may be on the engine still, and then anybody may remove it.
            assert set(report.containers) <= over

    async with sandbox() as box:
        async with box.create_session():
            pass  # the supervisor is on the engine
        sweeping = [asyncio.ensure_future(sweeps(client)) for client in clients]

        async def lives() -> None:
            async with box.create_session() as session:
                for _ in range(5):
                    result = await session.exec(["echo", "well"], check=True)
                    assert result.stdout == "well\n"
                over.add(f"fumehood-{session.id}")

        try:
            for _ in range(2):
                await asyncio.gather(*(lives() for _ in range(4)))
        finally:
            done.set()
            await asyncio.gather(*sweeping)
    for client in clients:
        await client.close()
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []
