"""smolagents' own rules for executors in a container, on a session without a network."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from upstream import common_tests, packages

from fumehood import DockerSandbox, Session
from fumehood.adapters.smolagents import FumehoodExecutor

IMAGE = os.environ.get("FUMEHOOD_IMAGE", "fumehood/test-python")


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    sandbox = DockerSandbox(image=IMAGE, env={"PYTHONPATH": "/workspace/site"})
    with sandbox, sandbox.create_session() as made:
        made.upload(f"{packages(made)}/.", "site")
        yield made


class TestExecutor(common_tests()):  # type: ignore[misc]
    @pytest.fixture
    def custom_executor(self, session: Session) -> Iterator[FumehoodExecutor]:
        executor = FumehoodExecutor(session)
        yield executor
        executor.cleanup()
