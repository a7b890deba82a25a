"""A session out of a pool: a container made before anybody asked for it, and what makes it one.

A warm container is one whose supervisor has been welcomed and waits for its configuration. Nothing
has run in it, and nothing of any session has reached it: environment, user, lease and metadata all
come with the configuration. Its id was made up when it was made and is in its labels; a session
that did not ask for another one takes that id, so that a claim needs nothing of the engine. The
engine learns that it is taken by its new name.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import time
from dataclasses import dataclass

from fumehood._core import SessionCore
from fumehood._failures import setup_failure
from fumehood._settings import Order, Settings, new_session_id
from fumehood._start import (
    SETTLE_TIMEOUT,
    Forget,
    client_name,
    configuration,
    container_request,
    pass_engine,
    reopener,
    stage,
)
from fumehood._steps import Steps
from fumehood._tether.cleanup import to_the_end
from fumehood._tether.tether import Tether
from fumehood._wire import table
from fumehood._wire.connection import Connection
from fumehood._wire.requests import Configure
from fumehood.egress.part import serve_network
from fumehood.engines.base import Engine, Image
from fumehood.engines.base import SessionRequest as ContainerRequest
from fumehood.engines.labels import encode_metadata
from fumehood.errors import SandboxError, SupervisorError
from fumehood.options import Manifest, Workspace, seconds
from fumehood.results import Start
from fumehood.session import AsyncSession
from fumehood.state import Maker

CLAIM_SECONDS = 10.0
"""What a supervisor that waits has to carry out its configuration, before another container is
taken: it does so within milliseconds."""

NAMING_SECONDS = 0.02
"""Until the engine is told that a container is taken: the first command goes first."""


class WarmLostError(Exception):
    """The container that was to be the session has ended or does not answer; another one may do."""


@dataclass(slots=True, eq=False, kw_only=True)
class Warm:
    """A container that waits."""

    image: Image
    request: ContainerRequest
    tether: Tether
    made: float
    """When, by the monotonic clock."""

    @property
    def id(self) -> str:
        """What it was made as."""
        return self.request.session_id

    @property
    def nonce(self) -> str:
        """Which container it is, by whatever name."""
        return self.request.nonce


def why_cold(settings: Settings, order: Order) -> str:
    """Return why no container of a pool can serve an order; empty if one can."""
    if order.workspace.mode != "ephemeral":
        return "a persistent workspace is mounted when a container is made"
    if order.ports:
        return "ports are published when a container is made"
    if order.volumes != settings.volumes:
        return "other volumes than the sandbox's are mounted when a container is made"
    if len(_metadata(order)) > table.MAX_METADATA:
        return f"metadata of more than {table.MAX_METADATA} bytes does not fit a claim"
    return ""


def _metadata(order: Order) -> bytes:
    return encode_metadata(order.metadata).encode() if order.metadata else b""


async def prepare(engine: Engine, settings: Settings, image: Image) -> Warm:
    """Make a container whose supervisor waits; on an error or a cancellation nothing is left."""
    order = Order(
        session_id=new_session_id(),
        workspace=Workspace(),
        manifest=Manifest(),
        metadata={},
        ports=(),
        volumes=settings.volumes,
    )
    request = dataclasses.replace(container_request(settings, order, image), warm=True)
    stream = await engine.create_session(request)
    tether = Tether(
        stream,
        Connection(
            nonce=bytes.fromhex(request.nonce),
            client=client_name(),
            resume=stream.can_break or engine.direct,
            wait=True,
        ),
        session_id=f"{request.session_id} (in the pool)",
        heartbeat_timeout=seconds(settings.lifecycle.heartbeat_timeout, "heartbeat_timeout"),
        ended=functools.partial(engine.wait_exit, request.nonce),
    )
    warm = Warm(image=image, request=request, tether=tether, made=time.monotonic())
    try:
        tether.begin(None)
        await tether.settle(SETTLE_TIMEOUT)
    except BaseException:
        await to_the_end(discard(engine, warm))
        raise
    return warm


async def discard(engine: Engine, warm: Warm) -> None:
    """End a container and remove it: the end of its stream ends it, and the engine makes sure."""
    await warm.tether.close()
    await engine.discard(warm.nonce)


def claim_configuration(settings: Settings, order: Order, warm: Warm) -> Configure:
    """Return what a container is to be told.

    Raises:
        InvalidRequestError: the environment is too long.
    """
    configure = configuration(settings, order, warm.image, warm.request)
    return dataclasses.replace(configure, metadata=_metadata(order))


async def claim(
    engine: Engine,
    settings: Settings,
    order: Order,
    warm: Warm,
    configure: Configure,
    *,
    steps: Steps,
    forget: Forget,
    maker: Maker | None = None,
) -> AsyncSession:
    """Make a session of a container that waits.

    On an error or a cancellation the container is removed before this returns. A name that the
    caller has chosen is the session's when this returns; one that was made up reaches the engine
    in the background (``core.naming``), since nobody else can have it.

    Raises:
        WarmLostError: another container may serve; this one is being removed.
        SessionExistsError: the chosen id is in use.
    """
    session_id = order.session_id if order.chosen else warm.id
    naming: asyncio.Task[None] | None = None
    session: AsyncSession | None = None
    try:
        if order.chosen:
            naming = asyncio.create_task(engine.claim_session(warm.id, session_id))
        with steps.step("supervisor"):
            await _configure(engine, warm, session_id, configure)
        core = SessionCore(
            id=session_id,
            workdir=settings.workdir,
            limits=settings.limits,
            hooks=settings.hooks,
            tether=warm.tether,
            nonce=warm.nonce,
            network=settings.network,
            image_roots=dict(warm.image.env).get("SSL_CERT_FILE"),
        )
        session = AsyncSession(
            core,
            engine,
            owner=True,
            limits=settings.limits,
            network=settings.network,
            security=settings.security,
            metadata=order.metadata,
            published_ports={},
            destroy_workspace=False,
            forget=forget,
            maker=maker,
        )
        if settings.network.mode == "allow":
            await serve_network(core, settings.network)
        with steps.step("manifest"):
            await stage(session, order.manifest)
        if naming is not None:
            with steps.step("name"):
                await asyncio.shield(naming)
        core.start = Start(kind="warm", reason="", duration=steps.total, steps=steps.seconds())
    except BaseException:
        if session is not None:
            session.disown()
        await to_the_end(_undo(engine, warm, naming))
        raise
    core.naming = asyncio.create_task(_settle_in(engine, warm, session_id, naming))
    return session


async def _settle_in(
    engine: Engine, warm: Warm, session_id: str, naming: asyncio.Task[None] | None
) -> None:
    """Do what a new session's first command need not wait for."""
    await asyncio.sleep(NAMING_SECONDS)
    if naming is None:
        await engine.claim_session(warm.id, session_id)
    pass_engine(engine, warm.tether, session_id, warm.nonce)


async def _configure(engine: Engine, warm: Warm, session_id: str, configure: Configure) -> None:
    tether = warm.tether
    try:
        tether.claim(session_id, configure, reopener(engine, session_id, warm.nonce))
        await tether.settle(CLAIM_SECONDS)
    except SandboxError as exc:
        refused = tether.end is not None and tether.end.error is not None
        if refused and isinstance(exc, SupervisorError):
            # It did answer: what it was told cannot be carried out, there or anywhere.
            raise setup_failure(exc, tether.end, user=configure.user) from None
        raise WarmLostError(str(exc)) from exc


async def _undo(engine: Engine, warm: Warm, naming: asyncio.Task[None] | None) -> None:
    if naming is not None:
        # A rename that the engine was asked for cannot be taken back: its end is waited for.
        await asyncio.wait({naming})
        if not naming.cancelled():
            naming.exception()  # whatever it was, the container goes
    await discard(engine, warm)
