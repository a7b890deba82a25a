"""A sandbox out of the plain values that a framework's own configuration can hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel

from fumehood.options import MIB, Lifecycle, Limits, Network, Security
from fumehood.sandbox import DEFAULT_IMAGE, AsyncDockerSandbox


class SessionConfig(BaseModel, frozen=True):
    """What the sessions of a framework are. Everything has the default of fumehood itself."""

    image: str = DEFAULT_IMAGE
    pull: Literal["missing", "always", "never"] = "missing"
    user: str | None = None
    network: str = "none"
    """``"none"``, ``"bridge"``, or the name of a network of the engine."""
    memory_mb: int = 512
    cpus: float = 1.0
    pids: int = 512
    max_file_bytes: int = 1024 * MIB
    root_tools: bool = False
    """Let commands change users and owners: ``Security.root_tools()``."""
    ttl: float | None = None
    """Seconds after which a session ends whatever happens."""
    detached: bool = False
    """Let sessions outlive whoever has made them; needs ``ttl``."""


def make_sandbox(
    config: SessionConfig, *, workdir: str, env: Mapping[str, str] | None = None
) -> AsyncDockerSandbox:
    """Return the sandbox that makes such sessions; a command's time is the framework's to limit."""
    named = {"none": Network.none, "bridge": Network.bridge}
    make = named.get(config.network)
    return AsyncDockerSandbox(
        image=config.image,
        pull=config.pull,
        workdir=workdir,
        user=config.user,
        env=env,
        network=Network.named(config.network) if make is None else make(),
        lifecycle=Lifecycle(ttl=config.ttl, detached=config.detached),
        security=Security.root_tools() if config.root_tools else Security(),
        limits=Limits(
            timeout=None,
            memory_mb=config.memory_mb,
            cpus=config.cpus,
            pids=config.pids,
            max_file_bytes=config.max_file_bytes,
        ),
    )
