"""Held states on a Docker engine as names, labels and bodies of calls: pure functions."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping

from fumehood.engines import labels
from fumehood.engines.base import Container
from fumehood.engines.container_spec import Json, creation_token
from fumehood.engines.docker_listing import mapping, sequence, text_map, timestamp
from fumehood.engines.state import (
    Holding,
    HoldRequest,
    ImageConfig,
    Kind,
    StateRequest,
    TakeRequest,
)
from fumehood.errors import InvalidRequestError
from fumehood.options import check_name

# With a dot where a session's container has a hyphen: no id makes one into the other.
DRAFT_NAME = re.compile(r"/?fumehood\.draft\.([0-9a-f]{32})")
_NEVER = "/.fumehood-never-started"


def holding_name(kind: Kind, name: str) -> str:
    """Return the name of the container that holds a state."""
    return f"fumehood.{kind}.{name}"


def draft_name(token: str) -> str:
    """Return its name until it is complete."""
    return f"fumehood.draft.{token}"


def record_path(token: str) -> str:
    """Return where the record is in the container's own layer.

    The layer below is hostile: whoever made it could not know the token.
    """
    return f"/.fumehood-record-{token}"


def of_holding(request: StateRequest, *, expires_at: float | None, version: str) -> dict[str, str]:
    """Return the labels of the container that holds a state."""
    result = {
        labels.OURS: version,
        labels.HELD: request.kind,
        labels.TOKEN_HELD: request.token,
        labels.EXPIRES: "" if expires_at is None else repr(expires_at),
        labels.IMAGE: request.image,
        labels.WORKDIR: request.workdir,
        labels.METADATA: json.dumps(dict(request.metadata), sort_keys=True, ensure_ascii=False),
        labels.NONCE: "",
        labels.SESSION: "",
    }
    if isinstance(request, TakeRequest):
        result[labels.TAKEN] = "1"
    if request.kind == "snapshot" or not isinstance(request, HoldRequest):
        return result | {labels.SNAPSHOT: request.name}
    live = request.container
    return result | {
        labels.SESSION: request.name,
        labels.ORIGIN: creation_token(live.nonce),
        labels.WORKSPACE: live.workspace_id or "",
        labels.DESTROY_WORKSPACE: "1" if live.destroy_workspace else "",
        labels.DETACHED: "1" if live.detached else "",
        labels.OWNER: live.owner,
        labels.TTL: "" if live.ttl is None else repr(live.ttl),
        labels.IDLE: "" if live.idle_timeout is None else repr(live.idle_timeout),
    }


def holding_body(
    image_id: str, marks: Mapping[str, str], *, layer: str, workdir: str, mount: Json | None
) -> Json:
    """Return the body of the create call for a container that is never started.

    Should somebody start it all the same, there is no such program.

    Args:
        image_id: what it is made of.
        marks: its labels.
        layer: the tag of that image.
        workdir: where its volume is.
        mount: which volume that is; ``None``: it has none.
    """
    return {
        "Image": image_id,
        "Entrypoint": [_NEVER],
        "Cmd": [],
        "User": "65534:65534",
        "WorkingDir": "/",
        "Env": [],
        "Labels": {**marks, labels.LAYER: layer},
        "Healthcheck": {"Test": ["NONE"]},
        "NetworkDisabled": True,
        "HostConfig": {
            "AutoRemove": False,
            "NetworkMode": "none",
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges"],
            "Privileged": False,
            "IpcMode": "private",
            "LogConfig": {"Type": "none", "Config": {}},
            "Init": False,
            "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
            "Mounts": []
            if mount is None
            else [{"Type": "volume", "Target": workdir, "ReadOnly": False} | mount],
        },
    }


def kept_volume(name: str) -> Json:
    """Return a mount that keeps a session's own volume."""
    return {"Source": name, "VolumeOptions": {"NoCopy": True}}


def new_volume(token: str, *, version: str) -> Json:
    """Return a mount of a volume that is made with the container and goes with it."""
    marks = {labels.OURS: version, labels.TOKEN_HELD: token}
    return {"VolumeOptions": {"NoCopy": True, "Labels": marks}}


def commit_config(
    container: Mapping[str, object], image: Mapping[str, object], token: str
) -> dict[str, object]:
    """Return the configuration of an image of a session's file system: that of its image.

    The engine adds what the container has and this lacks, so every label of the container is
    named here, with nothing in it.
    """
    mine = mapping(container.get("Config"))
    base = mapping(image.get("Config"))
    marks = dict.fromkeys(text_map(mine.get("Labels")), "")
    marks |= {
        key: value
        for key, value in text_map(base.get("Labels")).items()
        if not labels.is_reserved(key)
    }
    return {
        "User": base.get("User") or "",
        "WorkingDir": base.get("WorkingDir") or "/",
        "Env": list(sequence(base.get("Env"))),
        "Cmd": list(sequence(base.get("Cmd"))),
        "Entrypoint": list(sequence(base.get("Entrypoint"))),
        "Labels": marks | {labels.LAYER: token},
    }


def taken_config(
    container: Mapping[str, object], config: ImageConfig, token: str
) -> dict[str, object]:
    """Return the configuration of an image of a file system that came from elsewhere.

    As in :func:`commit_config`, every label of the container that it is made of is named.
    """
    marks = dict.fromkeys(text_map(mapping(container.get("Config")).get("Labels")), "")
    return {
        "User": config.user,
        "WorkingDir": config.workdir,
        "Env": list(config.env),
        "Cmd": list(config.cmd),
        "Entrypoint": list(config.entrypoint),
        "Labels": marks | {labels.LAYER: token},
    }


def image_config(image: Mapping[str, object]) -> ImageConfig:
    """Return what an inspected image's sessions begin with."""
    config = mapping(image.get("Config"))

    def texts(key: str) -> tuple[str, ...]:
        return tuple(str(item) for item in sequence(config.get(key)))

    return ImageConfig(
        architecture=str(image.get("Architecture") or ""),
        user=str(config.get("User") or ""),
        env=texts("Env"),
        workdir=str(config.get("WorkingDir") or "/"),
        entrypoint=texts("Entrypoint"),
        cmd=texts("Cmd"),
    )


def from_list(item: object) -> Holding | None:
    """Return a held state as the list of containers shows it, or ``None`` if it is none."""
    data = mapping(item)
    created = data.get("Created")
    return _holding(
        engine_id=str(data.get("Id", "")),
        names=[str(name) for name in sequence(data.get("Names"))],
        image_id=str(data.get("ImageID", "")),
        marks=text_map(data.get("Labels")),
        created_at=float(created) if isinstance(created, (int, float)) else 0.0,
    )


def from_inspect(item: object) -> Holding | None:
    """Return a held state as an inspection shows it, or ``None`` if it is none."""
    data = mapping(item)
    return _holding(
        engine_id=str(data.get("Id", "")),
        names=[str(data.get("Name", ""))],
        image_id=str(data.get("Image", "")),
        marks=text_map(mapping(data.get("Config")).get("Labels")),
        # As a list shows it.
        created_at=float(math.floor(timestamp(data.get("Created")))),
    )


def _holding(
    *,
    engine_id: str,
    names: list[str],
    image_id: str,
    marks: Mapping[str, str],
    created_at: float,
) -> Holding | None:
    """Return what is held if the container's name and labels agree: labels are anyone's."""
    kind: Kind
    if marks.get(labels.HELD) == "stopped":
        kind, name = "stopped", marks.get(labels.SESSION, "")
    elif marks.get(labels.HELD) == "snapshot":
        kind, name = "snapshot", marks.get(labels.SNAPSHOT, "")
    else:
        return None
    token, layer = marks.get(labels.TOKEN_HELD, ""), marks.get(labels.LAYER, "")
    try:
        check_name(name, "name")
    except InvalidRequestError:
        return None
    if f"/{holding_name(kind, name)}" not in names or not labels.is_token(token):
        return None
    return Holding(
        id=engine_id,
        kind=kind,
        name=name,
        token=token,
        image_id=image_id,
        image=marks.get(labels.IMAGE, ""),
        layer=layer if labels.is_token(layer) else "",
        workdir=marks.get(labels.WORKDIR, ""),
        created_at=created_at,
        expires_at=labels.number(marks, labels.EXPIRES),
        origin=marks.get(labels.ORIGIN, ""),
        workspace_id=marks.get(labels.WORKSPACE) or None,
        destroy_workspace=marks.get(labels.DESTROY_WORKSPACE) == "1",
        detached=marks.get(labels.DETACHED) == "1",
        owner=marks.get(labels.OWNER, ""),
        metadata=labels.metadata(marks),
        ttl=labels.number(marks, labels.TTL),
        idle_timeout=labels.number(marks, labels.IDLE),
    )


def is_origin(holding: Holding, container: Container) -> bool:
    """Whether a container was what a stopped session is now, and was to go."""
    return bool(holding.origin) and holding.origin == creation_token(container.nonce)


def volume_at(container: Mapping[str, object], target: str) -> str | None:
    """Return the name of the volume that an inspected container has at a place."""
    for mount in map(mapping, sequence(container.get("Mounts"))):
        if mount.get("Type") == "volume" and mount.get("Destination") == target:
            return str(mount.get("Name", "")) or None
    return None
