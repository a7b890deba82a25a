"""Which engine to talk to: the endpoint as the docker command line resolves it."""

from __future__ import annotations

import os
from dataclasses import dataclass

import aiohttp

from fumehood.errors import EngineUnsupportedError

DEFAULT_HOST = "unix:///var/run/docker.sock"


@dataclass(frozen=True, slots=True)
class UnixEndpoint:
    """An engine behind a unix socket."""

    path: str

    @property
    def address(self) -> str:
        """The address as a person would write it."""
        return f"unix://{self.path}"

    async def connector(self) -> tuple[str, aiohttp.BaseConnector]:
        """Return the base URL and a new connector."""
        # No limit: every session's stream holds a connection for as long as it lives.
        return "http://docker", aiohttp.UnixConnector(self.path, limit=0)

    async def close(self) -> None:
        """Do nothing: a socket's path needs no release."""


def resolve(docker_host: str | None = None) -> UnixEndpoint:
    """Return the endpoint."""
    host = docker_host or os.environ.get("DOCKER_HOST") or DEFAULT_HOST
    if not host.startswith("unix://"):
        raise EngineUnsupportedError(f"docker host {host!r} is not supported")
    return UnixEndpoint(host.removeprefix("unix://"))
