"""Copying a volume into another one, on the engine: by a container that runs our own program."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import time
from dataclasses import dataclass

from fumehood._supervisor.binary import SupervisorBinary
from fumehood._supervisor.install import Installer
from fumehood._version import __version__
from fumehood.engines import labels
from fumehood.engines.container_spec import SUPERVISOR_DIRECTORY, SUPERVISOR_PATH, Json
from fumehood.engines.docker_client import ApiClient
from fumehood.engines.docker_errors import ApiError
from fumehood.engines.docker_removal import Remover
from fumehood.engines.docker_text import printable
from fumehood.errors import EngineDiskFullError, EngineError, SupervisorError

_log = logging.getLogger("fumehood.engine")

COPIER_NAME = re.compile(r"/fumehood\.copy\.[0-9a-f]{32}")
COPY_SECONDS = 4 * 3600.0
"""A copy that takes longer hangs."""
_MEMORY = 128 << 20
_SAID = re.compile(r"copied (\d{1,20}) (\d{1,20}) (\d{1,20})\n")
_NO_ROOM = 21
_KILLED = 137


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    """What a copy holds."""

    bytes: int
    entries: int
    left_out: int
    """Devices, which nobody in a session can make, and what is mounted within."""


class Copier:
    """Copies volumes of one engine."""

    def __init__(
        self, api: ApiClient, *, binary: SupervisorBinary, installer: Installer, remover: Remover
    ) -> None:
        self._api = api
        self._binary = binary
        self._installer = installer
        self._remover = remover

    async def copy(
        self, source: str, target: str, *, image: str, owner: str, memory: int = 0
    ) -> Copied:
        """Copy one volume's files into another one, which must be empty.

        When cancelled, the copy is ended before the cancellation goes on; the target then holds a
        part.

        Args:
            source: the volume to read. It is mounted read-only.
            target: the volume to write.
            image: the id of any Linux image on the engine; nothing of it runs.
            owner: for whom, so that a sweep lets it be: the name of a container.
            memory: bytes that the target may take of it, if it is memory.

        Raises:
            EngineDiskFullError: there is no room, or none above the disk's floor.
            EngineError: the copy failed.
        """
        await self._installer.ensure(self._binary, image)
        token = secrets.token_hex(16)
        name = f"fumehood.copy.{token}"
        started = time.monotonic()
        try:
            await self._api.request(
                "POST",
                "containers/create",
                params={"name": name},
                body=self._specification(
                    source, target, image=image, owner=owner, token=token, memory=memory
                ),
                doing="creating a copier",
            )
            status, said, complaint = await self._run(name)
        finally:
            # AutoRemove does not see a container that never started, and a cancelled one runs.
            await self._api.cleanups.run(self._discard(name))
        copied = _SAID.fullmatch(said)
        if status == _NO_ROOM:
            raise EngineDiskFullError(
                f"a workspace cannot be copied on the engine at {self._api.address}: {complaint}"
            )
        if status != 0 or copied is None:
            why = complaint or ("it was killed" if status == _KILLED else "it said nothing")
            raise EngineError(
                f"a workspace cannot be copied on the engine at {self._api.address}: "
                f"the copier ended with status {status}: {why}"
            )
        result = Copied(bytes=int(copied[1]), entries=int(copied[2]), left_out=int(copied[3]))
        took = time.monotonic() - started
        _log.info("copied %d bytes of a workspace in %.0f ms", result.bytes, took * 1000)
        return result

    async def _run(self, name: str) -> tuple[int, str, str]:
        stream = await self._api.hijack(
            f"containers/{name}/attach",
            params={"stream": "1", "stdout": "1", "stderr": "1"},
            doing="attaching to a copier",
            what="a copier",
        )
        said = bytearray()
        ended = asyncio.Event()

        def hear(data: bytes | memoryview) -> None:
            if len(said) < 256:
                said.extend(data[:256])

        stream.start(hear, lambda _: ended.set())
        try:
            async with self._api.waiting(
                # Not "next-exit": the volumes are free again once the container is gone.
                name,
                "removed",
                doing="copying a workspace",
                seconds=COPY_SECONDS,
            ) as exited:
                try:
                    async with self._api.calling("starting a copier") as docker:
                        await docker.containers.container(name).start()
                except ApiError as exc:
                    if SUPERVISOR_PATH in exc.detail:
                        self._installer.forget(self._binary.volume)
                        raise SupervisorError(
                            f"the copier does not start: {exc.detail}; try again"
                        ) from exc
                    raise
                status = await exited()
                await ended.wait()
        finally:
            await stream.close()
        return status, said.decode("ascii", "replace"), printable(stream.diagnostics())

    def _specification(
        self, source: str, target: str, *, image: str, owner: str, token: str, memory: int
    ) -> Json:
        # The image may be a session's, whose commands could make links; not at a name that nobody
        # could know.
        place = f"/.fumehood-copy-{token}"
        return {
            "Image": image,
            "Entrypoint": [SUPERVISOR_PATH, "copy", f"{place}/from", f"{place}/to"],
            "Cmd": [],
            "User": "0:0",
            "WorkingDir": "/",
            "Env": [],
            "Labels": {
                labels.OURS: __version__,
                labels.COPY: owner,
                labels.NONCE: "",
                labels.SESSION: "",
                labels.HELD: "",
            },
            "Healthcheck": {"Test": ["NONE"]},
            "NetworkDisabled": True,
            "AttachStdout": True,
            "AttachStderr": True,
            "HostConfig": {
                "AutoRemove": True,
                "NetworkMode": "none",
                "CapDrop": ["ALL"],
                # To read what is somebody's alone, and to give each copy its owner and its mode.
                "CapAdd": ["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID"],
                "SecurityOpt": ["no-new-privileges"],
                "Privileged": False,
                "IpcMode": "private",
                "Memory": _MEMORY + memory,
                "MemorySwap": _MEMORY + memory,
                "PidsLimit": 16,
                "CpuShares": 512,
                "LogConfig": {"Type": "none", "Config": {}},
                "Init": False,
                "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
                "Mounts": [
                    _mount(self._binary.volume, SUPERVISOR_DIRECTORY, read_only=True),
                    _mount(source, f"{place}/from", read_only=True),
                    _mount(target, f"{place}/to", read_only=False),
                ],
            },
        }

    async def _discard(self, name: str) -> None:
        try:
            await self._remover.remove_container(name, "a copier")
        except EngineError as exc:
            _log.warning("%s was not removed: %s", name, exc)


def _mount(volume: str, target: str, *, read_only: bool) -> Json:
    return {
        "Type": "volume",
        "Source": volume,
        "Target": target,
        "ReadOnly": read_only,
        "VolumeOptions": {"NoCopy": True},
    }
