"""The copier of a workspace: a stranger's tree, as it is, and nothing that lies outside of it."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="owners are given as root")

_FAILED, _TOO_DEEP = 20, 22


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tree = tmp_path / "from"
    tree.mkdir(mode=0o755)
    return tree


@pytest.fixture
def target(tmp_path: Path) -> Path:
    target = tmp_path / "to"
    target.mkdir()
    return target


def copy(binary: Path, tree: Path, target: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(binary), "copy", str(tree), str(target)],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )


def copied(binary: Path, tree: Path, target: Path) -> list[int]:
    """Copy, and return the bytes, the entries and what was left out."""
    done = copy(binary, tree, target)
    assert (done.returncode, done.stderr) == (0, "")
    words = done.stdout.split()
    assert words[0] == "copied"
    return [int(word) for word in words[1:]]


def test_owners_modes_and_times_are_the_originals(binary: Path, tree: Path, target: Path) -> None:
    (tree / "d" / "e").mkdir(parents=True)
    (tree / "d" / "e" / "f").write_bytes(b"content")
    os.chown(tree / "d" / "e" / "f", 1234, 5678)
    (tree / "d" / "e" / "f").chmod(0o6750)
    os.chown(tree / "d", 99, 98)
    (tree / "d").chmod(0o1501)
    os.utime(tree / "d" / "e" / "f", ns=(10**18 + 1, 10**18 + 2))
    os.utime(tree / "d", ns=(10**18 + 3, 10**18 + 4))
    assert copied(binary, tree, target) == [7, 3, 0]
    for path in ("d/e/f", "d", "d/e"):
        was, now = (tree / path).lstat(), (target / path).lstat()
        assert (now.st_mode, now.st_uid, now.st_gid) == (was.st_mode, was.st_uid, was.st_gid), path
        assert now.st_mtime_ns == was.st_mtime_ns, path
    assert (target / "d/e/f").read_bytes() == b"content"


def test_links_are_copied_and_never_followed(
    binary: Path, tree: Path, target: Path, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "file").write_text("of the host")
    (tree / "out").symlink_to(secret)
    (tree / "file").symlink_to(secret / "file")
    (tree / "up").symlink_to("../../..")
    (tree / "loop").symlink_to("loop")
    assert copied(binary, tree, target)[0] == 0
    for name in ("out", "file", "up", "loop"):
        assert (target / name).is_symlink()
        assert (target / name).readlink() == (tree / name).readlink()
    assert [entry.name for entry in secret.iterdir()] == ["file"]


def test_a_root_that_is_a_link_is_refused(binary: Path, tree: Path, target: Path) -> None:
    (target.parent / "link").symlink_to(tree)
    assert copy(binary, target.parent / "link", target).returncode == _FAILED
    assert list(target.iterdir()) == []


def test_files_with_several_names_are_one_file_again(
    binary: Path, tree: Path, target: Path
) -> None:
    (tree / "a").write_bytes(b"x" * 1000)
    (tree / "d").mkdir()
    (tree / "d" / "b").hardlink_to(tree / "a")
    (tree / "c").hardlink_to(tree / "a")
    (tree / "l").symlink_to("a")
    os.link(tree / "l", tree / "m", follow_symlinks=False)
    assert copied(binary, tree, target)[0] == 1000
    assert (target / "a").stat().st_nlink == 3
    assert (target / "a").samefile(target / "d" / "b")
    assert (target / "l").lstat().st_ino == (target / "m").lstat().st_ino
    assert sorted(entry.name for entry in target.iterdir()) == ["a", "c", "d", "l", "m"]


def test_pipes_and_sockets_are_kept_and_devices_left_out(
    binary: Path, tree: Path, target: Path
) -> None:
    os.mkfifo(tree / "pipe")
    (tree / "pipe").chmod(0o622)
    os.mknod(tree / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(tree / "disk", stat.S_IFBLK | 0o666, os.makedev(8, 0))
    with socket.socket(socket.AF_UNIX) as server:
        here = Path.cwd()
        os.chdir(tree)
        try:
            server.bind("sock")
        finally:
            os.chdir(here)
    assert copied(binary, tree, target) == [0, 4, 2]
    assert sorted(entry.name for entry in target.iterdir()) == ["pipe", "sock"]
    assert stat.S_ISFIFO((target / "pipe").lstat().st_mode)
    assert stat.S_IMODE((target / "pipe").lstat().st_mode) == 0o622


def test_holes_stay_holes(binary: Path, tree: Path, target: Path) -> None:
    with (tree / "sparse").open("wb") as file:
        file.truncate(1 << 34)
        file.seek(1 << 33)
        file.write(b"in the middle")
    bytes_, _, _ = copied(binary, tree, target)
    assert bytes_ <= 1 << 20
    status = (target / "sparse").stat()
    assert status.st_size == 1 << 34
    assert status.st_blocks * 512 <= 1 << 20
    with (target / "sparse").open("rb") as copy_:
        copy_.seek(1 << 33)
        assert copy_.read(13) == b"in the middle"


def test_any_name_that_the_kernel_takes_is_copied(binary: Path, tree: Path, target: Path) -> None:
    names = [
        b"\xff\xfe",
        b"a\nb",
        b"x" * 255,
        b"-rf",
        b"...",
        b" ",
        b"\x1b[2J",
        b".fumehood-links-",
    ]
    for name in names:
        Path(os.fsdecode(os.fsencode(tree) + b"/" + name)).write_bytes(name)
    copied(binary, tree, target)
    assert sorted(os.fsencode(entry.name) for entry in target.iterdir()) == sorted(names)


def test_a_tree_as_deep_as_any_is_copied_or_refused_and_never_overruns(
    binary: Path, tree: Path, target: Path
) -> None:
    here = os.open(tree, os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(3000):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY | os.O_DIRECTORY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    done = copy(binary, tree, target)
    assert done.returncode == _TOO_DEEP
    assert "too deep" in done.stderr
    subprocess.run(["rm", "-rf", str(tree), str(target)], check=True)


def test_nothing_is_written_where_something_is(binary: Path, tree: Path, target: Path) -> None:
    (tree / "a").write_text("new")
    (target / "a").write_text("old")
    assert copy(binary, tree, target).returncode == _FAILED
    assert (target / "a").read_text() == "old"
