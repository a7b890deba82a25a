"""Searching and watching a session's files, from a terminal."""

from __future__ import annotations

import json
import signal

import pytest

from cli.program import PATIENCE, Fumehood, Outcome

pytestmark = pytest.mark.engine


def sh(fumehood: Fumehood, session: str, script: str) -> Outcome:
    done = fumehood("exec", session, "--", "sh", "-c", script)
    assert done.code == 0, done.errors
    return done


def test_lines_that_match_are_printed_as_grep_prints_them(fumehood: Fumehood, session: str) -> None:
    sh(
        fumehood,
        session,
        "mkdir -p src .git && printf 'a\\nneedle 1\\nb\\nc\\nd\\nNeedle 2\\n' > src/x.py"
        " && echo 'needle.3' > src/y.txt && echo needle > .git/x && ln -s src/x.py link",
    )
    found = fumehood("grep", r"needle \d", session)
    assert (found.code, found.text, found.errors) == (0, "src/x.py:2:needle 1\n", "")
    found = fumehood("grep", "-i", "-C", "1", "--include", "*.py", "needle", f"{session}:src")
    assert found.text.splitlines() == [
        "src/x.py-1-a", "src/x.py:2:needle 1", "src/x.py-3-b", "--",
        "src/x.py-5-d", "src/x.py:6:Needle 2",
    ]  # fmt: skip
    found = fumehood("grep", "-lF", "needle.", session)
    assert found.text == "src/y.txt\n"
    found = fumehood("grep", "--json", "--exclude", "src", "needle", f"{session}:/workspace")
    assert [json.loads(line)["path"] for line in found.text.splitlines()] == ["/workspace/.git/x"]
    found = fumehood("grep", "--max-matches", "1", "-i", "needle", session)
    assert found.code == 0
    assert "ended early: --max-matches is reached" in found.errors


def test_the_exit_codes_are_those_of_grep(fumehood: Fumehood, session: str) -> None:
    assert fumehood("grep", "nothing has this", session).code == 1
    for words in (
        ["(", session],
        [r"(a)\1", session],
        ["x", f"{session}:not-there"],
        ["x", "no-such-session"],
        ["x", "./local"],
        ["--timeout", "soon", "x", session],
    ):
        ended = fumehood("grep", *words)
        assert ended.code == 2, (words, ended)
        assert ended.out == b""
        assert "Traceback" not in ended.errors


def test_what_a_file_holds_cannot_steer_the_terminal(fumehood: Fumehood, session: str) -> None:
    sh(fumehood, session, "printf 'x\\033[2Jx\\n' > \"$(printf 'n\\033]0;n')\"")
    for words in ([], ["-l"], ["--json"]):
        found = fumehood("grep", *words, "x", session)
        assert found.code == 0
        assert b"\x1b" not in found.out


def test_events_are_told_until_control_c(fumehood: Fumehood, session: str) -> None:
    sh(fumehood, session, "mkdir -p src/deep skipped")
    process = fumehood.start("watch", "--ignore", "skipped", session)
    assert process.stdout
    assert process.stderr
    assert process.stderr.readline() == b"fumehood: watching . (Ctrl-C ends it)\n"
    sh(
        fumehood,
        session,
        "echo 1 > skipped/x; echo 1 > \"$(printf 'src/deep/\\033[2J')\" && mv src/deep/* src/new",
    )
    told: list[bytes] = []
    while not told or b"src/new" not in told[-1]:
        told.append(process.stdout.readline())
        assert told[-1], "it ended"
    assert b"\x1b" not in b"".join(told)
    assert b"skipped" not in b"".join(told)
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE) == 130
    errors = process.stderr.read()
    assert b"Traceback" not in errors
    assert fumehood("exec", session, "--", "true").code == 0


def test_a_watch_ends_by_its_count_or_with_its_directory(fumehood: Fumehood, session: str) -> None:
    sh(fumehood, session, "mkdir -p one/two")
    flat = fumehood.start("watch", "--json", "--flat", "-n", "1", f"{session}:one")
    gone = fumehood.start("watch", f"{session}:/workspace/one/two")
    for process in (flat, gone):
        assert process.stderr
        assert b"watching" in process.stderr.readline()
    sh(fumehood, session, "echo 1 > one/two/deep && rm -r one/two")
    out, _ = flat.communicate(timeout=PATIENCE)
    event = json.loads(out)
    assert (event["kind"], event["path"], event["is_directory"]) == ("deleted", "one/two", True)
    assert flat.returncode == 0
    out, errors = gone.communicate(timeout=PATIENCE)
    assert out.decode().splitlines()[-1] == "deleted   /workspace/one/two"
    assert b"is gone" in errors
    assert gone.returncode == 1
    assert fumehood("watch", f"{session}:one/two").code == 1
    assert fumehood("watch", "-n", "0", session).code == 2
