"""Files that cannot be had: each a typed error that names the path, and nothing is changed."""

from __future__ import annotations

import contextlib

import pytest

from contract.adapter import Api
from contract.programs import python
from fumehood import (
    AsyncSession,
    DiskFullError,
    FileError,
    FileIsDirectoryError,
    FileMissingError,
    FileNotDirectoryError,
    FilePermissionError,
    FilePresentError,
    FileTooLargeError,
    InvalidPathError,
    InvalidRequestError,
    Limits,
    NotRegularFileError,
    PathEscapesError,
)

READS = ("read_file", "read_text_file", "read_text_file_page")


@pytest.mark.engines("docker", "memory")
async def test_a_missing_file_is_an_error_that_names_it(session: AsyncSession) -> None:
    for name in (*READS, "stat", "list_files", "remove"):
        with pytest.raises(FileMissingError, match="some/where") as caught:
            await getattr(session, name)("some/where")
        assert isinstance(caught.value, FileNotFoundError)
        assert caught.value.path == "some/where"
        assert caught.value.session_id == session.id
    with pytest.raises(FileMissingError):
        await session.rename("some/where", "else")


@pytest.mark.engines("docker", "memory")
async def test_a_directory_is_not_read_or_written_as_a_file(session: AsyncSession) -> None:
    await session.make_directory("dir/sub")
    for name in READS:
        with pytest.raises(FileIsDirectoryError) as caught:
            await getattr(session, name)("dir")
        assert isinstance(caught.value, IsADirectoryError)
    with pytest.raises(FileIsDirectoryError):
        await session.write_file("dir", "x")
    await session.write_file("file", "x")
    with pytest.raises((FileIsDirectoryError, FilePresentError)):
        await session.rename("file", "dir")
    assert await session.exists("dir/sub")


@pytest.mark.engines("docker", "memory")
async def test_a_file_is_not_listed_or_entered_as_a_directory(session: AsyncSession) -> None:
    await session.write_file("file", "x")
    with pytest.raises(FileNotDirectoryError, match="it, or a part of it, is not a directory"):
        await session.list_files("file")
    for call in (session.read_file, session.stat, session.make_directory):
        with pytest.raises(FileNotDirectoryError) as caught:
            await call("file/below")
        assert isinstance(caught.value, NotADirectoryError)
    with pytest.raises(FileNotDirectoryError):
        await session.write_file("file/below", "x")
    with pytest.raises(FilePresentError):
        await session.make_directory("file")
    assert await session.read_file("file") == b"x"


@pytest.mark.engines("docker", "memory")
async def test_an_encoding_that_does_not_fit_is_refused_before_anything_is_written(
    session: AsyncSession,
) -> None:
    await session.write_text_file("kept", "\u00e9", encoding="latin-1")
    for name in ("no-such-encoding", "base64", "a\0b", 5):
        with pytest.raises(InvalidRequestError, match="encoding"):
            await session.write_text_file("kept", "x", encoding=name)  # type: ignore[arg-type]
        with pytest.raises(InvalidRequestError, match="encoding"):
            await session.read_text_file("kept", encoding=name)  # type: ignore[arg-type]
    with pytest.raises(InvalidRequestError, match="errors"):
        await session.read_text_file("kept", errors="no-such-handler")
    with pytest.raises(InvalidRequestError, match="ascii"):
        await session.write_text_file("kept", "\u00e9", encoding="ascii")
    assert await session.read_text_file("kept", encoding="latin-1") == "\u00e9"
    with pytest.raises(UnicodeDecodeError):
        await session.read_text_file("kept")


@pytest.mark.engines("docker", "memory")
async def test_a_mode_in_decimal_is_told_what_it_should_be(session: AsyncSession) -> None:
    for mode in (644, -1, 0o4755):
        with pytest.raises(InvalidRequestError, match="0o644") as caught:
            await session.write_file("of a mode", "x", mode=mode)
        assert str(mode) in str(caught.value)
        with pytest.raises(InvalidRequestError, match="0o777"):
            await session.make_directory("of a mode", mode=mode)
    assert not await session.exists("of a mode")


@pytest.mark.engines("docker", "memory")
async def test_a_download_of_nothing_is_a_failed_download(session: AsyncSession) -> None:
    with pytest.raises(FileMissingError, match="download 'nothing'") as caught:
        await session.download("nothing", "here")
    assert caught.value.op == "download"


ILLEGAL = ["", "a\0b", "a\\b", "n" * 256, "d/" * 2100 + "f"]
ILLEGAL += ["/etc/passwd", "/", "..", "../x", "a/../../x", "a/..", "x/", ".", "./", "//x"]


@pytest.mark.engines("docker", "memory")
@pytest.mark.parametrize("path", ILLEGAL)
async def test_a_path_that_is_no_name_in_the_workspace_is_refused(
    session: AsyncSession, path: str
) -> None:
    calls = [
        session.read_file(path),
        session.read_text_file(path),
        session.read_text_file_page(path),
        session.write_file(path, "x"),
        session.write_text_file(path, "x"),
        session.make_directory(path),
        session.remove(path),
        session.rename(path, "ok"),
        session.rename("ok", path),
    ]
    for call in calls:
        with pytest.raises(InvalidPathError) as caught:
            await call
        assert isinstance(caught.value, ValueError)
    with pytest.raises(InvalidPathError):
        session.read_file_stream(path)
    with pytest.raises(InvalidPathError):
        session.write_file_stream(path)


@pytest.mark.engines("docker", "memory")
@pytest.mark.parametrize("path", [None, 1, b"bytes", ["list"]])
async def test_a_path_that_is_not_text_is_refused(session: AsyncSession, path: object) -> None:
    with pytest.raises(InvalidPathError):
        await session.read_file(path)  # type: ignore[arg-type]


@pytest.mark.engines("docker", "memory")
async def test_an_absolute_path_names_the_way_to_the_whole_file_system(
    session: AsyncSession,
) -> None:
    with pytest.raises(InvalidPathError, match="root='/'"):
        await session.read_file("/etc/passwd")
    with pytest.raises(InvalidPathError, match="root"):
        await session.read_file("etc/passwd", root="/etc")  # type: ignore[arg-type]
    with pytest.raises(InvalidPathError):
        await session.read_file("/etc/../etc/passwd", root="/")


# --- links out of the workspace ---------------------------------------------------------------


@pytest.mark.parametrize(
    "target",
    [
        "/etc/passwd",
        "../etc/passwd",
        "/proc/self/environ",
        "/proc/1/root/etc/passwd",
        "up/etc/passwd",
    ],
)
async def test_a_link_out_of_the_workspace_is_not_followed(
    session: AsyncSession, target: str
) -> None:
    await session.shell(
        'ln -sfn .. up; rm -f out; ln -s "$TARGET" out', env={"TARGET": target}, check=True
    )
    for name in READS:
        with pytest.raises(PathEscapesError) as caught:
            await getattr(session, name)("out")
        assert isinstance(caught.value, PermissionError)
    with pytest.raises(PathEscapesError):
        await session.stat("out")
    assert (await session.stat("out", follow_symlinks=False)).target == target


async def test_a_linked_directory_out_of_the_workspace_is_not_entered(
    session: AsyncSession,
) -> None:
    await session.shell(
        "mkdir -p /outside/full; touch /outside/full/f; ln -sfn /outside away", check=True
    )
    calls = [
        session.read_file("away/full/f"),
        session.write_file("away/new", "x"),
        session.write_file("away/new/deeper", "x"),
        session.make_directory("away/dir"),
        session.remove("away/full/f"),
        session.remove("away/full", recursive=True),
        session.rename("away/full/f", "stolen"),
        session.list_files("away"),
        session.list_files("away/full"),
    ]
    for call in calls:
        with pytest.raises(PathEscapesError):
            await call
    await session.write_file("mine", "x")
    with pytest.raises(PathEscapesError):
        await session.rename("mine", "away/mine")
    found = await session.exec(["find", "/outside"], check=True)
    assert found.stdout.split() == ["/outside", "/outside/full", "/outside/full/f"]


async def test_a_link_within_the_workspace_is_followed(session: AsyncSession) -> None:
    await session.shell(
        "mkdir -p real/dir; ln -sfn real/dir short; ln -sfn ../real real/self", check=True
    )
    await session.write_file("short/file", "x")
    assert await session.read_file("real/dir/file") == b"x"
    assert await session.read_file("real/self/dir/file") == b"x"
    assert [entry.path for entry in await session.list_files("short")] == ["short/file"]


async def test_writing_to_a_link_replaces_or_follows_but_never_leaves(
    session: AsyncSession,
) -> None:
    await session.shell("echo old >/etc/victim; ln -sfn /etc/victim link-out", check=True)
    with contextlib.suppress(PathEscapesError):
        await session.write_file("link-out", "new")
    assert await session.read_file("/etc/victim", root="/") == b"old\n"


async def test_links_in_a_circle_are_an_error(session: AsyncSession) -> None:
    await session.shell("ln -sfn b a; ln -sfn a b", check=True)
    with pytest.raises(FileError):
        await session.read_file("a")
    with pytest.raises(FileError):
        await session.list_files("a")


async def test_names_that_a_thread_swaps_never_lead_out(api: Api) -> None:
    async with api.session() as session:
        await session.shell(
            "mkdir real; echo inside >real/f; mkdir /out; echo secret >/out/f", check=True
        )
        swap = (
            "import os\n"
            "print('up', flush=True)\n"
            "while True:\n"
            "    os.symlink('real', 't'); os.rename('t', 'dir')\n"
            "    os.symlink('/out', 't'); os.rename('t', 'dir')\n"
        )
        async with session.exec_stream(python(swap), timeout=60) as stream:
            await anext(stream)
            seen: set[bytes] = set()
            for number in range(150):
                try:
                    seen.add(await session.read_file("dir/f"))
                    await session.write_file(f"dir/{number}", "x")
                except (PathEscapesError, FileMissingError):
                    continue
        assert seen <= {b"inside\n"}
        found = await session.exec(["ls", "/out"], check=True)
        assert found.stdout == "f\n"


# --- what is no regular file ------------------------------------------------------------------


async def test_a_fifo_a_socket_and_a_device_are_not_read(session: AsyncSession) -> None:
    await session.shell(
        "rm -f fifo sock; mkfifo fifo; "
        "python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"sock\")'",
        check=True,
    )
    for path in ("fifo", "sock"):
        for name in READS:
            with pytest.raises(NotRegularFileError):
                await getattr(session, name)(path)
    for path in ("/dev/zero", "/dev/null", "/dev/full", "/dev/random"):
        with pytest.raises(NotRegularFileError):
            await session.read_file(path, root="/")


async def test_a_fifo_and_a_device_are_not_written(session: AsyncSession) -> None:
    await session.shell("rm -f fifo; mkfifo fifo", check=True)
    with pytest.raises(FileError):
        await session.write_file("fifo", "x")
    assert (await session.stat("fifo")).type == "fifo"
    with pytest.raises(FileError):
        await session.write_file("/dev/null", "x", root="/")
    assert (await session.stat("/dev/null", root="/")).type == "character"


# --- rights -----------------------------------------------------------------------------------


async def test_files_are_read_and_written_with_the_rights_of_the_user(
    nonroot: AsyncSession,
) -> None:
    # Root without CAP_DAC_OVERRIDE may not write to the workspace of another user, but to /tmp.
    await nonroot.shell("echo x >/tmp/theirs; chmod 600 /tmp/theirs", user="root", check=True)
    for call in (
        nonroot.read_file("/tmp/theirs", root="/"),
        nonroot.list_files("/root", root="/"),
        nonroot.make_directory("/opt/new", root="/"),
        nonroot.remove("/etc/passwd", root="/"),
        nonroot.rename("/etc/passwd", "/etc/other", root="/"),
    ):
        with pytest.raises(FilePermissionError) as caught:
            await call
        assert isinstance(caught.value, PermissionError)


async def test_root_in_the_container_is_bound_by_modes_too(session: AsyncSession) -> None:
    # Root without CAP_DAC_OVERRIDE is an ordinary user to the kernel.
    await session.write_file("closed", "x", mode=0o000)
    with pytest.raises(FilePermissionError):
        await session.read_file("closed")
    await session.write_file("locked/file", "x")
    await session.exec(["chmod", "000", "locked"], check=True)
    with pytest.raises(FilePermissionError):
        await session.write_file("locked/other", "x")
    await session.exec(["chmod", "700", "locked"], check=True)


async def test_a_file_that_belongs_to_proc_cannot_be_replaced(session: AsyncSession) -> None:
    for path in ("/proc/version", "/sys/kernel/vmcoreinfo", "/.fumehood/supervisor"):
        with pytest.raises(FileError):
            await session.write_file(path, "x", root="/")
        with pytest.raises(FileError):
            await session.remove(path, root="/")
    with pytest.raises(FilePermissionError):
        await session.read_file("/.fumehood/supervisor", root="/")


# --- sizes ------------------------------------------------------------------------------------


async def test_one_byte_above_the_limit_is_refused_before_anything_is_sent(api: Api) -> None:
    async with api.session(limits=Limits(max_file_bytes=1000)) as session:
        await session.write_file("f", "old")
        with pytest.raises(FileTooLargeError, match="1001"):
            await session.write_file("f", bytes(1001))
        assert await session.read_file("f") == b"old"
        await session.exec(["sh", "-c", "head -c 1001 /dev/zero >big"], check=True)
        for name in ("read_file", "read_text_file"):
            with pytest.raises(FileTooLargeError, match="1001"):
                await getattr(session, name)("big")
        # A page and a stream have bounds of their own.
        assert len((await session.read_text_file_page("big")).text) == 1001


async def test_a_sparse_file_of_a_terabyte_is_too_large_at_once(session: AsyncSession) -> None:
    await session.exec(["truncate", "-s", "1T", "sparse"], check=True)
    with pytest.raises(FileTooLargeError, match=str(1 << 40)):
        await session.read_file("sparse")
    await session.remove("sparse")


async def test_a_file_that_grows_while_it_is_read_stops_at_the_limit(api: Api) -> None:
    async with api.session(limits=Limits(max_file_bytes=1_000_000)) as session:  # noqa: SIM117
        async with session.exec_stream(
            ["sh", "-c", "echo up; while :; do head -c 100000 /dev/zero >>growing; done"],
            timeout=60,
        ) as stream:
            await anext(stream)
            refused = False
            while not refused:
                try:
                    assert len(await session.read_file("growing")) <= 1_000_000
                except FileTooLargeError:
                    refused = True
                except FileMissingError:
                    continue


@pytest.mark.engines("docker", "memory")
@pytest.mark.parametrize("mode", [-1, 0o1000, 0o7777, 1.5, "644", True])
async def test_a_mode_that_is_none_is_refused(session: AsyncSession, mode: object) -> None:
    with pytest.raises(InvalidRequestError, match="mode"):
        await session.write_file("f", "x", mode=mode)  # type: ignore[arg-type]
    with pytest.raises(InvalidRequestError, match="mode"):
        await session.make_directory("d", mode=mode)  # type: ignore[arg-type]


@pytest.mark.engines("docker", "memory")
@pytest.mark.parametrize("content", [None, 1, ["x"], object()])
async def test_content_that_is_neither_bytes_nor_text_is_refused(
    session: AsyncSession, content: object
) -> None:
    with pytest.raises(InvalidRequestError):
        await session.write_file("f", content)  # type: ignore[arg-type]
    with pytest.raises(InvalidRequestError):
        await session.write_text_file("f", content)  # type: ignore[arg-type]


@pytest.mark.engines("docker", "memory")
@pytest.mark.parametrize(
    "options", [{"start_line": 0}, {"max_lines": 0}, {"max_bytes": 0}, {"start_line": 1.5}]
)
async def test_a_page_that_makes_no_sense_is_refused(
    session: AsyncSession, options: dict[str, int]
) -> None:
    with pytest.raises(InvalidRequestError):
        await session.read_text_file_page("f", **options)  # type: ignore[arg-type]


# --- no room ----------------------------------------------------------------------------------


async def test_a_full_disk_is_an_error_and_the_old_file_stays(api: Api) -> None:
    async with api.session(limits=Limits(workspace_mb=8, max_file_bytes=64 << 20)) as session:
        await session.write_file("kept", "old")
        with pytest.raises(DiskFullError, match="kept"):
            await session.write_file("kept", bytes(16 << 20))
        assert await session.read_file("kept") == b"old"
        assert [entry.path for entry in await session.list_files()] == ["kept"]
        await session.write_file("fits", bytes(4 << 20))


async def test_a_directory_with_more_entries_than_the_limit_is_an_error(api: Api) -> None:
    async with api.session() as session:
        source = (
            "import os\n"
            "os.mkdir('huge'); open('huge/0', 'w')\n"
            "for n in range(1, 100_001): os.link('huge/0' if n < 60_000 else 'huge/60000',\n"
            "    f'huge/{n}') if n != 60_000 else open('huge/60000', 'w')\n"
        )
        await session.exec(python(source), timeout=60, check=True)
        with pytest.raises(FileError, match="more entries"):
            await session.list_files("huge")
