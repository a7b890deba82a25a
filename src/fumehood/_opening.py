"""What can be awaited, or entered: ``s = await opening`` and ``async with opening as s``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar


class Entered(Protocol):
    """An object that ends with its block."""

    async def __aenter__(self) -> Self:
        """Enter the block."""
        ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave it."""


_T = TypeVar("_T", bound=Entered)


class Opening(Generic[_T]):
    """Something that is yet to be made: await it, or use it with ``async with``."""

    def __init__(self, make: Callable[[], Awaitable[_T]]) -> None:
        self._make = make
        self._made: _T | None = None

    def __await__(self) -> Generator[Any, None, _T]:
        """Make it."""
        return self._make().__await__()

    async def __aenter__(self) -> _T:
        """Make it, and enter its block."""
        self._made = await self._make()
        return await self._made.__aenter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave its block."""
        assert self._made is not None
        await self._made.__aexit__(kind, error, trace)
