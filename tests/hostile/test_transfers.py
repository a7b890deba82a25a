"""Copies between this machine and a session, when one side of them is hostile: `fumehood cp`."""

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
from typing import Any, cast

import pytest

from cases.mark import case
from cli.program import Fumehood
from fakes.supervisor import record
from fumehood import AsyncSession, SandboxError
from fumehood._wire.table import FileCode
from fumehood.cli.fetching import Fetch
from fumehood.cli.local import LocalFileError
from fumehood.cli.values import Place
from hostile.arena import Arena
from hostile.scenes import beside, build, names
from tether.conftest import connected

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
    assert "not copied: etc (a symbolic link)" in done.errors
    assert "not copied: fifo (no regular file)" in done.errors
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
async def test_more_than_a_session_takes_is_an_error_and_leaves_nothing(
    user: Arena, tmp_path: Path
) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(10 << 30)
    done = await cp(tmp_path, "sparse", f"{user.session.id}:")
    assert done.code == 1
    assert "larger than the limit" in done.errors
    assert await names(user.session) == []
    many = tmp_path / "many"
    many.mkdir()
    # Links cost least to make, and count as all entries do.
    for number in range(100_001):
        (many / str(number)).symlink_to("x")
    done = await cp(tmp_path, "-r", "many", f"{user.session.id}:")
    assert done.code == 1
    assert "holds more than 100000 entries" in done.errors
    assert await names(user.session) == []
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


@case("X39", COPY)
@pytest.mark.parametrize("kind", [FileCode.FILE, FileCode.DIRECTORY], ids=["file", "directory"])
@pytest.mark.parametrize("name", EVIL)
async def test_a_listing_that_lies_about_names_writes_nothing_outside(
    tmp_path: Path, name: str, kind: FileCode
) -> None:
    target = tmp_path / "target"
    async with asyncio.timeout(PATIENCE), connected() as link:
        fetch = Fetch(
            cast("AsyncSession", link.session), Place("s1", "out"), largest=MIB, quiet=True
        )
        running = asyncio.create_task(fetch.run(str(target), recursive=True))
        await link.peer.opened(1)
        link.peer.stdout(1, record(b"out", FileCode.DIRECTORY))
        link.peer.done(1, entries=1)
        await link.peer.opened(2)
        link.peer.stdout(2, record(name.encode(), kind))
        link.peer.done(2, entries=1)
        if kind is FileCode.FILE:
            # Where the name is taken the content is asked for, and comes.
            reading = asyncio.create_task(link.peer.opened(3))
            await asyncio.wait({running, reading}, return_when=asyncio.FIRST_COMPLETED)
            if reading.done():
                link.peer.stdout(3, b"abc")
                link.peer.done(3, size=3)
            reading.cancel()
        with contextlib.suppress(SandboxError, LocalFileError):
            await running
    assert there(tmp_path) <= {"target"}
    assert "evil" not in there(Path("/"))
    assert landed(tmp_path) == set()
