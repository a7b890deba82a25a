"""What the generated blocking classes share: an asynchronous object and the portal it is on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Generic, TypeVar

from fumehood import _portal

_A = TypeVar("_A")
_T = TypeVar("_T")


class Blocking(Generic[_A]):
    """A blocking face of one asynchronous object. Any thread may use it."""

    _instead: str

    def __init__(self, inner: _A) -> None:
        self._portal = _portal.get()
        self._async = inner

    def __repr__(self) -> str:
        return repr(self._async).replace("<Async", "<", 1)

    def _call(self, make: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        return self._portal.call(make, instead=self._instead)

    async def _join(self, make: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        return await self._portal.join(make)

    def _look(self, read: Callable[[], _T]) -> _T:
        return self._portal.look(read, instead=self._instead)

    @staticmethod
    async def _await(awaitable: Awaitable[_T]) -> _T:
        return await awaitable
