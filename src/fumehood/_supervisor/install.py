"""Putting the supervisor on an engine: a read-only volume by content hash, filled once.

The volume is filled by a container that runs the supervisor itself (``install``): it copies its own
program to a temporary name in the volume, syncs and renames. So a reader sees no file or all of it,
two clients may fill at once, and nothing is needed from the image or from the client's file system.
"""

from __future__ import annotations

import asyncio
import io
import logging
import secrets
import tarfile
import time

from fumehood._supervisor.binary import SupervisorBinary
from fumehood.engines import labels
from fumehood.engines.docker_client import ApiClient
from fumehood.engines.docker_errors import ApiError
from fumehood.engines.docker_listing import text_map
from fumehood.engines.docker_text import printable
from fumehood.errors import EngineError, SupervisorError

_log = logging.getLogger("fumehood.engine")

INSTALLER_PREFIX = "fumehood-install-"
_PROGRAM = "/fumehood-install"
_TARGET = "/target"
INSTALL_SECONDS = 60.0

# Volumes that were seen on an engine by this process, as (engine's own id, volume). The answer may
# grow old: a session that finds no program starts the installation over.
_seen: set[tuple[str, str]] = set()


class Installer:
    """Fills supervisor volumes on one engine, at most one at a time in this client."""

    def __init__(self, api: ApiClient, *, engine_id: str, version: str) -> None:
        self._api = api
        self._engine_id = engine_id
        self._version = version
        self._lock = asyncio.Lock()

    async def ensure(self, binary: SupervisorBinary, image: str) -> None:
        """Make sure that the volume is there, trusting one that is.

        Costs nothing after the first time in a process, and one look-up the first time.

        Args:
            image: the id of any Linux image on the engine; nothing of it runs.

        Raises:
            SupervisorError: the supervisor does not run on this engine.
            EngineError: the engine failed.
        """
        key = (self._engine_id, binary.volume)
        if key in _seen:
            return
        async with self._lock:
            if key in _seen:
                return
            if not await self._is_there(binary):
                await self._install(binary, image)
            _seen.add(key)

    async def again(self, binary: SupervisorBinary, image: str) -> None:
        """Fill the volume anew: a session found no program in it."""
        async with self._lock:
            await self._install(binary, image)
            _seen.add((self._engine_id, binary.volume))

    def forget(self, volume: str) -> None:
        """Look the volume up the next time: it was removed."""
        _seen.discard((self._engine_id, volume))

    async def _is_there(self, binary: SupervisorBinary) -> bool:
        volume = await self._api.find(
            f"volumes/{binary.volume}", doing="looking for the supervisor's volume"
        )
        if volume is None:
            return False
        holds = text_map(volume.get("Labels")).get(labels.SUPERVISOR)
        if holds != binary.digest:
            raise SupervisorError(
                f"volume {binary.volume!r} on the engine is not ours (its label says {holds!r}): "
                "remove it with `docker volume rm`"
            )
        return True

    async def _install(self, binary: SupervisorBinary, image: str) -> None:
        started = time.monotonic()
        _log.info("installing the supervisor on %s: %r", self._api.address, binary)
        await self._api.request(
            "POST",
            "volumes/create",
            body={
                "Name": binary.volume,
                "Driver": "local",
                "Labels": labels.of_supervisor(binary.digest, version=self._version),
            },
            doing="creating the supervisor's volume",
        )
        name = INSTALLER_PREFIX + secrets.token_hex(8)
        try:
            status, said = await self._run(binary, image, name)
        finally:
            # AutoRemove does not see a container that never started.
            await self._api.cleanups.run(self._discard(name))
        if status != 0:
            raise SupervisorError(
                f"the supervisor could not be put on the engine at {self._api.address}: "
                f"its installer ended with status {status}: {said or 'it said nothing'}"
            )
        _log.info("installed %s in %.0f ms", binary.volume, (time.monotonic() - started) * 1000)

    async def _run(self, binary: SupervisorBinary, image: str, name: str) -> tuple[int, str]:
        """Run the installer to its end; return its status and what it (or the runtime) said."""
        await self._api.request(
            "POST",
            "containers/create",
            params={"name": name},
            body=self._specification(binary, image),
            doing="creating the supervisor's installer",
        )
        # Before the first start nothing of the image runs, so nothing can race with the unpacking;
        # uncompressed, because the engine runs a decompressor of its own otherwise.
        await self._api.request(
            "PUT",
            f"containers/{name}/archive",
            params={"path": "/", "noOverwriteDirNonDir": "1"},
            data=_archive(binary.data),
            content_type="application/x-tar",
            doing="uploading the supervisor",
        )
        stream = await self._api.hijack(
            f"containers/{name}/attach",
            params={"stream": "1", "stdout": "1", "stderr": "1"},
            doing="attaching to the supervisor's installer",
            what="the supervisor's installer",
        )
        ended = asyncio.Event()
        stream.start(lambda _: None, lambda _: ended.set())
        try:
            async with self._api.waiting(
                name,
                # And not "next-exit": the volume is free again once the container is gone.
                "removed",
                doing="running the supervisor's installer",
                seconds=INSTALL_SECONDS,
            ) as exited:
                async with self._api.calling("starting the supervisor's installer") as docker:
                    await docker.containers.container(name).start()
                status = await exited()
                await ended.wait()
        finally:
            await stream.close()
        return status, printable(stream.diagnostics())

    def _specification(self, binary: SupervisorBinary, image: str) -> dict[str, object]:
        return {
            "Image": image,
            "Entrypoint": [_PROGRAM, "install", f"{_TARGET}/supervisor"],
            "Cmd": [],
            "User": "0:0",
            "WorkingDir": "/",
            "Env": [],
            "Labels": {labels.OURS: self._version, labels.INSTALL: binary.volume},
            "Healthcheck": {"Test": ["NONE"]},
            "NetworkDisabled": True,
            "HostConfig": {
                "AutoRemove": True,
                "NetworkMode": "none",
                # Root owns the volume and needs no right to write to it.
                "CapDrop": ["ALL"],
                "SecurityOpt": ["no-new-privileges"],
                "Privileged": False,
                "IpcMode": "private",
                "Memory": 64 << 20,
                "PidsLimit": 16,
                "LogConfig": {"Type": "none", "Config": {}},
                "Init": False,
                "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
                "Mounts": [
                    {
                        "Type": "volume",
                        "Source": binary.volume,
                        "Target": _TARGET,
                        "VolumeOptions": {"NoCopy": True},
                    }
                ],
            },
        }

    async def _discard(self, name: str) -> None:
        try:
            async with self._api.calling("removing the supervisor's installer") as docker:
                await docker.containers.container(name).delete(force=True, v=True)
        except ApiError as exc:
            # Gone, or going by itself: both are what is wanted.
            if exc.status not in (404, 409):
                raise
        except EngineError as exc:
            _log.warning("%s was not removed: %s", name, exc)


def _archive(program: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        member = tarfile.TarInfo(_PROGRAM.lstrip("/"))
        member.size = len(program)
        # Readable: it copies itself, without any capability. What it installs is not.
        member.mode = 0o555
        archive.addfile(member, io.BytesIO(program))
    return buffer.getvalue()
