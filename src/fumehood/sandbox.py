"""A sandbox: a checked configuration, and the factory of sessions that follow it."""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Self, TypedDict, Unpack

from fumehood import hooks as hooks_module
from fumehood import options
from fumehood._listing import described, pooled_metadata
from fumehood._making import Makings
from fumehood._moved import MovedPart
from fumehood._pooled import PooledPart
from fumehood._settings import Order, Settings, check_manifest, check_settings, new_session_id
from fumehood._start import create, join
from fumehood._steps import Steps
from fumehood._stored import Fill, check_snapshot
from fumehood._sweep import sweep, sweep_once
from fumehood._tether.cleanup import stop, to_the_end, unattended
from fumehood.engines.base import (
    Engine,
    EngineInfo,
    Image,
    PullPolicy,
    PullProgress,
    SweepReport,
)
from fumehood.errors import InvalidRequestError
from fumehood.hooks import Hooks
from fumehood.options import Lifecycle, Limits, Manifest, Network, Security, Workspace
from fumehood.pool import Pool
from fumehood.results import SessionInfo
from fumehood.session import AsyncSession, SessionRequest
from fumehood.snapshots import Snapshot
from fumehood.text import brief
from fumehood.volumes import Volume, check_volumes

logger: logging.Logger = logging.getLogger("fumehood.sandbox")

DEFAULT_IMAGE = "python:3.13-slim"
DEFAULT_WORKDIR = "/workspace"


class SandboxOptions(TypedDict, total=False):
    """The options of a sandbox other than its image, for the presets."""

    pull: PullPolicy
    workdir: str
    workspace: Workspace
    lifecycle: Lifecycle
    network: Network
    limits: Limits
    security: Security
    env: Mapping[str, str] | None
    user: str | int | None
    labels: Mapping[str, str] | None
    hooks: Hooks
    platform: str | None
    progress: Callable[[PullProgress], None] | None
    docker_host: str | None
    volumes: Sequence[Volume]
    pool: Pool | None


class AsyncDockerSandbox(PooledPart, MovedPart):
    """Sandbox sessions on a Docker engine.

    Everything is checked here, before anything is created; nothing is created before the first
    session. As a context manager it destroys, at the end, the sessions that it created and that
    still live, except detached ones. It belongs to the event loop that first uses it.

    Args:
        image: the image of every session. It needs nothing: no shell, no Python, no user database.
        pull: when to pull it: ``"missing"``, ``"always"`` or ``"never"``.
        workdir: where the workspace is mounted.
        workspace: the default of :meth:`create_session`.
        lifecycle: what ends a session by itself.
        network: what a session can reach: nothing, by default.
        limits: what it may use.
        security: what the hardened profile leaves open.
        env: environment of every command, on top of the image's.
        user: ``name``, ``uid``, ``name:group`` or ``uid:gid`` instead of the image's user.
        labels: put on the containers, for other tools.
        hooks: functions that are told what happens.
        platform: ``"linux/amd64"`` or ``"linux/arm64"``; default: the engine's own.
        progress: called for each step of an image pull, on the event loop.
        docker_host: the engine's address; default: as the ``docker`` command finds it.
        volumes: data of the engine that every session sees, beside its workspace.
        pool: containers that are to wait for sessions, started and never used. Filling it begins
            with the first session, or with :meth:`warm_up`.

    Example::

        async with AsyncDockerSandbox(image="python:3.13-slim") as sandbox:
            async with sandbox.create_session() as session:
                print((await session.exec(["python", "-V"])).stdout)
    """

    def __init__(
        self,
        *,
        image: str = DEFAULT_IMAGE,
        pull: PullPolicy = "missing",
        workdir: str = DEFAULT_WORKDIR,
        workspace: Workspace = Workspace(),
        lifecycle: Lifecycle = Lifecycle(),
        network: Network = Network(),
        limits: Limits = Limits(),
        security: Security = Security(),
        env: Mapping[str, str] | None = None,
        user: str | int | None = None,
        labels: Mapping[str, str] | None = None,
        hooks: Hooks = Hooks(),
        platform: str | None = None,
        progress: Callable[[PullProgress], None] | None = None,
        docker_host: str | None = None,
        volumes: Sequence[Volume] = (),
        pool: Pool | None = None,
    ) -> None:
        self._settings = check_settings(
            image=image,
            pull=pull,
            workdir=workdir,
            workspace=workspace,
            lifecycle=lifecycle,
            network=network,
            limits=limits,
            security=security,
            env=env,
            user=user,
            labels=labels,
            hooks=hooks,
            platform=platform,
            volumes=volumes,
        )
        self._stock(pool)
        self._progress = progress
        self._docker_host = docker_host
        self._engine: Engine | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._sessions: weakref.WeakSet[AsyncSession] = weakref.WeakSet()
        self._makings = Makings()
        self._sweeper: asyncio.Task[None] | None = None
        self._closed = False
        self._closing: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} image={self._settings.image!r} sessions={len(self._sessions)}>"
        )

    # Presets: an image in which the usual command of that language is there.

    @classmethod
    def python(cls, version: str = "3.13", **options: Unpack[SandboxOptions]) -> Self:
        """Sessions in ``python:<version>-slim``; takes the class's options except ``image``."""
        return cls(image=f"python:{version}-slim", **options)

    @classmethod
    def node(cls, version: str = "22", **options: Unpack[SandboxOptions]) -> Self:
        """Sessions in ``node:<version>-bookworm``; takes the class's options except ``image``."""
        return cls(image=f"node:{version}-bookworm", **options)

    @classmethod
    def deno(cls, version: str = "debian", **options: Unpack[SandboxOptions]) -> Self:
        """Sessions in ``denoland/deno:<version>``; takes the class's options except ``image``."""
        return cls(image=f"denoland/deno:{version}", **options)

    # --- sessions -----------------------------------------------------------------------------

    def create_session(
        self,
        *,
        id: str | None = None,
        workspace: Workspace | None = None,
        manifest: Manifest | None = None,
        metadata: Mapping[str, str] | None = None,
        ports: Sequence[int] = (),
        volumes: Sequence[Volume] | None = None,
        from_snapshot: Snapshot | str | None = None,
    ) -> SessionRequest:
        """Make a session: ``await`` it, or use it with ``async with``.

        On an error or a cancellation nothing is left on the engine.

        Args:
            id: unique on the engine; made up when not given.
            workspace: instead of the sandbox's.
            manifest: what is staged before the first command.
            metadata: noted with the session, shown by :meth:`list_sessions`.
            ports: container ports that the engine publishes on loopback (bridge networks only).
            volumes: instead of the sandbox's.
            from_snapshot: begin with the files of a snapshot, or of the one of this name, instead
                of the sandbox's image and an empty workspace. The workspace is then ephemeral.

        Raises:
            InvalidRequestError: before anything was created.
            SnapshotNotFoundError: there is no such snapshot.
            EngineUnavailableError: no engine answers.
            ImageNotFoundError, ImagePullError, ImageRefusedError: about the image.
            SessionExistsError: the id is in use.
            WorkspaceBusyError: another session holds the persistent workspace.
            SupervisorError: PID 1 did not come up.
        """
        chosen = self._settings.workspace if workspace is None else workspace
        if from_snapshot is not None:
            if workspace is not None and workspace.mode != "ephemeral":
                raise InvalidRequestError(
                    "a snapshot's files go to an ephemeral workspace: leave workspace= out"
                )
            chosen = Workspace()
            check_snapshot(from_snapshot)
        if not isinstance(chosen, Workspace):
            raise InvalidRequestError(f"workspace must be a Workspace, not {brief(workspace)}")
        if manifest is not None and not isinstance(manifest, Manifest):
            raise InvalidRequestError(f"manifest must be a Manifest, not {brief(manifest)}")
        if not isinstance(ports, Sequence) or isinstance(ports, str | bytes):
            raise InvalidRequestError(f"ports must be a list of ports, not {brief(ports)}")
        session_id = new_session_id() if id is None else options.check_name(id, "session id")
        order = Order(
            session_id=session_id,
            workspace=chosen,
            manifest=manifest or Manifest(),
            metadata=options.check_labels(metadata, "metadata"),
            ports=tuple(options.whole(p, "port", minimum=1, maximum=65535) for p in ports),
            volumes=self._settings.volumes if volumes is None else check_volumes(volumes),
            chosen=id is not None,
        )
        check_manifest(order.manifest, self._settings.limits)
        if from_snapshot is not None:
            return self._opening(lambda: self._create_from(from_snapshot, order))
        return self._opening(lambda: self._create(order, given=id is not None))

    def connect(self, id: str) -> SessionRequest:
        """Join a live session of this engine, made by any process: ``await`` it or ``async with``.

        Leaving the block detaches; only ``destroy()`` ends the session.

        Raises:
            SessionNotFoundError: no live session has this id.
        """
        session_id = options.check_name(id, "session id")
        return self._opening(lambda: self._connect(session_id))

    async def list_sessions(self) -> list[SessionInfo]:
        """Return every session of the engine, whoever made it, oldest first.

        Of a session that came from another client's pool the supervisor is asked for its metadata;
        one that does not answer within 5 s is listed without.
        """
        engine = self._use()
        await self._named_all()
        containers = await engine.list_sessions()
        own = {session.nonce: session.metadata for session in self._sessions}
        metadata = await pooled_metadata(engine, containers, known=own)
        infos = [described(item, metadata.get(item.nonce, item.metadata)) for item in containers]
        infos += await self._stopped({info.id for info in infos})
        return sorted(infos, key=lambda info: (info.created_at, info.id))

    async def list_workspaces(self) -> list[str]:
        """Return the ids of the persistent workspaces on the engine."""
        return sorted(await self._use().list_workspaces())

    async def remove_workspace(self, id: str) -> None:
        """Delete a persistent workspace with all its files; an unknown one is no error.

        Raises:
            WorkspaceBusyError: a session holds it.
        """
        await self._use().remove_workspace(options.check_name(id, "workspace id"))

    async def destroy_session(self, id: str) -> None:
        """End a session of this engine, also a stopped one, by its id alone. Idempotent."""
        session_id = options.check_name(id, "session id")
        engine = self._use()
        container = await engine.find_session(session_id)
        destroy = container is not None and container.destroy_workspace
        await engine.remove_session(session_id, destroy_workspace=destroy)
        await self._destroy_stopped(session_id)

    async def gc(self, *, supervisors: bool = False) -> SweepReport:
        """Remove what no lease could: leftovers of crashed clients and engines.

        Never a live session, never a persistent workspace.

        Args:
            supervisors: also volumes of older supervisors that nothing uses.
        """
        return await sweep(self._use(), supervisors=supervisors)

    async def engine_info(self) -> EngineInfo:
        """Return what the engine is and can enforce."""
        return await self._use().info()

    async def close(self) -> None:
        """Destroy what this sandbox created and still lives, except what is detached.

        What is still being made ends with an InvalidRequestError, and nothing is left of it.
        Idempotent. Once begun it goes on to its end even when the caller is cancelled.
        """
        if self._closing is None:
            self._closed = True
            if self._pool is not None:
                self._pool.stop()
            self._closing = asyncio.create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        await self._makings.close()
        sessions = list(self._sessions)
        pool = () if self._pool is None else (self._pool.close(),)
        results = await asyncio.gather(
            *(self._leave(session) for session in sessions), *pool, return_exceptions=True
        )
        await self._named_all()
        if self._sweeper is not None:
            await stop(self._sweeper)
        if self._engine is not None:
            await self._engine.close()
        errors = [result for result in results if isinstance(result, BaseException)]
        if errors:
            raise errors[0]

    async def _leave(self, session: AsyncSession) -> None:
        if session.owned and not self._settings.lifecycle.detached:
            await session.destroy()
        else:
            await session.detach()

    async def __aenter__(self) -> Self:
        """Return itself."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        await self.close()

    # --- how ----------------------------------------------------------------------------------

    def _use(self) -> Engine:
        if self._closed:
            raise InvalidRequestError("this sandbox has been closed")
        loop = asyncio.get_running_loop()
        if self._engine is None:
            # Here, because the engine's client library is most of the time that an import takes.
            from fumehood.engines.docker import DockerEngine

            self._engine = DockerEngine(self._docker_host)
            self._loop = loop
        elif loop is not self._loop:
            raise InvalidRequestError(
                "this sandbox belongs to another event loop; make one for each loop"
            )
        return self._engine

    async def _create(self, order: Order, *, given: bool) -> AsyncSession:
        steps = Steps()
        with steps.step("client"):
            engine = self._use()
        if given:
            await self._check_not_stopped(order.session_id)
        session = await self._create_warm(engine, order, steps, self)
        if not isinstance(session, str):
            return await self._made(session, self._settings)
        with steps.step("image"):
            image = await self._image(engine)
        return await self._make(self._settings, order, image, steps=steps, why_cold=session)

    async def _create_from(self, snapshot: Snapshot | str, order: Order) -> AsyncSession:
        await self._check_not_stopped(order.session_id)
        holding = await self._snapshot(snapshot)
        return await self._make_of(holding, self._settings, order)

    async def _make(
        self,
        settings: Settings,
        order: Order,
        image: Image,
        *,
        steps: Steps,
        why_cold: str,
        fill: Fill | None = None,
    ) -> AsyncSession:
        session = await create(
            self._use(),
            settings,
            order,
            image,
            steps=steps,
            why_cold=why_cold,
            forget=self._forget,
            maker=self,
            fill=fill,
        )
        return await self._made(session, settings)

    async def _made(self, session: AsyncSession, settings: Settings) -> AsyncSession:
        self._sessions.add(session)
        self._start_sweeper()
        if self._pool is not None:
            self._pool.start()
        start = session.start
        assert start is not None
        logger.info("session %s is ready after %.0f ms", session.id, start.duration * 1000)
        try:
            await hooks_module.tell(
                settings.hooks.on_session_create,
                hooks_module.SessionCreated(
                    session_id=session.id,
                    image=settings.image,
                    duration=start.duration,
                    start=start,
                ),
            )
        except BaseException:
            # Cancelled in a hook: nobody gets the session, so nobody else would end it.
            await to_the_end(session.destroy(wait=True))
            raise
        return session

    async def _image(self, engine: Engine) -> Image:
        settings = self._settings
        return await engine.prepare_image(
            settings.image, pull=settings.pull, platform=settings.platform, progress=self._progress
        )

    async def _connect(self, session_id: str) -> AsyncSession:
        session = await join(
            self._use(), self._settings, session_id, forget=self._forget, maker=self
        )
        self._sessions.add(session)
        return session

    def _forget(self, session: AsyncSession) -> None:
        # A bound method: as long as a session lives, so does its sandbox, and with it the engine.
        self._sessions.discard(session)

    def _start_sweeper(self) -> None:
        """Sweep once per sandbox, beside the first session: nobody waits for it."""
        if self._sweeper is None:
            self._sweeper = asyncio.create_task(sweep_once(self._use()))
            self._sweeper.add_done_callback(unattended)
