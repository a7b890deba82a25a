"""What a session was made from, as text and back: for whoever makes it anew.

All but the environment, which is a caller's secret, is in a label of the session's container. What
is read back is checked as a caller's own values are.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, cast

from fumehood import options, paths
from fumehood._settings import Order, Settings
from fumehood.errors import EngineError, EngineUnsupportedError, InvalidRequestError
from fumehood.hooks import Hooks
from fumehood.options import Lifecycle, Limits, Manifest, Network, Security, Workspace
from fumehood.volumes import Volume, check_volumes

VERSION = 1


def to_text(settings: Settings, order: Order, *, user: str) -> str:
    """Return a session's settings as a label holds them.

    Args:
        settings: the sandbox's.
        order: the session's own.
        user: whose commands they are, the image's user where nobody said otherwise.
    """
    record = {
        "version": VERSION,
        "user": user,
        "workdir": settings.workdir,
        "workspace": options.to_dict(order.workspace),
        "lifecycle": options.to_dict(settings.lifecycle),
        "network": options.to_dict(settings.network),
        "limits": options.to_dict(settings.limits),
        "security": options.to_dict(settings.security),
        "ports": list(order.ports),
        "volumes": [dataclasses.asdict(volume) for volume in order.volumes],
        "labels": dict(settings.labels),
    }
    return json.dumps(record, sort_keys=True, separators=(",", ":"))


def check_text(text: str, session_id: str) -> None:
    """Refuse a session whose settings nobody could read again."""
    if not text:
        raise EngineUnsupportedError(
            f"session {session_id!r} was made by a version of fumehood that did not note its "
            "settings with it: make a new one",
            session_id=session_id,
        )


def read(
    text: str,
    *,
    session_id: str,
    image: str,
    env: Mapping[str, str],
    metadata: Mapping[str, str],
    hooks: Hooks,
    known: Network,
) -> tuple[Settings, Order]:
    """Return the settings that make a session anew.

    Args:
        text: what :func:`to_text` has returned.
        session_id: whose they are.
        image: what the session is made from.
        env: the environment of its commands.
        metadata: the creator's.
        hooks: of whoever makes it anew.
        known: the network of whoever makes it anew, for the headers of rules: secrets, not noted.

    Raises:
        UnknownHeadersError: a rule has headers that ``known`` does not have.
        EngineError: they are not what this version writes.
    """
    check_text(text, session_id)
    try:
        data = cast("dict[str, Any]", json.loads(text))
        if data["version"] != VERSION:
            raise InvalidRequestError(f"version {data['version']!r}")
        settings = Settings(
            image=image,
            pull="never",
            workdir=paths.directory(data["workdir"], "workdir"),
            workspace=Workspace(),
            lifecycle=Lifecycle(**data["lifecycle"]),
            network=options.network_from_dict(data["network"], known),
            limits=Limits(**data["limits"]),
            security=Security(**data["security"]),
            env=env,
            user=options.check_user(data["user"] or None),
            labels=options.check_labels(data["labels"], "labels"),
            hooks=hooks,
            platform=None,
            volumes=(),
        )
        order = Order(
            session_id=session_id,
            workspace=Workspace(**data["workspace"]),
            manifest=Manifest(),
            metadata=options.check_labels(metadata, "metadata"),
            ports=tuple(options.whole(p, "port", minimum=1, maximum=65535) for p in data["ports"]),
            volumes=check_volumes([Volume(**volume) for volume in data["volumes"]]),
        )
    except options.UnknownHeadersError:
        raise
    except (ValueError, TypeError, KeyError, RecursionError) as exc:
        raise EngineError(
            f"the settings noted with session {session_id!r} cannot be read: {exc}",
            session_id=session_id,
        ) from exc
    return settings, order


def to_env(data: bytes) -> dict[str, str]:
    """Return an environment from ``NAME=value`` strings that each end with a NUL."""
    result: dict[str, str] = {}
    for item in data.split(b"\0")[:-1]:
        name, _, value = item.decode("utf-8", "surrogateescape").partition("=")
        result[name] = value
    return result
