"""The spelling of paths: what can be refused before it reaches the container.

The supervisor resolves every path again beneath a directory descriptor; this is the first line,
which gives the caller an error at once and keeps a path from meaning two things.
"""

from __future__ import annotations

from fumehood.errors import InvalidPathError

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
            f"path {path!r} is absolute; paths are relative to the workspace "
            "(root='/' works on the container's whole file system)"
        )
    parts = _parts(path)
    if not parts and not allow_root:
        raise InvalidPathError(f"path {path!r} names the workspace itself, not something in it")
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
        raise InvalidPathError(f"{what} {path!r} must be an absolute directory other than '/'")
    return "/" + "/".join(parts)


def working_directory(path: str) -> str:
    """Return a command's ``cwd``: relative to the workspace, or absolute; no NUL, not empty.

    A command can change directory as it likes, so ``..`` is no boundary here and is allowed.
    """
    _check_bytes(path)
    if len(path.encode("utf-8", "surrogateescape")) > MAX_PATH_BYTES:
        raise InvalidPathError(f"cwd is longer than {MAX_PATH_BYTES} bytes")
    return path


def _check_bytes(path: str) -> None:
    if not isinstance(path, str):
        raise InvalidPathError(f"a path must be a string, not {path!r}")
    if not path:
        raise InvalidPathError("the path is empty")
    if "\0" in path:
        raise InvalidPathError(f"path {path!r} contains a NUL character")


def _check_text(path: str) -> None:
    _check_bytes(path)
    if "\\" in path:
        raise InvalidPathError(f"path {path!r} contains a backslash; separate parts with '/'")
    if path.endswith("/") and path != "/":
        raise InvalidPathError(f"path {path!r} ends with a slash")
    encoded = path.encode("utf-8", "surrogateescape")
    if len(encoded) > MAX_PATH_BYTES:
        raise InvalidPathError(f"the path is {len(encoded)} bytes; at most {MAX_PATH_BYTES}")


def _parts(path: str) -> list[str]:
    parts = [part for part in path.split("/") if part not in ("", ".")]
    for part in parts:
        if part == "..":
            raise InvalidPathError(f"path {path!r} contains '..'")
        if len(part.encode("utf-8", "surrogateescape")) > MAX_NAME_BYTES:
            raise InvalidPathError(f"a part of path {path[:40]!r}… is over {MAX_NAME_BYTES} bytes")
    return parts
