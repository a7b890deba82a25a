"""The file of a snapshot: what was written is read, and nothing else is taken for it."""

from __future__ import annotations

import io
import tarfile
import tracemalloc
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fumehood._moving.file import PARTS, PIECE, SnapshotReader, SnapshotWriter
from fumehood._moving.vetting import Vetting
from fumehood.errors import SnapshotFileError

Parts = dict[str, bytes]


def written(parts: dict[str, list[bytes]]) -> bytes:
    file = io.BytesIO()
    writer = SnapshotWriter(file)
    writer.head({"name": "x"})
    for part in PARTS:
        writer.begin(part)
        for piece in parts.get(part, ()):
            writer.add(piece)
    writer.end()
    assert writer.size == len(file.getvalue())
    return file.getvalue()


def read(data: bytes) -> Parts:
    reader = SnapshotReader(io.BytesIO(data))
    assert reader.head()["name"] == "x"
    found = {part: b"".join(reader.part(part)) for part in PARTS}
    reader.end()
    return found


pieces = st.lists(st.binary(max_size=300), max_size=5)


@given(st.fixed_dictionaries(dict.fromkeys(PARTS, pieces)))
def test_what_was_written_is_read(parts: dict[str, list[bytes]]) -> None:
    assert read(written(parts)) == {part: b"".join(found) for part, found in parts.items()}


@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE])
def test_large_parts_are_cut_into_pieces(size: int) -> None:
    data = written({"files": [b"x" * (PIECE // 3)] * 3 + [b"y"], "workspace": [b"z" * size]})
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        assert max(member.size for member in archive) <= PIECE
    assert len(read(data)["workspace"]) == size


@given(st.fixed_dictionaries(dict.fromkeys(PARTS, pieces)), st.data())
def test_a_file_that_was_cut_short_is_never_whole(
    parts: dict[str, list[bytes]], data: st.DataObject
) -> None:
    whole = written(parts)
    end = whole.rindex(b'"}')  # of its last member; what follows is filling
    with pytest.raises(SnapshotFileError):
        read(whole[: data.draw(st.integers(0, end))])


@given(st.fixed_dictionaries(dict.fromkeys(PARTS, pieces)), st.data())
def test_a_changed_byte_changes_nothing_or_is_found(
    parts: dict[str, list[bytes]], data: st.DataObject
) -> None:
    whole = bytearray(written(parts))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= data.draw(st.integers(1, 255))
    try:
        found = read(bytes(whole))
    except (SnapshotFileError, AssertionError, KeyError):
        return  # what reads the head's values is not tried here
    assert found == {part: b"".join(pieces) for part, pieces in parts.items()}


@given(st.binary(max_size=2000))
def test_any_bytes_are_a_snapshot_or_an_error(data: bytes) -> None:
    with pytest.raises(SnapshotFileError):
        SnapshotReader(io.BytesIO(data)).head()


# --- what is in it --------------------------------------------------------------------------------


def archive_of(*members: tarfile.TarInfo, form: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        for member in members:
            archive.addfile(member, io.BytesIO(b"x" * member.size))
    return out.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, **values: object) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type = kind
    for key, value in values.items():
        setattr(made, key, value)
    return made


def again(data: bytes, prefix: str = "w", *, image: bool = False) -> list[tarfile.TarInfo]:
    vetting = Vetting(what="it", prefix=prefix, image=image)
    out = b"".join(vetting.again(iter([data[:700], data[700:]])))
    with tarfile.open(fileobj=io.BytesIO(out), errors="surrogateescape") as archive:
        found = archive.getmembers()
    assert vetting.entries == len(found)
    return found


def test_files_links_and_directories_are_described_anew() -> None:
    found = again(
        archive_of(
            member("./", tarfile.DIRTYPE, mode=0o1777),
            member("./a", size=1000, mode=0o4755, uid=7, gid=8, mtime=5.5, uname="root"),
            member("./d/" + "n" * 200, size=1),
            member("./\udcff", tarfile.FIFOTYPE),
            member("s", tarfile.SYMTYPE, linkname="../../etc/passwd"),
            member("h", tarfile.LNKTYPE, linkname="./a"),
        )
    )
    assert [(one.name, one.type) for one in found] == [
        ("w", tarfile.DIRTYPE),
        ("w/a", tarfile.REGTYPE),
        ("w/d/" + "n" * 200, tarfile.REGTYPE),
        ("w/\udcff", tarfile.FIFOTYPE),
        ("w/s", tarfile.SYMTYPE),
        ("w/h", tarfile.LNKTYPE),
    ]
    one = found[1]
    assert (one.size, one.mode, one.uid, one.gid, one.mtime) == (1000, 0o4755, 7, 8, 5)
    assert (one.uname, one.pax_headers.get("atime")) == ("", None)
    assert found[4].linkname == "../../etc/passwd"
    assert found[5].linkname == "w/a"


def test_devices_of_an_images_file_system_are_left_out() -> None:
    data = archive_of(member("dev/null", tarfile.CHRTYPE, devmajor=1), member("a", size=3))
    assert [one.name for one in again(data, "", image=True)] == ["a"]
    with pytest.raises(SnapshotFileError, match="dev/null"):
        again(data)


def test_a_name_that_takes_another_file_away_is_refused_in_an_image() -> None:
    data = archive_of(member("etc/.wh.passwd"))
    assert [one.name for one in again(data)] == ["w/etc/.wh.passwd"]
    with pytest.raises(SnapshotFileError, match="takes another"):
        again(data, "", image=True)


def test_extended_attributes_do_not_come_along() -> None:
    made = member("a", pax_headers={"SCHILY.xattr.security.capability": "x", "path": "b"})
    (found,) = again(archive_of(made))
    assert found.pax_headers == {}


def sparse() -> bytes:
    """A file that says that it has holes, a terabyte of them."""
    pax = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": str(1 << 40)}
    out = archive_of(member("hole", size=1024, pax_headers=pax))
    return out.replace(b"x" * 512, b"1\n0\n0\n".ljust(512, b"\0"), 1)


def endless_sparse() -> bytes:
    """One whose map of holes never ends."""
    pax = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}
    out = archive_of(member("hole", size=1024, pax_headers=pax))
    return out.replace(b"x" * 512, b"9" * 18 + b"\n" + b"1\n" * 246 + b"1", 1)


def long_header(kind: bytes) -> bytes:
    """A header that claims to have as many bytes as there are."""
    made = member("long", kind, size=0)
    block = bytearray(made.tobuf(tarfile.GNU_FORMAT))
    block[124:136] = b"%011o\0" % (1 << 32)
    block[148:156] = b"%06o\0 " % sum(block[:148] + b" " * 8 + block[156:512])
    return bytes(block) + b"y" * (3 << 20)


def chain() -> bytes:
    """Headers of headers of headers."""
    return archive_of(member("a", tarfile.XHDTYPE))[:512] * 5000


BAD: dict[str, Callable[[], bytes]] = {
    "absolute": lambda: archive_of(member("/etc/x")),
    "up": lambda: archive_of(member("../x")),
    "up within": lambda: archive_of(member("a/../../x")),
    "an absolute link": lambda: archive_of(member("h", tarfile.LNKTYPE, linkname="/etc/passwd")),
    "a link up": lambda: archive_of(member("h", tarfile.LNKTYPE, linkname="../x")),
    "a link to nothing": lambda: archive_of(member("s", tarfile.SYMTYPE, linkname="")),
    "a root that is a link": lambda: archive_of(member(".", tarfile.SYMTYPE, linkname="/etc")),
    "a root that is a file": lambda: archive_of(member("./")),
    "a block device": lambda: archive_of(member("b", tarfile.BLKTYPE)),
    "a character device": lambda: archive_of(member("c", tarfile.CHRTYPE)),
    "an unknown kind": lambda: archive_of(member("k", b"Z")),
    "a long part": lambda: archive_of(member("n" * 256)),
    "a long name": lambda: archive_of(member("n/" * 2100)),
    "an owner": lambda: archive_of(member("o", uid=1 << 40), form=tarfile.GNU_FORMAT),
    "a negative owner": lambda: archive_of(member("o", uid=-1), form=tarfile.GNU_FORMAT),
    "no time": lambda: archive_of(member("t", pax_headers={"mtime": "nan"})),
    "an endless time": lambda: archive_of(member("t", pax_headers={"mtime": "1e300"})),
    "a negative size": lambda: archive_of(member("z", pax_headers={"size": "-5"})),
    "more than there is": lambda: archive_of(member("z", pax_headers={"size": str(1 << 60)})),
    "a sparse file": sparse,
    "a sparse file without an end": endless_sparse,
    "an old sparse file": lambda: archive_of(member("s", tarfile.GNUTYPE_SPARSE)),
    "headers for all": lambda: (
        tarfile.TarInfo.create_pax_global_header({"uid": "0"}) + archive_of(member("a"))
    ),
    "a long extended header": lambda: long_header(tarfile.XHDTYPE),
    "a long name's header": lambda: long_header(tarfile.GNUTYPE_LONGNAME),
    "a chain of headers": chain,
    "compressed": lambda: b"\x1f\x8b\x08" + bytes(2000),
    "cut in a file": lambda: archive_of(member("a", size=2000))[:1500],
    "text": lambda: b"not an archive" * 100,
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_what_an_archive_must_not_hold_is_refused(bad: Callable[[], bytes]) -> None:
    with pytest.raises(SnapshotFileError):
        again(bad())


def test_everything_is_read_also_what_follows_an_archives_end() -> None:
    left = iter([archive_of(member("a")), b"behind", b"its end"])
    b"".join(Vetting(what="it").again(left))
    assert next(left, None) is None


def test_memory_does_not_grow_with_the_number_of_members() -> None:
    def many(count: int) -> Iterator[bytes]:
        for number in range(count):
            yield member(f"file-{number:09d}").tobuf(tarfile.USTAR_FORMAT)
        yield bytes(1024)

    def peak(count: int) -> int:
        tracemalloc.start()
        for _ in Vetting(what="it").again(many(count)):
            pass
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(100)
    assert peak(20_000) < peak(2_000) + 200_000
