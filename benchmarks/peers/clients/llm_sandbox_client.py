"""llm-sandbox: `SandboxSession`, `execute_command`, `copy_to_runtime`."""

from __future__ import annotations

import logging
import shlex
import tempfile
from pathlib import Path
from typing import Any

from llm_sandbox import SandboxSession

from benchmarks.peers.peer import IMAGE, Peer

logging.disable(logging.CRITICAL)


class Client(Peer):
    """Without the virtual environment that it makes in each new container unless told otherwise."""

    packages = ("llm-sandbox", "docker")

    def create(self) -> Any:
        session = SandboxSession(
            lang="python",
            image=IMAGE,
            keep_template=True,
            skip_environment_setup=True,
            runtime_configs={"network_mode": "none"},
        )
        session.open()
        return session

    def run(self, session: Any, command: str, timeout: float | None = None) -> bytes:
        if timeout is None:
            shown = session.execute_command(f"sh -c {shlex.quote(command)}").stdout
        else:
            # Commands have no timeout; code has one.
            code = f"import subprocess\nsubprocess.run({command!r}, shell=True)"
            shown = session.run(code, timeout=timeout).stdout
        return str(shown).encode()

    def write(self, session: Any, name: str, content: bytes) -> None:
        with tempfile.NamedTemporaryFile() as file:
            file.write(content)
            file.flush()
            session.copy_to_runtime(file.name, f"/sandbox/{name}")

    def read(self, session: Any, name: str) -> bytes:
        with tempfile.TemporaryDirectory() as directory:
            session.copy_from_runtime(f"/sandbox/{name}", f"{directory}/copy")
            return Path(directory, "copy").read_bytes()

    def flood(self, session: Any, command: str) -> int:
        return len(self.run(session, command))

    def destroy(self, session: Any) -> None:
        session.close()

    def container(self, session: Any) -> str:
        return str(session.container.id)
