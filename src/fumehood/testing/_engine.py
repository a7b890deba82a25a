"""An engine whose containers are entries of a dictionary."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

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


@dataclass(slots=True)
class _Made:
    container: Container
    supervisor: Supervisor


class MemoryEngine(Holdings):
    """A :class:`fumehood.engines.base.Engine` that holds state too.

    Args:
        programs: what can be run in its sessions.
    """

    direct = False

    def __init__(self, programs: Programs) -> None:
        super().__init__(_IMAGE)
        self._programs = programs
        self._made: dict[str, _Made] = {}
        """By nonce: sessions, and what waits in a pool to be one."""
        self._workspaces: dict[str, Directory] = {}
        self._made_by: dict[str, str] = {}
        self._exits: dict[str, asyncio.Event] = {}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {len(self._made)} sessions>"

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
        if self._find(request.session_id) is not None:
            raise SessionExistsError(
                f"session {request.session_id!r} exists", session_id=request.session_id
            )
        workspace = request.workspace_id
        if workspace is not None and workspace in self._busy():
            raise WorkspaceBusyError(f"workspace {workspace!r} is in use")
        with (steps or Steps()).step("create"):
            supervisor = self._create(request)
        return supervisor.connect()

    def _create(self, request: SessionRequest) -> Supervisor:
        exited = self._exits[request.nonce] = asyncio.Event()

        def ended(reason: EndCode) -> None:
            exited.set()
            self._made.pop(request.nonce, None)

        supervisor = Supervisor(Inside(self._begin(request), self._programs), ended)
        container = Container(
            id=f"memory-{request.session_id}",
            session_id=request.session_id,
            nonce=request.nonce,
            state="running",
            created_at=time.time(),
            image=request.image.reference,
            workspace_id=request.workspace_id,
            detached=request.detached,
            metadata=request.metadata,
            workdir=request.workdir,
            destroy_workspace=request.destroy_workspace,
            ttl=request.ttl,
            idle_timeout=request.idle_timeout,
            owner=request.owner,
            settings=request.settings,
            pool_id=request.session_id if request.warm else "",
            warm=request.warm,
        )
        self._made[request.nonce] = _Made(container, supervisor)
        return supervisor

    def _begin(self, request: SessionRequest) -> MemoryFiles:
        """Return the files that a session begins with."""
        kept: Directory | None = None
        if request.workspace_id is not None:
            if request.workspace_id not in self._workspaces:
                self._made_by[request.workspace_id] = request.nonce
            kept = self._workspaces.setdefault(request.workspace_id, Directory())
        held = self._of_image(request.image.id)
        if held is None:
            return MemoryFiles(request.workdir, kept)
        return held.outside(request.workdir, kept)

    def _find(self, session_id: str) -> _Made | None:
        """Return a session, also one that was claimed and has no name yet."""
        for made in self._made.values():
            unclaimed = made.container.warm and not made.supervisor.configured
            if made.container.session_id == session_id and not unclaimed:
                return made
        return None

    def _files(self, container: Container) -> MemoryFiles | None:
        made = self._made.get(container.nonce)
        return None if made is None else made.supervisor.inside.place.files

    def _busy(self) -> set[str | None]:
        return {made.container.workspace_id for made in self._made.values()}

    async def claim_session(self, pool_id: str, session_id: str) -> None:
        """Give what waits in a pool the name of a session."""
        for made in self._made.values():
            if made.container.warm and made.container.session_id == pool_id:
                break
        else:
            raise SessionNotFoundError(f"{pool_id!r} is in no pool", session_id=session_id)
        if self._find(session_id) not in (None, made):
            raise SessionExistsError(f"session {session_id!r} exists", session_id=session_id)
        made.container = dataclasses.replace(made.container, session_id=session_id, warm=False)

    async def discard(self, nonce: str) -> None:
        """Remove whatever carries this nonce."""
        made = self._made.get(nonce)
        if made is not None:
            made.supervisor.end(EndCode.STOPPED)

    async def open_relay(self, container: Container) -> ByteStream:
        """Open one more stream to a session."""
        made = self._made.get(container.nonce)
        if made is None:
            raise SessionNotFoundError(
                f"session {container.session_id!r} is gone", session_id=container.session_id
            )
        return made.supervisor.connect()

    async def open_direct(self, session_id: str, nonce: str) -> ByteStream:
        """Refuse: there is one way only."""
        raise EngineUnsupportedError("a session in memory has no direct way", session_id=session_id)

    async def find_session(self, session_id: str) -> Container | None:
        """Return a session's container, or None."""
        found = self._find(session_id)
        return None if found is None else found.container

    async def list_sessions(self) -> Sequence[Container]:
        """Return every session's container."""
        return [made.container for made in self._made.values() if not made.container.warm]

    async def remove_session(
        self, session_id: str, *, destroy_workspace: bool = False, nonce: str | None = None
    ) -> None:
        """End a session and forget it. Idempotent."""
        made = self._find(session_id) if nonce is None else self._made.get(nonce)
        if made is None:
            return
        made.supervisor.end(EndCode.STOPPED)
        if destroy_workspace and made.container.workspace_id is not None:
            self._workspaces.pop(made.container.workspace_id, None)

    async def unmake_workspace(self, workspace_id: str, nonce: str) -> None:
        """Delete a workspace that the creation with this nonce has made."""
        if self._made_by.get(workspace_id) == nonce and workspace_id not in self._busy():
            self._workspaces.pop(workspace_id, None)

    def release_session(
        self, session_id: str, nonce: str, *, failed: Callable[[SandboxError], Awaitable[None]]
    ) -> None:
        """Forget a session that is over: nothing here takes time or can fail."""
        self._made.pop(nonce, None)

    async def exit_code(self, nonce: str) -> int | None:
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
        if workspace_id in self._busy():
            raise WorkspaceBusyError(f"workspace {workspace_id!r} is in use")
        if self._keeps(workspace_id):
            raise WorkspaceBusyError(f"workspace {workspace_id!r} is a stopped session's")
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
        for nonce in list(self._made):
            await self.discard(nonce)


def _check(request: SessionRequest) -> None:
    """Refuse what a test would believe to be there."""
    missing = {
        "published ports": bool(request.ports),
        "volumes": bool(request.volumes),
        "network but none and an allow-list": request.network.mode not in ("none", "allow"),
    }
    asked = [what for what, wanted in missing.items() if wanted]
    if asked:
        raise EngineUnsupportedError(
            f"a session in memory has no {asked[0].removeprefix('a ').removeprefix('an ')}",
            session_id=request.session_id,
        )
