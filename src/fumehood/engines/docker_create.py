"""Bringing a session's container up: all of it or nothing.

Names and labels exist before the first call, so whatever a broken connection or a cancelled caller
leaves behind is found by the session's nonce and removed, without an id from a reply.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Mapping
from dataclasses import replace

from fumehood._steps import Steps
from fumehood._supervisor.binary import SupervisorBinary
from fumehood._supervisor.install import Installer
from fumehood._version import __version__
from fumehood.engines import container_spec, docker_facts, docker_listing
from fumehood.engines.base import EngineInfo, SessionRequest
from fumehood.engines.container_spec import SUPERVISOR_PATH, ContainerSpec, EngineFacts
from fumehood.engines.docker_client import ApiClient
from fumehood.engines.docker_errors import ApiError
from fumehood.engines.docker_removal import Remover
from fumehood.engines.docker_stream import DockerStream
from fumehood.engines.docker_text import printable
from fumehood.engines.docker_turns import Turns
from fumehood.engines.docker_volumes import SharedVolumes
from fumehood.engines.docker_workspaces import WorkspaceLock
from fumehood.errors import (
    EngineError,
    EngineUnavailableError,
    EngineUnsupportedError,
    ImageNotFoundError,
    OperationTimeoutError,
    SandboxError,
    SessionExistsError,
    SessionNotFoundError,
    SupervisorError,
    WorkspaceBusyError,
)

_log = logging.getLogger("fumehood.engine")

START_SECONDS = 120.0
"""Starting a container on a busy host: image layers are mounted and the runtime is run."""
SETTLE_SECONDS = 30.0
ENDING_SECONDS = 1.0
"""What a session that is over may take until its name is free, before it counts as a live one."""
_LOOKS = 10
_ATTEMPTS = 4
"""One, and one more for each reason to try again: a missing program, refused kernel parameters,
no quotas."""

_MISSING_PROGRAM = re.compile(r"no such file|not found|cannot find", re.IGNORECASE)
_TAKEN = re.compile(r"already in use|not reserved")


class _Retry(Exception):  # noqa: N818 - control flow, never seen outside
    """The container could not start for a reason that was just removed."""


class Creator:
    """Creates sessions on one engine."""

    def __init__(
        self,
        api: ApiClient,
        *,
        info: EngineInfo,
        masked_paths: tuple[str, ...] | None,
        binary: SupervisorBinary,
        installer: Installer,
        remover: Remover,
    ) -> None:
        self._api = api
        self._info = info
        self._binary = binary
        self._installer = installer
        self._remover = remover
        self._workspaces = WorkspaceLock(api, remover)
        self._volumes = SharedVolumes(api, remover)
        self._facts = EngineFacts(
            version=__version__,
            supervisor_volume=binary.volume,
            supervisor_digest=binary.digest,
            masked_paths=masked_paths,
            # Whether its quotas are turned on, a create tells.
            disk_quotas=info.backing_filesystem == "xfs",
        )
        # Runtimes that refused the kernel parameters.
        self._without_sysctls: set[str | None] = set()
        self._turns = Turns()

    async def create(self, request: SessionRequest, steps: Steps) -> DockerStream:
        """Return the stream of a new, started session; on any failure nothing is left.

        When cancelled, the engine finishes what it was asked for (a create cannot be taken back)
        and the result is removed before the cancellation goes on; a second cancellation leaves that
        to the background, and closing the engine waits for it.
        """
        container_spec.check(request)
        docker_facts.check_enforced(self._info, request)
        with steps.step("checks"):
            await self._check_network(request)
            await self._volumes.check(request)
            await self._installer.ensure(self._binary, request.image.id)
        with steps.step("turn"):
            await self._turns.enter(background=request.warm)
        work = asyncio.ensure_future(self._bring_up(request, steps))
        work.add_done_callback(lambda _: self._turns.leave(background=request.warm))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            await self._api.cleanups.run(self._abandon(work, request))
            raise

    async def _abandon(self, work: asyncio.Task[DockerStream], request: SessionRequest) -> None:
        """Let a create come to its end, then take away what it made."""
        await asyncio.wait({work}, timeout=SETTLE_SECONDS)
        if not work.done():
            work.cancel()
            await asyncio.wait({work})
        if not work.cancelled() and work.exception() is None:
            await work.result().close()
        await self._clean_up(request, certain=True, keep_workspace=False)

    # --- the steps -----------------------------------------------------------------------------

    async def _bring_up(self, request: SessionRequest, steps: Steps) -> DockerStream:
        started = time.monotonic()
        try:
            stream = await self._with_retries(request, steps)
        except BaseException as exc:
            # A broken connection leaves open what the engine has done or is about to do.
            certain = not isinstance(
                exc, (EngineUnavailableError, OperationTimeoutError, asyncio.CancelledError)
            )
            keep = isinstance(exc, WorkspaceBusyError)
            await self._api.cleanups.run(
                self._clean_up(request, certain=certain, keep_workspace=keep)
            )
            raise
        self._remover.remember(
            request.session_id,
            nonce=request.nonce,
            workspace_id=request.workspace_id if request.destroy_workspace else None,
            layer=request.image.layer,
        )
        took = (time.monotonic() - started) * 1000
        _log.debug("session %s is up after %.0f ms", request.session_id, took)
        return stream

    async def _with_retries(self, request: SessionRequest, steps: Steps) -> DockerStream:
        refusal = _Retry("not tried")
        for _ in range(_ATTEMPTS):
            try:
                return await self._attempt(request, steps)
            except _Retry as exc:
                refusal = exc
        raise SupervisorError(
            f"session {request.session_id!r} does not start on the engine at {self._info.address}: "
            f"{refusal}"
        ) from refusal.__cause__

    async def _attempt(self, request: SessionRequest, steps: Steps) -> DockerStream:
        runtime = request.security.runtime
        facts = replace(self._facts, sysctls=runtime not in self._without_sysctls)
        spec = container_spec.build(request, facts)
        if request.workspace_id is not None:
            with steps.step("workspace"):
                await self._workspaces.prepare_volume(request.workspace_id)
        with steps.step("create"):
            engine_id = await self._post_create(request, spec)
            await self._volumes.check_not_made(request)
        with steps.step("attach"):
            stream = await self._api.hijack(
                f"containers/{engine_id}/attach",
                params={"stream": "1", "stdin": "1", "stdout": "1", "stderr": "1"},
                doing=f"attaching to session {request.session_id!r}",
                what=f"session {request.session_id!r}",
                can_break=docker_facts.streams_can_break(self._info),
            )
        try:
            if request.workspace_id is not None:
                with steps.step("workspace"):
                    await self._workspaces.hold(request.workspace_id, engine_id)
            with steps.step("start"):
                await self._start(request, engine_id)
        except BaseException:
            await stream.close()
            raise
        return stream

    async def _post_create(self, request: SessionRequest, spec: ContainerSpec) -> str:
        params = {"name": spec.name}
        if request.platform is not None:
            params["platform"] = request.platform
        doing = f"creating session {request.session_id!r}"
        try:
            answer = await self._ask_to_create(spec, params, doing)
        except ApiError as exc:
            if container_spec.quota_on_disk(request, self._facts) and "quota" in exc.detail:
                _log.warning("no quotas on the disk of %s: using memory", self._info.address)
                self._facts = replace(self._facts, disk_quotas=False)
                raise _Retry(exc.detail) from exc
            if exc.status != 409 or not await self._name_comes_free(request.session_id):
                raise self._refused(request, exc) from exc
            try:
                answer = await self._ask_to_create(spec, params, doing)
            except ApiError as second:
                raise self._refused(request, second) from second
        warnings = [
            printable(str(item)) for item in docker_listing.sequence(answer.get("Warnings"))
        ]
        if warnings:
            # A limit that is quietly not enforced is worse than no session.
            raise EngineUnsupportedError(
                f"{doing}: the engine at {self._info.address} would not give all that was asked: "
                + "; ".join(warnings)
            )
        return docker_listing.identifier(answer, doing)

    async def claim(self, pool_id: str, session_id: str) -> None:
        """Rename a container of a pool to what a session's is called; see the engine's protocol."""
        doing = f"naming session {session_id!r}"
        taken: ApiError | None = None
        for _ in range(2):
            try:
                await self._api.request(
                    "POST",
                    f"containers/{container_spec.warm_name(pool_id)}/rename",
                    params={"name": container_spec.container_name(session_id)},
                    doing=doing,
                )
            except ApiError as exc:
                if exc.status == 404:
                    raise SessionNotFoundError(
                        f"{doing}: its container is gone", session_id=session_id
                    ) from exc
                # The engine says 500 in some versions, 409 in others; "not reserved" when it looked
                # for who has the name a moment after that one had given it up.
                if exc.status not in (409, 500) or not _TAKEN.search(exc.detail):
                    raise
                taken = exc
                if not await self._name_comes_free(session_id):
                    break
            else:
                return
        raise SessionExistsError(
            f"a session with the id {session_id!r} is already on this engine",
            session_id=session_id,
        ) from taken

    async def _name_comes_free(self, session_id: str) -> bool:
        """Return whether a taken name is free now: its holder had ended, or was never started."""
        if await self._workspaces.remove_stale(session_id):
            return True
        # One that another client has just destroyed ends, and is removed, within a moment.
        return await self._remover.ends_by_itself(session_id, within=ENDING_SECONDS)

    async def _ask_to_create(
        self, spec: ContainerSpec, params: Mapping[str, str], doing: str
    ) -> Mapping[str, object]:
        return docker_listing.mapping(
            await self._api.request(
                "POST", "containers/create", params=params, body=spec.body, doing=doing
            )
        )

    def _refused(self, request: SessionRequest, exc: ApiError) -> SandboxError:
        """Return what a refused create means."""
        if exc.status == 409:
            return SessionExistsError(
                f"a session with the id {request.session_id!r} is already on this engine",
                session_id=request.session_id,
            )
        if exc.status == 404 and "image" in exc.detail.lower():
            return ImageNotFoundError(
                f"image {request.image.reference!r} is not on this engine any more"
            )
        return exc

    async def _start(self, request: SessionRequest, engine_id: str) -> None:
        doing = f"starting session {request.session_id!r}"
        try:
            async with self._api.calling(doing, seconds=START_SECONDS) as docker:
                await docker.containers.container(engine_id).start()
        except ApiError as exc:
            await self._explain(request, exc)
            raise

    async def _explain(self, request: SessionRequest, exc: ApiError) -> None:
        """Raise what a failed start means; return if that is not known."""
        detail = exc.detail
        if SUPERVISOR_PATH in detail and _MISSING_PROGRAM.search(detail):
            _log.warning("the supervisor is missing on %s: installing it again", self._info.address)
            # Before the new installation, or the volume would still be in use by this container.
            await self._remover.remove_by_nonce(request.nonce)
            await self._installer.again(self._binary, request.image.id)
            raise _Retry(detail) from exc
        if "sysctl" in detail or "shm_rmid_forced" in detail:
            runtime = request.security.runtime
            if runtime not in self._without_sysctls:
                _log.warning("runtime %r takes no kernel parameters: going on without", runtime)
                self._without_sysctls.add(runtime)
                await self._remover.remove_by_nonce(request.nonce)
                raise _Retry(detail) from exc
        if "exec format error" in detail:
            raise SupervisorError(
                f"the supervisor does not run on the engine at {self._info.address} "
                f"({self._info.architecture}): {detail}"
            ) from exc
        if "seccomp" in detail:
            raise EngineUnsupportedError(
                f"the engine at {self._info.address} does not take the seccomp profile: {detail}"
            ) from exc
        if SUPERVISOR_PATH in detail:
            raise SupervisorError(
                f"the supervisor on the engine at {self._info.address} cannot be run: {detail}. "
                f"Somebody has changed its volume: remove {self._binary.volume!r}, and the next "
                "session puts it there again"
            ) from exc

    # --- what must hold before and after -------------------------------------------------------

    async def _check_network(self, request: SessionRequest) -> None:
        name = request.network.name
        if request.network.mode != "named" or name is None:
            return
        found = await self._api.find(f"networks/{name}", doing=f"looking for network {name!r}")
        if found is None:
            raise EngineError(
                f"network {name!r} is not on the engine at {self._info.address}: "
                f"run docker network create {name}"
            )
        # The engine also finds networks by the beginning of their id.
        if found.get("Name") != name or found.get("Driver") in ("host", "null"):
            raise EngineError(f"network {name!r} is not one that a session may join")

    async def _clean_up(
        self, request: SessionRequest, *, certain: bool, keep_workspace: bool
    ) -> None:
        """Remove what a failed create has left.

        Args:
            certain: whether the engine has finished what it was asked for. If not, a container may
                appear yet: look until two looks a second apart find none.
            keep_workspace: leave a persistent workspace alone even if this create has made it.
        """
        try:
            await self._remover.remove_by_nonce(request.nonce)
            if not certain:
                for _ in range(_LOOKS):
                    await asyncio.sleep(1.0)
                    if await self._remover.remove_by_nonce(request.nonce) == 0:
                        break
            await self._volumes.remove_made(request)
            if certain and request.workspace_id is not None and not keep_workspace:
                # Only at once after the failure: later, another session may have come and gone, and
                # the volume would hold its files.
                await self._remover.remove_workspace(
                    request.workspace_id, only_made_by=request.nonce
                )
        except SandboxError as exc:
            _log.warning(
                "session %s could not be cleaned up; `fumehood gc` will: %s",
                request.session_id,
                exc,
            )
