"""The spelling of paths: what can be refused before it reaches the container.

The supervisor resolves every path again beneath a directory descriptor; this is the first line,
which gives the caller an error at once and keeps a path from meaning two things.
"""

from __future__ import annotations

from fumehood.errors import InvalidPathError
from fumehood.text import brief

MAX_PATH_BYTES = 4095
MAX_NAME_BYTES = 255


def relative(path: str, *, allow_root: bool = False) -> str:
    """Return a normalised path relative to the workspace.

    ``.`` parts and doubled slashes are taken out. Refused: an absolute path, ``..`` anywhere, an
    empty path, NUL, a backslash (another system's separator is more often a mistake than a name),
    a trailing slash on a file name, and parts longer than a file system takes.

    Args:
        path: the path as the caller wrote it.
        allow_root: whether ``"."``, the workspace itself, is meant to be possible.
    """
    _check_text(path)
    if path.startswith("/"):
        raise InvalidPathError(
            f"path {brief(path)} is absolute; paths are relative to the workspace "
            "(root='/' works on the container's whole file system)"
        )
    parts = _parts(path)
    if not parts and not allow_root:
        raise InvalidPathError(
            f"path {brief(path)} names the workspace itself, not something in it"
        )
    return "/".join(parts) or "."


def absolute(path: str) -> str:
    """Return a normalised path on the container's whole file system, without the leading slash."""
    _check_text(path)
    return "/".join(_parts(path)) or "."


def directory(path: str, what: str) -> str:
    """Return a normalised absolute directory (``workdir``), or raise with its name."""
    _check_text(path)
    parts = _parts(path)
    if not path.startswith("/") or not parts:
        raise InvalidPathError(f"{what} {brief(path)} must be an absolute directory other than '/'")
    return "/" + "/".join(parts)


def working_directory(path: str) -> str:
    """Return a command's ``cwd``: relative to the workspace, or absolute; no NUL, not empty.

    A command can change directory as it likes, so ``..`` is no boundary here and is allowed.
    """
    _check_characters(path)
    return path


def _check_characters(path: str) -> None:
    if not isinstance(path, str):
        raise InvalidPathError(f"a path must be a string, not {brief(path)}")
    if not path:
        raise InvalidPathError("the path is empty")
    if "\0" in path:
        raise InvalidPathError(f"path {brief(path)} contains a NUL character")
    try:
        size = len(path.encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError as exc:
        raise InvalidPathError(
            f"path {brief(path)} holds half a surrogate pair, which has no bytes"
        ) from exc
    if size > MAX_PATH_BYTES:
        raise InvalidPathError(f"a path of {size} bytes; at most {MAX_PATH_BYTES} are possible")


def _check_text(path: str) -> None:
    _check_characters(path)
    if "\\" in path:
        raise InvalidPathError(f"path {brief(path)} contains a backslash; separate parts with '/'")
    if path.endswith("/") and path != "/":
        raise InvalidPathError(f"path {brief(path)} ends with a slash")


def _parts(path: str) -> list[str]:
    parts = [part for part in path.split("/") if part not in ("", ".")]
    for part in parts:
        if part == "..":
            raise InvalidPathError(f"path {brief(path)} contains '..'")
        if len(part.encode("utf-8", "surrogateescape")) > MAX_NAME_BYTES:
            raise InvalidPathError(f"a part of path {brief(path)} is over {MAX_NAME_BYTES} bytes")
    return parts
