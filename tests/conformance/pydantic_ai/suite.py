"""Pydantic AI's own rules for workspace backends, on sessions as root and as another user."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from pydantic_ai.workspaces import WorkspaceBackend, WorkspaceRef
from pydantic_ai.workspaces.conformance import WorkspaceBackendSuite

from fumehood import AsyncDockerSandbox
from fumehood.adapters.pydantic_ai import FumehoodBackend

IMAGE = os.environ.get("FUMEHOOD_IMAGE", "fumehood/test-python")


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


class Rules(WorkspaceBackendSuite):
    user: str

    @pytest.fixture(scope="class")
    async def sandbox(self, request: pytest.FixtureRequest) -> AsyncIterator[AsyncDockerSandbox]:
        async with AsyncDockerSandbox(image=IMAGE, user=request.cls.user) as sandbox:
            yield sandbox

    @pytest.fixture(scope="class")
    async def shared(self, sandbox: AsyncDockerSandbox) -> FumehoodBackend:
        return FumehoodBackend(sandbox)

    @pytest.fixture
    def backend(self, shared: FumehoodBackend) -> WorkspaceBackend:
        return shared

    @pytest.fixture
    def fresh_backend(self, sandbox: AsyncDockerSandbox) -> Callable[[], WorkspaceBackend]:
        return lambda: FumehoodBackend(sandbox)

    @pytest.fixture
    def attach_backend(
        self, sandbox: AsyncDockerSandbox
    ) -> Callable[[WorkspaceRef], WorkspaceBackend]:
        return lambda ref: FumehoodBackend(sandbox, ref=ref)

    @pytest.fixture
    def destroy_environment(
        self, sandbox: AsyncDockerSandbox
    ) -> Callable[[WorkspaceBackend], Awaitable[None]]:
        async def destroy(backend: WorkspaceBackend) -> None:
            assert backend.ref is not None
            await sandbox.destroy_session(backend.ref.id)

        return destroy


class TestAsRoot(Rules):
    user = "root"


class TestAsUser(Rules):
    user = "user"


del Rules, WorkspaceBackendSuite
