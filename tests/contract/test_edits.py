"""Edits that do what was meant or nothing: exact text, whole patches, no write of others lost."""

from __future__ import annotations

import asyncio

import pytest

from fumehood import (
    AsyncSession,
    EditError,
    FileChangedError,
    FileMissingError,
    InvalidPathError,
    InvalidRequestError,
    PatchedFile,
    PatchError,
)

pytestmark = pytest.mark.engines("docker", "memory")

GREETING = "def greet(name):\n    print('hello ' + name)\n\n\ndef part():\n    print('bye')\n"


# --- replace --------------------------------------------------------------------------------------


async def test_a_text_that_is_there_once_is_replaced_and_the_mode_stays(
    session: AsyncSession,
) -> None:
    await session.write_file("e1/f.py", GREETING, mode=0o751)
    assert await session.replace("e1/f.py", "'hello ' + name", "f'hello {name}'") == 1
    text = await session.read_text_file("e1/f.py")
    assert text == GREETING.replace("'hello ' + name", "f'hello {name}'")
    assert (await session.stat("e1/f.py")).mode == 0o751


async def test_a_text_that_is_not_there_as_often_as_said_changes_nothing(
    session: AsyncSession,
) -> None:
    await session.write_file("e2/f", GREETING)
    with pytest.raises(EditError, match="2 times, not 1") as caught:
        await session.replace("e2/f", "print(", "log(")
    assert (caught.value.found, caught.value.lines) == (2, (2, 6))
    assert caught.value.path == "e2/f"
    with pytest.raises(EditError, match="not there") as caught:
        await session.replace("e2/f", "  print('bye')\n  exit()", "x")
    assert (caught.value.found, caught.value.lines) == (0, (6,))
    assert await session.read_text_file("e2/f") == GREETING
    assert await session.replace("e2/f", "print(", "log(", count=2) == 2
    assert await session.replace("e2/f", "log(", "say(", count="all") == 2
    assert await session.read_text_file("e2/f") == GREETING.replace("print(", "say(")
    with pytest.raises(EditError):
        await session.replace("e2/f", "none", "x", count="all")


async def test_occurrences_that_overlap_are_not_taken_for_one(session: AsyncSession) -> None:
    await session.write_file("e3/f", "aaa")
    with pytest.raises(EditError, match="overlap"):
        await session.replace("e3/f", "aa", "b")


async def test_line_ends_stay_as_they_are(session: AsyncSession) -> None:
    await session.write_file("e4/f", b"one\r\ntwo\r\nthree\r\n")
    assert await session.replace("e4/f", "one\ntwo\n", "1\n2\n") == 1
    assert await session.read_file("e4/f") == b"1\r\n2\r\nthree\r\n"
    await session.write_file("e4/mixed", b"one\r\ntwo\n")
    with pytest.raises(EditError):
        await session.replace("e4/mixed", "one\ntwo", "x")


async def test_bytes_that_are_no_text_are_kept(session: AsyncSession) -> None:
    await session.write_file("e5/f", b"\xff\xfe old \x00 \x80")
    await session.replace("e5/f", "old", "nëw")
    assert await session.read_file("e5/f") == b"\xff\xfe n\xc3\xabw \x00 \x80"


async def test_values_of_replace_are_checked(session: AsyncSession) -> None:
    with pytest.raises(InvalidRequestError):
        await session.replace("f", "", "x")
    with pytest.raises(InvalidRequestError, match="count"):
        await session.replace("f", "a", "x", count=0)
    with pytest.raises(InvalidPathError):
        await session.replace("/etc/passwd", "a", "b")
    with pytest.raises(FileMissingError):
        await session.replace("e6/none", "a", "b")


async def test_a_file_that_others_write_to_is_never_overwritten(session: AsyncSession) -> None:
    words = [f"<{number}>" for number in range(20)]
    await session.write_file("e7/f", "".join(words))

    async def edit(word: str) -> str:
        try:
            await session.replace("e7/f", word, f"[{word[1:-1]}]")
        except FileChangedError:
            return word
        return f"[{word[1:-1]}]"

    outcome = await asyncio.gather(*map(edit, words))
    # The guard looks just before the rename: two that are both past it can still lose one. What is
    # certain is that nobody's text was mixed with another's.
    text = await session.read_text_file("e7/f")
    assert all(word in text or f"[{word[1:-1]}]" in text for word in words)
    told = [word for word in outcome if word.startswith("<")]
    assert all(word in text for word in told)


# --- apply_patch ----------------------------------------------------------------------------------

PATCH = """\
diff --git a/one.txt b/one.txt
index 1111111..2222222 100644
--- a/one.txt
+++ b/one.txt
@@ -1,3 +1,3 @@
 first
-second
+2nd
 third
diff --git a/new.sh b/new.sh
new file mode 100755
--- /dev/null
+++ b/new.sh
@@ -0,0 +1,2 @@
+#!/bin/sh
+echo hi
diff --git a/old.txt b/old.txt
deleted file mode 100644
--- a/old.txt
+++ /dev/null
@@ -1 +0,0 @@
-gone
\\ No newline at end of file
diff --git a/name.txt b/sub/renamed.txt
similarity index 50%
rename from name.txt
rename to sub/renamed.txt
--- a/name.txt
+++ b/sub/renamed.txt
@@ -1,2 +1,2 @@
 keep
-this
+that
"""


async def lay(session: AsyncSession, base: str) -> None:
    await session.write_file(f"{base}/one.txt", "first\nsecond\nthird\n", mode=0o640)
    await session.write_file(f"{base}/old.txt", "gone")
    await session.write_file(f"{base}/name.txt", "keep\nthis\n", mode=0o600)


async def test_a_patch_changes_makes_removes_and_renames_files(session: AsyncSession) -> None:
    await lay(session, "p1")
    done = await session.apply_patch(PATCH, path="p1")
    assert done == (
        PatchedFile(path="p1/one.txt", action="modified", hunks=1),
        PatchedFile(path="p1/new.sh", action="created", hunks=1),
        PatchedFile(path="p1/old.txt", action="deleted", hunks=1),
        PatchedFile(path="p1/sub/renamed.txt", action="renamed", hunks=1, old_path="p1/name.txt"),
    )
    entries = {entry.path: entry.mode for entry in await session.glob("**", "p1")}
    assert entries == {
        "p1/one.txt": 0o640,
        "p1/new.sh": 0o755,
        "p1/sub": 0o755,
        "p1/sub/renamed.txt": 0o600,
    }
    assert await session.read_text_file("p1/one.txt") == "first\n2nd\nthird\n"
    assert await session.read_text_file("p1/new.sh") == "#!/bin/sh\necho hi\n"
    assert await session.read_text_file("p1/sub/renamed.txt") == "keep\nthat\n"


EMPTY = """\
diff --git a/pkg/__init__.py b/pkg/__init__.py
new file mode 100644
index 0000000..e69de29
diff --git "a/pkg/\\303\\244 b" "b/pkg/\\303\\244 b"
new file mode 100755
index 0000000..e69de29
diff --git a/my empty file b/my empty file
deleted file mode 100644
index e69de29..0000000
diff --git a/one.txt b/one.txt
--- a/one.txt
+++ b/one.txt
@@ -1 +1 @@
-first
+1st
"""


async def test_empty_files_come_and_go_as_git_writes_them(session: AsyncSession) -> None:
    await lay(session, "p7")
    await session.write_file("p7/my empty file", "")
    assert await session.apply_patch(EMPTY, path="p7") == (
        PatchedFile(path="p7/pkg/__init__.py", action="created", hunks=0),
        PatchedFile(path="p7/pkg/ä b", action="created", hunks=0),
        PatchedFile(path="p7/my empty file", action="deleted", hunks=0),
        PatchedFile(path="p7/one.txt", action="modified", hunks=1),
    )
    made = {entry.path: (entry.size, entry.mode) for entry in await session.list_files("p7/pkg")}
    assert made == {"p7/pkg/__init__.py": (0, 0o644), "p7/pkg/ä b": (0, 0o755)}
    assert not await session.exists("p7/my empty file")


async def test_an_empty_file_is_neither_made_over_another_nor_deleted_with_something_in_it(
    session: AsyncSession,
) -> None:
    await lay(session, "p8")
    for line, hint in (("new file", "it is there"), ("deleted file", "not be empty")):
        with pytest.raises(PatchError, match=hint):
            await session.apply_patch(
                f"diff --git a/one.txt b/one.txt\n{line} mode 100644\n", path="p8"
            )
    assert await session.read_text_file("p8/one.txt") == "first\nsecond\nthird\n"


async def test_one_hunk_that_does_not_fit_leaves_every_file_as_it_was(
    session: AsyncSession,
) -> None:
    await lay(session, "p2")
    await session.write_file("p2/name.txt", "keep\nsomething else\n")
    with pytest.raises(PatchError, match="hunk 1") as caught:
        await session.apply_patch(PATCH, path="p2")
    assert (caught.value.path, caught.value.hunk) == ("p2/name.txt", 1)
    assert caught.value.written == ()
    assert [entry.name for entry in await session.list_files("p2")] == [
        "name.txt",
        "old.txt",
        "one.txt",
    ]
    assert await session.read_text_file("p2/one.txt") == "first\nsecond\nthird\n"


async def test_a_hunk_with_a_wrong_line_goes_to_the_only_place_where_it_fits(
    session: AsyncSession,
) -> None:
    body = "".join(f"{number}\n" for number in range(100))
    await session.write_file("p3/f", body)
    patch = "--- f\n+++ f\n@@ -1,3 +1,3 @@\n 49\n-50\n+fifty\n 51\n"
    await session.apply_patch(patch, path="p3")
    assert await session.read_text_file("p3/f") == body.replace("\n50\n", "\nfifty\n")
    await session.write_file("p3/twice", "x\na\ny\nx\na\ny\n")
    patch = "--- twice\n+++ twice\n@@ -9,3 +9,3 @@\n x\n-a\n+b\n y\n"
    with pytest.raises(PatchError, match="more context") as caught:
        await session.apply_patch(patch, path="p3")
    assert caught.value.lines == (1, 4)


async def test_what_a_patch_must_find_is_checked(session: AsyncSession) -> None:
    await session.write_file("p4/f", "one\n")
    there = "--- /dev/null\n+++ b/f\n@@ -0,0 +1 @@\n+x\n"
    with pytest.raises(PatchError, match="it is there"):
        await session.apply_patch(there, path="p4")
    more = "--- a/f\n+++ /dev/null\n@@ -0,0 +0,0 @@\n"
    with pytest.raises(PatchError, match="not be empty"):
        await session.apply_patch(more, path="p4")
    with pytest.raises(FileMissingError):
        await session.apply_patch("--- a/g\n+++ b/g\n@@ -1 +1 @@\n-x\n+y\n", path="p4")
    for wrong in ("../f", "/etc/passwd", "a/../../f"):
        patch = f"--- a/{wrong}\n+++ b/{wrong}\n@@ -1 +1 @@\n-x\n+y\n"
        with pytest.raises(InvalidPathError):
            await session.apply_patch(patch, path="p4")
    assert await session.read_text_file("p4/f") == "one\n"


@pytest.mark.parametrize(
    ("patch", "hint"),
    [
        ("", "no file is named"),
        ("hello\n", "no file is named"),
        ("@@ -1 +1 @@\n-x\n+y\n", "without the '---'"),
        ("--- a/f\n+++ b/f\n", "no hunk"),
        ("--- a/f\n+++ b/f\n@@ -1,2 +1 @@\n-x\n", "before its counts"),
        ("--- a/f\n+++ b/f\n@@ -1 +1 @@\n-x\n?y\n", "begins with"),
        ("--- a/f\n+++ b/f\n@@ -1 +1 @@\n-x\n-y\n", "more lines"),
        ("--- a/f\n+++ b/f\n@@ one @@\n", "begins with '@@"),
        ("diff --git a/f b/f\nGIT binary patch\n", "binary"),
        ("diff --git a/f b/f\nnew file mode 120000\n", "regular"),
        ("diff --git a/f b/f\nold mode 100644\nnew mode 100755\n", "mode alone"),
        ("diff --git a/f b/gg\nnew file mode 100644\n", "two names"),
        ("diff --git a/f b/g\ndeleted file mode 100644\n", "two names"),
        ("diff --git \nnew file mode 100644\n", "empty file name"),
    ],
)
async def test_what_is_no_patch_is_refused_with_its_line(
    session: AsyncSession, patch: str, hint: str
) -> None:
    with pytest.raises(InvalidRequestError, match=hint) as caught:
        await session.apply_patch(patch)
    assert "patch, line" in caught.value.message


async def test_a_patch_keeps_crlf_and_a_missing_last_line_end(session: AsyncSession) -> None:
    await session.write_file("p5/f", b"one\r\ntwo\r\n")
    await session.apply_patch("--- a/f\n+++ b/f\n@@ -2 +2 @@\n-two\n+2\n", path="p5")
    assert await session.read_file("p5/f") == b"one\r\n2\r\n"
    await session.write_file("p5/g", "x\nend")
    patch = (
        "--- a/g\n+++ b/g\n@@ -2 +2,2 @@\n-end\n\\ No newline at end of file\n"
        "+end\n+more\n\\ No newline at end of file\n"
    )
    await session.apply_patch(patch, path="p5")
    assert await session.read_file("p5/g") == b"x\nend\nmore"


# In memory no mode forbids anything.
@pytest.mark.engines("docker")
async def test_a_patch_that_cannot_be_written_in_the_middle_says_what_has_changed(
    nonroot: AsyncSession,
) -> None:
    await nonroot.write_file("p6/a", "x\n")
    await nonroot.write_file("p6/closed/b", "x\n", mode=0o444)
    patch = "".join(
        f"--- a/{name}\n+++ b/{name}\n@@ -1 +1 @@\n-x\n+y\n" for name in ("a", "closed/b")
    )
    with pytest.raises(PatchError, match="changed before: p6/a") as caught:
        await nonroot.apply_patch(patch, path="p6")
    assert caught.value.written == ("p6/a",)
    assert caught.value.path == "p6/closed/b"
    assert await nonroot.read_text_file("p6/closed/b") == "x\n"
