"""Pydantic AI: a workspace whose commands and files are a session's.

::

    from pydantic_ai import Agent
    from fumehood import AsyncDockerSandbox
    from fumehood.adapters.pydantic_ai import FumehoodWorkspace

    async with AsyncDockerSandbox(image="python:3.13-slim") as sandbox:
        agent = Agent("anthropic:claude-opus-5-5", capabilities=[FumehoodWorkspace(sandbox)])
        await agent.run("Which Python is this?")

The framework never ends a session. It lives as long as its sandbox, or, with a detached lifecycle,
as long as its lease.
"""

from __future__ import annotations

import asyncio
import math
import posixpath
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from pydantic_ai.capabilities import AbstractCapability
from pydantic_ai.tools import RunContext
from pydantic_ai.workspaces import (
    CommandResult,
    FileEntry,
    WorkspaceBackend,
    WorkspaceOutputLimitError,
    WorkspaceRef,
    WorkspaceTimeoutError,
    WorkspaceUnavailableError,
)

from fumehood import results
from fumehood.adapters import _paths
from fumehood.errors import (
    CommandNotExecutableError,
    CommandNotFoundError,
    FileError,
    FileMissingError,
    FileNotDirectoryError,
    SessionEndedError,
    SessionNotFoundError,
)
from fumehood.options import MIB, Manifest
from fumehood.sandbox import AsyncDockerSandbox
from fumehood.session import AsyncSession

PROVIDER = "fumehood"
MAX_OUTPUT_BYTES = 16 * MIB
"""Of each stream; a command that writes more is an error, because half of its output would pass for
all of it."""
NOT_EXECUTABLE, NOT_FOUND = 126, 127


class FumehoodBackend:
    """A workspace backend: commands, files and real paths of one session.

    Nothing happens before its first operation, which creates a session, or joins the one that
    ``ref`` names. Any number of tasks of one event loop may use it. Paths are absolute, on the
    container's whole file system, with the rights of the session's user.

    Args:
        sandbox: what the session is made by; it must stay open.
        ref: a session that lives, instead of a new one.
        manifest: what a new session is given before its first command.
        max_output_bytes: how much of each stream of a command is taken before it is an error.
        created: is told of the session that the first operation has made.
    """

    def __init__(
        self,
        sandbox: AsyncDockerSandbox,
        *,
        ref: WorkspaceRef | None = None,
        manifest: Manifest | None = None,
        max_output_bytes: int = MAX_OUTPUT_BYTES,
        created: Callable[[WorkspaceRef], None] | None = None,
    ) -> None:
        if ref is not None and ref.provider != PROVIDER:
            raise ValueError(f"a ref of provider {ref.provider!r}, not {PROVIDER!r}")
        self._sandbox = sandbox
        self._ref = ref
        self._manifest = manifest
        self._max_output_bytes = max_output_bytes
        self._created = created
        self._opening = asyncio.Lock()
        self._session: AsyncSession | None = None
        self._working_dir: str | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._ref.id if self._ref else 'not yet made'}>"

    @property
    def ref(self) -> WorkspaceRef | None:
        """The session's identity; None until the first operation has made it."""
        return self._ref

    async def session(self) -> AsyncSession:
        """Return the session, which is made or joined at the first call.

        When the caller is cancelled while it is made, nothing is left of it, and the next call
        makes it.

        Raises:
            WorkspaceUnavailableError: the session that ``ref`` names is gone.
        """
        async with self._opening:
            if self._session is None:
                if self._ref is None:
                    self._session = await self._sandbox.create_session(manifest=self._manifest)
                    self._ref = WorkspaceRef(provider=PROVIDER, id=self._session.id)
                    if self._created is not None:
                        self._created(self._ref)
                else:
                    with _available():
                        self._session = await self._sandbox.connect(self._ref.id)
        return self._session

    async def working_dir(self) -> str:
        """Return the workspace's directory: where commands start."""
        session = await self.session()
        if self._working_dir is None:
            with _available():
                self._working_dir = await _paths.realpath(session, session.workdir)
        return self._working_dir

    # --- commands -----------------------------------------------------------------------------

    async def run(
        self,
        command: str | Sequence[str],
        *,
        shell: bool = False,
        env: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> CommandResult:
        """Run a program, or a line of shell, and return its complete output.

        A timeout and a cancellation kill everything that the command has started.

        Raises:
            TypeError: a string without ``shell``, or a list with it.
            ValueError: a ``timeout`` that is no positive number.
            WorkspaceTimeoutError: it was killed after ``timeout`` seconds; has what it wrote.
            WorkspaceOutputLimitError: it wrote more than ``max_output_bytes``.
            WorkspaceUnavailableError: the session is over, or ended meanwhile.
        """
        if isinstance(command, str) != shell:
            raise TypeError("a string needs shell=True, and a list of arguments shell=False")
        if timeout is not None and not (math.isfinite(timeout) and timeout > 0):
            raise ValueError(f"timeout must be a positive number or None, not {timeout!r}")
        argv = ["/bin/sh", "-c", command] if isinstance(command, str) else command
        session = await self.session()
        with _available():
            try:
                result = await session.exec(
                    argv, env=env, timeout=timeout, max_output_bytes=self._max_output_bytes
                )
            except CommandNotFoundError as exc:
                return CommandResult(exit_code=NOT_FOUND, stdout="", stderr=f"{exc}\n")
            except CommandNotExecutableError as exc:
                return CommandResult(exit_code=NOT_EXECUTABLE, stdout="", stderr=f"{exc}\n")
        if result.timed_out:
            raise WorkspaceTimeoutError(
                f"the command was killed after {result.duration:.3f} s",
                stdout=result.stdout,
                stderr=result.stderr,
            )
        if result.stdout_truncated or result.stderr_truncated:
            raise WorkspaceOutputLimitError(
                f"the command wrote more than {self._max_output_bytes} bytes to a stream",
                limit=self._max_output_bytes,
                stdout=result.stdout,
                stderr=result.stderr,
            )
        return CommandResult(exit_code=result.exit_code, stdout=result.stdout, stderr=result.stderr)

    # --- files --------------------------------------------------------------------------------

    async def read_bytes(self, path: str) -> bytes:
        """Return the content of a regular file, of any size."""
        session = await self.session()
        pieces = bytearray()
        with _files(path):
            async with session.read_file_stream(path, root="/") as reader:
                async for piece in reader:
                    pieces += piece
        return bytes(pieces)

    async def write_bytes(self, path: str, data: bytes) -> None:
        """Write a file whole, making its parents; a link is written through."""
        session = await self.session()
        with _files(path):
            await session.write_file(await _paths.realpath(session, path), data, root="/")

    async def stat(self, path: str) -> FileEntry:
        """Return what is known of a file or directory; links are followed."""
        session = await self.session()
        with _files(path):
            entry = await session.stat(path, root="/")
        return _entry(path, entry)

    async def list_dir(self, path: str) -> list[FileEntry]:
        """Return what is in a directory, sorted by name."""
        session = await self.session()
        found: list[FileEntry] = []
        with _files(path):
            for entry in await session.list_files(path, root="/"):
                name = posixpath.join(path, entry.name)
                if entry.type == "symlink":
                    found.append(_entry(name, await _followed(session, name, entry)))
                else:
                    found.append(_entry(name, entry))
        return found

    async def make_dir(self, path: str) -> None:
        """Make a directory with its parents; one that exists is fine."""
        session = await self.session()
        with _files(path):
            await session.make_directory(path, root="/")

    async def remove(self, path: str) -> None:
        """Remove a file, a link itself, or a directory with all that is in it.

        Raises:
            ValueError: it is the working directory, or one above it.
        """
        session = await self.session()
        with _files(path):
            parent = await _paths.realpath(session, posixpath.dirname(path))
            target = posixpath.normpath(posixpath.join(parent, posixpath.basename(path)))
            if posixpath.commonpath([await self.working_dir(), target]) == target:
                raise ValueError(f"{path!r} is the working directory or above it")
            await session.remove(target, recursive=True, root="/")

    async def exists(self, path: str) -> bool:
        """Return whether there is a file or directory; a link that leads nowhere is none."""
        session = await self.session()
        with _files(path):
            try:
                await session.stat(path, root="/")
            except (FileMissingError, FileNotDirectoryError):
                return False
        return True

    async def realpath(self, path: str) -> str:
        """Return a path with its links resolved; what is missing is kept as it is written."""
        session = await self.session()
        with _files(path):
            return await _paths.realpath(session, path)


class FumehoodWorkspace(AbstractCapability[Any]):
    """The capability: each run works in a session of ``sandbox``, a new one unless it names one.

    A ref may come from a message history that a user has sent, so only sessions that this object
    has made are joined. Where runs go on in other processes, ``accept`` says which others are.

    Args:
        sandbox: what the sessions are made by.
        manifest: what a new session is given before its first command.
        accept: whether a session of this engine may be joined that was not made here.
    """

    def __init__(
        self,
        sandbox: AsyncDockerSandbox,
        *,
        manifest: Manifest | None = None,
        accept: Callable[[WorkspaceRef], bool] | None = None,
    ) -> None:
        self._sandbox = sandbox
        self._manifest = manifest
        self._accept = accept
        self._made: set[str] = set()

    def get_workspace(
        self, ctx: RunContext[Any], *, ref: WorkspaceRef | None
    ) -> WorkspaceBackend | None:
        """Return the backend for a run; None for a ref that is not one of ours.

        Raises:
            TypeError: ``accept`` has answered with something else than True or False.
        """
        if ref is not None and not self._may_join(ref):
            return None
        return FumehoodBackend(
            self._sandbox,
            ref=ref,
            manifest=self._manifest,
            created=lambda made: self._made.add(made.id),
        )

    def _may_join(self, ref: WorkspaceRef) -> bool:
        if ref.provider != PROVIDER:
            return False
        if ref.id in self._made or self._accept is None:
            return ref.id in self._made
        answer = self._accept(ref)
        # What an asynchronous function returns is true as well, and is no yes.
        if not isinstance(answer, bool):
            raise TypeError(f"accept must return True or False, not {type(answer).__name__}")
        return answer


def _entry(path: str, entry: results.FileEntry) -> FileEntry:
    return FileEntry(
        name=posixpath.basename(path),
        path=path,
        is_dir=entry.type == "directory",
        size=entry.size if entry.type == "file" else None,
    )


async def _followed(session: AsyncSession, path: str, link: results.FileEntry) -> results.FileEntry:
    """Return what a link leads to; the link itself where that is nothing, or may not be seen."""
    try:
        return await session.stat(path, root="/")
    except FileError:
        return link


@contextmanager
def _available() -> Iterator[None]:
    try:
        yield
    except (SessionEndedError, SessionNotFoundError) as exc:
        raise WorkspaceUnavailableError(str(exc)) from exc


@contextmanager
def _files(path: str) -> Iterator[None]:
    with _available():
        try:
            yield
        except FileError as exc:
            error = _paths.builtin(exc, path)
            if error is None:
                raise
            raise error from exc
