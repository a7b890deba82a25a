"""The ends of containers, from one stream of events for all who wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import cast

import pytest

from fumehood.engines import docker_exits
from fumehood.engines.docker_client import ApiClient
from fumehood.engines.docker_exits import Exits
from fumehood.errors import EngineUnavailableError

A, B = "a" * 64, "b" * 64
Event = Mapping[str, object]


def died(nonce: str, code: str = "137", *, name: str = "fumehood-one") -> Event:
    marks = {"fumehood.session": "one", "fumehood.nonce": nonce}
    return {"Actor": {"Attributes": {**marks, "name": name, "exitCode": code}}}


class Api:
    """Streams of events, as a test feeds them."""

    address = "unix:///there"

    def __init__(self) -> None:
        self.outlived = True
        self.events: asyncio.Queue[Event | Exception | None] = asyncio.Queue()
        self.asked = 0
        self.open = 0

    async def each_line(self, *_: object, take: Callable[[Event], None], **__: object) -> None:
        self.asked += 1
        self.open += 1
        try:
            while (event := await self.events.get()) is not None:
                if isinstance(event, Exception):
                    raise event
                take(event)
        finally:
            self.open -= 1


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture
def exits(api: Api) -> Exits:
    return Exits(cast("ApiClient", api), outlived=lambda: api.outlived)


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_all_who_wait_share_one_stream_and_each_hears_of_its_own(
    api: Api, exits: Exits
) -> None:
    first, second, third = (asyncio.ensure_future(exits.wait(nonce)) for nonce in (A, A, B))
    await settled()
    assert (api.asked, api.open) == (1, 1)
    api.events.put_nowait(died("c" * 64))
    api.events.put_nowait(died(A))
    assert list(await asyncio.gather(first, second)) == [137, 137]
    assert not third.done()
    # It ended while the stream was open: whoever asks late is told.
    assert await exits.wait(A) == 137
    api.events.put_nowait(died(B, "66"))
    assert await third == 66
    await settled()
    assert api.open == 0, "nobody waits any more"


async def test_what_bears_a_sessions_labels_and_not_its_name_is_none(
    api: Api, exits: Exits
) -> None:
    waiting = asyncio.ensure_future(exits.wait(A))
    await settled()
    api.events.put_nowait(died(A, "1", name="made-by-docker-commit"))
    await settled()
    assert not waiting.done()
    api.events.put_nowait(died(A, "64"))
    assert await waiting == 64


async def test_who_gives_up_is_forgotten(api: Api, exits: Exits) -> None:
    waiting = asyncio.ensure_future(exits.wait(A))
    await settled()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await settled()
    assert api.open == 0
    again = asyncio.ensure_future(exits.wait(A))
    await settled()
    assert (api.asked, again.done()) == (2, False)
    await exits.close()
    assert api.open == 0
    again.cancel()


@pytest.mark.parametrize("end", [None, EngineUnavailableError("away")], ids=["ends", "breaks"])
async def test_a_stream_that_is_over_is_asked_for_again(
    api: Api, exits: Exits, monkeypatch: pytest.MonkeyPatch, end: Exception | None
) -> None:
    monkeypatch.setattr(docker_exits, "_PAUSE", 0)
    waiting = asyncio.ensure_future(exits.wait(A))
    await settled()
    api.events.put_nowait(end)
    api.events.put_nowait(died(A, "64"))
    assert await waiting == 64
    assert api.asked == 2


async def test_all_who_wait_hear_of_an_engine_that_takes_its_containers_along(
    api: Api, exits: Exits
) -> None:
    api.outlived = False
    waiting = [asyncio.ensure_future(exits.wait(nonce)) for nonce in (A, A, B)]
    await settled()
    api.events.put_nowait(EngineUnavailableError("away"))
    for one in waiting:
        with pytest.raises(EngineUnavailableError, match="its containers end with it"):
            await one
    await settled()
    assert api.open == 0


async def test_events_that_say_nothing_of_use_are_passed_over(api: Api, exits: Exits) -> None:
    waiting = asyncio.ensure_future(exits.wait(A))
    for event in ({}, {"Actor": 1}, {"Actor": {"Attributes": []}}, died(A, "x"), died(A, "")):
        api.events.put_nowait(event)
    await settled()
    assert not waiting.done()
    api.events.put_nowait(died(A, "0"))
    assert await waiting == 0


async def test_what_is_remembered_is_bounded(api: Api, exits: Exits) -> None:
    waiting = asyncio.ensure_future(exits.wait(A))
    for number in range(1000):
        api.events.put_nowait(died(f"{number:064x}"))
    api.events.put_nowait(died(B))
    while not api.events.empty():
        await asyncio.sleep(0)
    assert await exits.wait(B) == 137
    assert len(exits._ended) <= docker_exits._REMEMBERED
    waiting.cancel()
