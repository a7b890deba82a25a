"""Snapshots as values: what a caller sees of the files that were kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from fumehood.engines.state import Holding, HoldsState


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A session's files at one moment, kept on the engine under a name."""

    id: str
    """Unique for ever, also once the name is used again."""
    name: str
    image: str
    """The image that the session was made from."""
    created_at: datetime
    layer_bytes: int
    """What the session had written outside of its workspace, as the engine counts it."""
    workspace_bytes: int
    """The data of the workspace's files."""
    duration: float
    """Seconds that the session's commands stood still for it."""
    expires_at: datetime | None = None
    labels: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def size(self) -> int:
        """All bytes that the snapshot holds beyond its image."""
        return self.layer_bytes + self.workspace_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotExport:
    """A snapshot that was written to a file."""

    snapshot: Snapshot
    path: str
    """The file, absolute."""
    size: int
    """Its bytes: those of the container's whole file system, and of the workspace."""
    duration: float
    """Seconds."""


async def described(engine: HoldsState, holding: Holding) -> Snapshot:
    """Return a held state as the snapshot that it is."""
    record = await engine.read_record(holding)

    def number(key: str) -> float:
        value = record.get(key)
        return value if isinstance(value, (int, float)) and not isinstance(value, bool) else 0

    return Snapshot(
        id=holding.token,
        name=holding.name,
        image=holding.image,
        created_at=datetime.fromtimestamp(holding.created_at, UTC),
        layer_bytes=int(number("layer_bytes")),
        workspace_bytes=int(number("workspace_bytes")),
        duration=float(number("duration")),
        expires_at=moment(holding.expires_at),
        labels=dict(holding.metadata),
    )


def moment(seconds: float | None) -> datetime | None:
    """Return a time of the engine's, or None for never."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
