"""The baseline: the same jobs done with the engine's own API, through aiodocker, unadorned."""

from __future__ import annotations

import secrets
import subprocess
import tarfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from aiodocker import Docker
from aiodocker.containers import DockerContainer

from fumehood import Limits

LABEL = "fumehood-benchmark"


class BaselineContainer:
    """A container kept alive by ``sleep``, and what one does with it through the Engine API."""

    def __init__(self, container: DockerContainer) -> None:
        self._container = container

    @property
    def id(self) -> str:
        """The engine's id of it."""
        return self._container.id

    async def run(self, argv: Sequence[str]) -> None:
        """Run a command as ``docker exec`` does: create, start, read to the end, ask how it went.

        Its output is thrown away as it comes.
        """
        execution = await self._container.exec(list(argv))
        async with execution.start(detach=False) as stream:
            while await stream.read_out() is not None:
                pass
        code = (await execution.inspect())["ExitCode"]
        if code != 0:
            raise RuntimeError(f"{argv} ended with {code}")

    async def put(self, archive: bytes) -> None:
        """Unpack a tar archive into the root directory."""
        await self._container.put_archive("/", archive)  # type: ignore[no-untyped-call]

    async def get(self, name: str) -> tarfile.TarFile:
        """Fetch a file of the root directory as a tar archive; not unpacked."""
        return await self._container.get_archive(f"/{name}")

    async def remove(self) -> None:
        """Force-remove it, with its anonymous volumes."""
        await self._container.delete(force=True, v=True)


class Baseline:
    """Makes baseline containers, with the limits that a session has."""

    def __init__(self, docker: Docker, image: str, limits: Limits) -> None:
        self.docker = docker
        self._image = image
        self._limits = limits

    async def create(self) -> BaselineContainer:
        """Create and start a container without a network."""
        name = f"{LABEL}-{secrets.token_hex(8)}"
        container = await self.docker.containers.create(
            {
                "Image": self._image,
                "Entrypoint": ["sleep", "infinity"],
                "Labels": {LABEL: "1"},
                "HostConfig": {
                    "NetworkMode": "none",
                    "Memory": self._limits.memory_mb << 20,
                    "MemorySwap": self._limits.memory_mb << 20,
                    "NanoCpus": int(self._limits.cpus * 1e9),
                    "PidsLimit": self._limits.pids,
                },
            },
            name=name,
        )
        made = BaselineContainer(container)
        try:
            await container.start()
        except BaseException:
            await made.remove()
            raise
        return made

    @asynccontextmanager
    async def container(self) -> AsyncIterator[BaselineContainer]:
        """Lend a container, removed at the end of the block."""
        made = await self.create()
        try:
            yield made
        finally:
            await made.remove()


async def pid_of(docker: Docker, name: str) -> int:
    """Return the process id that a container's PID 1 has on the engine's machine."""
    found = await docker.containers.container(name).show()
    return int(found["State"]["Pid"])


def run_true() -> None:
    """Run ``true`` on this machine, without any container."""
    subprocess.run(["true"], check=True)


async def local_true() -> None:
    """Do the same on the event loop."""
    # Blocking is what it does for its callers too; nothing else is on this loop meanwhile.
    run_true()
