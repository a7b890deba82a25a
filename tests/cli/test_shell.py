"""``fumehood shell``: a person's terminal, and that it is given back whatever ends the shell."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.person import AROUND, Person
from cli.program import PATIENCE, Fumehood, containers, environment
from fumehood.cli.shell import Leaving

pytestmark = pytest.mark.engine

# Draws a frame with its size in the middle on the other screen, again when the size has changed;
# any key ends it.
FULL_SCREEN = """
import os, signal, sys, termios, tty
modes = termios.tcgetattr(0)
tty.setraw(0)
def draw(*_):
    size = os.get_terminal_size(0)
    rows, cols = size.lines, size.columns
    out = "\\x1b[2J\\x1b[H+" + "-" * (cols - 2) + "+"
    for row in range(2, rows):
        out += f"\\x1b[{row};1H|\\x1b[{row};{cols}H|"
    out += f"\\x1b[{rows};1H+" + "-" * (cols - 2)
    out += f"\\x1b[{rows // 2};10H\\x1b[1mwindow {cols}x{rows}\\x1b[0m"
    os.write(1, out.encode())
signal.signal(signal.SIGWINCH, draw)
os.write(1, b"\\x1b[?1049h\\x1b[?25l")
draw()
os.read(0, 1)
os.write(1, b"\\x1b[?25h\\x1b[?1049l")
termios.tcsetattr(0, termios.TCSANOW, modes)
print("left the window")
"""


def test_a_person_works_in_it(session: str) -> None:
    person = Person("shell", session)
    person.types('PS1="\\$TERM-\\$(stty size)> "\r')
    person.sees("xterm-30 90> ")
    # What the line is echoed as is not what it says.
    person.types("sh -c 'echo i\"\"n; exec sleep 1000'\r")
    person.sees("\rin\r\n")
    # Ctrl-C is the sleep's alone; Ctrl-Z stops it, and the shell has it back.
    person.types("\x03")
    person.sees("xterm-30 90> ")
    person.types("echo $?\r")
    person.sees("130\r\n")
    person.types("sh -c 'echo i\"\"n; exec cat'\r")
    person.sees("\rin\r\n")
    person.types("\x1a")
    person.sees("Stopped")
    person.sees("xterm-30 90> ")
    person.types("fg\r")
    person.sees("exec cat'\r\n")
    # A line's end in the modes of the shell as well as in those of its job.
    person.types("hello\n")
    person.sees("hello\r\nhello\r\n")
    person.types("\x04")
    person.sees("xterm-30 90> ")
    person.terminal.setwinsize(41, 123)
    person.types("while [ $(stty size | tr -d ' ') != 41123 ]; do :; done; echo re'sized'\r")
    person.sees("\rresized\r\n")
    person.sees("xterm-41 123> ")
    person.types("(exit 7)\r")
    person.sees("xterm-41 123> ")
    person.types("\x04")
    assert person.code() == 7


def test_a_command_its_user_and_its_environment_are_the_callers(session: str) -> None:
    script = "id -u; echo $A $TERM; pwd; exit 4"
    words = ["--user", "1000", "--env", "A=b", "--env", "TERM=vt100", "--workdir", "/tmp"]
    person = Person("shell", *words, session, "--", "sh", "-c", script)
    person.sees("1000\r\nb vt100\r\n/tmp\r\n")
    assert person.code() == 4


def test_leaving_hangs_it_up_and_the_session_stays(fumehood: Fumehood, session: str) -> None:
    person = Person(
        "shell", session, "--", "sh", "-c", "stty raw -echo; echo ready; od -An -tx1 -v"
    )
    person.sees("ready")
    # Two of them are keys like any other.
    person.types("\x1d\x1da\x1d\x1d" + "b" * 11)
    person.sees("1d 1d 61 1d 1d 62")
    person.types("\x1d\x1d\x1d")
    person.sees("fumehood: left")
    assert person.code() == 0
    assert fumehood("exec", session, "--", "pgrep", "-x", "od").code == 1


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)]
)
def test_a_signal_gives_the_terminal_back(session: str, number: signal.Signals, code: int) -> None:
    # In the other screen, without a cursor, with a mouse that reports.
    script = "printf '\\033[?1049h\\033[?25l\\033[?1000h'; stty raw; echo ready; sleep 1000"
    person = Person("shell", session, "--", "sh", "-c", script)
    person.sees("ready")
    os.kill(person.pid(), number)
    for mode in ("\x1b[?47l", "\x1b[?1000l", "\x1b[?25h"):
        person.sees(mode)
    assert person.code() == code


def test_a_session_that_ends_gives_the_terminal_back(fumehood: Fumehood, new_id: str) -> None:
    assert fumehood("run", "--detach", "--ttl", "5m", "--id", new_id).code == 0
    person = Person("shell", new_id, "--", "sh", "-c", "stty raw; echo ready; sleep 1000")
    person.sees("ready")
    assert fumehood("rm", new_id).code == 0
    person.sees("fumehood: error: ")
    assert person.code() == 125
    assert containers(new_id) == []


def test_what_cannot_be_run_is_said_and_nothing_is_changed(session: str) -> None:
    for words, said, code in (
        ((session, "--", "no-such-program"), "there is no program 'no-such-program'", 127),
        ((session, "--", "/etc/passwd"), "'/etc/passwd' cannot be executed", 126),
        (("--user", "stranger", session), "'stranger' is not known", 125),
        (("no-such-session",), "no-such-session", 125),
    ):
        person = Person("shell", *words)
        person.sees(said)
        assert person.code() == code
    person = Person("shell", session, "--", "sh", "-c", "kill -9 $$")
    person.sees("was ended by signal 9")
    assert person.code() == 137


def test_an_image_without_a_shell_is_said_to_have_none(fumehood: Fumehood, new_id: str) -> None:
    made = fumehood(
        "run", "--detach", "--ttl", "5m", "--id", new_id, "--image", "fumehood/test-scratch"
    )
    assert made.code == 0, made.errors
    person = Person("shell", new_id)
    person.sees("this image has no shell: name a program")
    assert person.code() == 127
    assert fumehood("rm", new_id).code == 0


def test_without_a_terminal_there_is_none(fumehood: Fumehood) -> None:
    done = fumehood("shell", "whatever", input=b"echo hello\n")
    assert done.code == 2
    assert "is for a terminal" in done.errors
    assert "fumehood exec" in done.errors


def test_only_three_at_once_leave() -> None:
    assert Leaving().seen(b"\x1d\x1d\x1d", 0.0)
    assert Leaving().seen(b"\x1da\x1d\x1d\x1d", 0.0)
    assert not Leaving().seen(b"\x1d\x1da\x1d", 0.0)
    slowly = Leaving()
    assert not slowly.seen(b"\x1d", 0.0)
    assert not slowly.seen(b"\x1d", 0.9)
    assert not slowly.seen(b"\x1d", 1.1)
    assert slowly.seen(b"\x1d", 1.8)


# --- in a real terminal emulator -----------------------------------------------------------------


class Tmux:
    """A terminal emulator that says what is on its screen."""

    def __init__(self, directory: Path, *words: str) -> None:
        self._socket = directory / "tmux"
        command = ["sh", "-c", AROUND + "; read _", "sh", *Fumehood.words(*words)]
        self("-f", "/dev/null", "new-session", "-d", "-x", "90", "-y", "30", *command)

    def __call__(self, *words: str) -> str:
        done = subprocess.run(
            ["tmux", "-S", str(self._socket), *words],
            env=environment(TERM="xterm"),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=True,
        )
        return done.stdout

    def screen(self) -> str:
        return self("capture-pane", "-p", "-J")

    def wait_for(self, pattern: str) -> re.Match[str]:
        deadline = time.monotonic() + PATIENCE
        while (found := re.search(pattern, self.screen(), re.DOTALL)) is None:
            assert time.monotonic() < deadline, f"{pattern!r} never came: {self.screen()}"
        return found

    def shows(self, name: str) -> str:
        return self("display-message", "-p", f"#{{{name}}}").strip()


@pytest.fixture
def emulator(tmp_path: Path, session: str) -> Iterator[Tmux]:
    made = Tmux(tmp_path, "shell", session, "--", "python3", "-c", FULL_SCREEN)
    yield made
    made("kill-server")


def test_a_full_screen_program_is_drawn_and_drawn_again(emulator: Tmux) -> None:
    emulator.wait_for(r"window 90x30")
    lines = emulator.screen().splitlines()
    assert lines[0] == "+" + "-" * 88 + "+"
    assert all(line.startswith("|") and line.rstrip().endswith("|") for line in lines[1:29])
    assert lines[14][9:21] == "window 90x30"
    assert (emulator.shows("alternate_on"), emulator.shows("cursor_flag")) == ("1", "0")
    emulator("resize-window", "-x", "60", "-y", "20")
    emulator.wait_for(r"window 60x20")
    lines = emulator.screen().splitlines()
    assert lines[0] == "+" + "-" * 58 + "+"
    assert lines[9][9:21] == "window 60x20"
    emulator("send-keys", "x")
    found = emulator.wait_for(r"before=(\S+)\s.*left the window\s.*after=(\S+) code=(\d+)")
    assert found[1] == found[2]
    assert found[3] == "0"
    assert (emulator.shows("alternate_on"), emulator.shows("cursor_flag")) == ("0", "1")
