"""What every capability of a session stands on: its tether, its options, its end."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from fumehood import paths
from fumehood._tether.tether import Tether
from fumehood._wire.table import Root
from fumehood.errors import InvalidPathError
from fumehood.hooks import Hooks
from fumehood.options import Limits, Network
from fumehood.results import Start
from fumehood.text import brief

if TYPE_CHECKING:
    from fumehood.egress.proxy import Proxy

FileRoot = Literal["/"] | None
"""``None``: paths are relative to the workspace. ``"/"``: the container's whole file system."""

CANCEL_PATIENCE = 5.0
"""Seconds to wait for the supervisor's word that a cancelled operation is dead. As long as that it
tries to kill a tree itself; then it ends the session."""


@dataclass(slots=True)
class SessionCore:
    """Shared by the mixins of a session."""

    id: str
    workdir: str
    limits: Limits
    hooks: Hooks
    tether: Tether
    nonce: str = ""
    """Which container it is, whatever has its name."""
    workspace_id: str | None = None
    """The persistent workspace's id; None when the workspace goes with the container."""
    naming: asyncio.Task[None] | None = None
    """Gives the container of a pool its session's name."""
    start: Start | None = None
    """How this client made it; None when it has joined it."""
    session: object = None
    """Who all this belongs to: held by what is under way in it."""
    network: Network | None = None
    """What it was made with; None where this client did not make it."""
    image_roots: str | None = None
    """Where the image's environment says that its trusted certificates are."""
    egress: Proxy | None = None
    """What serves its network here."""
    egress_lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class SessionPart:
    """The base of a session's capabilities."""

    _core: SessionCore


def locate(path: str, root: FileRoot, *, allow_root: bool = False) -> tuple[str, bytes, Root]:
    """Check a path's spelling; return it normalised, as bytes, and what it is relative to."""
    if root is None:
        normal = paths.relative(path, allow_root=allow_root)
        return normal, normal.encode("utf-8", "surrogateescape"), Root.WORKSPACE
    if root != "/":
        raise InvalidPathError(f"root must be None or '/', not {brief(root)}")
    normal = paths.absolute(path)
    shown = "/" if normal == "." else "/" + normal
    return shown, normal.encode("utf-8", "surrogateescape"), Root.FILESYSTEM
