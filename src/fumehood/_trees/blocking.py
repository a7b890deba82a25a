"""File work of this machine, in threads: awaited to its end, its errors made ours."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from fumehood._tether.cleanup import to_the_end
from fumehood._trees.local import local_error
from fumehood.errors import SandboxError

_P = ParamSpec("_P")
_T = TypeVar("_T")


async def blocking(
    op: str, path: str, doing: str, work: Callable[_P, _T], *args: _P.args, **more: _P.kwargs
) -> _T:
    """Run a step of a transfer in a thread; it is over when this returns, even when cancelled.

    Steps are short: one block of a file, one part of a listing.

    Raises:
        LocalFileError: for what the operating system says.
    """
    try:
        return await to_the_end(asyncio.to_thread(work, *args, **more))
    except OSError as exc:
        if isinstance(exc, SandboxError):
            raise
        raise local_error(exc, path, doing, op) from exc


async def settle(task: asyncio.Task[Any]) -> None:
    """Wait until a step is over; whoever awaits it has its error, or nobody wants it."""
    await asyncio.wait({task})
    if not task.cancelled():
        task.exception()
