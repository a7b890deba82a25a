"""The sandbox sessions behind a server: which one a call means, and when each of them ends."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field

from fumehood.errors import SandboxError
from fumehood.mcp.config import Config
from fumehood.results import SessionState
from fumehood.sandbox import AsyncDockerSandbox
from fumehood.session import AsyncSession
from fumehood.tools import AsyncToolset, create_tools

logger: logging.Logger = logging.getLogger("fumehood.mcp")


class TooManySessionsError(Exception):
    """The server holds as many sessions as it may."""


@dataclass(slots=True)
class Place:
    """One session and its tools, made when they are first needed."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    session: AsyncSession | None = None
    tools: AsyncToolset | None = None


class Places:
    """The sessions of a server by what names them: a connection, or the model's own name.

    Args:
        sandbox: what makes them. It belongs to the caller, whose end ends them all.
        config: how many there may be, and what their tools may do.
    """

    def __init__(self, sandbox: AsyncDockerSandbox, config: Config) -> None:
        self._sandbox = sandbox
        self._config = config
        self._places: dict[str, Place] = {}

    @property
    def names(self) -> list[str]:
        """What has a session."""
        return sorted(self._places)

    async def tools(self, key: str, *, make: bool) -> AsyncToolset | None:
        """Return the tools of a session; None where there is none and none is to be made.

        Raises:
            TooManySessionsError: as many as the server may hold are there.
            SandboxError: it could not be made.
        """
        place = self._places.get(key)
        if place is None:
            if not make:
                return None
            self._forget_ended()
            if len(self._places) >= self._config.max_sessions:
                raise TooManySessionsError(
                    f"there are {len(self._places)} sandboxes already: end one first"
                )
            place = self._places[key] = Place()
        async with place.lock:
            if place.tools is None:
                try:
                    place.session = await self._sandbox.create_session(metadata={"mcp": "1"})
                except BaseException:
                    self._drop(key, place)
                    raise
                include, policy = self._config.include, self._config.policy
                place.tools = create_tools(place.session, include=include, policy=policy)
            return place.tools

    def _forget_ended(self) -> None:
        for key, place in list(self._places.items()):
            if place.session is not None and place.session.state is SessionState.ENDED:
                del self._places[key]

    def session(self, key: str) -> AsyncSession | None:
        """Return a session that was made."""
        place = self._places.get(key)
        return None if place is None else place.session

    def forget(self, key: str) -> None:
        """Forget a session that has ended: the next call makes another one."""
        self._places.pop(key, None)

    def _drop(self, key: str, place: Place) -> None:
        if self._places.get(key) is place:
            del self._places[key]

    async def end(self, key: str) -> bool:
        """End a session, and return whether there was one.

        Raises:
            EngineError: the engine could not remove it; its lease does, with this process.
        """
        place = self._places.pop(key, None)
        if place is None:
            return False
        async with place.lock:
            if place.session is not None:
                await place.session.destroy()
        return True

    async def end_quietly(self, key: str) -> None:
        """End a session when nobody is there any more to be told of a failure."""
        try:
            await self.end(key)
        except SandboxError as exc:
            logger.warning("the session of a connection that has ended: %s", exc)
