"""Copies between this machine and a session, when one side of them is hostile."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cases.mark import case
from cli.program import Fumehood
from fakes.supervisor import record
from fumehood import SandboxError, TransferResult
from fumehood._wire.packed import Record, file_end, piece_header
from fumehood._wire.table import FileCode
from hostile.arena import Arena
from hostile.scenes import beside, build, names
from tether.conftest import connected

TREES = "`upload` and `download` copy nothing from outside their source"
COPY = "`fumehood cp` sends nothing from outside its source and writes nothing outside its target"
MIB = 1 << 20
PATIENCE = 60.0


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A directory of this machine beside what is copied, with a file that must not be."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "key").write_text(f"key-{secrets.token_hex(16)}")
    return outside


async def cp(here: Path, *words: str) -> Any:
    """Run the command as a user does."""
    return await asyncio.to_thread(Fumehood(here), "cp", *words)


async def held(arena: Arena) -> bytes:
    """Return everything that a session's workspace holds."""
    files = await arena.session.list_files(recursive=True)
    return b"".join(
        [await arena.session.read_file(entry.path) for entry in files if entry.type == "file"]
    )


# --- into a session ---------------------------------------------------------------------------


@case("H33", COPY)
async def test_nothing_from_outside_of_a_tree_is_sent_with_it(
    user: Arena, tmp_path: Path, secret: Path
) -> None:
    tree = tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "sub" / "plain").write_text("plain")
    (tree / "key").symlink_to(secret / "key")
    (tree / "home").symlink_to(Path.home())
    (tree / "etc").symlink_to("/etc")
    (tree / "up").symlink_to("../outside")
    (tree / "self").symlink_to(".")
    (tree / "sub" / "loop").symlink_to("../sub/loop")
    (tree / "nowhere").symlink_to("/no/such/thing")
    os.mkfifo(tree / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tree / "socket"))
        done = await cp(tmp_path, "-r", "tree", f"{user.session.id}:")
    assert done.code == 0, done.errors
    assert await names(user.session) == ["tree", "tree/sub", "tree/sub/plain"]
    assert await held(user) == b"plain"
    assert "(a symbolic link)" in done.errors
    # Five are named, of nine.
    assert "not copied: 4 more" in done.errors
    assert await user.alive()


FLIP = """
import os, sys
path, real, link = sys.argv[1:]
while True:
    for old, new in ((path, real), (link, path), (path, link), (real, path)):
        os.rename(old, new)
"""


@contextlib.contextmanager
def flipping(path: Path, target: Path) -> Iterator[None]:
    """Let a directory turn into a link and back, all the time, in a process of its own."""
    real, link = path.with_name("real"), path.with_name("link")
    link.symlink_to(target)
    with subprocess.Popen([sys.executable, "-c", FLIP, path, real, link]) as process:
        try:
            yield
        finally:
            process.kill()


@case("H33", COPY)
@pytest.mark.slow
async def test_a_tree_whose_directories_turn_into_links_sends_nothing_from_behind_them(
    user: Arena, tmp_path: Path, secret: Path
) -> None:
    tree = tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "sub" / "key").write_text("plain")
    with flipping(tree / "sub", secret):
        for _ in range(4):
            # It is copied, left out or an error, as it is met.
            done = await cp(tmp_path, "-r", "tree", f"{user.session.id}:")
            assert done.code in (0, 1)
            assert "Traceback" not in done.errors
    assert b"key-" not in await held(user)
    assert await user.alive()


@case("H34", COPY)
@pytest.mark.slow
async def test_more_than_a_session_takes_is_an_error_or_a_list_and_leaves_nothing(
    user: Arena, tmp_path: Path
) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(10 << 30)
    done = await cp(tmp_path, "sparse", f"{user.session.id}:")
    assert done.code == 1
    assert "Limits.max_file_bytes is" in done.errors
    assert await names(user.session) == []
    many = tmp_path / "many"
    many.mkdir()
    # Links cost least to make, and count as all entries do.
    for number in range(100_001):
        (many / str(number)).symlink_to("x")
    done = await cp(tmp_path, "-r", "many", f"{user.session.id}:")
    assert done.code == 0
    assert "not copied: 99996 more" in done.errors
    assert await names(user.session) == ["many"]
    assert await user.alive()


@case("H34", COPY)
async def test_long_names_arrive_and_what_is_too_deep_is_left_out(
    user: Arena, tmp_path: Path
) -> None:
    tree = tmp_path / "tree"
    deep = tree.joinpath(*["d" * 50] * 70)
    deep.mkdir(parents=True)
    (deep / "f").write_text("too deep")
    (tree / ("n" * 255)).write_text("long")
    done = await cp(tmp_path, "-r", "tree", f"{user.session.id}:")
    assert done.code == 0, done.errors
    assert "more than 64 directories deep" in done.errors
    assert await user.session.read_file(f"tree/{'n' * 255}") == b"long"
    assert b"too deep" not in await held(user)


# --- out of a session -------------------------------------------------------------------------


def there(here: Path) -> set[str]:
    """Return what a directory holds."""
    return {path.name for path in here.iterdir()}


def landed(here: Path) -> set[str]:
    """Return what is in a directory that is neither a file nor a directory, or leads out of it."""
    return {
        str(path)
        for path in here.rglob("*")
        if path.is_symlink() or not (path.is_file() or path.is_dir())
    }


@case("X38", COPY)
@pytest.mark.slow
async def test_what_changes_while_it_is_fetched_lands_in_the_target_or_not_at_all(
    user: Arena, tmp_path: Path, secret: Path
) -> None:
    await build(user, "dir:out", "file:out/f:inside")
    before = (secret / "key").read_text()
    async with beside(user, "swap", "link", "out/f", f"{secret}/key"):
        for number in range(5):
            done = await cp(tmp_path, "-r", f"{user.session.id}:out", f"here{number}")
            assert done.code in (0, 1)
            assert "Traceback" not in done.errors
            assert landed(tmp_path) == set()
    assert (secret / "key").read_text() == before
    assert there(tmp_path) - {f"here{number}" for number in range(5)} == {"outside"}
    assert await user.alive()


EVIL = ["../evil", "/evil", "a/../../evil", "..", ".", "", "a//evil", "a/./evil", "./evil"]


async def lied_to(tmp_path: Path, scanned: bytes, *answers: bytes) -> TransferResult | SandboxError:
    """Download a tree from a supervisor that says this of it, and then that."""
    async with asyncio.timeout(PATIENCE), connected() as link:
        running = asyncio.create_task(link.session.download("out", tmp_path / "target"))
        await link.peer.opened(1)
        link.peer.stdout(1, record(b"out", FileCode.DIRECTORY))
        link.peer.done(1)
        await link.peer.opened(3)
        link.peer.stdout(2, scanned)
        link.peer.done(2, entries=1)
        for answer in answers:
            link.peer.stdout(3, answer)
        link.peer.done(3, size=3, entries=1)
        try:
            return await running
        except SandboxError as error:
            return error


@case("X39", TREES)
@pytest.mark.parametrize(
    "kind",
    [FileCode.FILE, FileCode.DIRECTORY, FileCode.SYMLINK],
    ids=["file", "directory", "symlink"],
)
@pytest.mark.parametrize("name", EVIL)
async def test_a_listing_that_lies_about_names_writes_nothing_outside(
    tmp_path: Path, name: str, kind: FileCode
) -> None:
    entry = Record(kind, 0, 0o777, 0, 3, name.encode(), b"x").encode()
    ended = await lied_to(tmp_path, entry, entry + piece_header(3) + b"abc" + file_end())
    assert isinstance(ended, SandboxError)
    assert there(tmp_path) == set()
    assert "evil" not in there(Path("/"))


@case("X39", TREES)
@pytest.mark.parametrize("name", [*EVIL, "other"])
async def test_content_under_another_name_than_was_asked_for_is_not_written(
    tmp_path: Path, name: str
) -> None:
    entry = Record(FileCode.FILE, 0, 0o777, 0, 3, b"f").encode()
    lie = Record(FileCode.FILE, 0, 0o777, 0, 3, name.encode()).encode()
    ended = await lied_to(tmp_path, entry, lie + piece_header(3) + b"abc" + file_end())
    assert isinstance(ended, SandboxError)
    assert there(tmp_path) == set()


@case("X39", TREES)
@pytest.mark.parametrize(
    "links",
    [
        {"x": "/etc", "x/passwd": None},
        {"x": "..", "x/evil": None},
        {"a": "b/..", "a/evil": None},
        {"x": "d", "x/evil": None},
    ],
    ids=["absolute", "up", "around", "inside"],
)
async def test_a_file_behind_a_link_of_the_same_tree_is_not_written_through_it(
    tmp_path: Path, links: dict[str, str | None]
) -> None:
    (tmp_path / "target").mkdir()
    scanned, answers = b"", b""
    for name, text in links.items():
        if text is not None:
            entry = Record(FileCode.SYMLINK, 0, 0o777, 0, 0, name.encode(), text.encode())
            scanned += entry.encode()
            answers += entry._replace(link=b"").encode() if text == "d" else b""
        else:
            entry = Record(FileCode.FILE, 0, 0o644, 0, 3, name.encode())
            scanned += entry.encode()
            answers += entry.encode() + piece_header(3) + b"abc" + file_end()
    result = await lied_to(tmp_path, scanned, answers)
    assert isinstance(result, TransferResult)
    assert result.skipped_count >= 1
    assert not (tmp_path / "evil").exists()
    assert not (tmp_path / "target" / "d").exists()


# --- trees --------------------------------------------------------------------------------------


@case("X60", TREES)
async def test_a_tree_full_of_traps_comes_out_as_what_is_harmless_and_a_list(
    user: Arena, tmp_path: Path, secret: Path
) -> None:
    await build(
        user,
        "dir:out",
        "file:out/plain:plain",
        f"link:out/absolute:{secret}/key",
        "link:out/up:../../../../etc/passwd",
        "link:out/loop:loop",
        "link:out/kept:plain",
        "fifo:out/fifo",
    )
    for name in ("esc\x1b[2J", "line\nbreak", "back\\slash"):
        await user.session.exec(
            [f"{user.session.workdir}/scene", f"file:out/{name}:x"], user=user.kind.user, check=True
        )
    result = await user.session.download("out", tmp_path / "here")
    assert {item.path for item in result.skipped} == {
        "absolute", "up", "fifo", "esc\x1b[2J", "line\nbreak", "back\\slash",
    }  # fmt: skip
    assert there(tmp_path / "here") == {"plain", "loop", "kept"}
    assert (tmp_path / "here" / "kept").read_text() == "plain"
    followed = await user.session.download("out", tmp_path / "there", symlinks="follow")
    assert there(tmp_path / "there") == {"plain", "kept"}
    assert "loop" in {item.path for item in followed.skipped}
    assert await user.alive()


@case("X60", TREES)
@pytest.mark.slow
async def test_a_tree_that_changes_while_it_is_copied_lands_inside_or_not_at_all(
    user: Arena, tmp_path: Path, secret: Path
) -> None:
    await build(user, "dir:out", "file:out/f:inside")
    async with beside(user, "swap", "link", "out/f", "/etc/passwd"):
        for number in range(20):
            here = tmp_path / f"here{number}"
            result = await user.session.download("out", here, symlinks="follow")
            assert {path.read_text() for path in here.rglob("*")} <= {"inside"}
            assert result.files + result.skipped_count <= 1
    assert await user.alive()


@case("X61", TREES)
@pytest.mark.slow
async def test_an_upload_into_directories_that_turn_into_links_stays_in_the_workspace(
    user: Arena, tmp_path: Path
) -> None:
    (tmp_path / "tree" / "d").mkdir(parents=True)
    for number in range(50):
        (tmp_path / "tree" / "d" / f"evil{number}").write_text("x")
    steps = ("dir:t", "dir:t/d", "dir:/tmp/elsewhere", "link:t/l:/tmp/elsewhere")
    await build(user, *steps)
    async with beside(user, "swap", "exchange", "t/d", "t/l"):
        for _ in range(20):
            await user.session.upload(f"{tmp_path}/tree/.", "t")
    assert await names_at(user, "/tmp/elsewhere") == []
    assert await user.alive()


async def names_at(arena: Arena, path: str) -> list[str]:
    return [entry.path for entry in await arena.session.list_files(path, root="/")]


@case("X61", TREES)
@pytest.mark.slow
async def test_of_many_entries_that_are_refused_all_are_counted_and_some_are_named(
    python: Arena, tmp_path: Path
) -> None:
    program = (
        "import os\nos.mkdir('many')\n"
        "for number in range(200_000): os.symlink('/x', f'many/{number}')"
    )
    await python.session.exec(["python3", "-c", program], timeout=100, check=True)
    result = await python.session.download("many", tmp_path / "here")
    assert (result.files, result.skipped_count, len(result.skipped)) == (0, 200_000, 1000)
    assert there(tmp_path / "here") == set()
    assert await python.alive()
