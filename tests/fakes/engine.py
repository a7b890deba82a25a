"""An engine that lies in memory: containers are entries, their supervisors are test code."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Awaitable, Callable, Sequence

from fakes.supervisor import FakeSupervisor, Opened, Script, record
from fumehood._steps import Steps
from fumehood._wire.codec import RawFrame
from fumehood._wire.table import EndCode, ErrorCode, Frame, Operation
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
from fumehood.engines.docker_release import Failed, Releases
from fumehood.errors import (
    EngineError,
    SessionExistsError,
    SessionNotFoundError,
    WorkspaceBusyError,
)


def obliging(peer: FakeSupervisor, channel: Opened) -> None:
    """Do what is asked: commands echo their arguments, everything else succeeds."""
    number = channel.number
    if channel.operation is Operation.EXEC:
        text = b" ".join(channel.argv[1:])
        if text:
            peer.stdout(number, text)
        peer.exit(number, 0, stdout_total=len(text))
    elif channel.operation is Operation.STAT:
        peer.stdout(number, record(b"f"))
        peer.done(number)
    elif channel.operation is not Operation.WRITE:
        peer.done(number)


def answer_writes_and_cancels(peer: FakeSupervisor) -> None:
    """Finish a write when its input has ended, and fail what is cancelled."""

    def note(raw: RawFrame) -> None:
        channel = peer.channels.get(raw.channel)
        if raw.frame is Frame.DESTROY:
            peer.end(EndCode.DESTROYED)
        elif channel is None or channel.ended:
            return  # sent before the channel's last frame had arrived
        elif raw.frame is Frame.EOF and channel.operation is Operation.WRITE:
            peer.done(channel.number, size=len(channel.input))
        elif raw.frame is Frame.CANCEL:
            peer.fail(channel.number, ErrorCode.CANCELLED)

    peer.on_frame = note


class MemoryEngine:
    """A :class:`fumehood.engines.base.Engine`.

    Args:
        script: how supervisors answer; :func:`obliging` by default.
    """

    def __init__(self, script: Script = obliging) -> None:
        self.script = script
        self.containers: dict[str, Container] = {}
        self.supervisors: dict[str, FakeSupervisor] = {}
        self.requests: list[SessionRequest] = []
        self.removed: list[tuple[str, bool]] = []
        self.discarded: list[str] = []
        self.unmade: list[tuple[str, str]] = []
        self.exit_codes: dict[str, int] = {}
        self.exits: dict[str, asyncio.Future[int]] = {}
        """Who waits for which container's end, by its nonce."""
        self._releases = Releases(lambda name, nonce: self._remove(name, False, nonce))
        self.closed = 0
        self.swept = 0
        self.fail_removal: EngineError | None = None
        self.hold_removal = asyncio.Event()
        self.hold_removal.set()
        self.hold_creation = asyncio.Event()
        self.hold_creation.set()
        self.fail_creation: Exception | None = None
        self.hold_naming = asyncio.Event()
        self.hold_naming.set()
        self.greet = True
        self.image_user = "1000"
        self.image_env: tuple[tuple[str, str], ...] = (("PATH", "/bin"),)
        self.prepare: Callable[[FakeSupervisor], None] = answer_writes_and_cancels

    async def info(self) -> EngineInfo:
        raise EngineError("an engine in memory has nothing to tell")

    async def prepare_image(
        self,
        reference: str,
        *,
        pull: PullPolicy,
        platform: str | None = None,
        progress: Callable[[PullProgress], None] | None = None,
    ) -> Image:
        return Image(
            id="sha256:0",
            reference=reference,
            user=self.image_user,
            env=self.image_env,
            workdir="/",
            architecture="amd64",
        )

    async def create_session(
        self, request: SessionRequest, *, steps: Steps | None = None
    ) -> ByteStream:
        await asyncio.sleep(0)
        await self.hold_creation.wait()
        if self.fail_creation is not None:
            raise self.fail_creation
        await self._releases.wait(request.session_id)
        if request.session_id in self.containers:
            raise SessionExistsError(f"session {request.session_id} exists")
        taken = {item.workspace_id for item in self.containers.values()} - {None}
        if request.workspace_id in taken:
            raise WorkspaceBusyError(f"workspace {request.workspace_id} is in use")
        self.requests.append(request)
        self.containers[request.session_id] = Container(
            id=f"c-{request.session_id}",
            session_id=request.session_id,
            nonce=request.nonce,
            settings=request.settings,
            state="running",
            created_at=time.time(),
            image=request.image.reference,
            workspace_id=request.workspace_id,
            detached=request.detached,
            metadata=request.metadata,
            workdir=request.workdir,
            destroy_workspace=request.destroy_workspace,
            owner=request.owner,
            ttl=request.ttl,
            idle_timeout=request.idle_timeout,
            pool_id=request.session_id if request.warm else "",
            warm=request.warm,
        )
        peer = FakeSupervisor(greet=self.greet, script=self.script)
        self.prepare(peer)
        self.supervisors[request.session_id] = peer
        return peer.stream

    async def open_relay(self, container: Container) -> ByteStream:
        peer = FakeSupervisor(configured=True, script=self.script)
        self.prepare(peer)
        self.supervisors[f"relay to {container.session_id}"] = peer
        return peer.stream

    direct = False

    async def open_direct(self, session_id: str, nonce: str) -> ByteStream:
        raise AssertionError("there is no such way")

    async def find_session(self, session_id: str) -> Container | None:
        found = self.containers.get(session_id)
        if found is None or found.warm or self._releases.covers(found.nonce):
            return None
        return found

    async def list_sessions(self) -> Sequence[Container]:
        return [
            item
            for item in self.containers.values()
            if not item.warm and not self._releases.covers(item.nonce)
        ]

    async def claim_session(self, pool_id: str, session_id: str) -> None:
        await self.hold_naming.wait()
        await self._releases.wait(session_id)
        container = self.containers.get(pool_id)
        if container is None:
            raise SessionNotFoundError(f"{pool_id} is gone")
        if session_id != pool_id and session_id in self.containers:
            raise SessionExistsError(f"session {session_id} exists")
        del self.containers[pool_id]
        self.containers[session_id] = dataclasses.replace(
            container, session_id=session_id, warm=False
        )
        self.supervisors[session_id] = self.supervisors[pool_id]

    async def discard(self, nonce: str) -> None:
        await self.hold_removal.wait()
        for name, container in list(self.containers.items()):
            if container.nonce == nonce:
                self.discarded.append(name)
                del self.containers[name]

    @property
    def waiting(self) -> list[str]:
        """The ids of the containers that wait in pools."""
        return [item.session_id for item in self.containers.values() if item.warm]

    async def remove_session(
        self, session_id: str, *, destroy_workspace: bool = False, nonce: str | None = None
    ) -> None:
        await self._releases.wait(session_id)
        await self._remove(session_id, destroy_workspace, nonce)

    async def unmake_workspace(self, workspace_id: str, nonce: str) -> None:
        self.unmade.append((workspace_id, nonce))

    def release_session(self, session_id: str, nonce: str, *, failed: Failed) -> None:
        self._releases.begin(session_id, nonce, failed)

    async def _remove(self, session_id: str, destroy_workspace: bool, nonce: str | None) -> None:
        await self.hold_removal.wait()
        if self.fail_removal is not None:
            raise self.fail_removal
        found = self.containers.get(session_id)
        if found is None and nonce is not None:
            await self.discard(nonce)
        if found is not None and nonce not in (None, found.nonce):
            return
        self.removed.append((session_id, destroy_workspace))
        self.containers.pop(session_id, None)

    async def exit_code(self, nonce: str) -> int | None:
        return self.exit_codes.get(nonce)

    async def wait_exit(self, nonce: str) -> int:
        future = self.exits.setdefault(nonce, asyncio.get_running_loop().create_future())
        return await asyncio.shield(future)

    async def list_workspaces(self) -> Sequence[str]:
        return [item.workspace_id for item in self.containers.values() if item.workspace_id]

    async def remove_workspace(self, workspace_id: str) -> None:
        if workspace_id in await self.list_workspaces():
            raise WorkspaceBusyError(f"workspace {workspace_id} is in use")

    async def sweep(
        self,
        *,
        minimum_age: float = 60.0,
        supervisors: bool = False,
        expired: Callable[[Container], Awaitable[bool]] | None = None,
    ) -> SweepReport:
        self.swept += 1
        return SweepReport()

    async def close(self) -> None:
        await self._releases.settle()
        self.closed += 1
