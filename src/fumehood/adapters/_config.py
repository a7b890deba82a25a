"""A sandbox out of the plain values that a framework's own configuration can hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Protocol

from fumehood.options import Lifecycle, Limits, Network, Security
from fumehood.sandbox import AsyncDockerSandbox


class Config(Protocol):
    """What the sessions of a framework are."""

    @property
    def image(self) -> str: ...
    @property
    def pull(self) -> Literal["missing", "always", "never"]: ...
    @property
    def user(self) -> str | None: ...
    @property
    def network(self) -> str: ...
    @property
    def memory_mb(self) -> int: ...
    @property
    def cpus(self) -> float: ...
    @property
    def pids(self) -> int: ...
    @property
    def max_file_bytes(self) -> int: ...
    @property
    def root_tools(self) -> bool: ...
    @property
    def ttl(self) -> float | None: ...
    @property
    def detached(self) -> bool: ...


def make_sandbox(
    config: Config, *, workdir: str, env: Mapping[str, str] | None = None
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
