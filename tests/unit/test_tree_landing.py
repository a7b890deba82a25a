"""What a download writes on this machine: beneath one directory, whole files, nothing else."""

from __future__ import annotations

import os
from collections import deque
from pathlib import Path

import pytest

from fumehood import FileTooLargeError
from fumehood._trees.ignore import Ignore
from fumehood._trees.landing import Landing
from fumehood._trees.local import DIRECTORY_FLAGS
from fumehood._trees.names import MAX_DEPTH
from fumehood._trees.plan import Plan, Wanted
from fumehood._trees.source import Options
from fumehood._trees.tally import Tally
from fumehood._trees.unpack import Unpacker
from fumehood._wire.codec import WireViolationError
from fumehood._wire.packed import CHECKED, FAILED, Record, file_broken, file_end, piece_header
from fumehood._wire.table import ErrorCode, FileCode
from fumehood.transfers import Symlinks


class Target:
    """A directory that is landed in."""

    def __init__(self, path: Path) -> None:
        path.mkdir(exist_ok=True)
        self.path = path
        self.landing = Landing(os.open(path, DIRECTORY_FLAGS))

    def __enter__(self) -> Landing:
        return self.landing

    def __exit__(self, *_: object) -> None:
        self.landing.close()


def below(path: Path) -> list[str]:
    return sorted(item.relative_to(path).as_posix() for item in path.rglob("*"))


# --- landing ------------------------------------------------------------------------------------


def test_a_file_lands_whole_with_its_mode_and_time_and_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with Target(tmp_path) as landing:
            draft = landing.start(("a", "b", "run"), 0o777, 1_600_000_000_000_000_001)
            draft.write(b"first ")
            assert not (tmp_path / "a" / "b" / "run").exists()
            draft.write(b"second")
            draft.keep()
    finally:
        os.umask(before)
    run = tmp_path / "a" / "b" / "run"
    assert run.read_bytes() == b"first second"
    assert run.stat().st_mode & 0o7777 == 0o750
    assert run.stat().st_mtime_ns == 1_600_000_000_000_000_001
    assert below(tmp_path) == ["a", "a/b", "a/b/run"]


def test_a_discarded_file_leaves_the_old_one_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("old")
    with Target(tmp_path) as landing:
        draft = landing.start(("f",), 0o644, 0)
        draft.write(b"new")
        draft.discard()
    assert below(tmp_path) == ["f"]
    assert (tmp_path / "f").read_text() == "old"


BAD = [("..", "x"), ("a", "..", "x"), ("", "x"), (".", "x"), ("a/b",), ("..",), ("x\0",)]


@pytest.mark.parametrize("parts", BAD)
def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path, parts: tuple[str, ...]) -> None:
    with Target(tmp_path / "inside") as landing:
        for write in (
            lambda: landing.start(parts, 0o644, 0),
            lambda: landing.link(parts, "target"),
            lambda: landing.make_directory((*parts, "x")),
        ):
            with pytest.raises(OSError, match="no name for a file"):
                write()
        assert landing.holds((*parts, "x")) is None
    assert below(tmp_path)[:1] == ["inside"]
    assert not (tmp_path / "x").exists()


def test_a_link_in_the_way_is_replaced_or_refused_never_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "victim").write_text("untouched")
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "file").symlink_to(outside / "victim")
    (inside / "directory").symlink_to(outside)
    with Target(inside) as landing:
        draft = landing.start(("file",), 0o644, 0)
        draft.write(b"landed")
        draft.keep()
        for write in (
            lambda: landing.start(("directory", "victim"), 0o644, 0),
            lambda: landing.link(("directory", "victim"), "x"),
            lambda: landing.make_directory(("directory", "new")),
            lambda: landing.make_directory(("directory",)),
        ):
            with pytest.raises(OSError, match=r"Not a directory|symbolic links"):
                write()
    assert (inside / "file").read_text() == "landed"
    assert not (inside / "file").is_symlink()
    assert (outside / "victim").read_text() == "untouched"
    assert below(outside) == ["victim"]


def test_a_directory_that_is_swapped_for_a_link_is_not_written_through(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    inside = tmp_path / "inside"
    with Target(inside) as landing:
        landing.make_directory(("d",))
        landing.make_directory(("other",))
        (inside / "d").rename(inside / "was")
        (inside / "d").symlink_to(outside)
        with pytest.raises(OSError, match=r"Not a directory|symbolic links"):
            landing.start(("d", "f"), 0o644, 0)
    assert below(outside) == []


# --- the plan -----------------------------------------------------------------------------------


def plan(
    *,
    symlinks: Symlinks = "keep",
    ignore: tuple[str, ...] = (),
    folds_case: bool = False,
    max_bytes: int = 1 << 30,
) -> tuple[Plan, Tally]:
    tally = Tally()
    options = Options(symlinks=symlinks, ignore=Ignore(ignore))
    made = Plan(
        options, tally, existing=None, prefix=(), folds_case=folds_case, max_bytes=max_bytes
    )
    return made, tally


def scanned(name: str, kind: FileCode = FileCode.FILE, *, size: int = 1, link: str = "") -> bytes:
    return Record(kind, 0, 0o644, 0, size, os.fsencode(name), os.fsencode(link)).encode()


def wanted(made: Plan) -> list[str]:
    return ["/".join(item.parts) for item in made.wanted]


def test_a_plan_takes_files_and_directories_and_names_the_rest() -> None:
    made, tally = plan()
    made.feed(
        scanned("a", FileCode.DIRECTORY)
        + scanned("a/f")
        + scanned("p", FileCode.FIFO)
        + scanned("s", FileCode.SOCKET)
        + scanned("c", FileCode.CHARACTER)
        + scanned("\x1b[2J")
        + scanned("new\nline")
        + scanned("b\\c", FileCode.DIRECTORY)
        + scanned("b\\c/inside")
        + scanned("l", FileCode.SYMLINK, link="a/f")
        + scanned("out", FileCode.SYMLINK, link="/etc/passwd")
    )
    made.finish()
    assert wanted(made) == ["a", "a/f", "l"]
    skipped = [item.path for item in tally.skipped]
    assert skipped == ["p", "s", "c", "\x1b[2J", "new\nline", "b\\c", "out"]
    assert (tally.total_files, tally.total_bytes) == (1, 1)


def test_names_that_one_file_system_cannot_tell_apart_are_not_merged() -> None:
    records = scanned("README") + scanned("readme") + scanned("Stra\xdfe") + scanned("STRASSE")
    made, tally = plan(folds_case=False)
    made.feed(records)
    assert len(made.wanted) == 4
    made, tally = plan(folds_case=True)
    made.feed(records)
    assert wanted(made) == ["README", "Stra\xdfe"]
    assert [item.path for item in tally.skipped] == ["readme", "STRASSE"]


def test_what_is_too_deep_or_in_what_is_left_out_is_not_asked_for() -> None:
    made, tally = plan(ignore=("node_modules/", "*.o"))
    deep = "/".join(["d"] * (MAX_DEPTH + 1))
    made.feed(
        scanned("node_modules", FileCode.DIRECTORY)
        + scanned("node_modules/x")
        + scanned("x.o")
        + scanned(deep, FileCode.DIRECTORY)
        + scanned(f"{deep}/x")
        + scanned("y")
    )
    assert wanted(made) == ["y"]
    assert [item.path for item in tally.skipped] == [deep]


@pytest.mark.parametrize(
    "name", ["../evil", "/evil", "a/../../evil", "..", ".", "", "a//evil", "a/./evil", "a\0b"]
)
@pytest.mark.parametrize("kind", [FileCode.FILE, FileCode.DIRECTORY, FileCode.SYMLINK])
def test_a_name_that_no_directory_holds_breaks_the_session(name: str, kind: FileCode) -> None:
    made, _ = plan()
    with pytest.raises(WireViolationError):
        made.feed(scanned(name, kind, link="x"))


def test_a_tree_that_holds_more_than_was_allowed_is_refused_before_it_comes() -> None:
    made, _ = plan(max_bytes=10)
    with pytest.raises(FileTooLargeError):
        made.feed(scanned("a", size=6) + scanned("b", size=6))


# --- the stream ---------------------------------------------------------------------------------


def unpacked(
    path: Path, names: list[str], *stream: bytes, max_bytes: int = 1 << 20
) -> tuple[Tally, Unpacker]:
    """Take a stream, byte by byte, as what was asked for."""
    tally = Tally()
    waiting = deque(
        Wanted(os.fsencode(name), tuple(name.split("/")), FileCode.FILE) for name in names
    )
    with Target(path) as landing:
        unpacker = Unpacker(landing, (), waiting, Options(ignore=Ignore()), tally, max_bytes)
        try:
            for byte in b"".join(stream):
                unpacker.feed([bytes([byte])])
            unpacker.finish()
        finally:
            unpacker.close()
    return tally, unpacker


@pytest.mark.parametrize("came", [0, 4, 10, 100])
def test_the_total_of_one_file_is_a_hint_that_what_comes_corrects(
    tmp_path: Path, came: int
) -> None:
    tally = Tally()
    waiting = deque([Wanted(b"f", ("f",), FileCode.FILE)])
    with Target(tmp_path) as landing:
        options = Options(ignore=Ignore())
        unpacker = Unpacker(landing, (), waiting, options, tally, 1000, alone=True)
        assert tally.progress().total_bytes is None
        unpacker.feed([answered("f", size=10)])
        assert (tally.progress().total_files, tally.progress().total_bytes) == (1, 10)
        for n in range(came):
            unpacker.feed([piece_header(1) + b"x"])
            assert (tally.progress().bytes, tally.progress().total_bytes) == (n + 1, max(10, n + 1))
        unpacker.feed([file_end()])
        unpacker.finish()
    assert (tally.progress().bytes, tally.progress().total_bytes) == (came, came)
    assert (tmp_path / "f").read_bytes() == b"x" * came


def test_a_size_beyond_what_may_come_is_no_total(tmp_path: Path) -> None:
    tally = Tally()
    waiting = deque([Wanted(b"f", ("f",), FileCode.FILE)])
    with Target(tmp_path) as landing:
        options = Options(ignore=Ignore())
        unpacker = Unpacker(landing, (), waiting, options, tally, 1000, alone=True)
        with pytest.raises(FileTooLargeError):
            unpacker.feed([answered("f", size=(1 << 64) - 1)])
    assert tally.progress().total_bytes is None
    assert below(tmp_path) == []


def answered(name: str, *, flags: int = 0, size: int = 3) -> bytes:
    return Record(FileCode.FILE, flags, 0o644, 5, size, os.fsencode(name)).encode()


def test_files_come_in_pieces_of_any_size(tmp_path: Path) -> None:
    tally, _ = unpacked(
        tmp_path,
        ["a", "d/b"],
        answered("a") + piece_header(2) + b"ab" + piece_header(1) + b"c" + file_end(),
        answered("d/b", flags=CHECKED) + file_end(0),
    )
    assert (tmp_path / "a").read_bytes() == b"abc"
    assert (tmp_path / "d" / "b").read_bytes() == b""
    assert (tally.files, tally.bytes, tally.skipped) == (2, 3, [])


def test_what_is_broken_or_refused_or_has_a_wrong_checksum_is_left_out_and_named(
    tmp_path: Path,
) -> None:
    piece = piece_header(3) + b"abc"
    tally, unpacker = unpacked(
        tmp_path,
        ["broken", "wrong", "refused", "good"],
        answered("broken") + piece + file_broken(ErrorCode.IO),
        answered("wrong", flags=CHECKED) + piece + file_end(1),
        Record(FAILED, 0, ErrorCode.PERMISSION, 0, 13, b"refused").encode(),
        answered("good", flags=CHECKED) + piece + file_end(0x352441C2),
    )
    assert below(tmp_path) == ["good"]
    assert [item.path for item in tally.skipped] == ["broken", "wrong", "refused"]
    assert (tally.files, tally.bytes) == (1, 3)
    assert unpacker.failed == (ErrorCode.PERMISSION, 13)


@pytest.mark.parametrize(
    "stream",
    [
        answered("other") + file_end(),
        answered("../a") + file_end(),
        Record(FileCode.DIRECTORY, 0, 0o755, 0, 0, b"a").encode(),
        Record(FileCode.SYMLINK, 0, 0o755, 0, 0, b"a", b"/etc").encode(),
        Record(FAILED, 0, 0, 0, 0, b"a").encode(),
        Record(0x20, 0, 0, 0, 0, b"a").encode(),
        answered("a") + piece_header(3) + b"ab",
        answered("a"),
        answered("a") + piece_header(1 << 21),
        answered("a") + file_end() + answered("a") + file_end(),
        b"",
    ],
)
def test_a_stream_that_was_not_asked_for_breaks_the_session_and_leaves_nothing(
    tmp_path: Path, stream: bytes
) -> None:
    with pytest.raises(WireViolationError):
        unpacked(tmp_path / "here", ["a"], stream)
    assert set(below(tmp_path)) <= {"here", "here/a"}


def test_more_bytes_than_allowed_end_the_transfer_and_leave_nothing(tmp_path: Path) -> None:
    for size in (3, 0):  # told before, or not at all
        with pytest.raises(FileTooLargeError):
            unpacked(
                tmp_path,
                ["a"],
                answered("a", size=size) + piece_header(3) + b"abc" + file_end(),
                max_bytes=2,
            )
    assert below(tmp_path) == []
