"""What suites of our own cases begin with: a session, under asyncio; by `pytest_plugins`."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import pytest

from fumehood import AsyncDockerSandbox, AsyncSession

IMAGE = os.environ.get("FUMEHOOD_IMAGE", "fumehood/test-python")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def session() -> AsyncIterator[AsyncSession]:
    async with AsyncDockerSandbox(image=IMAGE) as sandbox, sandbox.create_session() as made:
        yield made
