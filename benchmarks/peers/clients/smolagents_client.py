"""smolagents: a Jupyter kernel in a container; what it runs are cells of Python."""

from __future__ import annotations

import socket
from typing import Any, ClassVar

from smolagents.monitoring import AgentLogger, LogLevel
from smolagents.remote_executors import DockerExecutor

from benchmarks.peers.peer import IMAGE, Peer


class Client(Peer):
    """`DockerExecutor`, in an image that holds the kernel gateway."""

    packages = ("smolagents", "docker")
    # It gives up when its server is slow to come up, as it is beside others.
    creates_at_once = 1
    lacks: ClassVar = {
        "files": "no call for files: what it runs are cells of Python",
        "timeout": "`run_code_raise_errors` has none: the caller's thread is left behind",
        "crowd": "one kernel runs one cell at a time",
    }

    def create(self) -> Any:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        return DockerExecutor(
            [], AgentLogger(level=LogLevel.OFF), port=port, image_name=IMAGE, build_new_image=False
        )

    def run(self, session: Any, command: str, timeout: float | None = None) -> bytes:
        # The cheapest cell that does the same, where there is one without a shell.
        code = {"true": "pass", "echo ready": "print('ready')"}.get(command) or (
            "import subprocess\n"
            f"done = subprocess.run({command!r}, shell=True, capture_output=True)\n"
            "print(done.stdout.decode(), end='')"
        )
        return str(session.run_code_raise_errors(code).logs).encode()

    def flood(self, session: Any, command: str) -> int:
        return len(self.run(session, command))

    def destroy(self, session: Any) -> None:
        session.cleanup()

    def container(self, session: Any) -> str:
        return str(session.container.id)
