"""The Docker engine: containers for sessions over the Engine API.

This file is the shape of it: what an :class:`~fumehood.engines.base.Engine` is asked for, in terms
of the parts beside it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from collections.abc import (
    Awaitable,
    Callable,
    Mapping,
    Sequence,
)
from typing import cast

from fumehood._steps import Steps
from fumehood._supervisor import binary as supervisor_binary
from fumehood._supervisor.install import Installer
from fumehood._version import __version__
from fumehood.engines import docker_direct, docker_facts, docker_listing, labels
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
from fumehood.engines.container_spec import (
    SUPERVISOR_PATH,
    is_pool_id,
    workspace_volume,
)
from fumehood.engines.docker_client import ApiClient
from fumehood.engines.docker_create import Creator
from fumehood.engines.docker_errors import ApiError
from fumehood.engines.docker_exits import Exits
from fumehood.engines.docker_images import Images
from fumehood.engines.docker_keeping import KeepsStates
from fumehood.engines.docker_release import Failed, Releases
from fumehood.engines.docker_removal import Remover
from fumehood.engines.docker_state_sweep import StateSweeper, joined
from fumehood.engines.docker_sweep import Sweeper
from fumehood.errors import (
    EngineError,
    EngineUnsupportedError,
    SessionNotFoundError,
    WorkspaceBusyError,
)
from fumehood.options import RESERVED_UID, check_name

_log = logging.getLogger("fumehood.engine")

ENGINE_ONLY = "FUMEHOOD_TETHER"
"""The environment variable whose value ``engine`` keeps every stream in the engine's hands."""


class DockerEngine(KeepsStates):
    """One Docker engine; implements :class:`fumehood.engines.base.Engine`.

    Nothing is connected before the first call. Belongs to the event loop that makes it.

    Args:
        docker_host: the engine's address (``unix://``, ``tcp://``, ``ssh://``); ``None`` resolves
        it as
            the docker command line does.

    Example::

        engine = DockerEngine()
        print((await engine.info()).version)
        await engine.close()
    """

    def __init__(self, docker_host: str | None = None) -> None:
        self._api = ApiClient(docker_host)
        self._images = Images(self._api)
        self._remover = Remover(self._api)
        self._releases = Releases(self._remove_released)
        self._exits = Exits(self._api, outlived=self._outlived)
        self._preparing = asyncio.Lock()
        self._facts: tuple[EngineInfo, Installer] | None = None
        self._masked_paths: tuple[str, ...] | None = None
        self._creator: Creator | None = None
        self._may_pass = os.environ.get(ENGINE_ONLY) != "engine" and docker_direct.possible()

    def __repr__(self) -> str:
        return f"<DockerEngine {self._api.address}>"

    @property
    def address(self) -> str:
        """Where the engine is."""
        return self._api.address

    # --- what it is ----------------------------------------------------------------------------

    async def info(self) -> EngineInfo:
        """Return what the engine is and can enforce; asked once."""
        return (await self._known())[0]

    async def _known(self) -> tuple[EngineInfo, Installer]:
        async with self._preparing:
            if self._facts is None:
                version = await self._api.version()
                asked = time.time()
                async with self._api.calling("asking what the engine can do") as docker:
                    answer = cast("object", await docker.system.info())
                raw = docker_listing.mapping(answer)
                info = docker_facts.engine_info(
                    version,
                    raw,
                    address=self.address,
                    api_version=self._api.api_version,
                    asked=asked,
                )
                for warning in info.warnings:
                    _log.warning("the engine at %s warns: %s", self.address, warning)
                processors = raw.get("NCPU")
                self._masked_paths = docker_facts.masked_paths(
                    info, processors=processors if isinstance(processors, int) else 0
                )
                self._facts = (
                    info,
                    Installer(
                        self._api, engine_id=f"{self.address} {raw.get('ID')}", version=__version__
                    ),
                )
            return self._facts

    def _outlived(self) -> bool:
        return self._facts is None or docker_facts.streams_can_break(self._facts[0])

    async def _creating(self) -> Creator:
        if self._creator is None:
            info, installer = await self._known()
            # In a thread: reading a file would block the loop.
            binary = await asyncio.to_thread(supervisor_binary.load, info.architecture)
            if self._creator is None:
                self._creator = Creator(
                    self._api,
                    info=info,
                    masked_paths=self._masked_paths,
                    binary=binary,
                    installer=installer,
                    remover=self._remover,
                )
        return self._creator

    # --- images --------------------------------------------------------------------------------

    async def prepare_image(
        self,
        reference: str,
        *,
        pull: PullPolicy,
        platform: str | None = None,
        progress: Callable[[PullProgress], None] | None = None,
    ) -> Image:
        """Return the image, pulling it as the policy says."""
        return await self._images.prepare(
            reference, pull=pull, platform=platform, progress=progress
        )

    # --- sessions ------------------------------------------------------------------------------

    async def create_session(
        self, request: SessionRequest, *, steps: Steps | None = None
    ) -> ByteStream:
        """Create, attach and start a session's container; return its stream."""
        steps = steps or Steps()
        with steps.step("engine"):
            creator = await self._creating()
        with steps.step("name"):
            await self._releases.wait(request.session_id)
        try:
            return await creator.create(request, steps)
        except EngineError:
            # Whatever it was, the image may be what is gone.
            self._images.forget()
            raise

    async def claim_session(self, pool_id: str, session_id: str) -> None:
        """Give a container of a pool the name of a session."""
        check_name(session_id, "session id")
        await self._releases.wait(session_id)
        creator = await self._creating()
        await creator.claim(pool_id, session_id)

    async def discard(self, nonce: str) -> None:
        """Remove whatever carries this nonce."""
        await self._remover.remove_by_nonce(nonce)

    async def open_relay(self, container: Container) -> ByteStream:
        """Open one more stream to a running session's supervisor."""
        gone = SessionNotFoundError(
            f"session {container.session_id!r} is not running any more", op="connect"
        )
        if self.direct and container.pid:
            try:
                return await self._direct(container)
            except OSError as exc:
                _log.debug("session %s: not past the engine: %s", container.session_id, exc)
        can_break = docker_facts.streams_can_break(await self.info())
        doing = f"opening a relay to session {container.session_id!r}"
        try:
            made = await self._api.request(
                "POST",
                f"containers/{container.id}/exec",
                body={
                    "User": f"{RESERVED_UID}:{RESERVED_UID}",
                    "Cmd": [SUPERVISOR_PATH, "relay"],
                    "AttachStdin": True,
                    "AttachStdout": True,
                    "AttachStderr": True,
                    "Tty": False,
                    "Privileged": False,
                },
                doing=doing,
            )
            return await self._api.hijack(
                f"exec/{docker_listing.identifier(made, doing)}/start",
                body={"Detach": False, "Tty": False},
                doing=f"starting a relay to session {container.session_id!r}",
                what=f"relay to session {container.session_id!r}",
                can_break=can_break,
            )
        except ApiError as exc:
            # 404: no such container; 409: it is not running, or paused.
            if exc.status == 404 or (exc.status == 409 and "paused" not in exc.detail):
                raise gone from exc
            raise

    @property
    def direct(self) -> bool:
        """Whether streams may go past the engine: root, beside an engine of this machine."""
        return self._may_pass and self._api.local

    async def open_direct(self, session_id: str, nonce: str) -> ByteStream:
        """Open one more stream to a running session's supervisor, past the engine."""
        container = await self.find_session(session_id)
        if container is None or container.nonce != nonce or not container.pid:
            raise SessionNotFoundError(
                f"session {session_id!r} is not running any more", session_id=session_id
            )
        try:
            return await self._direct(container)
        except OSError as exc:
            raise EngineUnsupportedError(
                f"session {session_id!r} cannot be reached past the engine: {exc}"
            ) from exc

    async def _direct(self, container: Container) -> ByteStream:
        return await docker_direct.open_direct(
            container.pid, container.id, what=f"session {container.session_id!r}"
        )

    async def find_session(self, session_id: str) -> Container | None:
        """Return the session's container, by exact name and label, or ``None``."""
        check_name(session_id, "session id")
        found = await self._remover.find(session_id)
        if found is None and is_pool_id(session_id):
            found = await self._remover.find_claimed(session_id)
        return None if found is None or self._releases.covers(found.nonce) else found

    async def list_sessions(self) -> Sequence[Container]:
        """Return every container of ours, running or not."""
        found = await self._api.request(
            "GET",
            "containers/json",
            params={"all": "1", "filters": json.dumps({"label": [labels.NONCE]})},
            doing="listing sessions",
        )
        sessions = (docker_listing.from_list(item) for item in docker_listing.sequence(found))
        return [
            session
            for session in sessions
            if session is not None and not session.warm and not self._releases.covers(session.nonce)
        ]

    async def remove_session(
        self, session_id: str, *, destroy_workspace: bool = False, nonce: str | None = None
    ) -> None:
        """Kill and remove a session's container and its ephemeral volume; idempotent."""
        check_name(session_id, "session id")
        await self._releases.wait(session_id)
        await self._remover.remove(session_id, destroy_workspace=destroy_workspace, nonce=nonce)

    async def unmake_workspace(self, workspace_id: str, nonce: str) -> None:
        """Delete a persistent workspace that the creation with this nonce has made."""
        check_name(workspace_id, "workspace id")
        await self._remover.destroy_workspace(workspace_id, only_made_by=nonce)

    def release_session(self, session_id: str, nonce: str, *, failed: Failed) -> None:
        """Remove a session that is over, in the background."""
        self._releases.begin(session_id, nonce, failed)

    async def _remove_released(self, session_id: str, nonce: str) -> None:
        await self._remover.remove(session_id, destroy_workspace=False, nonce=nonce)

    async def exit_code(self, nonce: str) -> int | None:
        """Return the exit code of a container that is gone, from the engine's recent events."""
        now = await self._api.clock()
        filters = {
            "type": ["container"],
            "event": ["die"],
            # Its name may have been another container's before, and the nonce never is.
            "label": [f"{labels.NONCE}={nonce}"],
        }
        code: int | None = None

        def take(event: Mapping[str, object]) -> None:
            nonlocal code
            marks, exited = docker_listing.from_death(event)
            # A container of an image that somebody has committed has the label, too.
            if exited is not None and docker_listing.is_sessions_name(marks.get("name", ""), marks):
                code = exited

        await self._api.each_line(
            "GET",
            "events",
            take=take,
            # `until` in the engine's past: the answer is history and ends at once.
            params={
                # The engine keeps little, and its clock may differ from ours.
                "since": "0",
                "until": f"{now:.9f}",
                "filters": json.dumps(filters),
            },
            doing="asking how a session ended",
            seconds=30.0,
        )
        return code

    async def wait_exit(self, nonce: str) -> int:
        """Wait until a session's container has ended; see the protocol."""
        return await self._exits.wait(nonce)

    # --- workspaces ----------------------------------------------------------------------------

    async def list_workspaces(self) -> Sequence[str]:
        """Return the ids of the persistent workspaces on this engine."""
        answer = docker_listing.mapping(
            await self._api.request(
                "GET",
                "volumes",
                params={"filters": json.dumps({"label": [labels.WORKSPACE]})},
                doing="listing workspaces",
            )
        )
        found: list[str] = []
        for item in map(docker_listing.mapping, docker_listing.sequence(answer.get("Volumes"))):
            marks = docker_listing.text_map(item.get("Labels"))
            workspace_id = marks.get(labels.WORKSPACE, "")
            if workspace_id and item.get("Name") == workspace_volume(workspace_id):
                found.append(workspace_id)
        return sorted(found)

    async def remove_workspace(self, workspace_id: str) -> None:
        """Delete a persistent workspace that no session holds; unknown ones are no error."""
        check_name(workspace_id, "workspace id")
        if not await self._remover.destroy_workspace(workspace_id):
            raise WorkspaceBusyError(
                f"workspace {workspace_id!r} is held by {await self._holder(workspace_id)}"
            )

    async def _holder(self, workspace_id: str) -> str:
        """Say who keeps a workspace from being deleted."""
        for session in await self._remover.holders(workspace_id):
            return f"session {session.session_id!r}"
        for holding in await (await self._holding()).list():
            if holding.kind == "stopped" and holding.workspace_id == workspace_id:
                return f"the stopped session {holding.name!r}: resume it, or destroy it"
        return "a container that is no session of ours"

    # --- clean-up ------------------------------------------------------------------------------

    async def sweep(
        self,
        *,
        minimum_age: float = 60.0,
        supervisors: bool = False,
        expired: Callable[[Container], Awaitable[bool]] | None = None,
    ) -> SweepReport:
        """Remove what AutoRemove cannot see; see the protocol."""
        _, installer = await self._known()
        sweeper = Sweeper(self._api, remover=self._remover, installer=installer)
        now = await self._api.clock()
        # Held states first: what they let go of is then nobody's.
        states = StateSweeper(self._api, holdings=await self._holding(), remover=self._remover)
        held = await states.sweep(now=now, minimum_age=minimum_age)
        report = await sweeper.sweep(
            now=now, minimum_age=minimum_age, supervisors=supervisors, expired=expired
        )
        return joined(report, held)

    async def close(self) -> None:
        """Wait for clean-up that is under way, then release connections. Idempotent."""
        await self._releases.settle()
        await self._exits.close()
        await self._api.close()
