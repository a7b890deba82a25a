"""Managed processes at the command line: each command is a client of its own."""

from __future__ import annotations

import json

import pytest

from cli.program import Fumehood

pytestmark = pytest.mark.engine


def test_a_process_is_started_listed_read_and_stopped(fumehood: Fumehood, session: str) -> None:
    script = "echo out; echo err >&2; exec sleep 1000"
    made = fumehood("exec", "--background", "--name", "web", session, "--", "sh", "-c", script)
    assert (made.code, made.errors) == (0, "")
    id = made.text.strip()
    followed = fumehood.start("logs", "-f", session, "web")
    assert followed.stdout
    assert followed.stderr
    assert followed.stdout.readline() == b"out\n"
    assert followed.stderr.readline() == b"err\n"
    [row] = [line for line in fumehood("ps", session).text.splitlines() if line.startswith(id)]
    assert row.split()[1:3] == ["web", "running"]
    shown = fumehood("logs", session, "web")
    assert (shown.text, shown.errors) == ("out\n", "err\n")
    assert fumehood("logs", "--tail", "1", session, id).errors == "err\n"
    assert fumehood("stop", session, "web").text == f"{id}\n"
    assert followed.wait(60) == 0
    followed.communicate()
    [found] = json.loads(fumehood("ps", "--json", session).text)
    assert (found["status"], found["signal"], found["name"]) == ("exited", 15, "web")


def test_what_is_missing_of_a_log_is_told(fumehood: Fumehood, session: str) -> None:
    script = "head -c 3000000 /dev/zero | tr '\\0' x"
    id = fumehood("exec", "--background", session, "--", "sh", "-c", script).text.strip()
    assert fumehood("logs", "-f", session, id).code == 0
    shown = fumehood("logs", session, id)
    assert shown.text == "x" * (1 << 20)
    assert "no longer kept" in shown.errors


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("exec", "--name", "web"), "--background"),
        (("exec", "--background", "--stdin"), "--background"),
        (("exec", "--background", "--name", "no good"), "name must be"),
    ],
)
def test_what_does_not_go_together_is_refused(
    fumehood: Fumehood, session: str, words: tuple[str, ...], what: str
) -> None:
    ended = fumehood(*words, session, "--", "true")
    assert ended.code == 2
    assert what in ended.errors
    assert fumehood("logs", session, "none").code == 1
