"""What a caller can be told of, while it happens."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, fields
from typing import TypeVar

from fumehood.errors import InvalidRequestError, SandboxError
from fumehood.pool import PoolChange, PoolStats
from fumehood.results import EgressReason, EndReason, ExecResult, Start
from fumehood.text import brief

logger: logging.Logger = logging.getLogger("fumehood.hooks")


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionCreated:
    """A session is ready, its manifest staged."""

    session_id: str
    image: str
    duration: float
    """Seconds that it took."""
    start: Start
    """How it came to be, and where the time went."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecStarted:
    """A command is about to be sent."""

    session_id: str
    argv: tuple[str, ...]
    cwd: str
    user: str | None
    background: bool = False
    """Whether it is a managed process. Of its end nobody is told: its client may be gone by then.
    Of one that could not be started, :class:`ExecEnded` tells."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecEnded:
    """A command has ended, or could not be run: then there is an ``error`` and no ``result``."""

    session_id: str
    argv: tuple[str, ...]
    result: ExecResult | None
    error: BaseException | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FileWritten:
    """A file is in place."""

    session_id: str
    path: str
    size: int
    """Bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionDestroyed:
    """A session is over, by whatever cause, as far as this client knows."""

    session_id: str
    reason: EndReason


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovalFailed:
    """The engine could not remove the container of a session that is over.

    Nothing runs in it any more. ``gc()``, or any sandbox's sweep, removes it later.
    """

    session_id: str
    error: SandboxError


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolChanged:
    """Something has happened to a sandbox's pool."""

    change: PoolChange
    stats: PoolStats
    """The pool as it was then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EgressEvent:
    """A decision about a request to the outside (``Network.allow``), or the end of one.

    One that was let through is told of twice: when it was decided, and when it was ``ended``, with
    what has gone through. What was refused is told of once.
    """

    session_id: str
    method: str
    """``"CONNECT"`` for a tunnel, otherwise the HTTP method; empty where none was understood."""
    host: str
    """As it was understood; empty where it was not."""
    port: int
    allowed: bool
    reason: EgressReason
    rule: str | None
    """The host of the rule that allowed it."""
    address: str | None = None
    """What was connected to. Of a name that was refused because no public address is behind it
    (``reason`` is ``PRIVATE_ADDRESS``), one that is: naming it in a rule lets the name through."""
    intercepted: bool = False
    """Whether TLS ends in this client (``Allow(…, tls="intercept")``). Of the requests inside it
    nobody is told one by one."""
    ended: bool = False
    bytes_up: int = 0
    """From the session to the outside, at the end; of HTTP that is seen the bodies alone."""
    bytes_down: int = 0
    duration: float = 0.0
    """Seconds from the request's head to the end."""


_Event = TypeVar("_Event")
Hook = Callable[[_Event], Awaitable[None] | None]
"""A plain function or a coroutine function. It runs on the event loop and must not block."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """Functions that are called at points of a session's life.

    ``on_exec_start`` comes before its command and may refuse it by raising; the exception reaches
    the caller. The others tell of what has happened: what they raise is logged and changes nothing.

    Example::

        DockerSandbox(hooks=Hooks(on_exec_end=lambda event: print(event.argv, event.result)))
    """

    on_session_create: Hook[SessionCreated] | None = None
    on_exec_start: Hook[ExecStarted] | None = None
    on_exec_end: Hook[ExecEnded] | None = None
    on_file_write: Hook[FileWritten] | None = None
    on_destroy: Hook[SessionDestroyed] | None = None
    on_removal_error: Hook[RemovalFailed] | None = None
    on_pool_change: Hook[PoolChanged] | None = None
    on_egress: Hook[EgressEvent] | None = None

    def __post_init__(self) -> None:
        for name in (field.name for field in fields(self)):
            hook = getattr(self, name)
            if hook is not None and not callable(hook):
                raise InvalidRequestError(f"Hooks.{name} must be a function, not {brief(hook)}")


async def ask(hook: Hook[_Event] | None, event: _Event) -> None:
    """Call a hook that may refuse; what it raises goes on to the caller."""
    if hook is None:
        return
    outcome = hook(event)
    if inspect.isawaitable(outcome):
        await outcome


async def tell(hook: Hook[_Event] | None, event: _Event) -> None:
    """Call a hook that is only told; what it raises is logged with its traceback."""
    try:
        await ask(hook, event)
    except Exception:
        logger.exception("a hook failed on %s", type(event).__name__)
