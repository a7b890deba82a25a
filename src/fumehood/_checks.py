"""What a caller may say, value by value: pure checks that return the value or say what is wrong."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import TypeVar

from fumehood.errors import InvalidRequestError
from fumehood.text import brief, encode

Seconds = float | int | timedelta
"""A duration: seconds, or a ``timedelta``."""

RESERVED_UID = 64999
"""The supervisor's own user id: no command may run as it (DESIGN: PID 1 is not the workload)."""

MAX_METADATA_VALUE = 4096
MAX_ENV_BYTES = 1 << 20
_ENV_OVERHEAD = 10  # '=', NUL and a pointer: what Linux counts for each variable

_MAX_SECONDS = 10 * 365 * 86_400.0
_MAX_ID = (1 << 31) - 1
# Names become part of engine object names, so the alphabet is the one that maps one to one:
# no case folding, no replaced characters, two different ids never share a name.
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?")
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,63})?")
_LABEL_KEY = re.compile(r"[a-z0-9](?:[a-z0-9._/-]{0,126}[a-z0-9])?")
# Control characters, and halves of surrogate pairs, which an engine's JSON cannot carry.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")

_V = TypeVar("_V")


def seconds(value: Seconds, name: str, *, minimum: float = 0.0) -> float:
    """Return a duration in seconds, or raise with the option's name and value."""
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidRequestError(f"{name} must be seconds or a timedelta, not {brief(value)}")
    if not minimum <= value <= _MAX_SECONDS:  # false for NaN too
        raise InvalidRequestError(
            f"{name} must be between {minimum:g} s and ten years, not {brief(value)}"
        )
    return float(value)


def optional_seconds(value: Seconds | None, name: str, *, minimum: float = 0.0) -> float | None:
    """Like :func:`seconds`, with ``None`` meaning 'no such limit'."""
    return None if value is None else seconds(value, name, minimum=minimum)


def whole(value: int, name: str, *, minimum: int, maximum: int) -> int:
    """Return a whole number in a range, or raise with the option's name and value."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidRequestError(f"{name} must be a whole number, not {brief(value)}")
    if not minimum <= value <= maximum:
        raise InvalidRequestError(f"{name} must be from {minimum} to {maximum}, not {brief(value)}")
    return value


def permission_bits(value: int) -> int:
    """Return a file's mode; one that was written in decimal is told how it is written."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 0o777:
        raise InvalidRequestError(
            f"mode must be permission bits from 0 to 0o777, such as 0o644, not {brief(value)}"
        )
    return value


def flag(value: bool, name: str) -> bool:
    """Return a truth value; ``"no"`` and 0 are not one."""
    if not isinstance(value, bool):
        raise InvalidRequestError(f"{name} must be True or False, not {brief(value)}")
    return value


def mapping(value: Mapping[str, _V] | None, what: str) -> Mapping[str, _V]:
    """Return a mapping, an empty one for None."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise InvalidRequestError(f"{what} must be a mapping, not {brief(value)}")
    return value


def names(value: Iterable[str], what: str) -> tuple[str, ...]:
    """Return several strings as a tuple; one string is not several."""
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        raise InvalidRequestError(f"{what} must be a tuple of strings, not {brief(value)}")
    return tuple(value)


def check_name(value: str, what: str) -> str:
    """Return a session or workspace id that maps one to one to an engine object's name."""
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise InvalidRequestError(
            f"{what} {brief(value)} is not usable: 1 to 63 characters of a-z, 0-9, '.', '_' and "
            "'-', beginning and ending with a letter or digit"
        )
    return value


def check_env(env: Mapping[str, str] | None, what: str = "env") -> dict[str, str]:
    """Return a copy of an environment whose names and values can be given to a program."""
    result: dict[str, str] = {}
    total = 0
    for key, value in mapping(env, what).items():
        if not isinstance(key, str) or not _ENV_NAME.fullmatch(key):
            raise InvalidRequestError(
                f"{what}: {brief(key)} is not a name of an environment variable"
            )
        name = f"{what}[{brief(key)}]"
        if not isinstance(value, str):
            raise InvalidRequestError(f"{name} must be a string, not {brief(value)}")
        if "\0" in value:
            raise InvalidRequestError(f"{name} contains a NUL character")
        total += len(key) + len(encode(value, name)) + _ENV_OVERHEAD
        result[key] = value
    if total > MAX_ENV_BYTES:
        raise InvalidRequestError(
            f"{what} takes {total} bytes; at most {MAX_ENV_BYTES} are allowed"
        )
    return result


def check_user(user: str | int | None) -> str | None:
    """Return ``user`` as the text ``name-or-uid[:group-or-gid]``, never the reserved uid."""
    if user is None:
        return None
    if isinstance(user, bool) or not isinstance(user, (str, int)):
        raise InvalidRequestError(f"user must be a name or a uid, not {brief(user)}")
    text = user if isinstance(user, str) else str(whole(user, "user", minimum=0, maximum=_MAX_ID))
    if not _USER.fullmatch(text):
        raise InvalidRequestError(
            f"user {brief(user)} is not 'name', 'uid', 'name:group' or 'uid:gid'"
        )
    for part in text.split(":"):
        if part.isdigit() and int(part) == RESERVED_UID:
            raise InvalidRequestError(
                f"user {user!r}: {RESERVED_UID} is reserved for the supervisor"
            )
        if part.isdigit() and int(part) > _MAX_ID:
            raise InvalidRequestError(f"user {user!r} is out of range")
    return text


def check_labels(labels: Mapping[str, str] | None, what: str) -> dict[str, str]:
    """Return a copy of labels or metadata that an engine stores and shows safely."""
    result: dict[str, str] = {}
    for key, value in mapping(labels, what).items():
        if not isinstance(key, str) or not _LABEL_KEY.fullmatch(key):
            raise InvalidRequestError(
                f"{what}: key {brief(key)} is not 1 to 128 characters of a-z, 0-9, '.', '_', '-' "
                "and '/'"
            )
        if key == "fumehood" or key.startswith("fumehood."):
            raise InvalidRequestError(f"{what}: key {key!r} is reserved for fumehood")
        if not isinstance(value, str):
            raise InvalidRequestError(f"{what}[{key!r}] must be a string, not {brief(value)}")
        if len(value) > MAX_METADATA_VALUE or _UNPRINTABLE.search(value):
            raise InvalidRequestError(
                f"{what}[{key!r}] must be at most {MAX_METADATA_VALUE} printable characters"
            )
        result[key] = value
    if len(result) > 64:
        raise InvalidRequestError(f"{what} has {len(result)} entries; at most 64 are allowed")
    return result
