"""Inspect: ``sandbox="fumehood"`` in a task, one session for each sample.

::

    Task(
        dataset=...,
        solver=...,
        sandbox=SandboxEnvironmentSpec(
            "fumehood",
            FumehoodConfig(
                image="python:3.13-slim",
                memory_mb=1024,
            ),
        ),
    )

Inspect finds the provider through its entry point once fumehood is installed. A configuration is
a :class:`FumehoodConfig`, or the name of a TOML file with the same keys. Dockerfiles and compose
files are not read: build the image first.
"""

from __future__ import annotations

import tomllib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from inspect_ai.util import (
    ExecResult,
    OutputLimitExceededError,
    SandboxConnection,
    SandboxEnvironment,
    SandboxEnvironmentLimits,
    sandboxenv,
)
from inspect_ai.util._sandbox.environment import SandboxUnavailableError
from pydantic import BaseModel

from fumehood.adapters import _paths
from fumehood.adapters._config import SessionConfig, make_sandbox
from fumehood.errors import (
    CommandNotFoundError,
    FileError,
    FileMissingError,
    FileNotDirectoryError,
    SessionEndedError,
    UserNotFoundError,
    WorkingDirectoryError,
)
from fumehood.sandbox import DEFAULT_WORKDIR, AsyncDockerSandbox
from fumehood.session import AsyncSession

NAME = "fumehood"
CONFIG_FILE = "fumehood.toml"
TASK = "inspect_task"
"""The metadata by which ``inspect sandbox cleanup fumehood`` knows its sessions."""
NOT_STARTED, NOT_FOUND = 126, 127
SESSIONS_AT_ONCE = 32
"""How many samples have a session at a time unless ``max_sandboxes`` says otherwise."""


class FumehoodConfig(SessionConfig, frozen=True, extra="forbid"):
    """What the sessions of a task are. Everything has the default of fumehood itself.

    With ``detached`` they outlive the eval under ``--no-sandbox-cleanup``.
    """

    workdir: str = DEFAULT_WORKDIR

    def sandbox(self) -> AsyncDockerSandbox:
        """Return the sandbox that makes such sessions."""
        return make_sandbox(self, workdir=self.workdir)


def read_config(config: BaseModel | str | None) -> FumehoodConfig:
    """Return what a task has given as its sandbox's configuration.

    Raises:
        ValueError: it is neither a FumehoodConfig nor a TOML file, or has an unknown key.
    """
    if config is None:
        return FumehoodConfig()
    if isinstance(config, FumehoodConfig):
        return config
    if isinstance(config, str) and config.endswith(".toml"):
        return FumehoodConfig(**tomllib.loads(Path(config).read_text(encoding="utf-8")))
    raise ValueError(
        f"sandbox {NAME!r} takes a FumehoodConfig or the name of a .toml file, not {config!r}; "
        "an image is built beforehand and named there"
    )


@sandboxenv(name=NAME)
class FumehoodSandboxEnvironment(SandboxEnvironment):
    """A sample's session. Relative paths begin in its workspace, absolute ones at the root."""

    def __init__(
        self, config: FumehoodConfig, sandbox: AsyncDockerSandbox, session: AsyncSession
    ) -> None:
        super().__init__()
        self._config = config
        self._sandbox = sandbox
        self._session = session

    async def exec(
        self,
        cmd: list[str],
        input: str | bytes | None = None,
        cwd: str | None = None,
        env: dict[str, str] | None = None,
        user: str | None = None,
        timeout: int | None = None,
        timeout_retry: bool = True,
        concurrency: bool = True,
    ) -> ExecResult[str]:
        """Run a program. It is found through the session's ``PATH``; nothing is put before it.

        ``timeout_retry`` means nothing here: a timeout is the command's own, never the engine's.
        ``concurrency`` neither: no process of this machine is started.
        """
        del timeout_retry, concurrency
        try:
            result = await self._session.exec(
                cmd,
                input=input.encode() if isinstance(input, str) else input,
                cwd=cwd or ".",
                env=env,
                user=user,
                timeout=timeout,
                max_output_bytes=SandboxEnvironmentLimits.MAX_EXEC_OUTPUT_SIZE,
            )
        except SessionEndedError as exc:
            raise SandboxUnavailableError(str(exc)) from exc
        except CommandNotFoundError as exc:
            return ExecResult(False, NOT_FOUND, "", f"{exc}\n")
        except (UserNotFoundError, WorkingDirectoryError) as exc:
            return ExecResult(False, NOT_STARTED, "", f"{exc}\n")
        if result.timed_out:
            error = TimeoutError(f"the command was killed after {result.duration:.3f} s")
            # Where Inspect looks for what had been written until then.
            error.truncated_output = result.stdout + result.stderr  # type: ignore[attr-defined]
            raise error
        if result.stdout_truncated or result.stderr_truncated:
            raise OutputLimitExceededError(
                SandboxEnvironmentLimits.MAX_EXEC_OUTPUT_SIZE_STR, result.stdout + result.stderr
            )
        return ExecResult(result.exit_code == 0, result.exit_code, result.stdout, result.stderr)

    async def write_file(self, file: str, contents: str | bytes) -> None:
        """Write a file whole, making its parents."""
        path = self._path(file)
        with _files(path):
            await self._owner_may(0o200, path)
            await self._session.write_file(path, contents, root="/")

    async def read_file(self, file: str, text: bool = True) -> Any:  # noqa: ANN401 - as it asks
        """Return a file's text, line ends as they are, or its bytes.

        Raises:
            OutputLimitExceededError: it holds more than Inspect's limit.
        """
        path = self._path(file)
        most = SandboxEnvironmentLimits.MAX_READ_FILE_SIZE
        content = bytearray()
        with _files(path):
            await self._owner_may(0o400, path)
            async with self._session.read_file_stream(path, root="/") as reader:
                async for piece in reader:
                    content += piece
                    if len(content) > most:
                        raise OutputLimitExceededError(
                            SandboxEnvironmentLimits.MAX_READ_FILE_SIZE_STR, None
                        )
        return content.decode("utf-8") if text else bytes(content)

    async def connection(self, *, user: str | None = None) -> SandboxConnection:
        """Return the command that opens a shell in the session."""
        if self._session.end_reason is not None:
            raise ConnectionError(f"session {self._session.id} is over")
        as_user = f" --user {user}" if user else ""
        return SandboxConnection(type=NAME, command=f"fumehood shell{as_user} {self._session.id}")

    def default_polling_interval(self) -> float:
        """Ask often: a look costs a round trip and no new process of the engine."""
        return 0.2

    def _path(self, file: str) -> str:
        return _paths.on_root(self._session.workdir, file)

    async def _owner_may(self, bit: int, path: str) -> None:
        """Refuse what the owner's bits refuse, where the workload could pass over them."""
        if not self._config.root_tools:
            return
        try:
            entry = await self._session.stat(path, root="/")
        except (FileMissingError, FileNotDirectoryError):
            return
        if entry.type == "file" and not entry.mode & bit:
            raise PermissionError(f"{path}: its mode is {entry.mode:#o}")

    # --- the framework's lifecycle ------------------------------------------------------------

    @classmethod
    def default_concurrency(cls) -> int | None:
        """Return how many samples have a session at a time."""
        return SESSIONS_AT_ONCE

    @classmethod
    def config_files(cls) -> list[str]:
        """Return the file that is read when a task names none."""
        return [CONFIG_FILE]

    @classmethod
    def config_deserialize(cls, config: dict[str, Any]) -> BaseModel:
        """Return the configuration that a log holds."""
        return FumehoodConfig(**config)

    @classmethod
    async def task_init(cls, task_name: str, config: BaseModel | str | None) -> None:
        """Make one session and end it: a wrong image fails once, before any sample."""
        async with read_config(config).sandbox() as sandbox:
            session = await sandbox.create_session(metadata={TASK: task_name[:200]})
            await session.destroy()

    @classmethod
    async def sample_init(
        cls, task_name: str, config: BaseModel | str | None, metadata: dict[str, str]
    ) -> dict[str, SandboxEnvironment]:
        """Make the session of a sample; when it fails or is cancelled, nothing is left of it."""
        chosen = read_config(config)
        async with _kept(chosen.sandbox()) as sandbox:
            session = await sandbox.create_session(metadata={TASK: task_name[:200]})
        return {"default": cls(chosen, sandbox, session)}

    @classmethod
    async def sample_cleanup(
        cls,
        task_name: str,
        config: BaseModel | str | None,
        environments: dict[str, SandboxEnvironment],
        interrupted: bool,
    ) -> None:
        """Destroy the session at once, also when the task was interrupted: it takes milliseconds.

        Without the clean-up of sandboxes Inspect does not call this. The session then ends with its
        client, or, when it is detached, with its time to live.
        """
        for environment in environments.values():
            own = environment.as_type(cls)
            try:
                await own._session.destroy()  # noqa: SLF001 - of its own class
            finally:
                await own._sandbox.close()  # noqa: SLF001 - the same

    @classmethod
    async def cli_cleanup(cls, id: str | None) -> None:
        """End the sessions of all evals on this engine, or the one that is named."""
        async with AsyncDockerSandbox() as sandbox:
            for info in await sandbox.list_sessions():
                if TASK in info.metadata and id in (None, info.id):
                    await sandbox.destroy_session(info.id)


@asynccontextmanager
async def _kept(sandbox: AsyncDockerSandbox) -> AsyncIterator[AsyncDockerSandbox]:
    """Close a sandbox only when the block fails."""
    try:
        yield sandbox
    except BaseException:
        await sandbox.close()
        raise


@contextmanager
def _files(path: str) -> Iterator[None]:
    try:
        yield
    except SessionEndedError as exc:
        raise SandboxUnavailableError(str(exc)) from exc
    except FileError as exc:
        error = _paths.builtin(exc, path)
        if error is None:
            raise
        raise RuntimeError(str(error)) from exc
