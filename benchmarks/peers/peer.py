"""What a peer's module fills in: plain methods or coroutines, as the peer's own calls are."""

from __future__ import annotations

import os
from typing import Any, ClassVar

IMAGE = os.environ.get("BENCH_IMAGE", "")
"""The image of the sessions, which the driver sets; a peer with a server inside has its own."""


class Peer:
    """A client of some sandbox. ``Any`` stands for whatever the peer calls a session."""

    packages: ClassVar[tuple[str, ...]] = ()
    """Distributions whose versions are shown."""
    lacks: ClassVar[dict[str, str]] = {}
    """Of ``files``, ``timeout``, ``crowd``: what it has no call for, and what one does instead."""

    creates_at_once: ClassVar[int] = 8
    """How many sessions the driver makes at a time where it needs many."""

    def open(self) -> Any:
        """Make what all sessions share."""

    def close(self) -> Any:
        """Let go of it."""

    def versions(self) -> dict[str, str]:
        """Return what was measured."""
        from importlib.metadata import version

        return {name: version(name) for name in self.packages}

    def create(self) -> Any:
        """Return a session that is ready for a command."""
        raise NotImplementedError

    def run(self, session: Any, command: str, timeout: float | None = None) -> Any:
        """Run a line of shell and return its output as bytes."""
        raise NotImplementedError

    def write(self, session: Any, name: str, content: bytes) -> Any:
        """Put a file into the session."""
        raise NotImplementedError

    def read(self, session: Any, name: str) -> Any:
        """Return the bytes of a file of the session."""
        raise NotImplementedError

    def flood(self, session: Any, command: str) -> Any:
        """Run a command with much output, let go of it as soon as one can; return its size."""
        raise NotImplementedError

    def destroy(self, session: Any) -> Any:
        """Remove the session."""
        raise NotImplementedError

    def gone(self, session: Any) -> Any:
        """Wait until nothing of a destroyed session is left, where ``destroy`` does not."""

    def container(self, session: Any) -> str | None:
        """Return the id or name of the session's container, if it has one."""
        raise NotImplementedError
