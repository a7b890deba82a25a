"""docker-py (`docker` on PyPI): the Engine API's own Python client."""

from __future__ import annotations

import io
import tarfile
from typing import Any, ClassVar

import docker

from benchmarks.archives import content_of, pack
from benchmarks.peers.peer import IMAGE, Peer


class Client(Peer):
    """`containers.run`, `exec_run`, `put_archive`, `get_archive`."""

    packages = ("docker", "requests")
    lacks: ClassVar = {"timeout": "`exec_run` has none: the caller's thread is left behind"}

    def open(self) -> None:
        # As many connections as may be used at once; the default of ten would make them queue.
        self._docker = docker.from_env(max_pool_size=32)

    def close(self) -> None:
        self._docker.close()

    def create(self) -> Any:
        return self._docker.containers.run(
            IMAGE, ["sleep", "infinity"], detach=True, network_mode="none"
        )

    def run(self, session: Any, command: str, timeout: float | None = None) -> bytes:
        output: bytes = session.exec_run(["sh", "-c", command]).output
        return output

    def write(self, session: Any, name: str, content: bytes) -> None:
        session.put_archive("/tmp", pack(name, content))

    def read(self, session: Any, name: str) -> bytes:
        pieces, _ = session.get_archive(f"/tmp/{name}")
        with tarfile.open(fileobj=io.BytesIO(b"".join(pieces))) as archive:
            return content_of(archive, name)

    def flood(self, session: Any, command: str) -> int:
        return sum(map(len, session.exec_run(["sh", "-c", command], stream=True).output))

    def destroy(self, session: Any) -> None:
        session.remove(force=True, v=True)

    def container(self, session: Any) -> str:
        return str(session.id)
