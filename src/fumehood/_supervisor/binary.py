"""Which supervisor: the built binary for the engine's architecture, and its name by content."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from fumehood.errors import SupervisorError

VARIABLE = "FUMEHOOD_SUPERVISOR"
"""Environment variable that names another binary, for development."""

_BUILT = Path(__file__).parent / "bin"
_MAX_BYTES = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisorBinary:
    """A static Linux program, by content."""

    data: bytes
    digest: str
    """SHA-256, 64 hexadecimal digits."""
    architecture: Literal["amd64", "arm64"]

    def __repr__(self) -> str:
        return f"<SupervisorBinary {self.volume} {len(self.data)} bytes>"

    @property
    def volume(self) -> str:
        """The name of the volume that holds exactly this program."""
        return f"fumehood-supervisor-{self.digest[:16]}-{self.architecture}"


def load(architecture: Literal["amd64", "arm64"]) -> SupervisorBinary:
    """Return the supervisor for an architecture. Read once; reads a file of some tens of KB.

    Raises:
        SupervisorError: it was not built, or is no Linux program.
    """
    override = os.environ.get(VARIABLE)
    path = Path(override) if override else _BUILT / f"supervisor-linux-{architecture}"
    try:
        status = path.stat()
    except OSError as exc:
        if override:
            raise SupervisorError(
                f"{VARIABLE}={override!r} cannot be read: {exc.strerror}"
            ) from exc
        raise SupervisorError(
            f"the supervisor for linux/{architecture} is not built: in a checkout, run "
            "`make supervisor`; an installed package that lacks it is broken, install it again"
        ) from exc
    # A rebuilt binary is another one: time and size are part of the key.
    return _read(path, architecture, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=8)
def _read(
    path: Path, architecture: Literal["amd64", "arm64"], _changed: int, size: int
) -> SupervisorBinary:
    if not 4 <= size <= _MAX_BYTES:
        raise SupervisorError(f"{path} is not a supervisor: {size} bytes")
    try:
        data = path.read_bytes()
    except OSError as exc:
        raise SupervisorError(f"{path} cannot be read: {exc.strerror}") from exc
    if not data.startswith(b"\x7fELF"):
        raise SupervisorError(f"{path} is not a Linux program")
    return SupervisorBinary(
        data=data, digest=hashlib.sha256(data).hexdigest(), architecture=architecture
    )
