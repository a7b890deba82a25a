"""LangChain's own rules for sandbox backends, on a session that is called both ways."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from langchain_tests.integration_tests import SandboxIntegrationTests

from fumehood import DockerSandbox
from fumehood.adapters.deepagents import FumehoodBackend

IMAGE = os.environ.get("FUMEHOOD_IMAGE", "fumehood/test-python")
OVERWRITES = "deepagents 0.7 made write() overwrite; langchain-tests 1.1.9 wants 0.6's error"
ABSOLUTE = "deepagents 0.7 made glob() return absolute paths; langchain-tests 1.1.9 wants relative"
NO_DIRECTORIES = (
    "deepagents 0.7 made glob() return files alone; langchain-tests 1.1.9 counts others"
)
STALE = {
    "test_write_existing_file_fails": OVERWRITES,
    "test_glob": ABSOLUTE,
    "test_glob_basic_pattern": ABSOLUTE,
    "test_glob_with_directories": NO_DIRECTORIES,
    "test_glob_hidden_files_explicitly": ABSOLUTE,
    "test_glob_with_character_class": ABSOLUTE,
    "test_glob_with_question_mark": ABSOLUTE,
}


class TestBackend(SandboxIntegrationTests):
    @pytest.fixture(scope="class")
    def sandbox(self) -> Iterator[FumehoodBackend]:
        with DockerSandbox(image=IMAGE) as sandbox, sandbox.create_session() as session:
            yield FumehoodBackend(session)

    @pytest.fixture(autouse=True)
    def stale(self, request: pytest.FixtureRequest) -> None:
        if reason := STALE.get(request.node.name):
            request.node.add_marker(pytest.mark.xfail(reason=reason, strict=True))
