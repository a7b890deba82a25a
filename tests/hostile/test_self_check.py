"""What users prove on their own hosts, proved here: the self-check in each kind of image."""

from __future__ import annotations

import asyncio

import pytest

from cases.mark import case
from fumehood import AsyncDockerSandbox
from fumehood.cli.self_check.command import Plan, findings_of
from hostile.arena import KINDS, Kind

SUPERVISOR = "The workload cannot stop, trace or speak as the supervisor"


@case("X37", SUPERVISOR)
@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
async def test_the_self_check_holds_whatever_the_image_is(kind: Kind) -> None:
    async with AsyncDockerSandbox() as sandbox:
        info = await sandbox.engine_info()
    plan = Plan(info=info, image=kind.image, runtime=None, docker_host=None)
    # A minute is what users are told.
    async with asyncio.timeout(60):
        findings = [finding async for finding in findings_of(plan)]
    assert [each for each in findings if each.outcome != "held"] == []
    assert len(findings) == 20
