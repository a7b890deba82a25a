"""Trees up and down: what arrives, where, with which modes, and what is left out."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fumehood import (
    AsyncSession,
    FileError,
    FileMissingError,
    FileTooLargeError,
    InvalidRequestError,
    LocalFileError,
    NotRegularFileError,
    TransferProgress,
)
from fumehood._trees import fetching


def make_tree(top: Path, tree: dict[str, str | None]) -> Path:
    """Make files (and, for None, directories) below a directory."""
    top.mkdir()
    for name, text in tree.items():
        path = top / name
        if text is None:
            path.mkdir(parents=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    return top


def seen(top: Path) -> dict[str, str | None]:
    """Return what is below a directory, as :func:`make_tree` takes it; links as ``-> target``."""
    return {
        path.relative_to(top).as_posix(): f"-> {os.readlink(path)}"
        if path.is_symlink()
        else None
        if path.is_dir()
        else path.read_text()
        for path in sorted(top.rglob("*"))
    }


TREE: dict[str, str | None] = {
    "readme": "hello\n",
    "empty": "",
    "hollow": None,
    "src/main.py": "print(1)\n",
    "src/deep/er/x": "x",
    "ünï": "name",
}


@pytest.mark.engines("docker", "memory")
async def test_a_tree_goes_up_and_comes_back_the_same(
    session: AsyncSession, tmp_path: Path
) -> None:
    top = make_tree(tmp_path / "project", TREE)
    sent = await session.upload(top, "copy")
    assert (sent.path, sent.files, sent.directories) == ("copy", 5, 4)
    assert (sent.bytes, sent.skipped, sent.skipped_count) == (20, (), 0)
    assert await session.read_text_file("copy/src/deep/er/x") == "x"
    got = await session.download("copy", tmp_path / "back")
    assert (got.path, got.files, got.directories) == (str(tmp_path / "back"), 5, 4)
    assert (got.bytes, got.skipped) == (20, ())
    assert seen(tmp_path / "back") == seen(top)
    await session.remove("copy", recursive=True)


@pytest.mark.engines("docker", "memory")
async def test_one_file_goes_up_and_comes_back(session: AsyncSession, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(data := os.urandom(3_000_000))
    sent = await session.upload(tmp_path / "file", "there", verify=True)
    assert (sent.path, sent.files, sent.bytes) == ("there", 1, len(data))
    got = await session.download("there", tmp_path / "here", verify=True)
    assert (got.path, got.files, got.bytes) == (str(tmp_path / "here"), 1, len(data))
    assert (tmp_path / "here").read_bytes() == data
    await session.remove("there")


# --- where things go ----------------------------------------------------------------------------


@pytest.mark.engines("docker", "memory")
async def test_an_upload_goes_where_cp_would_put_it(session: AsyncSession, tmp_path: Path) -> None:
    top = make_tree(tmp_path / "src", {"a": "1"})
    await session.make_directory("dir")
    places = {
        "new": await session.upload(top, "places/new"),
        "into": await session.upload(top, "dir"),
        "slash": await session.upload(f"{top}/", "dir/other/"),
        "contents": await session.upload(f"{top}/.", "dir"),
        "file": await session.upload(top / "a", "dir/b"),
        "into-file": await session.upload(top / "a", "dir"),
        "workspace": await session.upload(top),
    }
    assert {name: result.path for name, result in places.items()} == {
        "new": "places/new",
        "into": "dir/src",
        "slash": "dir/other/src",
        "contents": "dir",
        "file": "dir/b",
        "into-file": "dir/a",
        "workspace": "src",
    }
    for path in ("places/new/a", "dir/src/a", "dir/other/src/a", "dir/b", "dir/a", "src/a"):
        assert await session.read_file(path) == b"1", path
    for path in ("places", "dir", "src"):
        await session.remove(path, recursive=True)


@pytest.mark.engines("docker", "memory")
async def test_a_download_goes_where_cp_would_put_it(session: AsyncSession, tmp_path: Path) -> None:
    await session.write_file("out/a", "1")
    (tmp_path / "dir").mkdir()
    places = {
        "new": await session.download("out", tmp_path / "new"),
        "into": await session.download("out", tmp_path / "dir"),
        "contents": await session.download("out/.", tmp_path / "dir"),
        "file": await session.download("out/a", tmp_path / "b"),
        "into-file": await session.download("out/a", f"{tmp_path}/new/"),
        "workspace": await session.download(".", tmp_path / "all"),
    }
    assert {name: result.path for name, result in places.items()} == {
        "new": str(tmp_path / "new"),
        "into": str(tmp_path / "dir" / "out"),
        "contents": str(tmp_path / "dir"),
        "file": str(tmp_path / "b"),
        "into-file": str(tmp_path / "new" / "a"),
        "workspace": str(tmp_path / "all"),
    }
    for path in ("new/a", "dir/out/a", "dir/a", "b", "all/out/a"):
        assert (tmp_path / path).read_text() == "1", path
    await session.remove("out", recursive=True)


async def test_the_whole_file_system_is_within_reach_of_root(
    session: AsyncSession, tmp_path: Path
) -> None:
    top = make_tree(tmp_path / "src", {"a": "1"})
    assert (await session.upload(top, "/tmp/there", root="/")).path == "/tmp/there"
    got = await session.download("/tmp/there", tmp_path / "back", root="/")
    assert (got.files, seen(tmp_path / "back")) == (1, {"a": "1"})
    await session.download("/etc/hostname", tmp_path / "name", root="/")
    assert (tmp_path / "name").read_bytes() == await session.read_file("/etc/hostname", root="/")
    await session.remove("/tmp/there", recursive=True, root="/")


# --- what arrives -------------------------------------------------------------------------------


async def test_modes_and_times_arrive_and_special_bits_only_when_asked_for(
    session: AsyncSession, tmp_path: Path
) -> None:
    top = make_tree(tmp_path / "src", {"run": "#!", "read": "r", "dir/x": "x"})
    (top / "run").chmod(0o4755)
    (top / "read").chmod(0o440)
    (top / "dir").chmod(0o1777)
    os.utime(top / "read", ns=(0, 1_600_000_000_123_456_789))
    for special, run, directory in ((False, 0o755, 0o777), (True, 0o4755, 0o1777)):
        await session.upload(top, f"t{int(special)}", special_bits=special)
        base = f"t{int(special)}"
        modes = {entry.path: entry.mode for entry in await session.list_files(base)}
        assert modes == {f"{base}/run": run, f"{base}/read": 0o440, f"{base}/dir": directory}
        times = await session.exec(["stat", "-c", "%y", f"{base}/read"], check=True)
        assert times.stdout.startswith("2020-09-13 12:26:40.123456789")
        await session.download(base, tmp_path / base, special_bits=special)
        assert (tmp_path / base / "run").stat().st_mode & 0o7777 == run
        assert (tmp_path / base / "read").stat().st_mtime_ns == 1_600_000_000_123_456_789
        await session.remove(base, recursive=True)


async def test_what_arrives_belongs_to_the_sessions_user_and_to_the_caller(
    nonroot: AsyncSession, tmp_path: Path
) -> None:
    top = make_tree(tmp_path / "src", {"a": "1", "d/b": "2"})
    await nonroot.upload(top, "t")
    for entry in await nonroot.list_files("t", recursive=True):
        assert (entry.uid, entry.gid) == (1000, 1000)
    await nonroot.download("t", tmp_path / "back")
    assert (tmp_path / "back" / "a").stat().st_uid == os.geteuid()
    await nonroot.remove("t", recursive=True)


async def test_files_and_links_are_replaced_and_directories_are_merged(
    session: AsyncSession, tmp_path: Path
) -> None:
    top = make_tree(tmp_path / "src", {"a": "new", "link": "new", "d/b": "new"})
    await session.write_file("t/a", "old", mode=0o600)
    await session.write_file("t/kept", "kept")
    await session.write_file("t/d/kept", "kept")
    await session.exec(["ln", "-s", "kept", "t/link"], check=True)
    assert (await session.upload(f"{top}/.", "t")).skipped == ()
    assert await session.read_file("t/kept") == b"kept"
    got = await session.download("t", tmp_path / "back")
    assert got.files == 5
    assert seen(tmp_path / "back")["link"] == "new"
    make_tree(tmp_path / "other", {"a": "old", "mine": "mine"})
    (tmp_path / "other" / "link").symlink_to("mine")
    await session.download("t/.", tmp_path / "other")
    assert seen(tmp_path / "other") == {**seen(tmp_path / "back"), "mine": "mine"}
    await session.remove("t", recursive=True)


async def test_links_are_kept_followed_or_left_out(session: AsyncSession, tmp_path: Path) -> None:
    top = make_tree(tmp_path / "src", {"a": "1", "d/b": "2"})
    for name, text in {
        "to-file": "d/b",
        "to-dir": "d",
        "dangling": "nothing",
        "d/up": "../a",
        "out": "../../etc/passwd",
        "absolute": "/etc/passwd",
        "around": "d/../../../etc/passwd",
    }.items():
        (top / name).symlink_to(text)
    kept = await session.upload(top, "kept")
    assert sorted(item.path for item in kept.skipped) == ["absolute", "around", "out"]
    assert (kept.files, kept.symlinks) == (2, 4)
    followed = await session.upload(top, "followed", symlinks="follow")
    assert (followed.files, followed.symlinks, followed.skipped_count) == (4, 0, 5)
    assert await session.read_file("followed/d/up") == b"1"
    assert (await session.upload(top, "left", symlinks="skip")).skipped_count == 7

    await session.exec(["ln", "-s", "/etc/passwd", "kept/evil"], check=True)
    got = await session.download("kept", tmp_path / "kept")
    assert [item.path for item in got.skipped] == ["evil"]
    assert seen(tmp_path / "kept")["d/up"] == "-> ../a"
    got = await session.download("kept", tmp_path / "followed", symlinks="follow")
    assert (got.files, got.symlinks) == (4, 0)
    assert sorted(item.path for item in got.skipped) == ["dangling", "evil", "to-dir"]
    assert seen(tmp_path / "followed") == {
        "a": "1",
        "d": None,
        "d/b": "2",
        "d/up": "1",
        "to-file": "2",
    }
    for name in ("kept", "followed", "left"):
        await session.remove(name, recursive=True)


@pytest.mark.engines("docker", "memory")
async def test_patterns_leave_names_out_both_ways(session: AsyncSession, tmp_path: Path) -> None:
    top = make_tree(
        tmp_path / "src",
        {"a.py": "", "a.pyc": "", ".git/config": "", "d/b.pyc": "", "d/keep.pyc": "", "d/c": ""},
    )
    patterns = ("*.pyc", ".git/", "!keep.pyc")
    sent = await session.upload(top, "t", ignore=patterns)
    assert (sent.files, sent.skipped) == (3, ())
    await session.upload(top, "all")
    got = await session.download("all", tmp_path / "back", ignore=patterns)
    assert (got.files, got.skipped) == (3, ())
    assert sorted(seen(tmp_path / "back")) == ["a.py", "d", "d/c", "d/keep.pyc"]
    for name in ("t", "all"):
        await session.remove(name, recursive=True)


@pytest.mark.engines("docker", "memory")
async def test_what_is_the_same_is_not_copied_again(session: AsyncSession, tmp_path: Path) -> None:
    top = make_tree(tmp_path / "src", {"a": "1", "d/b": "22"})
    await session.upload(top, "t")
    (top / "a").write_text("3")
    again = await session.upload(f"{top}/.", "t", skip_same=True)
    assert (again.files, again.unchanged, again.bytes) == (1, 1, 1)
    assert await session.read_file("t/a") == b"3"
    assert (await session.upload(top / "a", "t/a", skip_same=True)).unchanged == 1
    await session.download("t", tmp_path / "back")
    (tmp_path / "back" / "a").write_text("4")
    got = await session.download("t/.", tmp_path / "back", skip_same=True)
    assert (got.files, got.unchanged) == (1, 1)
    assert (tmp_path / "back" / "a").read_text() == "3"
    assert (await session.download("t/a", tmp_path / "back", skip_same=True)).unchanged == 1
    await session.remove("t", recursive=True)


@pytest.mark.engines("docker", "memory")
async def test_progress_reaches_what_it_announces(session: AsyncSession, tmp_path: Path) -> None:
    top = make_tree(tmp_path / "src", {f"f{n}": "x" * 100_000 for n in range(20)})
    steps: list[TransferProgress] = []
    sent = await session.upload(top, "t", progress=steps.append)
    assert {step.total_bytes for step in steps} == {2_000_000}
    assert [step.bytes for step in steps] == sorted(step.bytes for step in steps)
    assert (steps[-1].bytes, steps[-1].files, steps[-1].total_files) == (sent.bytes, 20, 20)
    steps.clear()
    await session.download("t", tmp_path / "back", progress=steps.append)
    assert (steps[-1].bytes, steps[-1].files, steps[-1].total_bytes) == (2_000_000, 20, 2_000_000)
    steps.clear()
    await session.write_file("t/one", bytes(3 << 20))
    got = await session.download("t/one", tmp_path / "one", progress=steps.append)
    assert {(step.total_bytes, step.total_files) for step in steps} == {(3 << 20, 1)}
    assert (steps[-1].bytes, steps[-1].files) == (got.bytes, 1)
    steps.clear()
    await session.write_file("t/none", b"")
    await session.download("t/none", tmp_path / "none", progress=steps.append)
    assert (steps[-1].bytes, steps[-1].files, steps[-1].total_bytes) == (0, 1, 0)
    await session.remove("t", recursive=True)


async def test_a_file_that_says_it_is_empty_and_is_not_has_a_total_at_its_end(
    session: AsyncSession, tmp_path: Path
) -> None:
    steps: list[TransferProgress] = []
    got = await session.download("/proc/version", tmp_path, root="/", progress=steps.append)
    assert got.bytes > 0
    assert all(step.total_bytes in (None, step.bytes) for step in steps)
    assert (steps[-1].bytes, steps[-1].total_bytes) == (got.bytes, got.bytes)


# --- what goes wrong ----------------------------------------------------------------------------


@pytest.mark.engines("docker", "memory")
async def test_a_value_that_is_none_is_refused_before_anything_is_sent(
    session: AsyncSession, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("x")
    before = await session.list_files()
    for more in (
        {"symlinks": "maybe"},
        {"ignore": "*.pyc"},
        {"ignore": ("",)},
        {"ignore": ("../x",)},
        {"verify": 1},
        {"skip_same": None},
    ):
        with pytest.raises(InvalidRequestError):
            await session.upload(tmp_path / "file", "x", **more)
        with pytest.raises(InvalidRequestError):
            await session.download(".", tmp_path / "new", **more)
    for remote in ("", "/abs", "../up", "a\\b", 7):
        with pytest.raises(InvalidRequestError):
            await session.upload(tmp_path / "file", remote)  # type: ignore[arg-type]
        with pytest.raises(InvalidRequestError):
            await session.download(remote, tmp_path / "new")  # type: ignore[arg-type]
    with pytest.raises(InvalidRequestError):
        await session.upload(7)  # type: ignore[arg-type]
    with pytest.raises(InvalidRequestError):
        await session.download(".", tmp_path / "new", max_bytes=-1)
    assert await session.list_files() == before
    assert not (tmp_path / "new").exists()


async def test_what_is_not_there_is_an_error(session: AsyncSession, tmp_path: Path) -> None:
    with pytest.raises(LocalFileError, match="nothing"):
        await session.upload(tmp_path / "nothing")
    with pytest.raises(FileMissingError):
        await session.download("nothing", tmp_path / "x")
    await session.write_file("t/a", "1")
    with pytest.raises(LocalFileError):
        await session.download("t", tmp_path / "no" / "such" / "directory")
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(LocalFileError, match="regular"):
        await session.upload(tmp_path / "fifo")
    await session.exec(["mkfifo", "t/fifo"], check=True)
    with pytest.raises(NotRegularFileError):
        await session.download("t/fifo", tmp_path / "x")
    assert not (tmp_path / "x").exists()
    await session.remove("t", recursive=True)


async def test_one_file_that_fails_is_named_and_the_rest_arrives(
    nonroot: AsyncSession, tmp_path: Path
) -> None:
    top = make_tree(tmp_path / "src", {"a": "1", "b": "2", "c/d": "3", "z": "4"})
    await nonroot.make_directory("t/a")
    await nonroot.write_file("t/c", "in the way")
    sent = await nonroot.upload(f"{top}/.", "t")
    assert sorted(item.path for item in sent.skipped) == ["a", "c", "c/d"]
    assert (sent.files, sent.bytes, sent.directories) == (2, 2, 0)
    await nonroot.exec(["chmod", "000", "t/b", "t/a"], check=True)
    got = await nonroot.download("t", tmp_path / "back")
    assert sorted(item.path for item in got.skipped) == ["a", "b"]
    assert seen(tmp_path / "back") == {"a": None, "c": "in the way", "z": "4"}
    await nonroot.exec(["chmod", "-R", "u+rwx", "t"], check=True)
    await nonroot.remove("t", recursive=True)


async def test_a_download_brings_no_more_than_was_allowed(
    session: AsyncSession, tmp_path: Path
) -> None:
    await session.exec(["truncate", "-s", "1T", "sparse"], check=True)
    with pytest.raises(FileTooLargeError):
        await session.download("sparse", tmp_path / "x")
    with pytest.raises(FileTooLargeError):
        await session.download(".", tmp_path / "all")
    assert not (tmp_path / "x").exists()
    # It is refused by what the listing says, before anything is made.
    assert not (tmp_path / "all").exists()
    await session.remove("sparse")


async def test_a_tree_of_more_entries_than_may_be_is_refused_before_anything_is_made(
    session: AsyncSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A million of them would take this test minutes. Who counts is the session, by what it is told.
    monkeypatch.setattr(fetching, "MAX_ENTRIES", 5)
    await session.shell("mkdir many && touch many/1 many/2 many/3 many/4 many/5", check=True)
    got = await session.download("many", tmp_path / "five")
    assert got.files == 5
    await session.write_file("many/6", "")
    with pytest.raises(FileError, match="more entries"):
        await session.download("many", tmp_path / "six")
    assert not (tmp_path / "six").exists()
    await session.remove("many", recursive=True)
