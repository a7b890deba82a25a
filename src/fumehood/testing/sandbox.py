"""The sandboxes of both APIs, with an engine in memory."""

from __future__ import annotations

import asyncio
from typing import Unpack, cast

from fumehood._sync.sandbox import DockerSandbox
from fumehood.engines.base import Engine
from fumehood.sandbox import DEFAULT_IMAGE, AsyncDockerSandbox, SandboxOptions
from fumehood.testing._engine import MemoryEngine
from fumehood.testing.commands import Commands, Handler, Programs, Reply


class AsyncMemorySandbox(AsyncDockerSandbox):
    r"""An :class:`fumehood.AsyncDockerSandbox` whose sessions lie in memory, for tests.

    Nothing is isolated or enforced, no process is started and no engine is asked. Commands do what
    ``commands`` says; ``true``, ``false``, ``echo``, ``cat``, ``pwd`` and ``env`` are built in.

    Args:
        commands: by program (``"git"``), by whole command line (``("git", "status")``, which wins),
            or one function for everything. A value is a :class:`CommandReply`, a ``str`` or
            ``bytes`` of standard output, an exit code, ``None``, or a function of a
            :class:`CommandCall` that returns one of these, also a coroutine function.
        image: of any name.
        options: as the real class takes them.

    Raises:
        InvalidRequestError: a value that the real class refuses too, or ``commands`` that are none.

    Example::

        async with AsyncMemorySandbox(commands={"git": "nothing to commit\n"}) as sandbox:
            async with sandbox.create_session() as session:
                print((await session.exec(["git", "status"])).stdout)
    """

    def __init__(
        self,
        *,
        commands: Commands | None = None,
        image: str = DEFAULT_IMAGE,
        **options: Unpack[SandboxOptions],
    ) -> None:
        super().__init__(image=image, **options)
        self._programs = Programs(commands)

    def on(self, command: str | tuple[str, ...], does: Reply | Handler) -> None:
        """Say what a command does from now on, in every session of this sandbox.

        Args:
            command: a program's name, or a whole command line.
            does: as a value of ``commands``.

        Raises:
            InvalidRequestError: it is no command, or no reply.
        """
        self._programs.add(command, does)

    def _use(self) -> Engine:
        if self._engine is None and not self._closed:
            self._engine = MemoryEngine(self._programs)
            self._loop = asyncio.get_running_loop()
        return super()._use()


class MemorySandbox(DockerSandbox):
    """A :class:`fumehood.DockerSandbox` whose sessions lie in memory: see AsyncMemorySandbox.

    Args:
        commands: as there; functions run on fumehood's own thread.
        image: of any name.
        options: as the real class takes them.
    """

    _instead = "AsyncMemorySandbox"

    def __init__(
        self,
        *,
        commands: Commands | None = None,
        image: str = DEFAULT_IMAGE,
        **options: Unpack[SandboxOptions],
    ) -> None:
        super(DockerSandbox, self).__init__(
            AsyncMemorySandbox(commands=commands, image=image, **options)
        )
        self._portal.on_exit(self._async)

    def on(self, command: str | tuple[str, ...], does: Reply | Handler) -> None:
        """Say what a command does from now on: see :meth:`AsyncMemorySandbox.on`."""
        cast("AsyncMemorySandbox", self._async).on(command, does)
