"""A session as the OpenAI Agents SDK uses one: commands, files, ports, snapshots."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

from agents.sandbox.errors import (
    ExecTimeoutError,
    ExecTransportError,
    ExposedPortUnavailableError,
    WorkspaceArchiveReadError,
    WorkspaceArchiveWriteError,
    WorkspaceReadNotFoundError,
)
from agents.sandbox.session import BaseSandboxSession
from agents.sandbox.session.pty_types import PtyExecUpdate
from agents.sandbox.session.runtime_helpers import (
    RESOLVE_WORKSPACE_PATH_HELPER,
    RuntimeHelperScript,
)
from agents.sandbox.session.workspace_payloads import coerce_write_payload
from agents.sandbox.types import ExecResult, ExposedPortEndpoint, User

from fumehood.adapters import _openai_archive, _openai_state, _paths
from fumehood.adapters._openai_pty import NOT_FOUND, NOT_STARTED, Ptys
from fumehood.errors import (
    CommandError,
    CommandNotFoundError,
    FileMissingError,
    SandboxError,
)
from fumehood.forward import AsyncPortForward
from fumehood.options import MIB
from fumehood.results import SessionState

MAX_OUTPUT_BYTES = 16 * MIB
"""Of each stream of a command that is waited for; one that writes more is an error, because half of
its output would pass for all of it."""
PIECE = 256 * 1024
_ENDED = frozenset({SessionState.ENDED, SessionState.DETACHED})


class FumehoodSandboxSession(BaseSandboxSession):
    """One session. Made by a :class:`FumehoodSandboxClient`, never by hand.

    The workspace is the manifest's root, and there from the beginning. Files outside of it can be
    reached only as the manifest grants it; a link does not lead there either.
    """

    state: _openai_state.FumehoodSandboxSessionState

    def __init__(
        self, state: _openai_state.FumehoodSandboxSessionState, backend: _openai_state.Backend
    ) -> None:
        self.state = state
        self._backend = backend
        self._ptys = Ptys()
        self._forwards: dict[int, AsyncPortForward] = {}
        self._forwarding = asyncio.Lock()
        self._set_start_state_preserved(backend.joined)

    # --- its life -----------------------------------------------------------------------------

    async def _ensure_backend_started(self) -> None:
        if await self.running():
            return
        await self._backend.close()
        self._backend = await _openai_state.open_backend(self.state)
        self._set_start_state_preserved(self._backend.joined)

    async def running(self) -> bool:
        """Return whether the session lives."""
        return self._backend.session.state not in _ENDED

    async def _shutdown_backend(self) -> None:
        forwards, self._forwards = list(self._forwards.values()), {}
        for forward in forwards:
            await forward.aclose()
        await self._backend.leave()

    def _runtime_helpers(self) -> tuple[RuntimeHelperScript, ...]:
        return (RESOLVE_WORKSPACE_PATH_HELPER,)

    def _current_runtime_helper_cache_key(self) -> object | None:
        return self.state.fumehood_session_id

    async def _validate_path_access(self, path: Path | str, *, for_write: bool = False) -> Path:
        return await self._validate_remote_path_access(path, for_write=for_write)

    # --- commands -----------------------------------------------------------------------------

    async def exec(
        self,
        *command: str | Path,
        timeout: float | None = None,
        shell: bool | list[str] = True,
        user: str | User | None = None,
    ) -> ExecResult:
        """Run a command and return its complete output.

        Timed out or cancelled, it is killed with everything that it has started. ``user`` is the
        engine's own: no ``sudo`` is needed in the image.

        Raises:
            ExecTimeoutError: it was killed after ``timeout`` seconds.
            ExecTransportError: the session is over, or a stream had more than 16 MiB.
        """
        argv = self._prepare_exec_command(*command, shell=shell, user=None)
        return await self._run(argv, timeout, _name(user))

    async def _exec_internal(
        self, *command: str | Path, timeout: float | None = None
    ) -> ExecResult:
        return await self._run([str(part) for part in command], timeout, None)

    async def _run(
        self,
        argv: list[str],
        timeout: float | None,
        user: str | None,
        data: AsyncIterator[bytes] | None = None,
    ) -> ExecResult:
        try:
            result = await self._backend.session.exec(
                argv, timeout=timeout, user=user, input=data, max_output_bytes=MAX_OUTPUT_BYTES
            )
        except CommandError as exc:
            code = NOT_FOUND if isinstance(exc, CommandNotFoundError) else NOT_STARTED
            return ExecResult(stdout=b"", stderr=f"{exc}\n".encode(), exit_code=code)
        except SandboxError as exc:
            raise ExecTransportError(command=argv, cause=exc, message=str(exc)) from exc
        if result.timed_out:
            raise ExecTimeoutError(command=argv, timeout_s=timeout)
        if result.stdout_truncated or result.stderr_truncated:
            raise ExecTransportError(
                command=argv,
                message=f"the command wrote more than {MAX_OUTPUT_BYTES} bytes to a stream",
            )
        return ExecResult(
            stdout=result.stdout_bytes, stderr=result.stderr_bytes, exit_code=result.exit_code
        )

    def supports_pty(self) -> bool:
        """Return True: every session has terminals."""
        return True

    async def pty_exec_start(
        self,
        *command: str | Path,
        timeout: float | None = None,
        shell: bool | list[str] = True,
        user: str | User | None = None,
        tty: bool = False,
        yield_time_s: float | None = None,
        max_output_tokens: int | None = None,
    ) -> PtyExecUpdate:
        """Start a command that may outlast the call, and return what it writes at first.

        ``timeout`` is for starting it, which is one round trip here: it means nothing.
        """
        del timeout
        return await self._ptys.start(
            self._backend.session,
            self._prepare_exec_command(*command, shell=shell, user=None),
            tty=tty,
            user=_name(user),
            yield_time_s=yield_time_s,
            max_output_tokens=max_output_tokens,
        )

    async def pty_write_stdin(
        self,
        *,
        session_id: int,
        chars: str,
        yield_time_s: float | None = None,
        max_output_tokens: int | None = None,
    ) -> PtyExecUpdate:
        """Type to such a command, or only look what it has written."""
        return await self._ptys.write(
            session_id, chars, yield_time_s=yield_time_s, max_output_tokens=max_output_tokens
        )

    async def pty_terminate_all(self) -> None:
        """Kill all of them."""
        await self._ptys.end_all()

    async def _resolve_exposed_port(self, port: int) -> ExposedPortEndpoint:
        async with self._forwarding:
            forward = self._forwards.get(port)
            if forward is None:
                try:
                    forward = await self._backend.session.forward_port(port)
                except SandboxError as exc:
                    raise ExposedPortUnavailableError(
                        port=port,
                        exposed_ports=self.state.exposed_ports,
                        reason="backend_unavailable",
                        cause=exc,
                    ) from exc
                self._forwards[port] = forward
        return ExposedPortEndpoint(host=forward.host, port=forward.port, tls=False)

    # --- files --------------------------------------------------------------------------------

    async def read(self, path: Path, *, user: str | User | None = None) -> io.IOBase:
        """Return the content of a regular file; with ``user`` by the image's ``cat``."""
        checked = await self._validate_path_access(path)
        if user is None:
            return io.BytesIO(await self._content(path, checked, None))
        argv = ["cat", "--", checked.as_posix()]
        result = await self._run(argv, None, _name(user))
        if not result.ok():
            await self._raise_read_error_from_exec(
                path=path, workspace_path=checked, command=argv, result=result, user=user
            )
        return io.BytesIO(result.stdout)

    async def _read_bounded(self, path: Path, *, max_bytes: int) -> bytes:
        return await self._content(path, await self._validate_path_access(path), max_bytes)

    async def _content(self, path: Path, checked: Path, most: int | None) -> bytes:
        content = bytearray()
        try:
            async with self._backend.session.read_file_stream(
                checked.as_posix(), root="/"
            ) as reader:
                async for piece in reader:
                    content += piece
                    if most is not None and len(content) >= most:
                        break
        except FileMissingError as exc:
            raise WorkspaceReadNotFoundError(path=path, cause=exc) from exc
        except SandboxError as exc:
            raise WorkspaceArchiveReadError(path=path, cause=exc) from exc
        return bytes(content if most is None else content[:most])

    async def write(self, path: Path, data: io.IOBase, *, user: str | User | None = None) -> None:
        """Write a file, making its parents; a link is written through.

        Without ``user`` it takes its place whole. With one the image's ``sh`` and ``cat`` write it.
        """
        stream = coerce_write_payload(path=path, data=data).stream
        checked = await self._validate_path_access(path, for_write=True)
        if user is not None:
            script = 'mkdir -p "${1%/*}/" && exec cat > "$1"'
            argv = ["/bin/sh", "-c", script, "sh", checked.as_posix()]
            result = await self._run(argv, None, _name(user), _pieces(stream))
            if not result.ok():
                raise WorkspaceArchiveWriteError(
                    path=path, context={"stderr": result.stderr[-500:].decode("utf-8", "replace")}
                )
            return
        session = self._backend.session
        try:
            target = await _paths.realpath(session, checked.as_posix())
            async with session.write_file_stream(target, root="/") as file:
                async for piece in _pieces(stream):
                    await file.write(piece)
        except SandboxError as exc:
            raise WorkspaceArchiveWriteError(path=path, cause=exc, message=str(exc)) from exc

    async def persist_workspace(self) -> io.IOBase:
        """Return the workspace as an archive, for a snapshot."""
        return await _openai_archive.pack(
            self._backend.session,
            self._workspace_root_path(),
            self._persist_workspace_skip_relpaths(),
        )

    async def hydrate_workspace(self, data: io.IOBase) -> None:
        """Fill the workspace from such an archive; needs the image's ``tar``."""
        await _openai_archive.unpack(self._backend.session, self._workspace_root_path(), data)


def _name(user: str | User | None) -> str | None:
    return user.name if isinstance(user, User) else user


async def _pieces(stream: io.IOBase) -> AsyncIterator[bytes]:
    while piece := await asyncio.to_thread(cast("Any", stream).read, PIECE):
        yield piece
