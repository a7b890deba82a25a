"""Search by content and by name: no tool of the image, nothing but what is found on the wire."""

from __future__ import annotations

import re

import pytest

from contract.adapter import BUSYBOX, SCRATCH, Api
from fumehood import (
    AsyncSession,
    FileMissingError,
    FileNotDirectoryError,
    FilePermissionError,
    InvalidPathError,
    InvalidRequestError,
    NotRegularFileError,
    PathEscapesError,
    SearchMatch,
    SearchResult,
)


def places(result: SearchResult) -> list[tuple[str, int, str]]:
    """Return where matches are, and what matched."""
    return [(match.path, match.line_number, match.text) for match in result.matches]


async def write_all(session: AsyncSession, files: dict[str, str | bytes]) -> None:
    for path, content in files.items():
        await session.write_file(path, content)


@pytest.mark.engines("docker", "memory")
async def test_matches_come_by_path_and_line_with_their_place_in_it(session: AsyncSession) -> None:
    await write_all(
        session,
        {
            "s1/b.py": "import os\ndef second():\n    pass\n",
            "s1/a.py": "def first(x):\n    return x\n\ndef other(): pass",
            "s1/deep/er/c.txt": "nothing\n",
        },
    )
    result = await session.search(r"def (\w+)\(", "s1")
    assert places(result) == [
        ("s1/a.py", 1, "def first("),
        ("s1/a.py", 4, "def other("),
        ("s1/b.py", 2, "def second("),
    ]
    assert result.matches[0] == SearchMatch(
        path="s1/a.py", line_number=1, line="def first(x):", start=0, end=10
    )
    assert result.files_searched == 3
    assert not result.truncated
    assert result.stopped_by is None
    assert (result.skipped_binary, result.skipped_large, result.skipped_unreadable) == (0, 0, 0)


async def test_an_image_with_nothing_in_it_can_be_searched(scratch: AsyncSession) -> None:
    await scratch.write_file("notes/today", "remember the milk\n")
    assert places(await scratch.search("the m", regex=False)) == [("notes/today", 1, "the m")]
    assert [entry.path for entry in await scratch.glob("**/t*")] == ["notes/today"]
    async with scratch.watch() as events:
        await scratch.write_file("notes/tomorrow", "")
        assert (await anext(events)).path.startswith("notes/")
    assert await scratch.replace("notes/today", "milk", "bread") == 1
    assert await scratch.read_text_file("notes/today") == "remember the bread\n"


@pytest.mark.engines("docker", "memory")
async def test_text_is_searched_for_as_it_stands_when_it_is_no_pattern(
    session: AsyncSession,
) -> None:
    await session.write_file("s2/f", "a.b(c\nA.B(C\naxb(c\n")
    assert places(await session.search("a.b(c", "s2", regex=False)) == [("s2/f", 1, "a.b(c")]
    found = await session.search("a.b(c", "s2", regex=False, ignore_case=True)
    assert places(found) == [("s2/f", 1, "a.b(c"), ("s2/f", 2, "A.B(C")]


@pytest.mark.engines("docker", "memory")
async def test_context_comes_with_each_match_and_no_line_twice(session: AsyncSession) -> None:
    lines = [f"line {number}" for number in range(1, 21)]
    await session.write_file("s3/f", "\n".join(lines))
    (match,) = (await session.search(r"line 10$", "s3", context=2)).matches
    assert match.before == ("line 8", "line 9")
    assert match.after == ("line 11", "line 12")
    (match,) = (await session.search(r"line 1$", "s3", before=3, after=1)).matches
    assert (match.before, match.after) == ((), ("line 2",))
    one, two = (await session.search(r"line (8|11)$", "s3", context=2)).matches
    assert (one.before, one.after) == (("line 6", "line 7"), ("line 9", "line 10"))
    assert (two.before, two.after) == ((), ("line 12", "line 13"))
    one, two = (await session.search(r"line (8|13)$", "s3", before=2, after=1)).matches
    assert (one.after, two.before) == (("line 9",), ("line 11", "line 12"))


@pytest.mark.engines("docker", "memory")
async def test_globs_say_which_files_and_git_is_left_out(session: AsyncSession) -> None:
    await write_all(
        session,
        {
            f"s4/{path}": "needle"
            for path in ("a.py", "b.ts", "lib/c.py", "lib/x/d.tsx", ".hidden", ".git/config")
        },
    )

    async def found(**options: list[str]) -> list[str]:
        result = await session.search("needle", "s4", **options)  # type: ignore[arg-type]
        return [match.path.removeprefix("s4/") for match in result.matches]

    assert await found() == [".hidden", "a.py", "b.ts", "lib/c.py", "lib/x/d.tsx"]
    assert await found(include=["*.py"]) == ["a.py", "lib/c.py"]
    assert await found(include=["lib/**/*.{ts,tsx}"]) == ["lib/x/d.tsx"]
    assert await found(include=["lib/*"]) == ["lib/c.py"]
    assert await found(exclude=["lib", ".*"]) == ["a.py", "b.ts"]
    assert ".git/config" in await found(exclude=[])


@pytest.mark.engines("docker", "memory")
async def test_what_is_too_much_is_cut_and_said(session: AsyncSession) -> None:
    await write_all(
        session,
        {
            "s5/many": "x\n" * 50,
            "s5/binary": b"x\0x\n",
            "s5/large": "x" * 3000,
            "s5/line": "y" * 1500 + "found" + "y" * 9000,
        },
    )
    result = await session.search("x", "s5", max_matches=10, include=["many"])
    assert len(result.matches) == 10
    assert result.stopped_by == "matches"
    assert result.truncated
    result = await session.search("x", "s5", max_matches=50, include=["many"])
    assert (len(result.matches), result.stopped_by) == (50, None)
    result = await session.search("x", "s5", max_file_bytes=2000)
    assert (result.skipped_binary, result.skipped_large) == (1, 2)
    (match,) = (await session.search("found", "s5")).matches
    assert match.cut
    assert match.text == "found"
    assert len(match.line) == 4096


@pytest.mark.engines("docker", "memory")
async def test_lines_end_with_crlf_too_and_bytes_that_are_no_text_are_one_character_each(
    session: AsyncSession,
) -> None:
    await session.write_file("s6/f", b"one\r\ntwo\r\n\xff\xfe caf\xc3\xa9 x\n")
    assert places(await session.search("two$", "s6")) == [("s6/f", 2, "two")]
    (match,) = (await session.search("é x", "s6")).matches
    assert match.line == "\ufffd\ufffd café x"
    assert (match.start, match.text) == (6, "é x")
    (match,) = (await session.search("^.. caf. .$", "s6")).matches
    assert match.line_number == 3


async def test_one_file_can_be_searched_and_what_is_none_is_an_error(
    session: AsyncSession,
) -> None:
    await session.write_file("s7/f", "x\n")
    assert places(await session.search("x", "s7/f")) == [("s7/f", 1, "x")]
    await session.exec(["sh", "-c", "cd s7; mkfifo p; ln -s /etc out; ln -s f in; ln -s . loop"])
    assert places(await session.search("x", "s7")) == [("s7/f", 1, "x")]
    with pytest.raises(FileMissingError):
        await session.search("x", "s7/none")
    with pytest.raises(NotRegularFileError):
        await session.search("x", "s7/p")
    with pytest.raises(PathEscapesError):
        await session.search("x", "s7/out")
    found = await session.search("^root:", "/etc", root="/", include=["passwd"])
    assert places(found) == [("/etc/passwd", 1, "root:")]


@pytest.mark.parametrize(
    ("pattern", "hint"),
    [
        ("(", "never closed"),
        ("a)", "closes nothing"),
        ("*a", "nothing here to be repeated"),
        ("a**", "repeat of a repeat"),
        ("(?=a)", "look-ahead"),
        ("(?<!a)b", "look-behind"),
        (r"(a)\1", "reference to a group"),
        ("(?P=a)", "reference to a group"),
        ("(?>a)", "atomic"),
        ("a++", "possessive"),
        ("(a*)*", "match nothing"),
        (r"a\nb", "line end"),
        ("[a", "never closed"),
        ("[z-a]", "range"),
        (r"\p{L}", "not possible"),
        ("a{2,1}", "above the most"),
        ("((a{500}){500})", "steps"),
        ("", "1 to 4096"),
    ],
)
async def test_a_pattern_that_is_none_here_is_refused_with_what_is_wrong(
    session: AsyncSession, pattern: str, hint: str
) -> None:
    with pytest.raises(InvalidRequestError, match=re.escape(hint)):
        await session.search(pattern)


async def test_other_values_are_checked_before_anything_is_sent(session: AsyncSession) -> None:
    with pytest.raises(InvalidRequestError, match="max_matches"):
        await session.search("x", max_matches=0)
    with pytest.raises(InvalidRequestError, match="context"):
        await session.search("x", context=-1)
    with pytest.raises(InvalidRequestError, match="include"):
        await session.search("x", include="*.py")
    with pytest.raises(InvalidRequestError, match="whole directories"):
        await session.search("x", include=["a**b"])
    with pytest.raises(InvalidRequestError, match="line end"):
        await session.search("a\nb", regex=False)
    with pytest.raises(InvalidPathError):
        await session.search("x", "../up")


@pytest.mark.engines("docker", "memory")
async def test_no_time_is_a_result_too(session: AsyncSession) -> None:
    await session.write_file("s8/f", "x\n")
    result = await session.search("x", "s8", timeout=0)
    assert (result.stopped_by, result.matches) == ("time", ())


@pytest.mark.parametrize(
    "pattern",
    [
        r"(a+)+$",
        r"(a|a)*c",
        r"(a|aa)+$",
        r"a.*a.*a.*a.*a.*b",
        r"(a|b)*a(a|b){12}[c-d]",
    ],
)
async def test_a_pattern_that_hangs_others_takes_the_time_of_a_line(
    session: AsyncSession, pattern: str
) -> None:
    await session.write_file("s9/f", "a" * 100_000 + "!\n")
    result = await session.search(pattern, "s9", timeout=None)
    assert result.matches == ()
    assert result.files_searched == 1


# --- glob -----------------------------------------------------------------------------------------


@pytest.mark.engines("docker", "memory")
async def test_a_glob_gives_entries_by_path(session: AsyncSession) -> None:
    await write_all(
        session,
        {f"g/{path}": "" for path in ("a.py", "b.pyc", "x/c.py", "x/y/d.py", "x/y/.e.py", "[z]")},
    )

    async def found(pattern: str, path: str = "g", exclude: tuple[str, ...] = ()) -> list[str]:
        return [entry.path for entry in await session.glob(pattern, path, exclude=exclude)]

    assert await found("*.py") == ["g/a.py"]
    assert await found("*") == ["g/[z]", "g/a.py", "g/b.pyc", "g/x"]
    assert await found("**/*.py") == ["g/a.py", "g/x/c.py", "g/x/y/.e.py", "g/x/y/d.py"]
    assert await found("x/**") == ["g/x/c.py", "g/x/y", "g/x/y/.e.py", "g/x/y/d.py"]
    assert await found("x/*/?.py") == ["g/x/y/d.py"]
    assert await found("g/{a,b}.py*", ".") == ["g/a.py", "g/b.pyc"]
    assert await found("[[]z]") == ["g/[z]"]
    assert await found("[!a-b]*") == ["g/[z]", "g/x"]
    assert await found("**/*.py", exclude=("y",)) == ["g/a.py", "g/x/c.py"]
    assert await found("none/*.py") == []
    assert await found("a.py/*.py") == []
    with pytest.raises(FileMissingError):
        await found("*", "none")
    with pytest.raises(FileMissingError):
        await found("x/*", "none")
    with pytest.raises(FileNotDirectoryError):
        await found("*", "g/a.py")
    for wrong in ("/etc/*", "../*", "a//b", "a\\*", "", "[a", "{a", "a**"):
        with pytest.raises(InvalidRequestError):
            await found(wrong)


@pytest.mark.engines("docker", "memory")
async def test_a_missing_directory_in_a_glob_is_no_match_whatever_is_beside_it(
    session: AsyncSession,
) -> None:
    await write_all(session, {"beside/a": "", "beside/b": "", "beside/c/d": ""})
    assert await session.glob("none/*", "beside") == []


async def test_files_of_another_user_that_are_closed_are_counted(api: Api) -> None:
    async with api.session(SCRATCH, user="1000:1000") as session:
        await session.write_file("open", "x\n")
        await session.write_file("closed", "x\n", mode=0)
        result = await session.search("x")
        assert places(result) == [("open", 1, "x")]
        assert result.skipped_unreadable == 1


async def test_a_glob_passes_by_what_is_closed_and_counts_it(api: Api) -> None:
    async with api.session(BUSYBOX, user="1000:1000") as session:
        await write_all(
            session,
            {"a.py": "", "closed/b.py": "", "named/c.py": "", "named/d.txt": "", "x/y/e.py": ""},
        )
        # Nothing of the first can be read; of the second, which lacks the right to search, names.
        await session.exec(["sh", "-c", "chmod 0 closed && chmod 400 named"], check=True)

        async def found(pattern: str, path: str = ".") -> tuple[list[str], int]:
            entries = await session.glob(pattern, path)
            return [entry.path for entry in entries], entries.skipped_unreadable

        # The directory, and the one name that would match.
        assert await found("**/*.py") == (["a.py", "x/y/e.py"], 2)
        assert await found("x/**") == (["x/y", "x/y/e.py"], 0)
        # Nobody looks into it for this.
        assert await found("close?") == (["closed"], 0)
        # Plain names in front are directories like those that a wildcard stands for.
        assert await found("{closed,x}/*/*.py") == (["x/y/e.py"], 1)
        assert await found("closed/*.py") == ([], 1)
        entries = await session.glob("**/*.py", exclude=("closed", "named"))
        assert entries.skipped_unreadable == 0
        # What was asked for itself is an error.
        for path in ("closed", "named"):
            with pytest.raises(FilePermissionError):
                await session.glob("*.py", path)


async def test_a_glob_of_everything_comes_to_its_end(nonroot: AsyncSession) -> None:
    # Other users' processes are in /proc, with directories and links that are closed.
    entries = await nonroot.glob("**/maps", root="/", path="/")
    assert entries.skipped_unreadable > 0
    assert "/proc/1/maps" in {entry.path for entry in entries}
