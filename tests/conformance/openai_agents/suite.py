"""One script, played by fumehood's client and by the framework's own for Docker."""

from __future__ import annotations

import os
from pathlib import Path

import docker
import pytest
from agents.sandbox.sandboxes.docker import DockerSandboxClient, DockerSandboxClientOptions
from agreed import AGREED
from script import PORT, play

from fumehood.adapters.openai_agents import FumehoodSandboxClient, FumehoodSandboxClientOptions

IMAGE = os.environ.get("FUMEHOOD_IMAGE", "fumehood/test-python")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.compared
@pytest.mark.anyio
async def test_fumehoods_client_gives_what_both_have_agreed_on(tmp_path: Path) -> None:
    options = FumehoodSandboxClientOptions(image=IMAGE, exposed_ports=(PORT,))
    assert await play(FumehoodSandboxClient(), options, tmp_path) == AGREED


@pytest.mark.baseline
@pytest.mark.anyio
async def test_the_frameworks_client_for_docker_gives_the_same(tmp_path: Path) -> None:
    options = DockerSandboxClientOptions(image=IMAGE, exposed_ports=(PORT,))
    engine = docker.from_env()
    try:
        assert await play(DockerSandboxClient(engine), options, tmp_path) == AGREED
    finally:
        engine.close()
