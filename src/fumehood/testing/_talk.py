"""What an operation sees of the wire: one channel, the fields of its request, records."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, cast

from fumehood._wire import codec, table
from fumehood._wire.codec import Value
from fumehood._wire.table import ErrorCode, Field, Frame, Operation, Root
from fumehood.testing._standstill import Pause
from fumehood.testing.commands import Programs
from fumehood.testing.files import MemoryFiles, RefusedError
from fumehood.testing.ports import Ports

Fields = Mapping[Field, int | bytes | str | Iterable[bytes | str]]


class Talk(Protocol):
    """One channel, as an operation uses it."""

    operation: Operation
    fields: Mapping[Field, Value]
    connection: int
    """The number of the connection that it is on."""
    cancelled: bool
    dropped: bool
    """Whether whoever asked wants it to end, or is gone."""
    input_ended: bool
    resized: Callable[[int, int], None] | None
    """Called with each new size of a terminal: rows and columns."""

    async def piece(self) -> bytes:
        """Wait for the next of the input; ``b""`` at its end."""
        ...

    async def whole_input(self, limit: int | None = None) -> bytes:
        """Wait for the end of the input and return all of it."""
        ...

    async def output(self, frame: Frame, data: bytes) -> None:
        """Send output as far and as fast as the windows allow."""
        ...

    def tell(self, frame: Frame, fields: Fields) -> None:
        """Send a frame of fields that is not the last."""
        ...

    def finish(self, frame: Frame, fields: Fields) -> None:
        """Send the last frame."""
        ...


Serve = Callable[[Talk], Awaitable[None]]


@dataclass(slots=True, kw_only=True)
class Place:
    """What all operations of one session share."""

    files: MemoryFiles
    programs: Programs
    env: dict[str, str] = field(default_factory=dict[str, str])
    max_processes: int = 0
    pause: Pause = field(default_factory=Pause)
    ports: Ports = field(init=False)

    def __post_init__(self) -> None:
        self.ports = Ports(self.files, self.pause)


def number(talk: Talk, name: Field) -> int:
    """Return a number of the request."""
    return cast("int", talk.fields[name])


def text(talk: Talk, name: Field) -> str:
    """Return a path of the request."""
    return cast("bytes", talk.fields[name]).decode("utf-8", "surrogateescape")


def variables(values: Value | None) -> dict[str, str]:
    """Return an environment from the wire's ``NAME=value`` strings."""
    pairs = (item.decode("utf-8", "surrogateescape") for item in cast("list[bytes]", values or []))
    return {name: value for name, _, value in (pair.partition("=") for pair in pairs)}


def check_user(user: str | None) -> None:
    """Refuse a user whom nobody knows: in memory there are root and numbers."""
    if user and not all(part in ("root", "") or part.isdecimal() for part in user.split(":")):
        raise RefusedError(ErrorCode.USER_NOT_FOUND, step="user")


def path_of(files: MemoryFiles, talk: Talk, name: Field = Field.PATH) -> str:
    """Return a path of the request from the root on.

    Raises:
        RefusedError: it leads out of the workspace.
    """
    path = text(talk, name)
    if talk.fields[Field.ROOT] == Root.FILESYSTEM:
        return "/" + path.lstrip("/")
    inside = files.absolute(".")
    found = files.absolute(path)
    if not f"{found}/".startswith(f"{inside}/"):
        raise RefusedError(ErrorCode.ESCAPES)
    return found


def record(fields: Fields) -> bytes:
    """Return one record of an output that consists of them."""
    body = codec.encode_fields(fields)
    assert len(body) <= table.MAX_RECORD
    return len(body).to_bytes(4, "big") + body
