"""A Docker engine of the tests' own, to be stopped, killed, starved and restarted at will.

It shares nothing with another engine of the machine: its containerd, sockets, directories, control
groups and network namespace are its own (in that namespace its bridge cannot meet another's, and no
packet filter of the machine is touched).
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import aiohttp

from contract.observer import Observer

PATIENCE = 30.0
"""Seconds in which a daemon must have come up or gone away on a loaded machine."""

PROGRAMS = os.environ.get("FUMEHOOD_ENGINE_PATH")
"""Directories with another release's dockerd and containerd; ``None``: those of the machine."""

_CONTAINERD = """\
version = 2
root = "{directory}/containerd"
state = "{directory}/containerd-state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]
[grpc]
  address = "{directory}/containerd.sock"
"""
_CGROUPS = Path("/sys/fs/cgroup")


class OwnEngine:
    """One engine. Belongs to the event loop that starts it; :meth:`close` removes all of it.

    Args:
        disk_mb: the size of a file system of its own for the engine's data; ``None``: none.
    """

    def __init__(self, *, disk_mb: int | None = None) -> None:
        # Short: the names of sockets are.
        self.directory = Path(tempfile.mkdtemp(prefix="fhf-"))
        self.data = self.directory / "data"
        self.address = f"unix://{self.directory}/engine.sock"
        self.observer = Observer(self.address)
        self.live_restore = False
        """Whether it was last started so that its containers outlive it."""
        self._cgroup = f"fumehood-faults-{secrets.token_hex(4)}"
        self._daemon: subprocess.Popen[bytes] | None = None
        self._containerd: subprocess.Popen[bytes] | None = None
        self._log = (self.directory / "log").open("ab")
        self.data.mkdir()
        (self.directory / "daemon.json").write_text("{}", encoding="ascii")
        (self.directory / "containerd.toml").write_text(
            _CONTAINERD.format(directory=self.directory), encoding="ascii"
        )
        if disk_mb is not None:
            self._make_disk(disk_mb)
        net = self.directory / "net"
        net.touch()
        _run(["unshare", f"--net={net}", "true"])

    def _make_disk(self, size_mb: int) -> None:
        disk = self.directory / "disk"
        _run(["fallocate", "-l", f"{size_mb}M", str(disk)])
        # Nothing reserved for root: the engine itself is to meet the end of it.
        _run(["mkfs.ext4", "-q", "-F", "-m", "0", str(disk)])
        _run(["mount", "-o", "loop", str(disk), str(self.data)])

    # --- up and down ---------------------------------------------------------------------------

    async def start(self, *, live_restore: bool = False) -> None:
        """Start what does not run, and wait until the engine answers."""
        self.live_restore = live_restore
        if self._containerd is None:
            await self.start_containerd()
        (self.directory / "dockerd.pid").unlink(missing_ok=True)
        self._daemon = self._spawn(
            [
                "nsenter",
                f"--net={self.directory}/net",
                "dockerd",
                f"--config-file={self.directory}/daemon.json",
                f"--host={self.address}",
                f"--data-root={self.data}",
                f"--exec-root={self.directory}/exec",
                f"--pidfile={self.directory}/dockerd.pid",
                f"--containerd={self.directory}/containerd.sock",
                "--exec-opt=native.cgroupdriver=cgroupfs",
                f"--cgroup-parent=/{self._cgroup}",
                "--iptables=false",
                "--ip-forward=false",
                "--add-runtime=missing=/nonexistent/runc",
                "--shutdown-timeout=5",
                "--log-level=warn",
                f"--live-restore={str(live_restore).lower()}",
            ]
        )
        await self._until(self._answers, self._daemon)

    async def start_containerd(self) -> None:
        """Start the containerd; the engine finds it again by itself."""
        socket = self.directory / "containerd.sock"
        socket.unlink(missing_ok=True)
        self._containerd = self._spawn(
            ["containerd", "--config", f"{self.directory}/containerd.toml", "--log-level", "warn"]
        )

        async def is_there() -> bool:
            return socket.exists()

        await self._until(is_there, self._containerd)

    def _spawn(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        # It never outlives the tests, whatever becomes of them.
        return subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *command],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            env={
                **os.environ,
                "PATH": os.pathsep.join(filter(None, (PROGRAMS, os.environ["PATH"]))),
            },
            start_new_session=True,
        )

    async def _until(self, condition: Any, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not await condition():
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"{process.args!r} is not up: {self.log()}")
            await asyncio.sleep(0.02)

    async def _answers(self) -> bool:
        try:
            await self.observer.call("GET", "info")
        except (aiohttp.ClientError, OSError):
            return False
        return True

    def log(self) -> str:
        """Return the end of what its daemons have written."""
        return (self.directory / "log").read_text(encoding="utf-8", errors="replace")[-4000:]

    @property
    def running(self) -> bool:
        """Whether its dockerd runs."""
        return self._daemon is not None and self._daemon.poll() is None

    async def stop(self) -> None:
        """End dockerd as a service manager does."""
        await self._end(self._daemon, signal.SIGTERM)

    async def kill(self) -> None:
        """End dockerd at once."""
        await self._end(self._daemon, signal.SIGKILL)

    async def kill_containerd(self) -> None:
        """End containerd at once; its shims and the containers live on."""
        await self._end(self._containerd, signal.SIGKILL)
        self._containerd = None

    def freeze(self) -> None:
        """Let dockerd stand still: its sockets stay open and nobody answers."""
        assert self._daemon is not None
        self._daemon.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._daemon is not None
        self._daemon.send_signal(signal.SIGCONT)

    async def _end(self, process: subprocess.Popen[bytes] | None, number: int) -> None:
        if process is None:
            return
        process.send_signal(number)
        await asyncio.to_thread(process.wait, PATIENCE)

    async def load(self, archive: Path) -> None:
        """Put images of ``docker save`` into it."""
        content = io.BytesIO(await asyncio.to_thread(archive.read_bytes))
        async with (
            aiohttp.ClientSession(
                connector=aiohttp.UnixConnector(f"{self.directory}/engine.sock")
            ) as http,
            http.post("http://docker/images/load", data=content) as reply,
        ):
            text = await reply.text()
            assert reply.status == 200, text

    # --- what is in it -------------------------------------------------------------------------

    async def container_id(self, session_id: str) -> str:
        """Return the engine's own id of a session."""
        found = await self.observer.container(session_id)
        assert found is not None, session_id
        return str(found["Id"])

    async def keeps_containers(self) -> bool:
        """Whether this release keeps containers over its own restart: an older one deletes them."""
        version = (await self.observer.call("GET", "info"))["ServerVersion"]
        found = re.match(r"(\d+)\.(\d+)\.(\d+)", version)
        assert found is not None, version
        return tuple(map(int, found.groups())) >= (24, 0, 8)

    def pids(self, container_id: str = "") -> list[int]:
        """Return the processes in a container, or in all of them: by their control groups."""
        found: set[int] = set()
        for group in self._groups():
            if container_id in str(group):
                with contextlib.suppress(OSError):  # gone meanwhile
                    found |= {int(line) for line in (group / "cgroup.procs").read_text().split()}
        return sorted(found)

    def names(self, container_id: str) -> list[str]:
        """Return the names of the programs in a container."""
        found = []
        for pid in self.pids(container_id):
            with contextlib.suppress(OSError):  # gone meanwhile
                found.append(Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip())
        return found

    def shims(self, container_id: str = "") -> list[int]:
        """Return the processes that stand between containerd and a container, or all of them."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            except OSError:
                continue  # gone meanwhile
            ours = f"{self.directory}/containerd.sock" in words and "containerd-shim" in words[0]
            if ours and (not container_id or container_id in words):
                found.append(int(entry.name))
        return found

    async def strays(self) -> list[str]:
        """Return processes that belong to no container that the engine knows."""
        known = await self.observer.call("GET", "containers/json", all="1")
        ids = [str(item["Id"]) for item in known]
        return [
            f"{pid} in {group}"
            for group in self._groups()
            if not any(id in str(group) for id in ids)
            for pid in self.pids(group.name)
        ]

    async def lost(self) -> set[str]:
        """Return the ids of containers that the runtime still has and the engine does not know.

        An engine that dies between making a container and starting it forgets, when it comes back,
        what its runtime holds for it. No client can reach that.
        """
        known = await self.observer.call("GET", "containers/json", all="1")
        ours = {group.name for group in self._groups()} - {self._cgroup}
        return ours - {str(item["Id"]) for item in known}

    async def reap_lost(self) -> list[str]:
        """Kill what the engine has lost track of; return the names of the programs."""
        ids = await self.lost()
        names = [name for id in ids for name in self.names(id)]
        for pid in [pid for id in ids for pid in (*self.shims(id), *self.pids(id))]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return names

    def _groups(self) -> list[Path]:
        tops = [*_CGROUPS.glob(self._cgroup), *_CGROUPS.glob(f"*/{self._cgroup}")]
        # Containers come and go while this looks: os.walk passes over what is gone.
        return [Path(path) for top in tops for path, _, _ in os.walk(top)]

    # --- the end -------------------------------------------------------------------------------

    async def close(self) -> None:
        """Remove everything of it from the machine, in whatever state it is."""
        await self.observer.close()
        for process in (self._daemon, self._containerd):
            await self._end(process, signal.SIGKILL)
        sockets = [
            Path(file.read_text(encoding="utf-8").removeprefix("unix://"))
            for file in (self.directory / "containerd-state").rglob("address")
        ]
        deadline = time.monotonic() + PATIENCE
        while pids := [*self.shims(), *self.pids()]:
            assert time.monotonic() < deadline, f"do not die: {pids}"
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            await asyncio.sleep(0.02)
        for path in sockets:
            path.unlink(missing_ok=True)
        for group in sorted(self._groups(), reverse=True):
            group.rmdir()
        await asyncio.to_thread(self._unmount)
        self._log.close()
        await asyncio.to_thread(shutil.rmtree, self.directory)

    def _unmount(self) -> None:
        ours: list[str] = []
        for _ in range(8):  # the data's own file system holds others
            mounts = [
                line.split()[4]
                for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
            ]
            ours = [path for path in mounts if path.startswith(f"{self.directory}/")]
            if not ours:
                return
            for path in reversed(ours):
                subprocess.run(["umount", path], check=False, capture_output=True)
        raise AssertionError(f"still mounted: {ours}")


@contextlib.asynccontextmanager
async def loaded(archive: Path, *, disk_mb: int | None = None) -> AsyncIterator[OwnEngine]:
    """Give an engine that has the image, up; nothing of it is left afterwards."""
    engine = OwnEngine(disk_mb=disk_mb)
    try:
        await engine.start()
        await engine.load(archive)
        yield engine
    finally:
        await engine.close()


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}: {done.stderr}"
