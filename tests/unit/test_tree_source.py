"""What an upload reads on this machine: files of the tree, and nothing from outside of it."""

from __future__ import annotations

import errno
import os
import socket
import zlib
from pathlib import Path

import pytest

from fumehood import InvalidRequestError
from fumehood._trees import local
from fumehood._trees.ignore import Ignore
from fumehood._trees.names import MAX_DEPTH, link_target
from fumehood._trees.source import Options, TreeSource
from fumehood._trees.tally import Tally
from fumehood._wire.packed import END_RECORD, FileEnd, PackedReader, Record
from fumehood._wire.table import FileCode
from fumehood.transfers import Symlinks

TOP = ("link",)


def read(
    path: Path,
    *,
    symlinks: Symlinks = "keep",
    ignore: tuple[str, ...] = (),
    verify: bool = False,
) -> tuple[dict[str, bytes | str | None], Tally]:
    """Return what a tree's stream says: content, a link's target, None for a directory."""
    tally = Tally()
    options = Options(symlinks=symlinks, ignore=Ignore(ignore), verify=verify)
    opened = os.open(path, local.DIRECTORY_FLAGS)
    found: dict[str, bytes | str | None] = {}
    name, checksum = "", 0
    try:
        stream = b"".join(TreeSource(opened, options, tally).blocks())
    finally:
        os.close(opened)
    assert stream.endswith(END_RECORD)
    reader = PackedReader(content=True)
    for event in reader.feed(stream.removesuffix(END_RECORD)):
        if isinstance(event, Record):
            name, checksum = os.fsdecode(event.path), 0
            kinds: dict[int, bytes | str | None] = {
                FileCode.FILE: b"",
                FileCode.SYMLINK: os.fsdecode(event.link),
                FileCode.DIRECTORY: None,
            }
            found[name] = kinds[event.type]
        elif isinstance(event, FileEnd):
            assert event.checksum == (checksum if verify else 0)
        else:
            content = found[name]
            assert isinstance(content, bytes)
            found[name] = content + bytes(event)
            checksum = zlib.crc32(event, checksum)
    reader.finish()
    return found, tally


def test_a_tree_is_read_whole(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "large").write_bytes(large := os.urandom(3_000_000))
    (tmp_path / "small").write_bytes(b"small")
    (tmp_path / "hollow").mkdir()
    (tmp_path / "link").symlink_to("a/b")
    found, tally = read(tmp_path, verify=True)
    assert found == {
        "a": None, "a/b": None, "a/b/large": large, "small": b"small", "hollow": None,
        "link": "a/b",
    }  # fmt: skip
    assert (tally.files, tally.directories, tally.symlinks) == (2, 3, 1)
    assert (tally.bytes, tally.skipped) == (3_000_005, [])


def test_whatever_is_not_plainly_inside_is_left_out_and_named(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key").write_text("private")
    root = tmp_path / "root"
    root.mkdir()
    (root / "absolute").symlink_to(secret / "key")
    (root / "up").symlink_to("../secret")
    (root / "back\\slash").write_text("x")
    (root / "new\nline").write_text("x")
    os.mkfifo(root / "fifo")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(root / "socket"))
        for symlinks in ("keep", "follow"):
            found, tally = read(root, symlinks=symlinks)
            assert found == {}
            assert sorted(item.path for item in tally.skipped) == [
                "absolute", "back\\slash", "fifo", "new\nline", "socket", "up",
            ]  # fmt: skip


def test_a_walk_stops_at_a_depth(tmp_path: Path) -> None:
    (tmp_path / "/".join(["d"] * (MAX_DEPTH + 2))).mkdir(parents=True)
    _, tally = read(tmp_path)
    assert [item.reason for item in tally.skipped] == [f"more than {MAX_DEPTH} directories deep"]


def test_links_that_lead_out_together_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("private")
    root = tmp_path / "root"
    (root / "a" / "b").mkdir(parents=True)
    (root / "a" / "b" / "top").symlink_to("../..")
    (root / "out").symlink_to("a/b/top/../key")
    (root / "a" / "chain").symlink_to("b/top/loop")
    (root / "loop").symlink_to("a/chain")
    found, tally = read(root, symlinks="follow")
    assert found == {"a": None, "a/b": None}
    assert sorted(item.path for item in tally.skipped) == ["a/b/top", "a/chain", "loop", "out"]


@pytest.mark.parametrize("swapped", ["file", "directory"])
def test_a_link_that_takes_the_place_of_a_file_is_not_followed(
    tmp_path: Path, swapped: str
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "f").write_text("private")
    root = tmp_path / "root"
    (root / "d").mkdir(parents=True)
    opened = os.open(root, local.DIRECTORY_FLAGS)
    if swapped == "file":
        (root / "d" / "f").symlink_to(outside / "f")
    else:
        (root / "d").rmdir()
        (root / "d").symlink_to(outside)
    try:
        with pytest.raises(OSError, match=r"."):
            local.open_beneath(opened, ("d", "f"))
        with pytest.raises(OSError, match="leads out") as refused:
            local.open_beneath(opened, ("d", "f"), links=local.MAX_LINKS)
        assert refused.value.errno == errno.EXDEV
    finally:
        os.close(opened)


@pytest.mark.parametrize(
    ("parts", "text", "target"),
    [
        (TOP, "a/b", ("a", "b")),
        (TOP, "./a//b/", ("a", "b")),
        (("d", "e", "link"), "../f", ("d", "f")),
        (("d", "e", "link"), "../..", ()),
        (("d", "e", "link"), "../../..", None),
        (TOP, "..", None),
        (TOP, "a/../b", None),
        (TOP, "/a", None),
        (TOP, "", None),
    ],
)
def test_a_link_may_go_up_at_its_front_and_stay_inside(
    parts: tuple[str, ...], text: str, target: tuple[str, ...] | None
) -> None:
    assert link_target(parts, text) == target


@pytest.mark.parametrize(
    ("patterns", "left_out", "kept"),
    [
        (("*.pyc",), ["a.pyc", "d/b.pyc"], ["a.py", "a.pyc.txt"]),
        ((".git/",), [".git/", "d/.git/"], [".git", "git/"]),
        (("/build",), ["build", "build/"], ["d/build"]),
        (("d/*.o",), ["d/a.o"], ["a.o", "d/e/a.o", "x/d/a.o"]),
        (("d/**/x",), ["d/x", "d/e/x", "d/e/f/x"], ["x", "d/y"]),
        (("**/x",), ["x", "a/b/x"], ["a/b/y"]),
        (("d/**",), ["d/a", "d/e/a"], ["d/", "e/a"]),
        (("*", "!keep"), ["a", "d/"], ["keep"]),
        (("!keep", "*"), ["a", "keep"], []),
        (("[ab]?",), ["ax", "by"], ["cx", "a"]),
        (("*a*a*a*a*a*a*a*a*b",), ["a" * 20 + "b"], ["a" * 250]),
    ],
)
def test_patterns_leave_out_what_git_would(
    patterns: tuple[str, ...], left_out: list[str], kept: list[str]
) -> None:
    ignore = Ignore(patterns)
    for names, expected in ((left_out, True), (kept, False)):
        for name in names:
            parts = name.rstrip("/").split("/")
            assert ignore.covers(parts, directory=name.endswith("/")) is expected, name


@pytest.mark.parametrize(
    "patterns", ["*.pyc", b"x", ("",), ("/",), ("a/../b",), (7,), ["x"] * 1001]
)
def test_a_pattern_that_is_none_is_refused(patterns: tuple[str, ...]) -> None:
    with pytest.raises(InvalidRequestError):
        Ignore(patterns)
