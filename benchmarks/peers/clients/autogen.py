"""autogen-ext: its command-line code executor on Docker."""

from __future__ import annotations

import logging
from typing import Any, ClassVar

from autogen_core import CancellationToken
from autogen_core.code_executor import CodeBlock
from autogen_ext.code_executors.docker import DockerCommandLineCodeExecutor

from benchmarks.peers.peer import IMAGE, Peer

logging.disable(logging.CRITICAL)


class Client(Peer):
    """A block of shell for each command."""

    packages = ("autogen-ext", "docker")
    lacks: ClassVar = {"files": "no call for files: its directory is a bind mount of the host's"}

    async def create(self) -> Any:
        executor = DockerCommandLineCodeExecutor(image=IMAGE, timeout=600)
        await executor.start()
        return executor

    async def run(self, session: Any, command: str, timeout: float | None = None) -> bytes:
        if timeout is not None:
            # Its constructor takes the timeout, and a session here has both kinds of commands.
            session._timeout = int(timeout)
        done = await session.execute_code_blocks(
            [CodeBlock(code=command, language="sh")], CancellationToken()
        )
        return str(done.output).encode()

    async def flood(self, session: Any, command: str) -> int:
        return len(await self.run(session, command))

    async def destroy(self, session: Any) -> None:
        await session.stop()

    def container(self, session: Any) -> str:
        return str(session._container.id)
