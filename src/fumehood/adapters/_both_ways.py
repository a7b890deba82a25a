"""One session for a framework that may call it in either way: blocking or awaited."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from fumehood._sync.session import Session
from fumehood.errors import InvalidRequestError, SessionError
from fumehood.session import AsyncSession
from fumehood.text import brief

_T = TypeVar("_T")


class BothWays:
    """A session, and how to run a coroutine that uses it.

    Args:
        given: a :class:`Session` can be called both ways, from any thread and any event loop; an
            :class:`AsyncSession` can be awaited alone, on the loop that it was made on.
    """

    def __init__(self, given: Session | AsyncSession) -> None:
        if isinstance(given, Session):
            self.session = given._async  # noqa: SLF001 - what the blocking face is a face of
            self._blocking: Session | None = given
        elif isinstance(given, AsyncSession):
            self.session = given
            self._blocking = None
        else:
            raise InvalidRequestError(f"not a Session or AsyncSession: {brief(given)}")

    def wait(self, make: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        """Run a coroutine to its end; an interrupt cancels it.

        Raises:
            SessionError: it is an AsyncSession, whose loop is its maker's.
        """
        if self._blocking is None:
            raise SessionError(
                "a blocking call on an AsyncSession; await it (agent.ainvoke), or give the adapter "
                "a Session, which serves both ways",
                session_id=self.session.id,
            )
        return self._blocking._call(make)  # noqa: SLF001 - as above

    async def run(self, make: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        """Await a coroutine; when the caller is cancelled, so is it, before this raises."""
        if self._blocking is None:
            return await make()
        return await self._blocking._join(make)  # noqa: SLF001 - as above
