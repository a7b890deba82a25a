"""The same rules on smolagents' own executor for Docker, whose time is shown beside ours."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest
from smolagents.monitoring import AgentLogger, LogLevel
from smolagents.remote_executors import DockerExecutor
from upstream import common_tests

# The one that it builds begins with a registry's; this holds the same server.
IMAGE = os.environ["FUMEHOOD_KERNEL_IMAGE"]

pytestmark = pytest.mark.baseline


@pytest.fixture(scope="module")
def executor() -> Iterator[DockerExecutor]:
    """One container for all cases, as ours have one session."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    made = DockerExecutor(
        [], AgentLogger(level=LogLevel.OFF), port=port, image_name=IMAGE, build_new_image=False
    )
    yield made
    made.cleanup()


class TestDockerExecutor(common_tests()):  # type: ignore[misc]
    @pytest.fixture
    def custom_executor(self, executor: DockerExecutor) -> DockerExecutor:
        return executor
