"""testcontainers: `DockerContainer`, without Ryuk, whose image would have to be pulled."""

from __future__ import annotations

import logging
import os
import tempfile
from pathlib import Path
from typing import Any, ClassVar

os.environ["TESTCONTAINERS_RYUK_DISABLED"] = "true"

from testcontainers.core.container import DockerContainer

from benchmarks.peers.peer import IMAGE, Peer

logging.disable(logging.CRITICAL)


class Client(Peer):
    """`start`, `exec`, `copy_into_container`, `copy_from_container`, `stop`."""

    packages = ("testcontainers", "docker")
    lacks: ClassVar = {"timeout": "`exec` has none: the caller's thread is left behind"}

    def create(self) -> Any:
        container = DockerContainer(IMAGE).with_command("sleep infinity")
        return container.with_kwargs(network_mode="none").start()

    def run(self, session: Any, command: str, timeout: float | None = None) -> bytes:
        output: bytes = session.exec(["sh", "-c", command]).output
        return output

    def write(self, session: Any, name: str, content: bytes) -> None:
        session.copy_into_container(content, f"/tmp/{name}")

    def read(self, session: Any, name: str) -> bytes:
        with tempfile.TemporaryDirectory() as directory:
            copy = Path(directory, name)
            session.copy_from_container(f"/tmp/{name}", copy)
            return copy.read_bytes()

    def flood(self, session: Any, command: str) -> int:
        return len(self.run(session, command))

    def destroy(self, session: Any) -> None:
        session.stop()

    def container(self, session: Any) -> str:
        return str(session.get_wrapped_container().id)
