"""Which containers have ended, as the engine tells it: one stream of events for all who wait."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import partial

from fumehood.engines import docker_listing, labels
from fumehood.engines.docker_client import ApiClient
from fumehood.errors import EngineUnavailableError, SandboxError

_log = logging.getLogger("fumehood.engine")

_BACK_SECONDS = 60.0
"""How far back the engine is asked: whoever waits has heard of the container a moment ago. By both
clocks, so there is room for their difference."""
_REMEMBERED = 256
_PAUSE = 1.0


class Exits:
    """Tells when containers end. Asks the engine nothing while nobody waits.

    Containers are known by their nonce, which no two ever share.

    Args:
        api: the engine.
        outlived: whether containers live on when the engine ends.
    """

    def __init__(self, api: ApiClient, *, outlived: Callable[[], bool]) -> None:
        self._api = api
        self._outlived = outlived
        self._waiting: dict[str, set[asyncio.Future[int]]] = {}
        self._ended: OrderedDict[str, int] = OrderedDict()
        self._listening: asyncio.Task[None] | None = None

    async def wait(self, nonce: str) -> int:
        """Wait until the container with this nonce has ended; return its exit code.

        Raises:
            EngineUnavailableError: the engine has ended, and its containers with it.
        """
        if nonce in self._ended:
            return self._ended[nonce]
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(nonce, set()).add(future)
        if self._listening is None:
            self._listening = asyncio.create_task(self._listen())
        # By the future and not by `finally`: of a loop that was closed under a wait, the
        # interpreter closes the coroutine, and nothing of asyncio may be touched any more.
        future.add_done_callback(partial(self._leave, nonce))
        return await future

    def _leave(self, nonce: str, future: asyncio.Future[int]) -> None:
        self._waiting[nonce].discard(future)
        if not self._waiting[nonce]:
            del self._waiting[nonce]
        if not self._waiting and self._listening is not None:
            self._listening.cancel()
            self._listening = None
            # Nobody listens: what ends from here on would be missing.
            self._ended.clear()

    async def _listen(self) -> None:
        while True:
            try:
                await self._read()
            except SandboxError as exc:
                _log.debug("watching for the ends of containers: %s", exc)
            if not self._outlived():
                self._fail()
            # The engine has ended the stream, or is away: it is asked again, also for what it did.
            await asyncio.sleep(_PAUSE)

    def _fail(self) -> None:
        for futures in self._waiting.values():
            for future in futures:
                if not future.done():
                    future.set_exception(
                        EngineUnavailableError(
                            f"the engine at {self._api.address} has ended, and its containers end "
                            "with it"
                        )
                    )

    async def _read(self) -> None:
        filters = {"type": ["container"], "event": ["die"], "label": [labels.NONCE]}
        await self._api.each_line(
            "GET",
            "events",
            take=self._take,
            params={
                "since": f"{max(0.0, time.time() - _BACK_SECONDS):.9f}",
                "filters": json.dumps(filters),
            },
            doing="watching for the ends of containers",
        )

    def _take(self, event: Mapping[str, object]) -> None:
        marks, code = docker_listing.from_death(event)
        if code is not None and docker_listing.is_sessions_name(marks.get("name", ""), marks):
            self._note(marks.get(labels.NONCE, ""), code)

    def _note(self, nonce: str, code: int) -> None:
        self._ended[nonce] = code
        if len(self._ended) > _REMEMBERED:
            self._ended.popitem(last=False)
        for future in self._waiting.get(nonce, ()):
            if not future.done():
                future.set_result(code)

    async def close(self) -> None:
        """Stop listening; who still waits is cancelled with whatever made it wait."""
        task, self._listening = self._listening, None
        if task is not None:
            task.cancel()
            await asyncio.wait({task})
