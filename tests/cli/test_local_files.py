from __future__ import annotations

import os
import socket
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fumehood import FileEntry
from fumehood.cli.fetching import plan_tree
from fumehood.cli.landing import Landing
from fumehood.cli.local import MAX_DEPTH, LocalFile, LocalFileError, Tree, open_named
from fumehood.results import FileType


def test_a_walk_finds_files_and_empty_directories(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "run.sh").write_text("true")
    (tmp_path / "a" / "b" / "run.sh").chmod(0o700)
    (tmp_path / "x.txt").write_text("12345")
    (tmp_path / "empty" / "inner").mkdir(parents=True)
    with Tree.walk(tmp_path) as tree:
        assert tree.files == [
            LocalFile(("a", "b", "run.sh"), 4, executable=True),
            LocalFile(("x.txt",), 5, executable=False),
        ]
        assert [file.mode for file in tree.files] == [0o755, 0o644]
        assert tree.directories == [("empty", "inner")]
        assert tree.size == 9
        assert tree.skipped == []


def test_a_walk_leaves_out_whatever_is_not_plainly_inside(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key").write_text("private")
    root = tmp_path / "root"
    root.mkdir()
    (root / "link-to-file").symlink_to(secret / "key")
    (root / "link-to-directory").symlink_to(secret)
    (root / "loop").symlink_to(".")
    (root / "dangling").symlink_to("nowhere")
    (root / "back\\slash").write_text("x")
    os.mkfifo(root / "fifo")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(root / "socket"))
        with Tree.walk(root) as tree:
            assert tree.files == []
            assert {item.path: item.reason for item in tree.skipped} == {
                "back\\slash": "a name with a backslash",
                "dangling": "a symbolic link",
                "fifo": "no regular file",
                "link-to-directory": "a symbolic link",
                "link-to-file": "a symbolic link",
                "loop": "a symbolic link",
                "socket": "no regular file",
            }


def test_a_walk_stops_at_a_depth(tmp_path: Path) -> None:
    (tmp_path / "/".join(["d"] * (MAX_DEPTH + 2))).mkdir(parents=True)
    with Tree.walk(tmp_path) as tree:
        assert [item.reason for item in tree.skipped] == [f"more than {MAX_DEPTH} directories deep"]


@pytest.mark.parametrize("swapped", ["file", "directory"])
def test_a_link_that_takes_the_place_of_a_file_is_not_followed(
    tmp_path: Path, swapped: str
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "f").write_text("private")
    root = tmp_path / "root"
    (root / "d").mkdir(parents=True)
    (root / "d" / "f").write_text("public")
    with Tree.walk(root) as tree:
        if swapped == "file":
            (root / "d" / "f").unlink()
            (root / "d" / "f").symlink_to(outside / "f")
        else:
            (root / "d").rename(root / "old")
            (root / "d").symlink_to(outside)
        with pytest.raises(LocalFileError, match="cannot be read"):
            tree.open(tree.files[0])


def test_a_fifo_that_takes_the_place_of_a_file_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    with Tree.walk(tmp_path) as tree:
        (tmp_path / "f").unlink()
        os.mkfifo(tmp_path / "f")
        with pytest.raises(LocalFileError, match="not a regular file"):
            tree.open(tree.files[0])


def test_a_named_file_is_a_regular_one(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    (tmp_path / "link").symlink_to("f")
    os.close(open_named(tmp_path / "link"))
    with pytest.raises(LocalFileError, match="is a directory"):
        open_named(tmp_path)
    with pytest.raises(LocalFileError, match="not a regular file"):
        open_named(Path(os.devnull))
    with pytest.raises(LocalFileError, match="No such file"):
        open_named(tmp_path / "nothing")


def test_a_file_lands_whole_with_plain_permissions(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        with Landing(tmp_path) as landing:
            draft = landing.start(("a", "b", "run"), executable=True)
            draft.write(b"first ")
            assert not (tmp_path / "a" / "b" / "run").exists()
            draft.write(b"second")
            draft.keep()
            plain = landing.start(("plain",), executable=False)
            plain.keep()
    finally:
        os.umask(before)
    assert (tmp_path / "a" / "b" / "run").read_bytes() == b"first second"
    assert (tmp_path / "a" / "b" / "run").stat().st_mode & 0o7777 == 0o755
    assert (tmp_path / "plain").stat().st_mode & 0o7777 == 0o644
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "b", "plain", "run"]


def test_a_discarded_file_leaves_the_old_one_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("old")
    with Landing(tmp_path) as landing:
        draft = landing.start(("f",), executable=False)
        draft.write(b"new")
        draft.discard()
    assert [path.name for path in tmp_path.iterdir()] == ["f"]
    assert (tmp_path / "f").read_text() == "old"


@pytest.mark.parametrize(
    "parts", [("..", "x"), ("a", "..", "x"), ("", "x"), (".", "x"), ("a/b",), ("..",), ("x\0",)]
)
def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path, parts: tuple[str, ...]) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    with Landing(inside) as landing, pytest.raises(LocalFileError, match="no name for a file"):
        landing.start(parts, executable=False)
    assert not (tmp_path / "x").exists()


def test_a_link_in_the_way_is_replaced_or_refused_never_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "victim").write_text("untouched")
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "file").symlink_to(outside / "victim")
    (inside / "directory").symlink_to(outside)
    with Landing(inside) as landing:
        draft = landing.start(("file",), executable=False)
        draft.write(b"landed")
        draft.keep()
        with pytest.raises(LocalFileError):
            landing.start(("directory", "victim"), executable=False)
    assert (inside / "file").read_text() == "landed"
    assert not (inside / "file").is_symlink()
    assert (outside / "victim").read_text() == "untouched"


def entry(path: str, type: FileType = "file") -> FileEntry:
    return FileEntry(
        path=path, type=type, size=1, mode=0o644, modified=datetime.now(UTC), uid=0, gid=0
    )


def test_a_plan_takes_files_and_directories_below_the_source() -> None:
    plan, skipped = plan_tree(
        [entry("out/a", "directory"), entry("out/a/f"), entry("out/l", "symlink"),
         entry("out/p", "fifo"), entry("out/\x1b[2J"), entry("out/b\\c")],
        "./out",
        folds_case=False,
    )  # fmt: skip
    assert [parts for parts, _ in plan] == [("a",), ("a", "f")]
    assert [item.path for item in skipped] == ["out/l", "out/p", "out/\x1b[2J", "out/b\\c"]


def test_a_plan_below_the_root_of_the_file_system_has_relative_parts() -> None:
    plan, _ = plan_tree([entry("/etc/apt/x")], "/etc/apt", folds_case=False)
    assert [parts for parts, _ in plan] == [("x",)]
    plan, _ = plan_tree([entry("/etc/apt/x")], "/", folds_case=False)
    assert [parts for parts, _ in plan] == [("etc", "apt", "x")]


def test_names_that_one_file_system_cannot_tell_apart_are_not_merged() -> None:
    entries = [entry("README"), entry("readme")]
    assert len(plan_tree(entries, ".", folds_case=False)[0]) == 2
    plan, skipped = plan_tree(entries, ".", folds_case=True)
    assert [parts for parts, _ in plan] == [("README",)]
    assert [item.path for item in skipped] == ["readme"]
