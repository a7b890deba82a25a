"""References of images, before any engine is asked about one."""

from __future__ import annotations

import re

from fumehood.engines.docker_text import printable
from fumehood.errors import InvalidRequestError

_MAX_REFERENCE = 512
# Docker's own grammar, without its lengths: [host[:port]/]path[:tag][@digest], or an id.
_REFERENCE = re.compile(
    r"(?:(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:]+\])(?::[0-9]+)?/)?"
    r"[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*)*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?"
    r"(?:@[A-Za-z][A-Za-z0-9]*(?:[+._-][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,})?"
    r"|sha256:[0-9a-f]{64}"
)


def layer_reference(tag: str) -> str:
    """Return the reference of an image that was made of a session's file system."""
    return f"fumehood-layer:{tag}"


def check_reference(reference: str) -> str:
    """Return an image reference, or raise before it becomes part of a request's path."""
    if (
        not isinstance(reference, str)
        or len(reference) > _MAX_REFERENCE
        or not _REFERENCE.fullmatch(reference)
    ):
        raise InvalidRequestError(
            f"image {printable(str(reference), limit=80)!r} is not an image reference such as "
            "'python:3.13-slim', 'ghcr.io/owner/name@sha256:…' or an image id"
        )
    return reference
