"""subprocess: no sandbox at all. What a process costs on this machine."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from benchmarks.peers.peer import Peer


class Client(Peer):
    """A temporary directory is the session."""

    def versions(self) -> dict[str, str]:
        return {}

    def argv(self, session: str, command: str) -> list[str]:
        """Return the command's arguments."""
        return ["sh", "-c", command]

    def create(self) -> str:
        return tempfile.mkdtemp(prefix="fumehood-bench-")

    def run(self, session: str, command: str, timeout: float | None = None) -> bytes:
        return subprocess.run(
            self.argv(session, command),
            cwd=session,
            stdout=subprocess.PIPE,
            timeout=timeout,
            check=True,
        ).stdout

    def write(self, session: str, name: str, content: bytes) -> None:
        Path(session, name).write_bytes(content)

    def read(self, session: str, name: str) -> bytes:
        return Path(session, name).read_bytes()

    def flood(self, session: str, command: str) -> int:
        size = 0
        with subprocess.Popen(
            self.argv(session, command), cwd=session, stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            while piece := process.stdout.read(1 << 16):
                size += len(piece)
        return size

    def destroy(self, session: str) -> None:
        shutil.rmtree(session)

    def container(self, session: str) -> None:
        return None
