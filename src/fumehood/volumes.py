"""Data that several sessions share: volumes that the engine already has, never a host directory."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from fumehood import paths
from fumehood._checks import flag
from fumehood.errors import InvalidRequestError
from fumehood.text import brief

MAX_VOLUMES = 32
"""Of one session: each is a mount that the engine makes at every start."""

# The engine's own alphabet. It has no slash, so no path of the host is ever a name.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{1,254}")
_OURS = "fumehood-"


@dataclass(frozen=True, slots=True)
class Volume:
    """A named volume of the engine that a session sees at a directory of its own.

    The volume must exist (``docker volume create NAME``), and only read-only ones can be used by
    hostile code without it changing what the next session reads. The files keep the owners and
    modes that they have: commands read what their user may read. One that stands for a directory of
    the host is refused when the session is created, and so are the volumes of fumehood itself.

    Example::

        DockerSandbox(volumes=[Volume("datasets", "/data")])
    """

    name: str
    """The volume's name on the engine."""
    target: str
    """The directory in the container: absolute, outside of the workspace and of /tmp."""
    read_only: bool = True
    """Whether commands can only read it. Several sessions may write to one at the same time."""

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise InvalidRequestError(
                f"volume {brief(self.name)} is not the name of a volume: 2 to 255 characters of "
                "letters, digits, '_', '.' and '-'; a directory of the host cannot be mounted"
            )
        if self.name.startswith(_OURS):
            raise InvalidRequestError(
                f"volume {self.name!r} is fumehood's own; a workspace that is kept is chosen with "
                "workspace=Workspace.persistent(id)"
            )
        object.__setattr__(self, "target", paths.directory(self.target, "a volume's target"))
        flag(self.read_only, "read_only")


def check_volumes(volumes: Sequence[Volume]) -> tuple[Volume, ...]:
    """Return several volumes, none of them at or below another's directory."""
    if isinstance(volumes, (str, bytes)) or not isinstance(volumes, Sequence):
        raise InvalidRequestError(f"volumes must be a list of Volume, not {brief(volumes)}")
    if len(volumes) > MAX_VOLUMES:
        raise InvalidRequestError(f"{len(volumes)} volumes; at most {MAX_VOLUMES} are possible")
    for volume in volumes:
        if not isinstance(volume, Volume):
            raise InvalidRequestError(f"volumes must be a list of Volume, not of {brief(volume)}")
    ordered = sorted(volume.target for volume in volumes)
    for index, outer in enumerate(ordered):
        for inner in ordered[index + 1 :]:
            if within(inner, outer):
                raise InvalidRequestError(
                    f"two volumes overlap in the container: {inner!r} is within {outer!r}"
                )
    return tuple(volumes)


def within(path: str, directory: str) -> bool:
    """Whether a normalised absolute path is a directory or lies below it."""
    return f"{path}/".startswith(f"{directory}/")
