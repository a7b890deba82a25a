"""``fumehood run --tty``: a new session's command at the terminal at hand."""

from __future__ import annotations

import pytest

from cli.person import Person
from cli.program import Fumehood, containers

pytestmark = pytest.mark.engine


def test_a_command_has_this_terminal_and_its_session_goes_with_it(new_id: str) -> None:
    script = 'stty size; echo $A $TERM; read line; echo "got $line"; exit 4'
    words = ["--id", new_id, "--env", "A=b", "--env", "TERM=vt100", "--tty"]
    person = Person("run", *words, "--", "sh", "-c", script)
    person.sees("30 90\r\nb vt100\r\n")
    person.types("typed\r")
    person.sees("got typed\r\n")
    assert person.code() == 4
    assert containers(new_id) == []


def test_without_a_command_it_is_a_shell_of_its_own(new_id: str) -> None:
    person = Person("run", "--id", new_id, "-t")
    person.types("PS1='$?> '\r")
    person.sees("0> ")
    # Ctrl-C is the shell's own, Ctrl-D ends it.
    person.types("sh -c 'echo i\"\"n; exec sleep 1000'\r")
    person.sees("\rin\r\n")
    person.types("\x03")
    person.sees("130> ")
    person.types("(exit 3)\r")
    person.sees("3> ")
    person.types("\x04")
    assert person.code() == 3
    assert containers(new_id) == []


def test_a_hang_up_leaves_no_session(new_id: str) -> None:
    person = Person("run", "--id", new_id, "--tty", "--", "sh", "-c", "echo read''y; exec cat")
    person.sees("ready")
    person.types("\x1d\x1d\x1d")
    person.sees("left: what ran there is hung up")
    assert person.code() == 0
    assert containers(new_id) == []


def test_there_must_be_a_terminal(fumehood: Fumehood) -> None:
    ended = fumehood("run", "--tty", "--", "true")
    assert ended.code == 2
    assert "is for a terminal" in ended.errors


@pytest.mark.parametrize("words", [["--timeout", "5s"], ["--raw"], ["--stdin"]])
def test_what_a_terminal_does_not_have_is_refused(words: list[str]) -> None:
    person = Person("run", "--tty", *words, "--", "true")
    person.sees("a terminal does without it")
    assert person.code() == 2
