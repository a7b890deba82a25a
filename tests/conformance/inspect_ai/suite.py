"""Inspect's own rules for sandbox providers, on sessions as root and as another user."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import pytest
from inspect_ai.util import SandboxEnvironment
from inspect_ai.util._sandbox.registry import registry_find_sandboxenv
from inspect_ai.util._sandbox.self_check import *  # noqa: F403 - that is how it is meant to be used

from fumehood.adapters.inspect_ai import FumehoodConfig

IMAGE = os.environ.get("FUMEHOOD_IMAGE", "fumehood/test-python")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module", params=["root", "nonroot"])
async def environment(
    request: pytest.FixtureRequest, anyio_backend: str
) -> AsyncIterator[SandboxEnvironment]:
    # By its name, as a task finds it: that is the entry point's test.
    provider = registry_find_sandboxenv("fumehood")
    config = FumehoodConfig(image=IMAGE, user=request.param, root_tools=True)
    await provider.task_init("self_check", config)
    environments = await provider.sample_init("self_check", config, {})
    try:
        yield environments["default"]
    finally:
        await provider.sample_cleanup("self_check", config, environments, False)
        await provider.task_cleanup("self_check", config, True)


@pytest.fixture
def sandbox_env(environment: SandboxEnvironment) -> SandboxEnvironment:
    return environment


pytestmark = [pytest.mark.anyio, pytest.mark.compared]
