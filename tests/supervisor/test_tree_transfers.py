"""Trees through the real supervisor: packed records both ways, their ends, and their limits."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator

from fumehood._wire.packed import (
    CHECKED,
    END_RECORD,
    FAILED,
    Event,
    FileEnd,
    PackedReader,
    Record,
    file_broken,
    file_end,
    piece_header,
)
from fumehood._wire.requests import file_request
from fumehood._wire.table import ErrorCode, FileCode, Frame, Operation, Root
from supervisor.conftest import Containers
from supervisor.container import Container, eventually
from supervisor.peer import Outcome, Peer
from supervisor.test_files import helpers, names

LIMIT = 1 << 30


def entry(
    name: str,
    kind: FileCode = FileCode.FILE,
    *,
    mode: int = 0o644,
    flags: int = 0,
    size: int = 0,
    link: str = "",
) -> bytes:
    path = os.fsencode(name)
    return Record(kind, flags, mode, 1_600_000_000_000_000_000, size, path, link.encode()).encode()


def file(name: str, data: bytes, *, mode: int = 0o644, piece: int = 50_000) -> bytes:
    pieces = [data[at : at + piece] for at in range(0, len(data), piece)]
    content = b"".join(piece_header(len(part)) + part for part in pieces)
    return entry(name, mode=mode, size=len(data)) + content + file_end()


def start_put(peer: Peer, path: bytes = b".", *, limit: int = LIMIT) -> int:
    return peer.open(file_request(Operation.PUT_TREE, path, Root.WORKSPACE, limit=limit))


def put(peer: Peer, *stream: bytes, path: bytes = b".", limit: int = LIMIT) -> Outcome:
    channel = start_put(peer, path, limit=limit)
    peer.feed(channel, b"".join(stream) + END_RECORD)
    peer.send(Frame.EOF, channel)
    return peer.finish(channel)


def get(peer: Peer, *wanted: bytes, path: bytes = b".", follow: int = 0) -> Outcome:
    channel = peer.open(file_request(Operation.GET_TREE, path, Root.WORKSPACE, follow=follow))
    peer.feed(channel, b"".join(wanted) + END_RECORD)
    peer.send(Frame.EOF, channel)
    return peer.finish(channel)


def scan(peer: Peer, path: bytes = b".", *, limit: int = 1000) -> Outcome:
    return peer.file(Operation.SCAN_TREE, path, limit=limit)


def events(outcome: Outcome, *, content: bool = False) -> Iterator[Event]:
    reader = PackedReader(content=content)
    yield from reader.feed(outcome.stdout)
    reader.finish()


def failed(outcome: Outcome) -> dict[str, ErrorCode]:
    return {
        os.fsdecode(event.path): ErrorCode(event.mode)
        for event in events(outcome)
        if isinstance(event, Record) and event.type == FAILED
    }


def test_a_tree_is_put_and_got_again(container: Container) -> None:
    peer, top = container.peer, container.workspace
    large = os.urandom(3_000_000)
    done = put(
        peer,
        entry("d", FileCode.DIRECTORY, mode=0o750),
        file("d/large", large),
        file("d/small", b"small", mode=0o6711),
        file("e/f/g", b""),
        entry("link", FileCode.SYMLINK, link="d/small"),
        path=b"new/tree",
    )
    assert (done.stdout, done.done.entries, done.done.size) == (b"", 5, 3_000_005)
    tree = top / "new" / "tree"
    assert (tree / "d" / "large").read_bytes() == large
    assert (tree / "d" / "small").stat().st_mode & 0o7777 == 0o6711
    assert (tree / "d" / "small").stat().st_mtime_ns == 1_600_000_000_000_000_000
    assert (tree / "d").stat().st_mode & 0o7777 == 0o750
    assert os.readlink(tree / "link") == "d/small"
    assert names(tree / "e" / "f") == ["g"]

    found = {
        os.fsdecode(event.path): event.type
        for event in events(scan(peer, b"new/tree"))
        if isinstance(event, Record)
    }
    assert found == {
        "d": FileCode.DIRECTORY, "d/large": FileCode.FILE, "d/small": FileCode.FILE,
        "e": FileCode.DIRECTORY, "e/f": FileCode.DIRECTORY, "e/f/g": FileCode.FILE,
        "link": FileCode.SYMLINK,
    }  # fmt: skip
    got = get(peer, entry("d/large", flags=CHECKED), entry("e/f/g"), path=b"new/tree")
    data = b""
    for event in events(got, content=True):
        if isinstance(event, memoryview):
            data += event
        elif isinstance(event, FileEnd) and data:
            assert event == FileEnd(None, zlib.crc32(large) if data == large else 0)
            assert data == large
            data = b""
    assert (got.done.entries, got.done.size) == (2, 3_000_000)


def test_one_entry_that_fails_is_told_and_the_rest_is_put(container: Container) -> None:
    peer, top = container.peer, container.workspace
    (top / "dir").mkdir()
    (top / "file").write_text("old")
    (top / "link").symlink_to("dir")
    good = piece_header(3) + b"new"
    done = put(
        peer,
        file("dir", b"x"),
        file("file/x", b"x"),
        file("link/x", b"x"),
        entry("link", FileCode.DIRECTORY),
        file("../x", b"x"),
        file("", b"x"),
        file("n" * 256, b"x"),
        file("large", bytes(2000)),
        entry("wrong", flags=CHECKED) + good + file_end(1),
        entry("right", flags=CHECKED) + good + file_end(zlib.crc32(b"new")),
        entry("broken") + good + file_broken(ErrorCode.IO),
        file("file", b"new"),
        limit=1000,
    )
    assert failed(done) == {
        "dir": ErrorCode.IS_DIRECTORY,
        "file/x": ErrorCode.NOT_DIRECTORY,
        "link/x": ErrorCode.NOT_DIRECTORY,
        "link": ErrorCode.NOT_DIRECTORY,
        "../x": ErrorCode.INVALID,
        "": ErrorCode.INVALID,
        "n" * 256: ErrorCode.INVALID,
        "large": ErrorCode.TOO_LARGE,
        "wrong": ErrorCode.IO,
    }
    assert (done.done.entries, done.done.size) == (2, 6)
    assert names(top) == ["dir", "file", "link", "right"]
    assert (top / "file").read_text() == "new"
    assert names(top / "dir") == []


def test_a_path_with_an_empty_name_in_it_is_refused(container: Container) -> None:
    """Each would otherwise be a second spelling of ``x``, ``d/x`` or the tree itself."""
    spellings = ["/x", "//x", "/d/x", "d//x", "d///x", "d/", "d//", "/", "//"]
    for entries in (
        [file(name, b"x") for name in spellings],
        [entry(name, FileCode.DIRECTORY) for name in spellings],
        [entry(name, FileCode.SYMLINK, link="y") for name in spellings],
    ):
        done = put(container.peer, *entries)
        assert failed(done) == dict.fromkeys(spellings, ErrorCode.INVALID)
        assert done.done.entries == 0
    # The directory that an entry before has opened is no way around the check.
    done = put(container.peer, file("d/x", b"x"), file("d//y", b"y"), file("d/z", b"z"))
    assert failed(done) == {"d//y": ErrorCode.INVALID}
    assert names(container.workspace / "d") == ["x", "z"]


def test_a_stream_that_ends_early_leaves_the_whole_files_only(containers: Containers) -> None:
    container = containers().begin()
    peer, top = container.peer, container.workspace
    unfinished = file("whole", b"1") + entry("part") + piece_header(100_000) + bytes(50_000)
    channel = start_put(peer)
    peer.feed(channel, unfinished)
    eventually(lambda: names(top) == ["whole"], "the first file")
    peer.send(Frame.EOF, channel)
    assert peer.finish(channel).fail.error is ErrorCode.CANCELLED
    (top / "whole").unlink()

    channel = start_put(peer)
    peer.feed(channel, unfinished)
    eventually(lambda: names(top) == ["whole"], "the first file")
    peer.send(Frame.CANCEL, channel)
    assert peer.finish(channel).fail.error is ErrorCode.CANCELLED
    (top / "whole").unlink()

    second, relay = container.relay()
    second.hello()
    second.feed(start_put(second), unfinished)
    eventually(lambda: names(top) == ["whole"], "the first file")
    second.close()
    relay.wait()
    eventually(lambda: peer.status().channels == 0, "its end")
    assert names(top) == ["whole"]


def test_a_stream_that_is_none_is_refused(container: Container) -> None:
    peer = container.peer
    for stream in (
        entry("x", FileCode.FIFO),
        Record(0x20, 0, 0, 0, 0, b"x").encode(),
        entry("x\0y"),
        entry("x" * 5000),
    ):
        done = put(peer, stream)
        assert done.fail.error is ErrorCode.INVALID
        assert done.fail.step == "stream"
    assert names(container.workspace) == []


def test_what_cannot_be_got_is_told_in_its_place(container: Container) -> None:
    peer, top = container.peer, container.workspace
    (top / "t").mkdir()
    (top / "t" / "a").write_text("a")
    (top / "t" / "dir").mkdir()
    os.mkfifo(top / "t" / "fifo")
    (top / "t" / "link").symlink_to("a")
    (top / "t" / "out").symlink_to("../outside")
    (top / "outside").write_text("in the workspace, not in the tree")
    wanted = ["dir", "fifo", "link", "out", "../outside", "/etc/passwd", "nothing"]
    for follow in (0, 1):
        got = get(peer, *map(entry, [*wanted, "a"]), path=b"t", follow=follow)
        refusals: dict[str, ErrorCode] = {}
        last = None
        for event in events(got, content=True):
            if isinstance(event, Record):
                last = os.fsdecode(event.path)
                if event.type == FAILED:
                    refusals[last] = ErrorCode(event.mode)
        link = {} if follow else {"link": ErrorCode.TOO_MANY_LINKS}
        assert refusals == {
            "dir": ErrorCode.IS_DIRECTORY,
            "fifo": ErrorCode.NOT_REGULAR,
            **link,
            "out": ErrorCode.ESCAPES if follow else ErrorCode.TOO_MANY_LINKS,
            "../outside": ErrorCode.ESCAPES,
            "/etc/passwd": ErrorCode.ESCAPES,
            "nothing": ErrorCode.NOT_FOUND,
        }
        assert last == "a"


def test_a_mark_in_the_requests_comes_back_between_the_answers(container: Container) -> None:
    (container.workspace / "a").write_text("a")
    mark = entry("mark", FileCode.DIRECTORY)
    got = get(container.peer, entry("a"), mark, entry("a"))
    order = [os.fsdecode(e.path) for e in events(got, content=True) if isinstance(e, Record)]
    assert order == ["a", "mark", "a"]


def test_an_answer_comes_before_the_next_request(container: Container) -> None:
    """Who asks for one file at a time must not wait for a buffer that fills."""
    peer = container.peer
    (container.workspace / "a").write_text("a")
    channel = peer.open(file_request(Operation.GET_TREE, b".", Root.WORKSPACE, follow=0))
    peer.send(Frame.STDIN, channel, entry("a"))
    assert next(frame for frame in peer.channel_frames(channel)).frame is Frame.STDOUT
    peer.send(Frame.CANCEL, channel)
    assert peer.finish(channel).fail.error is ErrorCode.CANCELLED


def test_a_directory_that_cannot_be_read_is_told_and_the_rest_is_scanned(
    containers: Containers,
) -> None:
    container = containers().begin(user="1000")
    top = container.workspace
    (top / "closed").mkdir(mode=0o700)
    (top / "open").mkdir()
    (top / "open" / "f").write_text("")
    outcome = scan(container.peer)
    kinds = sorted(
        (os.fsdecode(event.path), event.type)
        for event in events(outcome)
        if isinstance(event, Record)
    )
    assert kinds == [
        ("closed", FileCode.DIRECTORY),
        ("closed", FAILED),
        ("open", FileCode.DIRECTORY),
        ("open/f", FileCode.FILE),
    ]


def test_more_entries_than_asked_for_are_an_error(container: Container) -> None:
    for number in range(5):
        (container.workspace / str(number)).write_text("")
    assert scan(container.peer, limit=4).fail.error is ErrorCode.TOO_MANY_ENTRIES
    assert scan(container.peer, limit=5).done.entries == 5


def test_a_transfer_leaves_no_helper_behind(containers: Containers) -> None:
    container = containers().begin(user="1000")
    container.workspace.chmod(0o777)
    channel = start_put(container.peer)
    container.peer.feed(channel, entry("part") + piece_header(10) + b"12345")
    eventually(lambda: len(helpers(container, 1000)) == 1, "the helper")
    container.peer.send(Frame.CANCEL, channel)
    assert container.peer.finish(channel).fail.error is ErrorCode.CANCELLED
    eventually(lambda: helpers(container, 1000) == [], "its end")
    assert names(container.workspace) == []
