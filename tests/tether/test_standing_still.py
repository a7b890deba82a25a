"""A session that stands still for a snapshot, and whose supervisor does not let it go on."""

from __future__ import annotations

import asyncio
import logging

import pytest

from fakes.engine import MemoryEngine
from fakes.supervisor import PATIENCE, FakeSupervisor, Opened
from fumehood import AsyncSession, OperationTimeoutError, SandboxError
from fumehood import _progress as progress
from fumehood import state as state_module
from fumehood._wire.table import ErrorCode, Operation
from fumehood.engines.state import Holding, HoldRequest
from tether.conftest import Make


class Held:
    """Holds what it is given, by name."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.failure: Exception | None = None

    async def hold(self, request: HoldRequest) -> Holding:
        if self.failure is not None:
            raise self.failure
        self.names.append(request.name)
        return Holding(
            id=request.name,
            kind=request.kind,
            name=request.name,
            token=request.token,
            image_id="",
            image=request.image,
            layer="",
            workdir=request.workdir,
            created_at=0.0,
            expires_at=None,
            origin="",
            workspace_id=None,
            destroy_workspace=False,
            detached=False,
            owner="",
            metadata={},
        )

    async def read_record(self, holding: Holding) -> dict[str, object]:
        return {}


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Held:
    held = Held()
    monkeypatch.setattr(state_module, "holder", lambda engine: held)

    async def forget(session: AsyncSession, name: str, token: str) -> None:
        held.names.remove(name)

    monkeypatch.setattr(AsyncSession, "_forget_snapshot", forget)
    return held


def _refuses(peer: FakeSupervisor, channel: Opened) -> None:
    if channel.operation is Operation.UNPAUSE:
        peer.fail(channel.number, ErrorCode.OUT_OF_MEMORY)
    else:
        peer.done(channel.number)


def _is_silent(peer: FakeSupervisor, channel: Opened) -> None:
    if channel.operation is not Operation.UNPAUSE:
        peer.done(channel.number)


@pytest.mark.parametrize(
    "script, error", [(_refuses, SandboxError), (_is_silent, OperationTimeoutError)]
)
async def test_a_session_that_may_stand_still_for_ever_is_an_error_and_no_snapshot(
    make: Make,
    engine: MemoryEngine,
    held: Held,
    script: object,
    error: type[Exception],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(progress, "PATIENCE", 0.2)
    async with asyncio.timeout(PATIENCE), make().create_session(id="s1") as session:
        engine.supervisors["s1"].script = script  # type: ignore[assignment]
        with pytest.raises(error), caplog.at_level(logging.WARNING):
            await session.snapshot("kept")
    assert held.names == []
    assert "session s1 may stand still until unpause()" in caplog.text


async def test_what_has_failed_before_is_what_the_caller_hears(
    make: Make, engine: MemoryEngine, held: Held, caplog: pytest.LogCaptureFixture
) -> None:
    held.failure = OSError("no room")
    async with asyncio.timeout(PATIENCE), make().create_session(id="s1") as session:
        engine.supervisors["s1"].script = _refuses
        with pytest.raises(OSError, match="no room"), caplog.at_level(logging.WARNING):
            await session.snapshot("kept")
    assert "may stand still" in caplog.text
