"""Containers that wait in pools, as the engine shows them: their names, their claims, the sweep."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from engine.peer import Peer
from fumehood.engines import docker_listing, labels
from fumehood.engines.base import SessionRequest
from fumehood.engines.container_spec import container_name, warm_name
from fumehood.engines.docker import DockerEngine
from fumehood.errors import SessionExistsError, SessionNotFoundError

Open = Callable[..., Awaitable[tuple[SessionRequest, Peer]]]


@pytest.mark.engine
class TestClaims:
    async def test_what_waits_is_no_session_until_it_is_claimed(
        self, engine: DockerEngine, open_session: Open, unique: Callable[[], str]
    ) -> None:
        request, peer = await open_session(warm=True)
        name = unique()
        try:
            assert await engine.find_session(request.session_id) is None
            listed = [item.session_id for item in await engine.list_sessions()]
            assert request.session_id not in listed
            await engine.claim_session(request.session_id, name)
            found = await engine.find_session(name)
            assert found is not None
            assert (found.session_id, found.pool_id) == (name, request.session_id)
            assert (found.nonce, found.warm) == (request.nonce, False)
            assert name in [item.session_id for item in await engine.list_sessions()]
            assert await peer.ask("echo up") == "up"
        finally:
            await engine.discard(request.nonce)
        assert await engine.find_session(name) is None

    async def test_a_claimed_session_has_its_end_told(
        self, engine: DockerEngine, open_session: Open, unique: Callable[[], str]
    ) -> None:
        request, peer = await open_session(warm=True)
        name = unique()
        await engine.claim_session(request.session_id, name)
        peer.stream.write(b"exit 68\n")
        await peer.ended()
        await engine.remove_session(name, nonce=request.nonce)
        assert await engine.exit_code(request.nonce) == 68

    async def test_of_many_claims_of_one_id_one_gets_it(
        self, engine: DockerEngine, open_session: Open, unique: Callable[[], str]
    ) -> None:
        waiting = [await open_session(warm=True) for _ in range(3)]
        name = unique()
        try:
            results = await asyncio.gather(
                *(engine.claim_session(request.session_id, name) for request, _ in waiting),
                return_exceptions=True,
            )
            holder = await engine.find_session(name)
            assert sorted(type(result).__name__ for result in results) == [
                "NoneType",
                "SessionExistsError",
                "SessionExistsError",
            ], (results, holder, [peer.endings for _, peer in waiting])
            winner = [type(result) for result in results].index(type(None))
            assert holder is not None
            assert holder.nonce == waiting[winner][0].nonce
        finally:
            for request, _ in waiting:
                await engine.discard(request.nonce)

    async def test_the_id_of_a_session_that_lives_is_refused_and_one_that_is_released_is_not(
        self, engine: DockerEngine, open_session: Open
    ) -> None:
        holder, peer = await open_session()
        request, _ = await open_session(warm=True)

        async def failed(error: Exception) -> None:
            raise AssertionError(error)

        try:
            with pytest.raises(SessionExistsError, match=holder.session_id):
                await engine.claim_session(request.session_id, holder.session_id)
            assert await peer.ask("echo unharmed") == "unharmed"
            engine.release_session(holder.session_id, holder.nonce, failed=failed)
            assert await engine.find_session(holder.session_id) is None
            await engine.claim_session(request.session_id, holder.session_id)
            found = await engine.find_session(holder.session_id)
            assert found is not None
            assert found.nonce == request.nonce
            # A late removal of the first one leaves the second alone.
            await engine.remove_session(holder.session_id, nonce=holder.nonce)
            assert await engine.find_session(holder.session_id) is not None
        finally:
            await engine.discard(request.nonce)

    async def test_what_is_gone_cannot_be_claimed(
        self, engine: DockerEngine, open_session: Open, unique: Callable[[], str]
    ) -> None:
        request, _ = await open_session(warm=True)
        await engine.discard(request.nonce)
        with pytest.raises(SessionNotFoundError):
            await engine.claim_session(request.session_id, unique())

    async def test_a_sweep_leaves_what_waits_and_what_is_claimed_alone(
        self, engine: DockerEngine, open_session: Open, unique: Callable[[], str]
    ) -> None:
        waiting, _ = await open_session(warm=True, ttl=0.1)
        claimed, _ = await open_session(warm=True, ttl=0.1)
        name = unique()
        try:
            await engine.claim_session(claimed.session_id, name)
            report = await engine.sweep(minimum_age=3600)
            assert {warm_name(waiting.session_id), container_name(name)} <= set(report.kept)
        finally:
            await engine.discard(waiting.nonce)
            await engine.discard(claimed.nonce)


def listed(name: str, **marks: str) -> Any:
    """Return a container as the engine lists it."""
    nonce = {labels.NONCE: "ab" * 32, labels.SESSION: "made-as"}
    return docker_listing.from_list(
        {"Id": "1", "Names": [f"/{name}"], "Labels": nonce | marks, "State": "running"}
    )


@pytest.mark.parametrize(
    "name,marks,session_id,warm",
    [
        ("fumehood-made-as", {}, "made-as", False),
        ("fumehood-_warm-made-as", {labels.POOL: "1"}, "made-as", True),
        ("fumehood-other", {labels.POOL: "1"}, "other", False),
        ("fumehood-made-as", {labels.POOL: "1"}, "made-as", False),
    ],
)
def test_name_and_labels_say_what_a_container_is(
    name: str, marks: dict[str, str], session_id: str, warm: bool
) -> None:
    found = listed(name, **marks)
    assert (found.session_id, found.warm) == (session_id, warm)
    assert found.pool_id == ("made-as" if marks else "")


@pytest.mark.parametrize(
    "name,marks",
    [
        # Only what was made for a pool may be called other than its labels say.
        ("fumehood-other", {}),
        ("fumehood-_warm-made-as", {}),
        ("fumehood-other", {labels.POOL: "yes"}),
        # No id can be this.
        ("fumehood-_warm-other", {labels.POOL: "1"}),
        ("fumehood-", {labels.POOL: "1"}),
        ("fumehood-UP", {labels.POOL: "1"}),
        ("elsewhere", {labels.POOL: "1"}),
        ("fumehood-other", {labels.POOL: "1", labels.SESSION: "../x"}),
        ("fumehood-other", {labels.POOL: "1", labels.NONCE: "short"}),
    ],
)
def test_what_does_not_fit_together_is_nobodys(name: str, marks: dict[str, str]) -> None:
    assert listed(name, **marks) is None
