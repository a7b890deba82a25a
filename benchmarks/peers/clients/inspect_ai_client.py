"""inspect-ai: its Docker sandbox environment, which is a Docker Compose project."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any, ClassVar

from inspect_ai.util._sandbox.docker import cleanup
from inspect_ai.util._sandbox.docker.docker import DockerSandboxEnvironment
from inspect_ai.util._sandbox.limits import override_max_exec_output_size

from benchmarks.peers.peer import IMAGE, Peer

_COMPOSE = f"""
services:
  default:
    image: {IMAGE}
    x-local: true
    init: true
    command: tail -f /dev/null
    network_mode: none
"""


class Client(Peer):
    """`sample_init`, `exec`, `write_file`, `read_file`, `sample_cleanup`."""

    packages = ("inspect-ai",)
    lacks: ClassVar = {}

    def open(self) -> None:
        self._place = tempfile.TemporaryDirectory()
        self._config = str(Path(self._place.name, "compose.yaml"))
        Path(self._config).write_text(_COMPOSE, encoding="ascii")
        # An eval does this in `task_init`, which also refuses engines before 24.0.6: the calls of a
        # sample are the same with older ones.
        if hasattr(cleanup, "_bind_ownerless_state"):
            cleanup._bind_ownerless_state()
        else:
            cleanup.project_cleanup_startup()

    def close(self) -> None:
        self._place.cleanup()

    def versions(self) -> dict[str, str]:
        shown = subprocess.run(
            ["docker", "compose", "version", "--short"], capture_output=True, text=True, check=True
        )
        return {**super().versions(), "docker-compose": shown.stdout.strip()}

    async def create(self) -> Any:
        return await DockerSandboxEnvironment.sample_init("bench", self._config, {})

    async def run(self, session: Any, command: str, timeout: float | None = None) -> bytes:
        seconds = None if timeout is None else int(timeout)
        done = await session["default"].exec(["sh", "-c", command], timeout=seconds)
        return str(done.stdout).encode()

    async def write(self, session: Any, name: str, content: bytes) -> None:
        await session["default"].write_file(f"/tmp/{name}", content)

    async def read(self, session: Any, name: str) -> bytes:
        content: bytes = await session["default"].read_file(f"/tmp/{name}", text=False)
        return content

    async def flood(self, session: Any, command: str) -> int:
        # Its cap of 10 MiB would end the command.
        with override_max_exec_output_size(1 << 30):
            return len(await self.run(session, command))

    async def destroy(self, session: Any) -> None:
        await DockerSandboxEnvironment.sample_cleanup("bench", self._config, session, False)

    def container(self, session: Any) -> str:
        project = session["default"]._project.name
        shown = subprocess.run(
            ["docker", "ps", "-aq", "--filter", f"label=com.docker.compose.project={project}"],
            capture_output=True,
            text=True,
            check=True,
            env=os.environ,
        )
        return shown.stdout.strip()
