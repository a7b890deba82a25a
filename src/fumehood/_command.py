"""A command as a caller says it, checked and put into the form that the wire takes."""

from __future__ import annotations

import math
import os
from collections.abc import AsyncIterable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import EllipsisType

from fumehood import _checks, paths
from fumehood._checks import Seconds
from fumehood._wire.requests import Request, exec_request
from fumehood.errors import InvalidRequestError
from fumehood.options import Limits
from fumehood.text import brief, encode

Argument = str | bytes | os.PathLike[str]
Pieces = Iterable[bytes] | AsyncIterable[bytes]
Input = str | bytes | Pieces
"""Standard input: whole, or in pieces that are asked for as fast as the command takes them."""

MAX_ARGUMENT_BYTES = 2 << 20
"""All arguments and variables together, as Linux takes them with its default stack limit."""

_UNLIMITED = (1 << 64) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A checked command: everything that the caller said, in the form that the wire takes."""

    argv: tuple[str, ...]
    cwd: str
    user: str | None
    timeout: float | None
    keep: int
    """How many bytes of each stream the result holds."""
    input: bytes | None
    source: Pieces | None
    request: Request


def check_command(
    limits: Limits,
    argv: Sequence[Argument],
    cwd: str,
    env: Mapping[str, str] | None,
    input: Input | None,
    user: str | int | None,
    timeout: Seconds | EllipsisType | None,
    max_output_bytes: int | None,
    *,
    capped: bool,
) -> Command:
    """Check everything that a caller can say of a command.

    Args:
        limits: the session's.
        argv: as ``exec`` documents it, like all that follow.
        cwd: working directory.
        env: added to the environment.
        input: standard input.
        user: who runs it.
        timeout: seconds; ``...`` for the session's own.
        max_output_bytes: of each stream.
        capped: whether no more output than the result holds is wanted.

    Raises:
        InvalidRequestError: with the value that cannot be.
    """
    raw = check_arguments(argv)
    limit = limits.max_output_bytes
    if max_output_bytes is not None:
        limit = _checks.whole(max_output_bytes, "max_output_bytes", minimum=0, maximum=1 << 40)
    deadline = limits.timeout if isinstance(timeout, EllipsisType) else timeout
    checked = _checks.optional_seconds(deadline, "timeout", minimum=0.001)
    data, source = _input(input)
    directory = paths.working_directory(cwd)
    name = _checks.check_user(user)
    wire_limit = limit if capped or max_output_bytes is not None else _UNLIMITED
    variables = check_variables(raw, env)
    request = exec_request(
        raw,
        cwd=directory.encode("utf-8", "surrogateescape"),
        env=variables,
        user=name,
        timeout_ms=0 if checked is None else max(1, math.ceil(checked * 1000)),
        stdout_limit=wire_limit,
        stderr_limit=wire_limit,
        stdin=input is not None,
    )
    return Command(
        argv=tuple(item.decode("utf-8", "replace") for item in raw),
        cwd=cwd,
        user=name,
        timeout=checked,
        keep=limit if capped else min(limit, limits.max_output_bytes),
        input=data,
        source=source,
        request=request,
    )


def _input(value: Input | None) -> tuple[bytes | None, Pieces | None]:
    """Return a command's input as it is to be sent: whole, or where its pieces come from."""
    if isinstance(value, str):
        return encode(value, "input"), None
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value), None
    if value is not None and not hasattr(value, "__iter__") and not hasattr(value, "__aiter__"):
        raise InvalidRequestError(
            f"input must be str, bytes, pieces of bytes or None, not {type(value).__name__}"
        )
    return None, value


def check_arguments(argv: Sequence[Argument]) -> tuple[bytes, ...]:
    """Return a program and its arguments as the wire takes them."""
    if isinstance(argv, (str, bytes)):
        raise InvalidRequestError(
            f"argv must be a list of arguments, not the string {brief(argv)}: "
            'use session.shell("…") for a line of shell'
        )
    if not isinstance(argv, Iterable):
        raise InvalidRequestError(f"argv must be a list of arguments, not {brief(argv)}")
    result: list[bytes] = []
    for item in argv:
        if not isinstance(item, (str, bytes, os.PathLike)):
            raise InvalidRequestError(f"argv holds {brief(item)}, which is not a string")
        text = os.fspath(item)
        # Not os.fsencode: the container does not know the client's locale.
        raw = encode(text, "argument") if isinstance(text, str) else text
        if b"\0" in raw:
            raise InvalidRequestError(f"argv holds {brief(text)}, which contains a NUL character")
        result.append(raw)
    if not result or not result[0]:
        raise InvalidRequestError("argv must begin with the program to run")
    return tuple(result)


def check_variables(
    arguments: tuple[bytes, ...], env: Mapping[str, str] | None
) -> tuple[bytes, ...]:
    """Return a command's own environment as the wire takes it; it must fit beside ``arguments``."""
    variables = tuple(
        f"{key}={value}".encode("utf-8", "surrogateescape")
        for key, value in _checks.check_env(env).items()
    )
    _check_size(arguments, variables)
    return variables


def _check_size(arguments: tuple[bytes, ...], variables: tuple[bytes, ...]) -> None:
    """Refuse what no program can be given: each string costs its bytes, a NUL and a pointer."""
    count = len(arguments) + len(variables)
    total = sum(map(len, arguments)) + sum(map(len, variables)) + 9 * count
    if total > MAX_ARGUMENT_BYTES:
        raise InvalidRequestError(
            f"argv and env hold {count} strings of {total} bytes in all: more than Linux takes "
            f"({MAX_ARGUMENT_BYTES}); send the data as input or as a file"
        )
