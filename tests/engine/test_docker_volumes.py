"""Shared volumes that change while a session is being created."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from engine.conftest import MakeRequest, client
from fumehood.engines.base import SessionRequest
from fumehood.engines.docker import DockerEngine
from fumehood.engines.docker_volumes import SharedVolumes
from fumehood.errors import EngineError
from fumehood.volumes import Volume


async def test_one_that_goes_away_meanwhile_is_an_error_and_no_empty_one_takes_its_place(
    engine: DockerEngine,
    make_request: MakeRequest,
    unique: Callable[[], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name = f"going-{unique()}"
    real = SharedVolumes.check

    async def check_and_lose(self: SharedVolumes, request: SessionRequest) -> None:
        async with client() as api:
            await api.request("POST", "volumes/create", body={"Name": name}, doing="making it")
            await real(self, request)
            await api.request("DELETE", f"volumes/{name}", doing="taking it away")

    monkeypatch.setattr(SharedVolumes, "check", check_and_lose)
    request = make_request(volumes=(Volume(name, "/data"),))
    with pytest.raises(EngineError, match="was removed from the engine"):
        await engine.create_session(request)
    assert await engine.find_session(request.session_id) is None
    async with client() as api:
        assert await api.find(f"volumes/{name}", doing="looking") is None
