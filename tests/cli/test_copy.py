from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from cli.program import Fumehood, Outcome

pytestmark = pytest.mark.engine


def sh(fumehood: Fumehood, session: str, script: str) -> Outcome:
    ended = fumehood("exec", session, "--", "sh", "-c", script)
    assert ended.code == 0, ended.errors
    return ended


def below(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))


def test_a_file_goes_in_and_comes_out(fumehood: Fumehood, session: str) -> None:
    here = fumehood.cwd
    (here / "run.sh").write_bytes(b"echo \xff\x00")
    (here / "run.sh").chmod(0o700)
    assert fumehood("cp", "run.sh", f"{session}:").code == 0
    assert fumehood("cp", "run.sh", f"{session}:in/new/name").code == 0
    assert fumehood("cp", "run.sh", f"{session}:in/").code == 0
    assert fumehood("cp", "run.sh", f"{session}:/tmp").code == 0
    found = sh(fumehood, session, "stat -c '%a %s %n' run.sh in/new/name in/run.sh /tmp/run.sh")
    assert found.text.splitlines() == [
        "700 7 run.sh", "700 7 in/new/name", "700 7 in/run.sh", "700 7 /tmp/run.sh",
    ]  # fmt: skip
    out = here / "out"
    out.mkdir()
    assert fumehood("cp", f"{session}:run.sh", "copy").code == 0
    assert fumehood("cp", f"{session}:run.sh", "out").code == 0
    assert fumehood("cp", f"{session}:/etc/hostname", "./with:colon").code == 0
    assert below(here) == ["copy", "out", "out/run.sh", "run.sh", "with:colon"]
    assert (here / "copy").read_bytes() == b"echo \xff\x00"
    assert (here / "copy").stat().st_mode & 0o111
    assert not (here / "with:colon").stat().st_mode & 0o111


@pytest.mark.slow
def test_a_large_file_goes_both_ways_unchanged(fumehood: Fumehood, session: str) -> None:
    piece = hashlib.sha256(b"seed").digest() * 32768
    digest = hashlib.sha256()
    with (fumehood.cwd / "large").open("wb") as file:
        for _ in range(100):
            file.write(piece)
            digest.update(piece)
    assert fumehood("cp", "large", f"{session}:large").code == 0
    assert sh(fumehood, session, "sha256sum < large").text.split()[0] == digest.hexdigest()
    assert fumehood("cp", f"{session}:large", "back").code == 0
    with (fumehood.cwd / "back").open("rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == digest.hexdigest()


def test_a_tree_goes_in_without_what_leads_out_of_it(fumehood: Fumehood, session: str) -> None:
    tree = fumehood.cwd / "tree"
    (tree / "a" / "b").mkdir(parents=True)
    (tree / "a" / "b" / "f").write_text("f")
    (tree / "hollow").mkdir()
    (tree / "keys").symlink_to(Path.home())
    os.mkfifo(tree / "fifo")
    refused = fumehood("cp", "tree", f"{session}:")
    assert refused.code == 1
    assert "cp -r" in refused.errors
    copied = fumehood("cp", "-r", "tree", f"{session}:")
    assert copied.code == 0
    assert "not copied: fifo (no regular file)" in copied.errors
    assert "not copied: keys (a symbolic link)" in copied.errors
    assert "copied 1 file, 1 B" in copied.errors
    assert fumehood("cp", "-r", "-q", "tree", f"{session}:other").errors == ""
    assert fumehood("cp", "-r", "tree/.", f"{session}:/tmp/third/").code == 0
    found = sh(fumehood, session, "find tree other /tmp/third | sort")
    assert found.text.split() == [
        "/tmp/third", "/tmp/third/a", "/tmp/third/a/b", "/tmp/third/a/b/f", "/tmp/third/hollow",
        "other", "other/a", "other/a/b", "other/a/b/f", "other/hollow",
        "tree", "tree/a", "tree/a/b", "tree/a/b/f", "tree/hollow",
    ]  # fmt: skip


def test_a_tree_comes_out_as_files_and_directories_only(fumehood: Fumehood, session: str) -> None:
    sh(
        fumehood,
        session,
        "mkdir -p out/d out/hollow; echo f > out/d/f; echo x > out/x; chmod 4777 out/x;"
        "ln -s /etc/passwd out/link; ln -s / out/root; mkfifo out/fifo; ln out/x out/hard;"
        "printf e > \"$(printf 'out/evil\\033[2J')\"",
    )
    copied = fumehood("cp", "-r", f"{session}:out", "there")
    assert copied.code == 0
    assert below(fumehood.cwd / "there") == ["d", "d/f", "hard", "hollow", "x"]
    assert (fumehood.cwd / "there" / "x").stat().st_mode & 0o7000 == 0
    for name in ("link", "root", "fifo"):
        assert f"not copied: {name} (" in copied.errors
    assert "\x1b" not in copied.errors
    # Again, now into a directory that is there: below it, under the source's own name.
    assert fumehood("cp", "-r", f"{session}:out", "there").code == 0
    assert (fumehood.cwd / "there" / "out" / "d" / "f").read_text() == "f\n"
    # And the whole workspace: what it holds, without a name of its own.
    assert fumehood("cp", "-r", f"{session}:", "all").code == 0
    assert (fumehood.cwd / "all" / "out" / "x").read_text() == "x\n"


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("../../etc/passwd", 2),
        ("out/../../etc/passwd", 2),
        ("link", 1),
        ("root/etc/passwd", 1),
        ("fifo", 1),
        ("/dev/zero", 1),
        ("nothing", 1),
    ],
)
def test_what_leads_out_of_the_workspace_or_is_no_file_does_not_come(
    fumehood: Fumehood, session: str, path: str, code: int
) -> None:
    sh(fumehood, session, "ln -s /etc/passwd link; ln -s / root; mkfifo fifo")
    ended = fumehood("cp", f"{session}:{path}", "got")
    assert ended.code == code
    assert ended.errors.startswith("fumehood: error: ")
    assert ended.errors.count("\n") == 1
    assert below(fumehood.cwd) == []


@pytest.mark.parametrize("path", ["../x", "/../x", "root/tmp/x", "a/../../x"])
def test_nothing_is_written_out_of_the_workspace(
    fumehood: Fumehood, session: str, path: str
) -> None:
    sh(fumehood, session, "ln -s / root")
    (fumehood.cwd / "f").write_text("x")
    assert fumehood("cp", "f", f"{session}:{path}").code in (1, 2)
    sh(fumehood, session, "! ls /tmp/x /x 2>/dev/null")


def test_local_links_are_replaced_or_refused_and_never_followed(
    fumehood: Fumehood, session: str
) -> None:
    sh(fumehood, session, "mkdir d; echo new > d/f; echo new > f")
    outside = fumehood.cwd / "outside"
    outside.mkdir()
    (outside / "f").write_text("old")
    here = fumehood.cwd / "here"
    here.mkdir()
    (here / "f").symlink_to(outside / "f")
    (here / "d").symlink_to(outside)
    assert fumehood("cp", f"{session}:f", "here/f").code == 0
    assert (here / "f").read_text() == "new\n"
    refused = fumehood("cp", "-r", f"{session}:d", "here")
    assert refused.code == 1
    assert (outside / "f").read_text() == "old"


def test_more_than_was_allowed_does_not_come_and_leaves_nothing(
    fumehood: Fumehood, session: str
) -> None:
    sh(fumehood, session, "mkdir t; truncate -s 1T sparse; truncate -s 900K t/a t/b")
    for words in (["sparse"], ["-r", "t"]):
        *options, path = words
        ended = fumehood("cp", *options, "--max-size", "1m", f"{session}:{path}", "got")
        assert ended.code == 1
        assert "--max-size" in ended.errors
    assert below(fumehood.cwd) == []


def test_a_file_larger_than_the_sessions_limit_is_refused(fumehood: Fumehood, new_id: str) -> None:
    made = fumehood("run", "--detach", "--ttl", "5m", "--id", new_id, "--max-file", "1m")
    assert made.code == 0
    try:
        (fumehood.cwd / "large").write_bytes(bytes(2 << 20))
        ended = fumehood("cp", "large", f"{new_id}:")
        assert ended.code == 1
        assert "Limits.max_file_bytes is 1048576" in ended.errors
        assert sh(fumehood, new_id, "ls -A").text == ""
    finally:
        assert fumehood("rm", new_id).code == 0


def test_a_file_of_proc_comes_although_it_says_it_is_empty(
    fumehood: Fumehood, session: str
) -> None:
    assert fumehood("cp", f"{session}:/proc/version", "version").code == 0
    assert (fumehood.cwd / "version").read_text().startswith("Linux version")


def test_a_tree_is_copied_as_the_options_say(fumehood: Fumehood, session: str) -> None:
    tree = fumehood.cwd / "tree"
    (tree / ".git").mkdir(parents=True)
    (tree / ".git" / "config").write_text("x")
    (tree / "a.py").write_text("a")
    (tree / "a.pyc").write_text("b")
    (tree / "link").symlink_to("a.py")
    words = ["-r", "--ignore", ".git/", "--ignore", "*.pyc", "--symlinks", "keep", "--verify"]
    assert fumehood("cp", *words, "tree", f"{session}:").code == 0
    found = sh(fumehood, session, "cd tree && ls -A && readlink link")
    assert found.text.split() == ["a.py", "link", "a.py"]
    again = fumehood("cp", "-r", "-u", "--ignore", ".git/", "tree/.", f"{session}:tree")
    assert again.code == 0
    assert "copied 1 file, 1 B, 1 were the same" in again.errors
    refused = fumehood("cp", "-r", "--symlinks", "perhaps", "tree", f"{session}:")
    assert refused.code == 2
    assert "'keep', 'follow' or 'skip'" in refused.errors
