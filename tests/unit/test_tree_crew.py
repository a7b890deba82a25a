"""Small files of a download, written whole by two threads: both at work, one after a fault."""

from __future__ import annotations

import errno
import os
import threading
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import pytest

from cases.invariants import descriptors, threads
from fumehood._trees.crew import THREAD, Crew, Whole
from fumehood._trees.ignore import Ignore
from fumehood._trees.landing import Landing
from fumehood._trees.local import DIRECTORY_FLAGS
from fumehood._trees.plan import Wanted
from fumehood._trees.source import Options
from fumehood._trees.tally import Tally
from fumehood._trees.unpack import Unpacker
from fumehood._wire.codec import WireViolationError
from fumehood._wire.packed import CHECKED, Record, file_broken, file_end, piece_header
from fumehood._wire.table import ErrorCode, FileCode
from fumehood.errors import FileTooLargeError

PATIENCE = 30.0
SMALL = 3000
LARGE = 100_000


def below(path: Path) -> dict[str, bytes]:
    """Return all files below a directory."""
    return {
        item.relative_to(path).as_posix(): item.read_bytes()
        for item in path.rglob("*")
        if item.is_file()
    }


def whole(name: str, *, mode: int = 0o644, modified_ns: int = 5) -> Whole:
    return Whole(tuple(name.split("/")), mode, modified_ns, bytearray(name.encode()))


class Together(Landing):
    """One whose first file waits for another thread's first one: none can write all there is."""

    barrier = threading.Barrier(2, timeout=PATIENCE)
    full: bool | None = None
    """Whether the disk is full for the second thread, or else for the first."""

    def __init__(self, root: int) -> None:
        super().__init__(root)
        self._met = False

    def another(self) -> Landing:
        return type(self)(os.dup(self._root))

    def put(self, *args: object) -> None:
        if not self._met:
            self._met = True
            self.barrier.wait()
        second = threading.current_thread().name.startswith(THREAD)
        if self.full is not None and second == self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super().put(*args)  # type: ignore[arg-type]


@pytest.fixture
def landing(tmp_path: Path) -> Iterator[Together]:
    (tmp_path / "top").mkdir()
    made = Together(os.open(tmp_path / "top", DIRECTORY_FLAGS))
    yield made
    made.close()


# --- the two threads ----------------------------------------------------------------------------


def test_files_of_two_directories_are_written_at_the_same_time(tmp_path: Path) -> None:
    before = threads(), descriptors()
    landing = Together(os.open(tmp_path, DIRECTORY_FLAGS))
    crew = Crew(landing)
    files = [whole(f"d{d}/f{f}") for d in range(6) for f in range(5)]
    crew.write(files)
    crew.write([whole("g/1"), whole("h/2")])
    crew.close()
    crew.close()
    landing.close()
    assert [file.fault for file in files] == [None] * 30
    names = ["/".join(file.parts) for file in files] + ["g/1", "h/2"]
    assert below(tmp_path) == {name: name.encode() for name in names}
    assert (threads(), descriptors()) == before


def test_modes_and_times_are_kept_in_either_thread(landing: Together, tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        crew = Crew(landing)
        crew.write(
            [
                whole("a/run", mode=0o4777, modified_ns=1_600_000_000_000_000_001),
                whole("b/read", mode=0o444, modified_ns=1_600_000_000_000_000_002),
            ]
        )
        crew.close()
    finally:
        os.umask(before)
    run, read = (tmp_path / "top" / "a" / "run").stat(), (tmp_path / "top" / "b" / "read").stat()
    assert (run.st_mode & 0o7777, run.st_mtime_ns) == (0o4750, 1_600_000_000_000_000_001)
    assert (read.st_mode & 0o7777, read.st_mtime_ns) == (0o440, 1_600_000_000_000_000_002)


def test_files_of_one_directory_need_no_second_thread(tmp_path: Path) -> None:
    before = threads()
    landing = Landing(os.open(tmp_path, DIRECTORY_FLAGS))
    crew = Crew(landing)
    crew.write([])
    crew.write([whole("d/1"), whole("d/2")])
    assert threads() == before
    crew.close()
    landing.close()
    assert below(tmp_path) == {"d/1": b"d/1", "d/2": b"d/2"}


@pytest.mark.parametrize("second", [True, False])
def test_a_full_disk_in_either_thread_is_an_error_and_leaves_whole_files(
    landing: Together, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, second: bool
) -> None:
    monkeypatch.setattr(Together, "full", second)
    crew = Crew(landing)
    with pytest.raises(OSError, match="No space") as raised:
        crew.write([whole(f"d{number}/f") for number in range(10)])
    assert raised.value.errno == errno.ENOSPC
    crew.close()
    found = below(tmp_path / "top")
    assert len(found) < 10
    assert found == {name: name.encode() for name in found}


def test_what_is_wrong_with_one_file_is_its_own(landing: Together, tmp_path: Path) -> None:
    top = tmp_path / "top"
    (top / "a" / "taken").mkdir(parents=True)
    (top / "b").write_text("in the way")
    files = [whole("a/taken"), whole("a/f"), whole("b/f"), whole("c/f")]
    crew = Crew(landing)
    crew.write(files)
    crew.close()
    faults = [file.fault for file in files]
    assert faults == ["Is a directory", None, "Not a directory", None]
    assert below(top) == {"a/f": b"a/f", "b": b"in the way", "c/f": b"c/f"}


def test_directories_that_turn_into_links_are_written_through_by_neither_thread(
    landing: Together, tmp_path: Path
) -> None:
    top, outside = tmp_path / "top", tmp_path / "outside"
    outside.mkdir()
    crew = Crew(landing)
    crew.write([whole("a/1"), whole("b/1")])
    for name in ("a", "b"):
        (top / name).rename(top / f"{name}-was")
        (top / name).symlink_to(outside)
    # A thread may still hold the one that it wrote into open, and goes on there.
    files = [whole("a/2"), whole("b/2")]
    crew.write(files)
    crew.close()
    for file in files:
        directory, name = file.parts
        assert (top / f"{directory}-was" / name).exists() == (file.fault is None)
    again = landing.another()
    crew = Crew(again)
    files = [whole("a/3"), whole("b/3")]
    crew.write(files)
    crew.close()
    again.close()
    assert None not in [file.fault for file in files]
    assert below(outside) == {}


# --- the stream ---------------------------------------------------------------------------------


class Stream:
    """An unpacker, and what is below it."""

    def __init__(self, path: Path, names: list[str], *, max_bytes: int = 1 << 20) -> None:
        self.path = path
        self.tally = Tally()
        self.landing = Landing(os.open(path, DIRECTORY_FLAGS))
        wanted = deque(
            Wanted(os.fsencode(name), tuple(name.split("/")), FileCode.FILE) for name in names
        )
        self.unpacker = Unpacker(
            self.landing, (), wanted, Options(ignore=Ignore()), self.tally, max_bytes
        )

    def feed(self, *data: bytes) -> dict[str, bytes]:
        """Take a part of the stream; return what is there then."""
        self.unpacker.feed(data)
        return below(self.path)

    def close(self) -> None:
        self.unpacker.close()
        self.landing.close()


def begun(name: str, size: int, *, flags: int = 0) -> bytes:
    return Record(FileCode.FILE, flags, 0o644, 5, size, os.fsencode(name)).encode()


def piece(size: int) -> bytes:
    return piece_header(size) + b"x" * size


def sent(name: str, size: int = SMALL) -> bytes:
    """Return a whole file as it comes."""
    return begun(name, size) + piece(size) + file_end()


def test_of_a_small_file_nothing_is_there_before_it_is_whole(tmp_path: Path) -> None:
    stream = Stream(tmp_path, ["d/f"])
    assert stream.feed(begun("d/f", 2 * SMALL) + piece(SMALL)) == {}
    assert stream.feed(piece(SMALL)) == {}
    assert stream.feed(file_end()) == {"d/f": b"x" * 2 * SMALL}
    stream.unpacker.finish()
    stream.close()


@pytest.mark.parametrize("told", [LARGE, 0], ids=["as told", "told to be empty"])
def test_a_large_file_is_written_as_it_comes_under_another_name(tmp_path: Path, told: int) -> None:
    stream = Stream(tmp_path, ["f"])
    (draft,) = stream.feed(begun("f", told) + piece(LARGE)).items()
    assert draft[0].startswith(".fumehood-")
    assert draft[1] == b"x" * LARGE
    assert stream.feed(piece(1) + file_end()) == {"f": b"x" * (LARGE + 1)}
    assert (stream.tally.files, stream.tally.bytes) == (1, LARGE + 1)
    stream.close()


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_what_is_not_whole_leaves_nothing(tmp_path: Path, size: int) -> None:
    stream = Stream(tmp_path, ["broken", "wrong", "cut off"])
    stream.feed(begun("broken", size) + piece(size) + file_broken(ErrorCode.IO))
    stream.feed(begun("wrong", size, flags=CHECKED) + piece(size) + file_end(1))
    assert [item.path for item in stream.tally.skipped] == ["broken", "wrong"]
    assert (stream.tally.files, stream.tally.bytes) == (0, 0)
    stream.feed(begun("cut off", size) + piece(size))
    stream.close()
    assert below(tmp_path) == {}


def test_what_was_whole_before_the_stream_goes_wrong_stays(tmp_path: Path) -> None:
    stream = Stream(tmp_path, ["a/1", "b/2", "c/3"])
    with pytest.raises(WireViolationError):
        stream.feed(sent("a/1") + sent("b/2") + sent("other"))
    stream.close()
    assert set(below(tmp_path)) == {"a/1", "b/2"}


def test_what_was_whole_before_too_much_came_stays(tmp_path: Path) -> None:
    stream = Stream(tmp_path, ["a/1", "b/2", "c/3"], max_bytes=2 * SMALL)
    with pytest.raises(FileTooLargeError):
        stream.feed(sent("a/1") + sent("b/2") + sent("c/3"))
    stream.close()
    assert set(below(tmp_path)) == {"a/1", "b/2"}


def test_one_that_cannot_be_written_is_named_and_not_counted(tmp_path: Path) -> None:
    for name in ("a/small", "a/large"):
        (tmp_path / name).mkdir(parents=True)
    stream = Stream(tmp_path, ["a/small", "a/large", "b/small"])
    stream.feed(sent("a/small") + sent("a/large", LARGE) + sent("b/small"))
    stream.unpacker.finish()
    stream.close()
    assert {(item.path, item.reason) for item in stream.tally.skipped} == {
        ("a/small", "Is a directory"),
        ("a/large", "Is a directory"),
    }
    assert (stream.tally.files, stream.tally.bytes) == (1, SMALL)
    assert set(below(tmp_path)) == {"b/small"}
