"""Paths by their spelling: one path, one meaning, and none that leads out."""

from __future__ import annotations

import posixpath
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fumehood import InvalidPathError, paths
from fumehood._core import locate
from fumehood._wire.table import Root

# What a file operation is asked for (SECURITY: these never reach the container).
REFUSED = [
    "",
    "/",
    "//",
    "/etc/passwd",
    "//x",
    "..",
    "../x",
    "a/..",
    "a/../b",
    "a/../../x",
    "./..",
    "x/",
    "a/b/",
    "a\0b",
    "\0",
    "a\\b",
    "..\\x",
    "x" * 256,
    "a/" + "é" * 128,
    "a/" * 3000 + "b",
    "\ud800",
    "x" * 1_000_000,
    5,
    None,
    b"x",
]
TAKEN = {
    "x": "x",
    "./x": "x",
    "a/b": "a/b",
    "a//b": "a/b",
    "a/./b": "a/b",
    "...": "...",
    "..x": "..x",
    "x..": "x..",
    " ": " ",
    "-rf": "-rf",
    "~": "~",
    "$(id)": "$(id)",
    "new\nline": "new\nline",
    "é": "é",
    "\udcff": "\udcff",
    "x" * 255: "x" * 255,
    "a/.": "a",
}


@pytest.mark.parametrize("path", REFUSED, ids=lambda path: repr(path)[:20])
def test_a_path_out_of_the_workspace_or_of_two_meanings_is_refused(path: str) -> None:
    with pytest.raises(InvalidPathError) as caught:
        paths.relative(path)
    assert len(str(caught.value)) < 400
    assert str(caught.value).isprintable()
    with pytest.raises(InvalidPathError):
        paths.relative(path, allow_root=True)


@pytest.mark.parametrize("path", TAKEN, ids=lambda path: repr(path)[:20])
def test_a_path_in_the_workspace_has_one_spelling(path: str) -> None:
    assert paths.relative(path) == TAKEN[path]
    assert paths.absolute("/" + path) == TAKEN[path]


def test_the_workspace_itself_is_named_only_where_that_makes_sense() -> None:
    for path in (".", "./.", "./"):
        with pytest.raises(InvalidPathError):
            paths.relative(path)
    assert paths.relative(".", allow_root=True) == "."
    assert paths.absolute("/") == "."


@pytest.mark.parametrize(
    "path", ["", "a", "/", "/.", "/a/../b", "/a\\b", "/a\0", "/a/", "/\ud800", 5]
)
def test_a_directory_is_absolute_and_not_the_root(path: str) -> None:
    with pytest.raises(InvalidPathError):
        paths.directory(path, "workdir")


def test_a_directory_has_one_spelling() -> None:
    assert paths.directory("//srv/./work", "workdir") == "/srv/work"


@pytest.mark.parametrize("path", ["", "\0", "x" * 4096, "\ud800", 5, None])
def test_a_working_directory_is_a_path_at_least(path: str) -> None:
    with pytest.raises(InvalidPathError):
        paths.working_directory(path)


def test_a_command_may_go_where_it_likes() -> None:
    for path in ("..", "/etc", "a/../../b", "a\\b", "x/"):
        assert paths.working_directory(path) == path


@given(st.text(st.sampled_from("ab./\\\0é\ud800\udcff"), max_size=12) | st.text(max_size=300))
def test_what_is_taken_stays_inside(path: str) -> None:
    checks: list[Callable[[str], str]] = [paths.relative, paths.absolute]
    for check in checks:
        try:
            found = check(path)
        except InvalidPathError:
            continue
        assert not found.startswith("/")
        assert ".." not in found.split("/")
        assert found == "." or posixpath.normpath(found) == found
        # Said again, it means the same.
        assert found == "." or check(found) == found
        raw = found.encode("utf-8", "surrogateescape")
        assert len(raw) <= paths.MAX_PATH_BYTES
        assert b"\0" not in raw


def test_a_root_says_what_a_path_is_relative_to() -> None:
    assert locate("a/b", None) == ("a/b", b"a/b", Root.WORKSPACE)
    assert locate("/etc/./passwd", "/") == ("/etc/passwd", b"etc/passwd", Root.FILESYSTEM)
    assert locate("etc", "/") == ("/etc", b"etc", Root.FILESYSTEM)
    assert locate("/", "/", allow_root=True) == ("/", b".", Root.FILESYSTEM)
    for root in ("", "/etc", 5, "x" * 1_000_000):
        with pytest.raises(InvalidPathError) as caught:
            locate("a", root)  # type: ignore[arg-type]
        assert len(str(caught.value)) < 400
