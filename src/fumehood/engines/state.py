"""The optional part of the seam: holding a session's files while no container of it runs.

What is held is an image of the container's own file system, where a command could write to it, and
a volume with the workspace's files, under a container that is never started: the engine itself
keeps all three together. It is there from one moment on, whole, or not at all.
"""

from __future__ import annotations

from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Awaitable,
    Callable,
    Mapping,
    Sequence,
)
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

from fumehood.engines.base import Container, Image

Kind = Literal["stopped", "snapshot"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StateRequest:
    """What is to be held, and under which name."""

    kind: Kind
    name: str
    """The session's id, or the snapshot's name."""
    token: str
    """32 hexadecimal digits, made up by the caller: what the call makes is found by it."""
    image: str
    """The reference of the image that the session was made from."""
    workdir: str
    expires: float | None
    """Seconds from now; ``None``: never."""
    record: Mapping[str, object] = field(default_factory=dict[str, object])
    """Kept beside the files, where only those who may use the engine can read it."""
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldRequest(StateRequest):
    """The files of a live session. Its commands stand still meanwhile."""

    container: Container


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageConfig:
    """What an image's sessions begin with, besides its files."""

    architecture: str
    user: str = ""
    env: tuple[str, ...] = ()
    workdir: str = "/"
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeRequest(StateRequest):
    """Files that come from elsewhere: a snapshot of another engine's."""

    config: ImageConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """A held state, as found on the engine."""

    id: str
    """The engine's own id."""
    kind: Kind
    name: str
    token: str
    image_id: str
    image: str
    """The reference of the image that the session was made from."""
    layer: str
    """The tag of the image of its file system; ``""`` where that could not be written to."""
    workdir: str
    created_at: float
    """Seconds since the epoch, by the engine's clock."""
    expires_at: float | None
    origin: str
    """Of a stopped session: which container it was."""
    workspace_id: str | None
    destroy_workspace: bool
    detached: bool
    owner: str
    metadata: Mapping[str, str]
    ttl: float | None = None
    idle_timeout: float | None = None


@runtime_checkable
class HoldsState(Protocol):
    """An engine that can hold sessions' files."""

    async def hold(self, request: HoldRequest) -> Holding:
        """Hold a live session's files; on an error or a cancellation nothing of it is left.

        Raises:
            SessionExistsError: something is held under this name.
            SessionNotFoundError: the session is gone.
            EngineDiskFullError: there is no room.
        """
        ...

    async def find_holding(self, kind: Kind, name: str) -> Holding | None:
        """Return what is held under a name, by exact name and label, or None."""
        ...

    async def list_holdings(self) -> Sequence[Holding]:
        """Return everything that is held."""
        ...

    async def read_record(self, holding: Holding) -> Mapping[str, object]:
        """Return what was kept beside the files, with ``layer_bytes`` and ``workspace_bytes``."""
        ...

    async def held_image(self, holding: Holding) -> Image:
        """Return the image that a session with these files is to be made from."""
        ...

    async def fill_workspace(self, holding: Holding, container: Container) -> None:
        """Copy the held workspace into a running session's, which must be empty.

        Raises:
            EngineDiskFullError: there is no room.
        """
        ...

    async def remove_holding(self, holding: Holding, *, destroy_workspace: bool = False) -> None:
        """Delete what is held. Idempotent."""
        ...

    @staticmethod
    def is_origin(holding: Holding, container: Container) -> bool:
        """Whether this container was what is held, and was to go."""
        ...


@runtime_checkable
class MovesState(HoldsState, Protocol):
    """One that can also let them out, and take in what another one has held."""

    async def held_config(self, holding: Holding) -> ImageConfig:
        """Return what sessions with these files begin with."""
        ...

    def held_files(self, holding: Holding) -> AsyncGenerator[bytes, None]:
        """Yield the container's file system as an uncompressed tar archive. Close the generator.

        Nothing of ours is in it. Neither the archive's length nor what it holds is known before.
        """
        ...

    def held_workspace(self, holding: Holding) -> AsyncGenerator[bytes, None]:
        """Yield the workspace's files likewise; their names are relative to the workspace."""
        ...

    async def take_in(
        self,
        request: TakeRequest,
        *,
        files: AsyncIterable[bytes],
        workspace: AsyncIterable[bytes],
        complete: Callable[[], Awaitable[int]],
    ) -> Holding:
        """Hold files that come from elsewhere; on an error or a cancellation nothing is left.

        Args:
            request: what they are.
            files: the container's file system, an uncompressed tar archive: safe to be unpacked.
            workspace: the workspace's files, likewise, with their full names (``workspace/a``).
            complete: called when both have been taken, before anything can be found; returns how
                many bytes the workspace's files have. What it or one of the two raises is raised.

        Raises:
            SnapshotExistsError: something is held under this name.
            EngineUnsupportedError: the files are of another architecture.
            EngineDiskFullError: there is no room.
        """
        ...
