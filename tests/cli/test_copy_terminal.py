"""``fumehood cp`` at a terminal: a bar on standard error, and nothing of it anywhere else."""

from __future__ import annotations

import errno
import os
import re
import subprocess

import pytest

from cli.person import Person
from cli.program import PATIENCE, Fumehood, environment

pytestmark = pytest.mark.engine

# A name that would be markup, if names were.
NAME = "[b]large"
SIZE = 2 << 20
BAR = "━"
TRANSFERRED = r"2\.0/2\.0 MiB"
CURSOR_BACK = "\x1b[?25h"


def copies(fumehood: Fumehood, session: str) -> list[tuple[str, str]]:
    """Return the words of a copy each way, whose names are those of one file of 2 MiB."""
    (fumehood.cwd / NAME).write_bytes(bytes(SIZE))
    here = str(fumehood.cwd / NAME)
    return [(here, f"{session}:{NAME}"), (f"{session}:{NAME}", str(fumehood.cwd / "back"))]


def all_of(terminal: int) -> str:
    """Read what is written to a terminal until nobody has it open."""
    shown = b""
    while True:
        try:
            piece = os.read(terminal, 1 << 16)
        except OSError as exc:
            # So Linux tells that the last one has closed it.
            if exc.errno != errno.EIO:
                raise
            piece = b""
        if not piece:
            return shown.decode()
        shown += piece


def test_a_person_sees_a_bar_and_has_the_cursor_back(fumehood: Fumehood, session: str) -> None:
    for words in copies(fumehood, session):
        person = Person("cp", *words, COLUMNS="90")
        person.sees(NAME)
        person.finds(BAR.encode())
        person.finds(TRANSFERRED.encode())
        person.sees(CURSOR_BACK)
        assert person.code() == 0
    assert (fumehood.cwd / "back").stat().st_size == SIZE


def test_pipes_get_nothing_of_the_bar(fumehood: Fumehood, session: str) -> None:
    for words in copies(fumehood, session):
        done = fumehood("cp", *words, TERM="xterm")
        assert (done.code, done.out, done.err) == (0, b"", b"")


def test_a_pipe_beside_a_terminal_gets_nothing_of_the_bar(fumehood: Fumehood, session: str) -> None:
    for words in copies(fumehood, session):
        terminal, theirs = os.openpty()
        try:
            with subprocess.Popen(
                Fumehood.words("cp", *words),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=theirs,
                env=environment(TERM="xterm"),
            ) as process:
                os.close(theirs)
                shown = all_of(terminal)
                out, _ = process.communicate(timeout=PATIENCE)
        finally:
            os.close(terminal)
        assert (process.returncode, out) == (0, b"")
        assert BAR in shown
        assert re.search(TRANSFERRED, shown)
