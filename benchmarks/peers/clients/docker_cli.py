"""The `docker` command line: run, exec, rm."""

from __future__ import annotations

import subprocess

from benchmarks.peers.peer import IMAGE, Peer


class Client(Peer):
    """Each call is a process."""

    def versions(self) -> dict[str, str]:
        shown = _docker("version", "--format", "{{.Client.Version}} {{.Server.Version}}").split()
        return {"docker": shown[0].decode(), "engine": shown[1].decode()}

    def create(self) -> str:
        made = _docker("run", "--detach", "--network", "none", IMAGE, "sleep", "infinity")
        return made.decode().strip()

    def run(self, session: str, command: str, timeout: float | None = None) -> bytes:
        return _docker("exec", session, "sh", "-c", command, timeout=timeout)

    def write(self, session: str, name: str, content: bytes) -> None:
        _docker("exec", "-i", session, "sh", "-c", f"cat > /tmp/{name}", content=content)

    def read(self, session: str, name: str) -> bytes:
        return _docker("exec", session, "cat", f"/tmp/{name}")

    def flood(self, session: str, command: str) -> int:
        size = 0
        with subprocess.Popen(
            ["docker", "exec", session, "sh", "-c", command], stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            while piece := process.stdout.read(1 << 16):
                size += len(piece)
        return size

    def destroy(self, session: str) -> None:
        _docker("rm", "--force", "--volumes", session)

    def container(self, session: str) -> str:
        return session


def _docker(*arguments: str, content: bytes | None = None, timeout: float | None = None) -> bytes:
    return subprocess.run(
        ["docker", *arguments],
        input=content,
        stdin=subprocess.DEVNULL if content is None else None,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        timeout=timeout,
        check=True,
    ).stdout
