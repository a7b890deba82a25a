"""smolagents' own rules for executors in a container, on a session without a network."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from upstream import common_tests

from fumehood import DockerSandbox, Session
from fumehood.adapters.smolagents import FumehoodExecutor

# With numpy and Pillow, which the rules use inside.
IMAGE = os.environ["FUMEHOOD_KERNEL_IMAGE"]

pytestmark = pytest.mark.compared


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    with DockerSandbox(image=IMAGE) as sandbox, sandbox.create_session() as made:
        yield made


class TestExecutor(common_tests()):  # type: ignore[misc]
    @pytest.fixture
    def custom_executor(self, session: Session) -> Iterator[FumehoodExecutor]:
        executor = FumehoodExecutor(session)
        yield executor
        executor.cleanup()
