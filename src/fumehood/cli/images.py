"""An image to try sessions with: the one that is asked for, or any likely one that is there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Literal, TypeVar

from fumehood import ImageNotFoundError
from fumehood.cli.run import DEFAULT_IMAGE

_T = TypeVar("_T")

# Any image will do, a pull is what it should not need: these are the likely ones to be there.
_CANDIDATES = (
    DEFAULT_IMAGE,
    "python:3-slim",
    "node:22-bookworm",
    "debian:bookworm-slim",
    "ubuntu:24.04",
    "alpine:latest",
    "busybox:latest",
    "fumehood/test-python",
    "fumehood/test-busybox",
)

Attempt = Callable[[str, Literal["never", "missing"]], Awaitable[_T]]
"""Takes an image's name and whether it may be pulled; raises ImageNotFoundError without it."""


async def with_any_image(image: str | None, attempt: Attempt[_T]) -> _T:
    """Make an attempt with an image that the engine has.

    Args:
        image: the one to use, pulled when it is missing; None for the first usual one that is
            there.
        attempt: what to do.

    Raises:
        ImageNotFoundError: there is none, and what to do about it.
    """
    if image is not None:
        return await attempt(image, "missing")
    last: ImageNotFoundError | None = None
    for name in _CANDIDATES:
        try:
            return await attempt(name, "never")
        except ImageNotFoundError as exc:
            last = exc
    raise ImageNotFoundError(
        f"none of the usual images is on this engine ({', '.join(_CANDIDATES[:7])}): "
        "'docker pull busybox' is enough, or name one with --image, which is pulled when missing"
    ) from last
