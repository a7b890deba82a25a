"""An engine whose containers are entries of a dictionary."""

from __future__ import annotations

import asyncio
import dataclasses
import posixpath
import time
from collections.abc import Awaitable, Callable, Sequence

from fumehood._steps import Steps
from fumehood._version import __version__
from fumehood._wire.table import EndCode
from fumehood.engines.base import (
    ByteStream,
    Container,
    EngineInfo,
    Image,
    PullPolicy,
    PullProgress,
    SessionRequest,
    SweepReport,
)
from fumehood.errors import (
    EngineUnsupportedError,
    SandboxError,
    SessionExistsError,
    SessionNotFoundError,
    WorkspaceBusyError,
)
from fumehood.testing._holdings import Holdings
from fumehood.testing._operations import Inside
from fumehood.testing._supervisor import Supervisor
from fumehood.testing.commands import Programs
from fumehood.testing.files import Directory, MemoryFiles

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_IMAGE = Image(
    id="sha256:memory",
    reference="memory",
    user="",
    env=(("PATH", _PATH),),
    workdir="/",
    architecture="amd64",
)


class MemoryEngine(Holdings):
    """A :class:`fumehood.engines.base.Engine` that holds state too.

    Args:
        programs: what can be run in its sessions.
    """

    direct = False

    def __init__(self, programs: Programs) -> None:
        super().__init__(_IMAGE)
        self._programs = programs
        self._sessions: dict[str, tuple[Container, Supervisor]] = {}
        self._workspaces: dict[str, Directory] = {}
        self._made_by: dict[str, str] = {}
        self._exits: dict[str, asyncio.Event] = {}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {len(self._sessions)} sessions>"

    async def info(self) -> EngineInfo:
        """Say what it is: one that enforces nothing."""
        return EngineInfo(
            name="memory",
            version=__version__,
            api_version="",
            architecture="amd64",
            kernel="none",
            operating_system="none",
            cgroup_version="",
            storage_driver="memory",
            runtimes=(),
            default_runtime="",
            security_options=(),
            memory_limit=False,
            swap_limit=False,
            pids_limit=False,
            cpu_limit=False,
            live_restore=False,
            address="memory",
        )

    async def prepare_image(
        self,
        reference: str,
        *,
        pull: PullPolicy,
        platform: str | None = None,
        progress: Callable[[PullProgress], None] | None = None,
    ) -> Image:
        """Return an image of any name: there is nothing in it."""
        return dataclasses.replace(_IMAGE, reference=reference)

    async def create_session(
        self, request: SessionRequest, *, steps: Steps | None = None
    ) -> ByteStream:
        """Make a session.

        Raises:
            EngineUnsupportedError: what was asked for would be silently missing in memory.
            SessionExistsError: the id is in use.
            WorkspaceBusyError: a session holds the workspace.
        """
        _check(request)
        if request.session_id in self._sessions:
            raise SessionExistsError(
                f"session {request.session_id!r} exists", session_id=request.session_id
            )
        workspace = request.workspace_id
        if workspace is not None and workspace in self._busy():
            raise WorkspaceBusyError(f"workspace {workspace!r} is in use")
        files = self._begin(request)
        exited = self._exits[request.nonce] = asyncio.Event()

        def ended(reason: EndCode) -> None:
            exited.set()
            self._forget(request.session_id, request.nonce)

        supervisor = Supervisor(Inside(files, self._programs), ended)
        container = Container(
            id=f"memory-{request.session_id}",
            session_id=request.session_id,
            nonce=request.nonce,
            state="running",
            created_at=time.time(),
            image=request.image.reference,
            workspace_id=workspace,
            detached=request.detached,
            metadata=request.metadata,
            workdir=request.workdir,
            destroy_workspace=request.destroy_workspace,
            ttl=request.ttl,
            owner=request.owner,
            settings=request.settings,
        )
        self._sessions[request.session_id] = container, supervisor
        return supervisor.connect()

    def _begin(self, request: SessionRequest) -> MemoryFiles:
        """Return the files that a session begins with."""
        kept: Directory | None = None
        if request.workspace_id is not None:
            if request.workspace_id not in self._workspaces:
                self._made_by[request.workspace_id] = request.nonce
            kept = self._workspaces.setdefault(request.workspace_id, Directory())
        held = self._of_image(request.image.id)
        if held is None:
            files = MemoryFiles(request.workdir, kept)
        else:
            files = held.outside(request.workdir, kept)
        self._install(files)
        return files

    def _files(self, container: Container) -> MemoryFiles | None:
        found = self._sessions.get(container.session_id)
        if found is None or found[0].nonce != container.nonce:
            return None
        return found[1].inside.place.files

    def _install(self, files: MemoryFiles) -> None:
        """Show the programs as files too: rules for commands look for them on the PATH."""
        for name in self._programs.names:
            if name.startswith("/") or "/" not in name:
                files.write(posixpath.join("/usr/bin", name), b"", mode=0o755)

    def _busy(self) -> set[str | None]:
        return {container.workspace_id for container, _ in self._sessions.values()}

    def _forget(self, session_id: str, nonce: str | None) -> None:
        found = self._sessions.get(session_id)
        if found is not None and nonce in (None, found[0].nonce):
            del self._sessions[session_id]

    async def claim_session(self, pool_id: str, session_id: str) -> None:
        """Refuse: there is no pool, so nothing to be claimed."""
        raise SessionNotFoundError(f"{pool_id!r} is in no pool", session_id=session_id)

    async def discard(self, nonce: str) -> None:
        """Remove whatever carries this nonce."""
        for container, _ in list(self._sessions.values()):
            if container.nonce == nonce:
                await self.remove_session(container.session_id, nonce=nonce)

    async def open_relay(self, container: Container) -> ByteStream:
        """Open one more stream to a session."""
        found = self._sessions.get(container.session_id)
        if found is None or found[0].nonce != container.nonce:
            raise SessionNotFoundError(
                f"session {container.session_id!r} is gone", session_id=container.session_id
            )
        return found[1].connect()

    async def open_direct(self, session_id: str, nonce: str) -> ByteStream:
        """Refuse: there is one way only."""
        raise EngineUnsupportedError("a session in memory has no direct way", session_id=session_id)

    async def find_session(self, session_id: str) -> Container | None:
        """Return a session's container, or None."""
        found = self._sessions.get(session_id)
        return None if found is None else found[0]

    async def list_sessions(self) -> Sequence[Container]:
        """Return every session's container."""
        return [container for container, _ in self._sessions.values()]

    async def remove_session(
        self, session_id: str, *, destroy_workspace: bool = False, nonce: str | None = None
    ) -> None:
        """End a session and forget it. Idempotent."""
        found = self._sessions.get(session_id)
        if found is None or nonce not in (None, found[0].nonce):
            return
        container, supervisor = found
        supervisor.end(EndCode.STOPPED)
        self._forget(session_id, nonce)
        if destroy_workspace and container.workspace_id is not None:
            self._workspaces.pop(container.workspace_id, None)

    async def unmake_workspace(self, workspace_id: str, nonce: str) -> None:
        """Delete a workspace that the creation with this nonce has made."""
        if self._made_by.get(workspace_id) == nonce and workspace_id not in self._busy():
            self._workspaces.pop(workspace_id, None)

    def release_session(
        self, session_id: str, nonce: str, *, failed: Callable[[SandboxError], Awaitable[None]]
    ) -> None:
        """Forget a session that is over: nothing here takes time or can fail."""
        self._forget(session_id, nonce)

    async def exit_code(self, session_id: str, *, since: float) -> int | None:
        """Return None: the stream's last frame always says why a session ended."""
        return None

    async def wait_exit(self, nonce: str) -> int:
        """Wait until a session has ended."""
        await self._exits[nonce].wait()
        return 0

    async def list_workspaces(self) -> Sequence[str]:
        """Return the ids of the persistent workspaces."""
        return list(self._workspaces)

    async def remove_workspace(self, workspace_id: str) -> None:
        """Delete a workspace that no session holds."""
        if workspace_id in self._busy() or self._keeps(workspace_id):
            raise WorkspaceBusyError(f"workspace {workspace_id!r} is in use")
        self._workspaces.pop(workspace_id, None)

    async def sweep(
        self,
        *,
        minimum_age: float = 60.0,
        supervisors: bool = False,
        expired: Callable[[Container], Awaitable[bool]] | None = None,
    ) -> SweepReport:
        """Return an empty report: nothing is ever left behind in memory."""
        return SweepReport()

    async def close(self) -> None:
        """End what the sandbox has left to live: nothing outlives the engine."""
        for session_id in list(self._sessions):
            await self.remove_session(session_id)


def _check(request: SessionRequest) -> None:
    """Refuse what a test would believe to be there."""
    missing = {
        "published ports": bool(request.ports),
        "volumes": bool(request.volumes),
        "a pool": request.warm,
        "an idle timeout": request.idle_timeout is not None,
        "a network": request.network.mode != "none",
    }
    asked = [what for what, wanted in missing.items() if wanted]
    if asked:
        raise EngineUnsupportedError(
            f"a session in memory has no {asked[0].removeprefix('a ').removeprefix('an ')}",
            session_id=request.session_id,
        )
