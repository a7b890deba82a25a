"""How a session comes to be: from checked settings to a ready supervisor with files in place."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import getpass
import logging
import math
import os
import secrets
import socket
from collections.abc import Awaitable, Callable, Mapping

from fumehood import _record
from fumehood._core import SessionCore
from fumehood._failures import setup_failure
from fumehood._limits import capability_mask
from fumehood._settings import Order, Settings
from fumehood._steps import Steps
from fumehood._tether.cleanup import to_the_end
from fumehood._tether.reconnect import Reopen
from fumehood._tether.tether import Tether
from fumehood._version import __version__
from fumehood._wire import table
from fumehood._wire.codec import WireViolationError
from fumehood._wire.connection import Connection
from fumehood._wire.requests import Configure
from fumehood.egress.part import check_available, serve_network
from fumehood.egress.variables import variables
from fumehood.engines.base import (
    ByteStream,
    Container,
    Engine,
    Image,
)
from fumehood.engines.base import SessionRequest as ContainerRequest
from fumehood.engines.labels import decode_metadata
from fumehood.engines.state import HoldsState
from fumehood.errors import (
    InvalidRequestError,
    SandboxError,
    SessionNotFoundError,
    SupervisorError,
)
from fumehood.options import (
    MIB,
    Manifest,
    Seconds,
    seconds,
)
from fumehood.results import Start
from fumehood.session import AsyncSession
from fumehood.state import Maker

logger: logging.Logger = logging.getLogger("fumehood.session")

SETTLE_TIMEOUT = 30.0
"""Seconds that a supervisor has to answer once its container has started."""

_ENDING_SECONDS = 1.0
"""In which an engine notes the end of a container that it could not enter any more."""

_STAGE_AT_ONCE = 16
_HEARTBEAT_DEFAULT = 60.0
_CONFIGURE_REST = 6000
"""Bytes of a CONFIGURE that are not environment: user, working directory and numbers, at most."""

Forget = Callable[[AsyncSession], None]


async def create(
    engine: Engine,
    settings: Settings,
    order: Order,
    image: Image,
    *,
    steps: Steps,
    why_cold: str,
    forget: Forget,
    maker: Maker | None = None,
    fill: Callable[[AsyncSession], Awaitable[None]] | None = None,
) -> AsyncSession:
    """Make the container, wait for its supervisor, fill the workspace, stage the manifest.

    On an error or a cancellation everything of it is removed before this returns: by name, so no
    reply of the engine is needed for it.
    """
    request = container_request(settings, order, image)
    configure = configuration(settings, order, image, request)
    stream = await engine.create_session(request, steps=steps)
    tether = Tether(
        stream,
        Connection(
            nonce=bytes.fromhex(request.nonce),
            client=client_name(),
            # To move to another stream is to resume.
            resume=stream.can_break or engine.direct,
        ),
        session_id=order.session_id,
        heartbeat_timeout=seconds(settings.lifecycle.heartbeat_timeout, "heartbeat_timeout"),
        reopen=reopener(engine, order.session_id, request.nonce),
        ended=functools.partial(engine.wait_exit, request.nonce),
    )
    session: AsyncSession | None = None
    try:
        tether.begin(configure)
        try:
            with steps.step("supervisor"):
                await tether.settle(SETTLE_TIMEOUT)
        except SupervisorError as exc:
            raise setup_failure(exc, tether.end, user=configure.user) from None
        pass_engine(engine, tether, order.session_id, request.nonce)
        published: Mapping[int, int] = {}
        if order.ports:
            with steps.step("ports"):
                container = await engine.find_session(order.session_id)
            published = container.published_ports if container is not None else {}
        core = SessionCore(
            id=order.session_id,
            workdir=settings.workdir,
            limits=settings.limits,
            hooks=settings.hooks,
            tether=tether,
            nonce=request.nonce,
            workspace_id=request.workspace_id,
            network=settings.network,
            image_roots=dict(image.env).get("SSL_CERT_FILE"),
        )
        session = AsyncSession(
            core,
            engine,
            owner=True,
            limits=settings.limits,
            network=settings.network,
            security=settings.security,
            metadata=order.metadata,
            published_ports=published,
            destroy_workspace=request.destroy_workspace,
            forget=forget,
            maker=maker,
        )
        if settings.network.mode == "allow":
            await serve_network(core, settings.network)
        if fill is not None:
            with steps.step("files"):
                await fill(session)
        with steps.step("manifest"):
            await stage(session, order.manifest)
        core.start = Start(
            kind="cold", reason=why_cold, duration=steps.total, steps=steps.seconds()
        )
    except BaseException:
        if session is not None:
            session.disown()
        await to_the_end(_undo(engine, tether, request))
        raise
    return session


async def _undo(engine: Engine, tether: Tether, request: ContainerRequest) -> None:
    """Take back what a creation has made, and nothing that was there before it."""
    await tether.close()
    await engine.remove_session(request.session_id, nonce=request.nonce)
    if request.workspace_id is not None:
        await engine.unmake_workspace(request.workspace_id, request.nonce)


async def stage(session: AsyncSession, manifest: Manifest) -> None:
    """Make the manifest's directories, then write its files, several at a time."""
    for path in manifest.directories:
        await session.make_directory(path)
    limit = asyncio.Semaphore(_STAGE_AT_ONCE)

    async def write(path: str, content: str | bytes) -> None:
        async with limit:
            await session.write_file(path, content)

    try:
        async with asyncio.TaskGroup() as group:
            for path, content in manifest.files.items():
                group.create_task(write(path, content))
    except BaseExceptionGroup as failures:
        # The caller asked for a session, not for tasks: the first thing that went wrong is the
        # error.
        raise failures.exceptions[0] from None


def container_request(settings: Settings, order: Order, image: Image) -> ContainerRequest:
    lifecycle, workspace = settings.lifecycle, order.workspace
    user = settings.user if settings.user is not None else image.user
    return ContainerRequest(
        session_id=order.session_id,
        nonce=secrets.token_hex(32),
        image=image,
        workdir=settings.workdir,
        network=settings.network,
        limits=settings.limits,
        security=settings.security,
        workspace_id=workspace.id,
        destroy_workspace=workspace.mode == "persistent" and workspace.destroy_with_session,
        # A new volume belongs to root; a root user needs no hand-over, so PID 1 gets no CAP_CHOWN.
        chown_workspace=user.partition(":")[0] not in ("", "0", "root"),
        ttl=_optional(lifecycle.ttl, "ttl"),
        idle_timeout=_optional(lifecycle.idle_timeout, "idle_timeout"),
        detached=lifecycle.detached,
        owner=_owner(),
        labels=settings.labels,
        metadata=order.metadata,
        ports=order.ports,
        volumes=order.volumes,
        platform=settings.platform,
        settings=_record.to_text(settings, order, user=user),
    )


def configuration(
    settings: Settings, order: Order, image: Image, request: ContainerRequest
) -> Configure:
    check_available(settings.network)
    lifecycle = settings.lifecycle
    proxied = variables(settings.network)
    env = {**dict(image.env), **proxied, **settings.env, **order.manifest.env}
    strings = tuple(
        f"{key}={value}".encode("utf-8", "surrogateescape") for key, value in env.items()
    )
    size = sum(map(len, strings)) + 4 * len(strings) + _CONFIGURE_REST
    if size > table.MAX_BODY:
        raise InvalidRequestError(
            f"the image's, the sandbox's and the manifest's environment are {size} bytes together; "
            f"at most {table.MAX_BODY} are possible"
        )
    return Configure(
        user=settings.user if settings.user is not None else image.user,
        workdir=settings.workdir.encode("utf-8", "surrogateescape"),
        env=strings,
        ttl_ms=_milliseconds(lifecycle.ttl),
        idle_ms=_milliseconds(lifecycle.idle_timeout),
        grace_ms=_milliseconds(lifecycle.disconnect_grace),
        heartbeat_ms=_milliseconds(lifecycle.heartbeat_timeout),
        detached=lifecycle.detached,
        workload_caps=capability_mask(settings.security.workload_capabilities),
        max_file_bytes=settings.limits.max_file_bytes,
        max_processes=settings.limits.max_processes,
        chown_workspace=request.chown_workspace,
        write_hosts=settings.network.mode in ("none", "allow"),
        disk_floor_bytes=_bytes(settings.limits.disk_floor_mb),
        workspace_quota_bytes=_bytes(settings.limits.workspace_mb) or 0,
    )


async def join(
    engine: Engine,
    settings: Settings,
    session_id: str,
    *,
    forget: Forget,
    maker: Maker | None = None,
) -> AsyncSession:
    """Connect to a live session that any process has made.

    Raises:
        SessionNotFoundError: there is none of this id, or it does not run.
    """
    container = await engine.find_session(session_id)
    if (
        container is None
        and isinstance(engine, HoldsState)
        and await engine.find_holding("stopped", session_id) is not None
    ):
        raise SessionNotFoundError(
            f"session {session_id!r} is stopped: resume it", op="connect", session_id=session_id
        )
    if container is None or container.state != "running":
        found = "there is no session" if container is None else f"{container.state}: session"
        raise SessionNotFoundError(
            f"{found} {session_id!r} on this engine ('fumehood ls' shows what there is)",
            op="connect",
            session_id=session_id,
        )
    tether = await open_tether(engine, container)
    limits = settings.limits
    if tether.ready is not None and tether.ready.max_file_bytes:
        # What holds there, whatever the one who joins has configured for sessions of its own.
        limits = dataclasses.replace(limits, max_file_bytes=tether.ready.max_file_bytes)
    return AsyncSession(
        SessionCore(
            id=session_id,
            workdir=container.workdir,
            limits=limits,
            hooks=settings.hooks,
            tether=tether,
            nonce=container.nonce,
            workspace_id=container.workspace_id,
        ),
        engine,
        owner=False,
        limits=limits,
        network=settings.network,
        security=settings.security,
        metadata=known_metadata(container, tether),
        published_ports=container.published_ports,
        destroy_workspace=container.destroy_workspace,
        forget=forget,
        maker=maker,
    )


def known_metadata(container: Container, tether: Tether) -> Mapping[str, str]:
    """Return what a session's creator noted: in its labels or, from a pool, by its supervisor."""
    if container.pool_id and tether.ready is not None:
        return decode_metadata(tether.ready.metadata)
    return container.metadata


async def open_tether(
    engine: Engine, container: Container, *, timeout: float = SETTLE_TIMEOUT
) -> Tether:
    """Open one more connection to a session's supervisor, through a relay.

    A container whose answer breaks the wire's rules is removed: nobody can know what it is.

    Raises:
        SessionNotFoundError: the session is over, or ends at this moment.
    """
    try:
        return await _open_tether(engine, container, timeout)
    except SessionNotFoundError:
        raise
    except SandboxError as exc:
        # Of one that is ending an engine says so in words of its own, some of them as an error and
        # some of them in the place of the stream, where they break every rule.
        if await _is_ending(engine, container):
            raise SessionNotFoundError(
                f"session {container.session_id!r} is not running any more",
                op="connect",
                session_id=container.session_id,
            ) from exc
        if isinstance(exc, WireViolationError):
            await to_the_end(_turn_away(engine, container))
        raise


async def _open_tether(engine: Engine, container: Container, timeout: float) -> Tether:
    stream = await engine.open_relay(container)
    tether = Tether(
        stream,
        Connection(
            nonce=bytes.fromhex(container.nonce), client=client_name(), resume=stream.can_break
        ),
        session_id=container.session_id,
        heartbeat_timeout=_HEARTBEAT_DEFAULT,
        reopen=reopener(engine, container.session_id, container.nonce),
        ended=functools.partial(engine.wait_exit, container.nonce),
    )
    try:
        tether.begin(None)
        await tether.settle(timeout)
    except BaseException:
        await to_the_end(tether.close())
        raise
    if engine.direct:
        tether.watch_engine()
    return tether


def pass_engine(engine: Engine, tether: Tether, session_id: str, nonce: str) -> None:
    """Let a session's stream go past the engine where it can, and the session end with it still."""
    if engine.direct:
        tether.prefer(functools.partial(engine.open_direct, session_id, nonce))
        tether.watch_engine()


def reopener(engine: Engine, session_id: str, nonce: str) -> Reopen:
    """Return what opens another stream to this session, and to none that has taken its name."""

    async def reopen() -> ByteStream:
        container = await engine.find_session(session_id)
        # A paused one cannot be entered, and may be unpaused in time.
        if (
            container is None
            or container.nonce != nonce
            or container.state not in ("running", "paused")
        ):
            raise SessionNotFoundError(
                f"session {session_id!r} is not running any more", session_id=session_id
            )
        return await engine.open_relay(container)

    return reopen


async def _is_ending(engine: Engine, container: Container) -> bool:
    """Whether a container is over, or will be in a moment: the engine notes an end a little late.

    Also where that cannot be learned, the answer is no.
    """
    try:
        found = await engine.find_session(container.session_id)
        if found is None or found.nonce != container.nonce:
            return True
        if found.state != "running":
            return found.state != "paused"
        async with asyncio.timeout(_ENDING_SECONDS):
            await engine.wait_exit(container.nonce)
    except (SandboxError, TimeoutError):
        return False
    return True


async def _turn_away(engine: Engine, container: Container) -> None:
    try:
        await engine.remove_session(container.session_id, nonce=container.nonce)
    except SandboxError as exc:
        # The violation is what the caller has to know; the sweep comes after the container.
        logger.warning("session %s could not be removed: %s", container.session_id, exc)


def _optional(value: Seconds | None, name: str) -> float | None:
    return None if value is None else seconds(value, name)


def _milliseconds(value: Seconds | None) -> int:
    return 0 if value is None else math.ceil(seconds(value, "duration") * 1000)


def _bytes(size_mb: int | None) -> int | None:
    return None if size_mb is None else size_mb * MIB


def client_name() -> str:
    return f"fumehood/{__version__} pid {os.getpid()}"


def _owner() -> str:
    """Who made a session, for people who read ``fumehood ls``."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        # A uid without a name, as in many containers.
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}:{os.getpid()}"
