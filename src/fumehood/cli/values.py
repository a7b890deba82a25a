"""What is typed after an option, as a value: durations, sizes, environments, places of files."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import typer

from fumehood import Allow, Volume

_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(s|m|h|d)?")
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)(k|m|g|t)?i?b?", re.IGNORECASE | re.ASCII)
_BYTES = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
MIB = 1 << 20
_MAX_ENV_FILE = 1 << 20
# The form of an id: what has it before a colon is a session's path, as in `ID:path`.
_REMOTE = re.compile(r"([a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?):(.*)", re.DOTALL)

_ALLOWED = re.compile(r"(\[[^]]*:[^]]*\]|[^:\[\]]*)(?::([0-9]{1,5}))?", re.ASCII)


def duration(text: str, option: str) -> float | None:
    """Return ``30``, ``30s``, ``10m``, ``2h`` or ``1d`` in seconds; ``0`` is no limit, ``None``."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise typer.BadParameter(
            f"{text!r} is not a duration such as 30, 90s, 10m, 2h or 1d (0: no limit)",
            param_hint=option,
        )
    return float(match[1]) * _SECONDS[match[2] or "s"] or None


def size(text: str, option: str) -> int:
    """Return ``512``, ``512m``, ``64k`` or ``2g`` in bytes; a bare number is MiB."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise typer.BadParameter(
            f"{text!r} is not a size such as 512 (MiB), 64k, 512m or 2g", param_hint=option
        )
    return int(float(match[1]) * _BYTES[(match[2] or "m").lower()])


def megabytes(text: str, option: str) -> int:
    """Return a size in whole MiB."""
    value = size(text, option)
    if value % MIB:
        raise typer.BadParameter(f"{text!r} is not a whole number of MiB", param_hint=option)
    return value // MIB


def environment(
    items: Iterable[str], files: Iterable[Path], outside: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return the variables of ``--env-file``, then of ``--env``: the later one wins.

    Args:
        items: ``NAME=VALUE``, or ``NAME`` for the value that it has outside.
        files: files of such lines; empty ones and those that begin with ``#`` are skipped.
        outside: where ``NAME`` alone is looked up; this process's own environment by default.
    """
    around = os.environ if outside is None else outside
    result: dict[str, str] = {}
    for file in files:
        for number, line in enumerate(_lines(file), start=1):
            if line.strip() and not line.lstrip().startswith("#"):
                _variable(line, f"{file}:{number}", around, result)
    for item in items:
        _variable(item, "--env", around, result)
    return result


def _lines(file: Path) -> list[str]:
    try:
        with file.open("rb") as stream:
            data = stream.read(_MAX_ENV_FILE + 1)
    except OSError as exc:
        raise typer.BadParameter(
            f"{str(file)!r} cannot be read: {exc.strerror}", param_hint="--env-file"
        ) from exc
    if len(data) > _MAX_ENV_FILE:
        raise typer.BadParameter(
            f"{str(file)!r} is larger than {_MAX_ENV_FILE} bytes", param_hint="--env-file"
        )
    return data.decode("utf-8", "surrogateescape").splitlines()


def _variable(item: str, where: str, outside: Mapping[str, str], result: dict[str, str]) -> None:
    name, separator, value = item.partition("=")
    name = name.strip()
    if not name:
        raise typer.BadParameter(f"{item!r} has no name: write NAME=VALUE", param_hint=where)
    if separator:
        result[name] = value
    elif name in outside:
        result[name] = outside[name]
    else:
        raise typer.BadParameter(f"{name!r} is not set here: write {name}=VALUE", param_hint=where)


@dataclass(frozen=True, slots=True)
class Staged:
    """A local file or directory, and where in the workspace it goes (``.``: the workspace)."""

    local: Path
    remote: str


def staged_file(text: str) -> Staged:
    """Return ``LOCAL[:REMOTE]``; without REMOTE the file keeps its name.

    A REMOTE that ends with a slash is a directory. A LOCAL with a colon needs its REMOTE.
    """
    local, remote = _pair(text, "--file")
    if not remote or remote.endswith("/"):
        remote += Path(local).name
    return Staged(Path(local), remote)


def staged_directory(text: str) -> Staged:
    """Return ``LOCAL[:REMOTE]``; without REMOTE it keeps its name, and ``.`` stays ``.``."""
    local, remote = _pair(text, "--dir")
    return Staged(Path(local), remote.rstrip("/") or Path(local).name or ".")


def _pair(text: str, option: str) -> tuple[str, str]:
    local, _, remote = text.rpartition(":") if ":" in text else (text, "", "")
    if not local:
        raise typer.BadParameter(
            f"{text!r} names no local path: write LOCAL or LOCAL:REMOTE", param_hint=option
        )
    return local, remote


def volume(text: str) -> Volume:
    """Return ``NAME:DIR`` or ``NAME:DIR:rw`` as a volume; what they may be is its own check."""
    name, _, rest = text.partition(":")
    target, separator, mode = rest.rpartition(":") if ":" in rest else (rest, "", "")
    if not target or (separator and mode not in ("ro", "rw")):
        raise typer.BadParameter(
            f"{text!r} is not NAME:DIR, NAME:DIR:ro or NAME:DIR:rw", param_hint="--volume"
        )
    return Volume(name, target, read_only=mode != "rw")


def allowed_host(text: str) -> Allow:
    """Return ``HOST`` or ``HOST:PORT`` as a rule; what a host may be is the rule's own check.

    An IPv6 address stands in brackets where a port follows, and may do so where none does.
    """
    match = _ALLOWED.fullmatch(text)
    if match is None:
        return Allow(text)
    host, port = match.groups()
    ports = None if port is None else (int(port),)
    return Allow(host[1:-1] if host.startswith("[") else host, ports=ports)


@dataclass(frozen=True, slots=True)
class Place:
    """One side of a copy: in a session, or (``session`` is ``None``) on this machine."""

    session: str | None
    path: str

    @property
    def absolute(self) -> bool:
        """Whether it is a path on the container's whole file system, not in the workspace."""
        return self.path.startswith("/")


def place(text: str) -> Place:
    """Return ``ID:path`` as a place in a session, and anything else as a local path.

    A local name with a colon is written as ``./a:b``.
    """
    match = _REMOTE.fullmatch(text)
    return Place(None, text) if match is None else Place(match[1], match[2] or ".")


def command_line(words: list[str] | None) -> list[str]:
    """Return a command without the ``--`` that may stand before it."""
    words = list(words or ())
    if words[:1] == ["--"]:
        return words[1:]
    if words and words[0].startswith("-"):
        raise typer.BadParameter(
            f"{words[0]!r} stands where the command should: options go before it "
            "(and '--' before a command whose name begins with '-')",
            param_hint="CMD",
        )
    return words
