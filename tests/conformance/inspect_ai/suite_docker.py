"""The same rules on Inspect's own sandbox for Docker, whose time is shown beside ours."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import pytest
from inspect_ai.util import SandboxEnvironment
from inspect_ai.util._sandbox.docker.cleanup import project_cleanup_startup
from inspect_ai.util._sandbox.docker.docker import DockerSandboxEnvironment
from inspect_ai.util._sandbox.self_check import *  # noqa: F403 - that is how it is meant to be used

IMAGE = os.environ.get("FUMEHOOD_IMAGE", "fumehood/test-python")
PROJECT = """
services:
  default:
    image: {image}
    x-local: true
    init: true
    command: tail -f /dev/null
    network_mode: none
    user: {user}
    working_dir: {home}
"""
HOMES = {"root": "/root", "user": "/home/user"}
# Root passes over the modes of files there, and the framework's own run of these expects it.
ROOT_MAY = {
    "test_write_text_file_without_permissions",
    "test_write_binary_file_without_permissions",
}


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module", params=sorted(HOMES))
async def environment(
    request: pytest.FixtureRequest, anyio_backend: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[SandboxEnvironment]:
    config = tmp_path_factory.mktemp("project") / "compose.yaml"
    config.write_text(
        PROJECT.format(image=IMAGE, user=request.param, home=HOMES[request.param]), encoding="ascii"
    )
    # `task_init` does this and refuses engines before 24.0.6, with which a sample's calls work.
    project_cleanup_startup()
    environments = await DockerSandboxEnvironment.sample_init("self_check", str(config), {})
    try:
        yield environments["default"]
    finally:
        await DockerSandboxEnvironment.sample_cleanup(
            "self_check", str(config), environments, False
        )


@pytest.fixture
def sandbox_env(
    environment: SandboxEnvironment, request: pytest.FixtureRequest
) -> SandboxEnvironment:
    if (
        request.node.originalname in ROOT_MAY
        and request.node.callspec.params["environment"] == "root"
    ):
        reason = "the capabilities of Docker's root pass over permissions"
        request.node.add_marker(pytest.mark.xfail(reason=reason, strict=True))
    return environment


pytestmark = [pytest.mark.anyio, pytest.mark.baseline]
