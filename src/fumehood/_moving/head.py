"""What a snapshot's file says of it: written as an engine holds it, read as a stranger's word."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, cast

from fumehood import options, paths
from fumehood._version import __version__
from fumehood.engines.docker_references import check_reference
from fumehood.engines.state import Holding, ImageConfig
from fumehood.errors import InvalidRequestError, SnapshotFileError
from fumehood.snapshots import Snapshot

_ARCHITECTURES = ("amd64", "arm64")
_MAX_TEXT = 1 << 17


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What is known before the first file."""

    name: str
    image: str
    workdir: str
    labels: dict[str, str]
    config: ImageConfig


def write(snapshot: Snapshot, holding: Holding, config: ImageConfig) -> dict[str, object]:
    """Return it as it is written."""
    return {
        "fumehood": __version__,
        "name": snapshot.name,
        "image": snapshot.image,
        "workdir": holding.workdir,
        "created_at": snapshot.created_at.isoformat(),
        "layer_bytes": snapshot.layer_bytes,
        "workspace_bytes": snapshot.workspace_bytes,
        "labels": dict(snapshot.labels),
        "config": asdict(config),
    }


def read(found: Mapping[str, object]) -> Head:
    """Return it as it was read, checked as a caller's own values are.

    Raises:
        SnapshotFileError: it does not say what it must, or something that nobody may say.
    """
    data = cast("Mapping[str, Any]", found)
    try:
        config = data["config"]
        if config["architecture"] not in _ARCHITECTURES:
            raise InvalidRequestError(f"it is for {config['architecture']!r}")
        return Head(
            name=options.check_name(data["name"], "snapshot name"),
            image=check_reference(data["image"]),
            workdir=paths.directory(data["workdir"], "workdir"),
            labels=options.check_labels(data["labels"], "labels"),
            config=ImageConfig(
                architecture=config["architecture"],
                user=_text(config["user"]),
                env=_texts(config["env"]),
                workdir=_text(config["workdir"]),
                entrypoint=_texts(config["entrypoint"]),
                cmd=_texts(config["cmd"]),
            ),
        )
    except (KeyError, TypeError, AttributeError, ValueError) as exc:
        what = f"it has no {exc}" if isinstance(exc, KeyError) else str(exc)
        raise SnapshotFileError(f"snapshot.json: {what}") from exc


def _text(value: object) -> str:
    if not isinstance(value, str) or len(value) > _MAX_TEXT or "\0" in value:
        raise InvalidRequestError("a text that is none")
    return value


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise InvalidRequestError("a list that is none")
    return tuple(_text(item) for item in cast("list[object]", value))
