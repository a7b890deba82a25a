"""What our objects on an engine say about themselves: labels, written and read in one place.

A label is written before the call that makes its object, so that clean-up never needs an id from a
reply. Reading is distrustful: an image can carry labels of our prefix, and anybody who may use the
engine can set any.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import cast

from fumehood.engines.base import SessionRequest

OURS = "fumehood"
"""On every object of ours; its value is the version that made it."""
SESSION = "fumehood.session"
NONCE = "fumehood.nonce"
IMAGE = "fumehood.image"
WORKSPACE = "fumehood.workspace"
DESTROY_WORKSPACE = "fumehood.workspace.destroy"
WORKDIR = "fumehood.workdir"
TTL = "fumehood.ttl"
IDLE = "fumehood.idle"
DETACHED = "fumehood.detached"
OWNER = "fumehood.owner"
METADATA = "fumehood.metadata"
TOKEN = "fumehood.token"  # noqa: S105
"""On a persistent workspace's volume: which create call made it."""
SUPERVISOR = "fumehood.supervisor"
"""On a volume that holds a supervisor: its SHA-256."""
INSTALL = "fumehood.install"
"""On the short-lived container that fills such a volume."""
SETTINGS = "fumehood.settings"
"""On a session's container: all that it takes to make it anew, but for its environment."""
LAYER = "fumehood.layer"
"""On an image that was made of a session's file system, and on what runs on it: the image's tag."""
HELD = "fumehood.held"
"""On a container that is never started and holds a session's state: ``stopped``, ``snapshot``."""
TOKEN_HELD = "fumehood.held.token"  # noqa: S105
"""On such a container and on a volume that was made for it: which call made them."""
SNAPSHOT = "fumehood.snapshot"
TAKEN = "fumehood.taken"
"""On such a container whose files come from elsewhere, and on one whose files are being read: that
may take as long as bytes take over a network."""
ORIGIN = "fumehood.origin"
"""On a stopped session: which container it was, by a digest of its nonce."""
EXPIRES = "fumehood.expires"
"""Seconds since the epoch by the engine's clock; empty: never."""
COPY = "fumehood.copy"
"""On the short-lived container that copies a workspace: for whom."""

POOL = "fumehood.pool"
"""On a container that was made for a pool: ``fumehood.session`` says what it was made as, and its
name what it is."""

MAX_OWNER = 256
_NONCE = re.compile(r"[0-9a-f]{64}")
_TOKEN = re.compile(r"[0-9a-f]{32}")


def is_reserved(key: str) -> bool:
    """Whether a label's name is ours."""
    return key == OURS or key.startswith(f"{OURS}.")


def is_nonce(value: str) -> bool:
    """Whether a label's value has the form of a session's nonce."""
    return _NONCE.fullmatch(value) is not None


def is_token(value: str) -> bool:
    """Whether a label's value has the form of a token that names a layer or a held state."""
    return _TOKEN.fullmatch(value) is not None


def of_session(request: SessionRequest, *, version: str) -> dict[str, str]:
    """Return the labels of a session's container. Optional ones are always there, if empty."""
    return {
        OURS: version,
        SESSION: request.session_id,
        NONCE: request.nonce,
        IMAGE: request.image.reference,
        WORKSPACE: request.workspace_id or "",
        DESTROY_WORKSPACE: "1" if request.destroy_workspace else "",
        WORKDIR: request.workdir,
        TTL: _number(request.ttl),
        IDLE: _number(request.idle_timeout),
        DETACHED: "1" if request.detached else "",
        OWNER: request.owner[:MAX_OWNER],
        METADATA: encode_metadata(request.metadata),
        POOL: "1" if request.warm else "",
        SETTINGS: request.settings,
        LAYER: request.image.layer,
    }


def of_ephemeral_volume(session_id: str, *, version: str) -> dict[str, str]:
    """Return the labels of a volume that goes with its session."""
    return {OURS: version, SESSION: session_id}


def of_workspace(workspace_id: str, *, token: str, destroy: bool, version: str) -> dict[str, str]:
    """Return the labels of a persistent workspace's volume.

    Args:
        workspace_id: which workspace.
        token: which create call made it.
        destroy: whether the session that made it takes it along.
        version: ours.
    """
    result = {OURS: version, WORKSPACE: workspace_id, TOKEN: token}
    return result | {DESTROY_WORKSPACE: "1"} if destroy else result


def of_supervisor(digest: str, *, version: str) -> dict[str, str]:
    """Return the labels of a volume that holds a supervisor."""
    return {OURS: version, SUPERVISOR: digest}


def number(labels: Mapping[str, str], key: str) -> float | None:
    """Return a label as a number of seconds; absent, empty or not a number is ``None``."""
    try:
        value = float(labels.get(key, ""))
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None


def encode_metadata(metadata: Mapping[str, str]) -> str:
    """Return metadata as it is stored."""
    return json.dumps(dict(metadata), sort_keys=True, ensure_ascii=False)


def metadata(labels: Mapping[str, str]) -> dict[str, str]:
    """Return the caller's metadata; what is not a flat object of strings is nothing of ours."""
    return decode_metadata(labels.get(METADATA, ""))


def decode_metadata(text: str | bytes) -> dict[str, str]:
    """Read what :func:`encode_metadata` has written, with the same distrust."""
    try:
        value: object = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    if not isinstance(value, dict):
        return {}
    entries = cast("dict[str, object]", value)
    return {key: text for key, text in entries.items() if isinstance(text, str)}


def _number(value: float | None) -> str:
    return "" if value is None else repr(float(value))
