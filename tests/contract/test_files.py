"""Files: whole, in pages, listed, made, removed and renamed; with every name that is legal."""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime, timedelta

import pytest

from contract.adapter import Api
from contract.programs import python
from fumehood import (
    AsyncSession,
    FileEntries,
    FileEntry,
    FilePermissionError,
    FilePresentError,
    Limits,
)

MIB = 1 << 20
ODD_NAMES = [
    "plain",
    "with space",
    " lead and trail ",
    "new\nline",
    "tab\there",
    "quote'\"`$(id)*?[",
    "-rf",
    "é€😀",
    "…",
    "a" * 255,
    b"invalid \xff\xfe utf-8".decode("utf-8", "surrogateescape"),
    "\x01\x1b[31mred",
    ".hidden",
    "..two",
    "three...",
]


@pytest.mark.engines("docker", "memory")
@pytest.mark.parametrize(
    "content",
    [b"", b"x", b"\0\xff\r\n", bytes(range(256)) * 256, b"y" * (MIB + 1)],
    ids=["empty", "one", "odd", "64 KiB", "1 MiB"],
)
async def test_bytes_come_back_as_they_were_written(session: AsyncSession, content: bytes) -> None:
    await session.write_file("file", content)
    assert await session.read_file("file") == content
    assert (await session.stat("file")).size == len(content)


@pytest.mark.engines("docker", "memory")
async def test_text_keeps_its_line_ends(session: AsyncSession) -> None:
    text = "one\r\ntwo\nthree\rfour é€😀"
    await session.write_text_file("text", text)
    assert await session.read_text_file("text") == text
    assert await session.read_file("text") == text.encode()
    await session.write_file("text", text)
    assert await session.read_text_file("text") == text


@pytest.mark.engines("docker", "memory")
async def test_text_in_another_encoding(session: AsyncSession) -> None:
    await session.write_text_file("latin", "é", encoding="latin-1")
    assert await session.read_file("latin") == b"\xe9"
    assert await session.read_text_file("latin", encoding="latin-1") == "é"
    with pytest.raises(UnicodeDecodeError):
        await session.read_text_file("latin")
    assert await session.read_text_file("latin", errors="replace") == "\ufffd"


@pytest.mark.parametrize("name", ODD_NAMES)
async def test_every_legal_name_is_written_listed_renamed_and_removed(
    session: AsyncSession, name: str
) -> None:
    directory = "odd names"
    await session.write_file(f"{directory}/{name}", name.encode("utf-8", "surrogateescape"))
    entries = await session.list_files(directory)
    assert [entry.path for entry in entries] == [f"{directory}/{name}"]
    assert entries[0].name == name
    content = await session.read_file(f"{directory}/{name}")
    assert content == name.encode("utf-8", "surrogateescape")
    found = await session.exec(python("import os; print(os.listdir(b'odd names')[0].hex())"))
    assert bytes.fromhex(found.stdout) == content
    await session.rename(f"{directory}/{name}", f"{directory}/renamed/{name}")
    await session.remove(f"{directory}/renamed/{name}")
    await session.remove(directory, recursive=True)
    assert not await session.exists(directory)


@pytest.mark.engines("docker", "memory")
async def test_the_spelling_of_a_path_is_normalised(session: AsyncSession) -> None:
    await session.write_file("./sub//./dir/file", "x")
    assert await session.read_file("sub/dir/file") == b"x"
    assert [entry.path for entry in await session.list_files("./sub//dir")] == ["sub/dir/file"]


# --- writing ----------------------------------------------------------------------------------


@pytest.mark.engines("docker", "memory")
async def test_parents_are_made_and_a_new_file_has_the_mode_asked_for(
    session: AsyncSession,
) -> None:
    await session.write_file("new/a/b/file", "x")
    assert (await session.stat("new/a/b/file")).mode == 0o644
    assert (await session.stat("new/a")).mode == 0o755
    await session.write_file("new/tool", "x", mode=0o751)
    assert (await session.stat("new/tool")).mode == 0o751


@pytest.mark.engines("docker", "memory")
async def test_an_existing_file_keeps_its_mode_and_gets_new_content(session: AsyncSession) -> None:
    await session.write_file("kept", "a longer old content", mode=0o600)
    await session.write_file("kept", "new", mode=0o777)
    assert await session.read_file("kept") == b"new"
    assert (await session.stat("kept")).mode == 0o600


async def test_a_file_that_is_replaced_loses_set_uid_and_set_gid(session: AsyncSession) -> None:
    await session.write_file("program", "old")
    await session.exec(["chmod", "7751", "program"], check=True)
    assert (await session.stat("program")).mode == 0o7751
    await session.write_file("program", "new")
    assert (await session.stat("program")).mode == 0o1751


async def test_files_belong_to_the_user_of_the_session(nonroot: AsyncSession) -> None:
    await nonroot.write_file("mine/file", "x")
    for path in ("mine", "mine/file"):
        entry = await nonroot.stat(path)
        assert (entry.uid, entry.gid) == (1000, 1000)


async def test_a_reader_sees_the_old_file_or_the_new_one(session: AsyncSession) -> None:
    await session.write_file("swap", b"0" * MIB)
    source = (
        "import os, sys\n"
        "seen = set()\n"
        "print('up', flush=True)\n"
        "while not os.path.exists('stop'):\n"
        "    data = open('swap', 'rb').read()\n"
        "    assert len(data) == 1 << 20 and len(set(data)) == 1, (len(data), set(data))\n"
        "    seen.add(data[0])\n"
        "print(len(seen) > 1)\n"
    )
    async with session.exec_stream(python(source), timeout=60) as stream:
        await anext(stream)
        for number in range(40):
            await session.write_file("swap", str(number % 10).encode() * MIB)
        await session.write_file("stop", "")
        events = [event async for event in stream]
    result = events[-1].result  # type: ignore[union-attr]
    assert (result.stdout, result.stderr) == ("up\nTrue\n", "")
    await session.remove("stop")


@pytest.mark.engines("docker", "memory")
async def test_writes_of_one_name_at_once_leave_one_of_them_whole(session: AsyncSession) -> None:
    contents = [str(number).encode() * 300_000 for number in range(8)]
    await asyncio.gather(*(session.write_file("contended", content) for content in contents))
    assert await session.read_file("contended") in contents
    assert [entry.path for entry in await session.list_files() if "contended" in entry.path] == [
        "contended"
    ]


@pytest.mark.engines("docker", "memory")
async def test_many_files_at_once(api: Api) -> None:
    async with api.session() as session:
        names = [f"many/{number % 7}/{number}" for number in range(300)]
        await asyncio.gather(*(session.write_file(name, name) for name in names))
        contents = await asyncio.gather(*map(session.read_file, names))
        assert [content.decode() for content in contents] == names
        found = await session.list_files("many", recursive=True)
        assert {entry.path for entry in found if entry.type == "file"} == set(names)


async def test_files_of_the_api_and_of_commands_are_the_same(session: AsyncSession) -> None:
    await session.write_file("shared", "from the api")
    assert (await session.exec(["cat", "shared"], check=True)).stdout == "from the api"
    await session.shell("echo from a command >shared", check=True)
    assert await session.read_text_file("shared") == "from a command\n"


@pytest.mark.engines("docker", "memory")
async def test_a_file_as_large_as_the_limit_is_written_and_read(api: Api) -> None:
    async with api.session(limits=Limits(max_file_bytes=100_000)) as session:
        await session.write_file("exact", bytes(100_000))
        assert await session.read_file("exact") == bytes(100_000)


# --- pages ------------------------------------------------------------------------------------


@pytest.mark.engines("docker", "memory")
async def test_pages_cover_a_file_line_by_line(session: AsyncSession) -> None:
    lines = [f"line {number}\n" for number in range(1, 2001)]
    await session.write_file("paged", "".join(lines))
    text = ""
    start: int | None = 1
    pages = 0
    while start is not None:
        page = await session.read_text_file_page("paged", start_line=start, max_lines=300)
        assert page.start_line == start
        text += page.text
        pages += 1
        start = page.next_start_line
    assert (text, pages) == ("".join(lines), 7)


@pytest.mark.engines("docker", "memory")
async def test_a_page_is_bounded_by_its_bytes(session: AsyncSession) -> None:
    await session.write_file("wide", "é" * 500 + "\n" + "short\n" + "x" * 5000)
    page = await session.read_text_file_page("wide", max_bytes=101)
    assert (page.text, page.cut, page.next_start_line) == ("é" * 50, True, 2)
    page = await session.read_text_file_page("wide", start_line=2, max_bytes=100)
    assert (page.text, page.end_line, page.next_start_line) == ("short\n", 2, 3)


@pytest.mark.engines("docker", "memory")
async def test_a_page_beyond_the_end_and_one_of_an_empty_file_are_empty(
    session: AsyncSession,
) -> None:
    await session.write_file("three", "1\n2\n3")
    page = await session.read_text_file_page("three", start_line=3)
    assert (page.text, page.end_line, page.next_start_line) == ("3", 3, None)
    for name, start in (("three", 4), ("three", 1000), ("empty", 1)):
        await session.write_file("empty", "")
        page = await session.read_text_file_page(name, start_line=start)
        assert (page.text, page.end_line, page.next_start_line) == ("", start - 1, None)


# --- listing ----------------------------------------------------------------------------------


async def test_entries_say_what_they_are(api: Api) -> None:
    async with api.session() as session:
        await session.shell(
            "mkdir d; printf 12345 >f; chmod 4750 f; ln -s f link; ln -s /nowhere broken; "
            "mkfifo fifo; touch -d @86400.5 f; python3 -c "
            "'import socket; socket.socket(socket.AF_UNIX).bind(\"sock\")'",
            check=True,
        )
        entries = {entry.path: entry for entry in await session.list_files()}
        assert sorted(entries) == ["broken", "d", "f", "fifo", "link", "sock"]
        assert {name: entry.type for name, entry in entries.items()} == {
            "broken": "symlink",
            "d": "directory",
            "f": "file",
            "fifo": "fifo",
            "link": "symlink",
            "sock": "socket",
        }
        assert entries["f"] == FileEntry(
            path="f",
            type="file",
            size=5,
            mode=0o4750,
            modified=datetime(1970, 1, 2, 0, 0, 0, 500_000, UTC),
            uid=0,
            gid=0,
        )
        assert (entries["link"].target, entries["broken"].target) == ("f", "/nowhere")
        assert abs(entries["d"].modified - datetime.now(UTC)) < timedelta(days=1)


@pytest.mark.engines("docker", "memory")
async def test_a_listing_is_sorted_and_its_paths_can_be_used(session: AsyncSession) -> None:
    for name in ("b", "a", "c/2", "c/1", "c/x/y"):
        await session.write_file(f"tree/{name}", name)
    flat = [entry.path for entry in await session.list_files("tree")]
    assert flat == ["tree/a", "tree/b", "tree/c"]
    deep = await session.list_files("tree", recursive=True)
    assert isinstance(deep, FileEntries)
    assert deep.skipped_unreadable == 0
    assert [entry.path for entry in deep] == [
        "tree/a",
        "tree/b",
        "tree/c",
        "tree/c/1",
        "tree/c/2",
        "tree/c/x",
        "tree/c/x/y",
    ]
    for entry in deep:
        if entry.type == "file":
            assert f"tree/{(await session.read_file(entry.path)).decode()}" == entry.path


async def test_a_recursive_listing_does_not_follow_links(session: AsyncSession) -> None:
    await session.shell("mkdir -p loop/in; ln -s .. loop/in/up; ln -s / loop/root", check=True)
    found = [entry.path for entry in await session.list_files("loop", recursive=True)]
    assert found == ["loop/in", "loop/in/up", "loop/root"]


async def test_a_recursive_listing_goes_on_beside_what_is_closed_and_counts_it(api: Api) -> None:
    async with api.session() as session:
        for name in ("open/f", "shut/g", "shut/in/h"):
            await session.write_file(name, name)
        whole = await session.list_files(recursive=True)
        assert (len(whole), whole.skipped_unreadable) == (6, 0)
        await session.exec(["chmod", "000", "shut"], check=True)
        entries = await session.list_files(recursive=True)
        assert [entry.path for entry in entries] == ["open", "open/f", "shut"]
        assert entries.skipped_unreadable == 1
        assert (await session.list_files()).skipped_unreadable == 0
        with pytest.raises(FilePermissionError):
            await session.list_files("shut", recursive=True)


async def test_a_directory_of_fifty_thousand_files_is_listed_and_removed(api: Api) -> None:
    async with api.session() as session:
        source = "import os\nos.mkdir('huge')\nfor n in range(50_000): os.mknod(f'huge/{n}')\n"
        await session.exec(python(source), check=True)
        entries = await session.list_files("huge")
        assert len(entries) == 50_000
        assert {entry.name for entry in entries} == {str(number) for number in range(50_000)}
        await session.remove("huge", recursive=True)
        assert await session.list_files() == []


async def test_a_tree_that_is_deeper_than_a_path_can_say_is_removed(api: Api) -> None:
    async with api.session() as session:
        source = "import os\nfor n in range(1500): os.mkdir('deep'); os.chdir('deep')\n"
        await session.exec(python(source), check=True)
        await session.remove("deep", recursive=True)
        assert await session.list_files() == []


# --- directories, removal, names --------------------------------------------------------------


@pytest.mark.engines("docker", "memory")
async def test_directories_are_made_with_their_parents_and_may_exist(session: AsyncSession) -> None:
    await session.make_directory("made/a/b", mode=0o700)
    await session.make_directory("made/a/b")
    assert (await session.stat("made/a/b")).mode == 0o700
    with pytest.raises(FilePresentError):
        await session.make_directory("made/a/b", parents=False)
    with pytest.raises(FileNotFoundError):
        await session.make_directory("made/x/y", parents=False)


async def test_removing_a_link_leaves_what_it_points_to(session: AsyncSession) -> None:
    await session.shell("mkdir -p held/dir; touch held/dir/f; ln -s held/dir gone", check=True)
    await session.remove("gone", recursive=True)
    assert await session.exists("held/dir/f")
    assert not await session.exists("gone")


@pytest.mark.engines("docker", "memory")
async def test_a_directory_with_content_is_removed_only_when_asked(session: AsyncSession) -> None:
    await session.write_file("full/f", "")
    with pytest.raises(FilePresentError, match="recursive"):
        await session.remove("full")
    await session.remove("full", recursive=True)
    await session.make_directory("empty-one")
    await session.remove("empty-one")
    assert not await session.exists("empty-one")


@pytest.mark.engines("docker", "memory")
async def test_renaming_replaces_a_file_and_makes_parents(session: AsyncSession) -> None:
    await session.write_file("from", "new")
    await session.write_file("to/there", "old")
    await session.rename("from", "to/there")
    assert await session.read_file("to/there") == b"new"
    assert not await session.exists("from")
    await session.rename("to", "brand/new/parents")
    assert await session.read_file("brand/new/parents/there") == b"new"


async def test_existence_counts_links_that_lead_nowhere(session: AsyncSession) -> None:
    await session.exec(["ln", "-s", "nowhere", "dangling"], check=True)
    assert await session.exists("dangling")
    assert await session.exists(".")
    assert not await session.exists("nowhere")
    assert not await session.exists("dangling/below")
    await session.write_file("a-file", "")
    assert not await session.exists("a-file/below")


async def test_stat_follows_a_link_or_looks_at_it(session: AsyncSession) -> None:
    await session.write_file("real", "12345")
    await session.exec(["ln", "-sfn", "real", "alias"], check=True)
    followed = await session.stat("alias")
    assert (followed.type, followed.size, followed.path) == ("file", 5, "alias")
    itself = await session.stat("alias", follow_symlinks=False)
    assert (itself.type, itself.target) == ("symlink", "real")
    assert (await session.stat(".")).type == "directory"


# --- the whole file system --------------------------------------------------------------------


async def test_root_reaches_the_whole_file_system_as_the_session_user(
    session: AsyncSession, nonroot: AsyncSession
) -> None:
    assert b"root:" in await session.read_file("/etc/passwd", root="/")
    await session.write_file("/opt/new/file", "x", root="/")
    assert (await session.exec(["cat", "/opt/new/file"], check=True)).stdout == "x"
    names = [entry.path for entry in await session.list_files("/opt", root="/")]
    assert names == ["/opt/new"]
    await session.rename("/opt/new", "/opt/other", root="/")
    await session.remove("/opt/other", recursive=True, root="/")
    with pytest.raises(PermissionError):
        await nonroot.read_file("/etc/shadow", root="/")
    with pytest.raises(PermissionError):
        await nonroot.write_file("/etc/new", "x", root="/")


async def test_root_follows_links_as_any_program_would(session: AsyncSession) -> None:
    await session.shell("ln -sfn /etc /workspace/etc-link; ln -sfn passwd /etc/alias", check=True)
    expected = await session.read_file("/etc/passwd", root="/")
    assert await session.read_file("/workspace/etc-link/passwd", root="/") == expected
    assert await session.read_file("/etc/alias", root="/") == expected


async def test_a_file_of_proc_that_claims_no_size_is_read_whole(session: AsyncSession) -> None:
    content = await session.read_file("/proc/self/status", root="/")
    assert b"NoNewPrivs:\t1" in content
    assert os.path.sep.encode() not in content.splitlines()[0]
