"""Terminals: a program at one finds a real one, and nobody waits for whom it leaves behind."""

from __future__ import annotations

import hashlib
import json
import signal

import pytest

from fumehood._wire.messages import Fail
from fumehood._wire.table import ErrorCode, ExecCode, Frame
from supervisor.conftest import Containers
from supervisor.container import Container, eventually
from supervisor.peer import Peer

LOOK = """
import fcntl, json, os, struct, sys, termios
name = os.ttyname(0)
status = os.stat(name)
print(json.dumps(dict(
    ttys=[os.isatty(fd) for fd in range(3)], same=len({os.ttyname(fd) for fd in range(3)}),
    fds=sorted(os.listdir('/proc/self/fd')), controlling=os.open('/dev/tty', os.O_RDWR) > 0,
    leader=os.getsid(0) == os.getpid(), foreground=os.tcgetpgrp(0) == os.getpgrp(),
    size=struct.unpack('HHHH', fcntl.ioctl(0, termios.TIOCGWINSZ, bytes(8)))[:2],
    owner=status.st_uid, mode=oct(status.st_mode & 0o7777), term=os.environ['TERM'],
    utf8=bool(termios.tcgetattr(0)[0] & 0o40000), erase=termios.tcgetattr(0)[6][termios.VERASE][0])))
"""

# Prints what it is told of its terminal, for as long as anybody says something.
WATCH = """
import os, signal, sys
def told(number, frame):
    size = os.get_terminal_size(0)
    # Not print: a handler may come in the middle of one.
    os.write(1, f"{signal.Signals(number).name} {size.lines} {size.columns}\\n".encode())
for number in (signal.SIGWINCH, signal.SIGINT, signal.SIGTSTP, signal.SIGQUIT):
    signal.signal(number, told)
print("ready", flush=True)
for line in sys.stdin:
    print("line", line.strip(), flush=True)
print("over", flush=True)
sys.exit(7)
"""


def python(program: str) -> tuple[str, ...]:
    return ("python3", "-S", "-c", program)


def type_in(peer: Peer, channel: int, text: bytes) -> None:
    peer.send(Frame.STDIN, channel, text)


@pytest.mark.parametrize("user", ["root", "12345"])
def test_a_program_finds_a_terminal_of_its_own(containers: Containers, user: str) -> None:
    peer = containers().begin(user=user).peer
    # The first comes from a fork, the others may have been kept in readiness.
    for _ in range(3):
        outcome = peer.finish(peer.start_terminal(*python(LOOK), rows=33, columns=101))
        assert outcome.exit.exit_code == 0, outcome.stdout
        assert json.loads(outcome.stdout) == {
            "ttys": [True, True, True],
            "same": 1,
            "fds": ["0", "1", "2", "3"],
            "controlling": True,
            "leader": True,
            "foreground": True,
            "size": [33, 101],
            "owner": 0 if user == "root" else 12345,
            "mode": "0o600",
            "term": "xterm-256color",
            "utf8": True,
            "erase": 127,
        }


def test_it_belongs_to_the_user_that_was_asked_for(container: Container) -> None:
    peer = container.peer
    outcome = peer.finish(
        peer.start_terminal("sh", "-c", "stat -c %u $(tty); id -u", user="nobody")
    )
    assert outcome.stdout.split() == [b"65534", b"65534"]


def test_the_kind_of_terminal_is_the_callers_then_the_sessions(containers: Containers) -> None:
    container = containers().begin(env=(b"PATH=/usr/bin:/bin", b"TERM=vt100"))
    for env, expected in (((b"TERM=dumb",), b"dumb"), ((), b"vt100")):
        channel = container.peer.start_terminal("printenv", "TERM", env=env)
        assert container.peer.finish(channel).stdout.split() == [expected]
    # Without a terminal there is none.
    bare = containers().begin()
    assert bare.peer.run("printenv", "TERM").exit.exit_code == 1


def test_every_exit_code_and_signal_arrives(container: Container) -> None:
    peer = container.peer
    for code in (0, 1, 7, 255):
        result = peer.finish(peer.start_terminal("sh", "-c", f"exit {code}")).exit
        assert (result.reason, result.exit_code, result.signal) == (ExecCode.EXITED, code, 0)
    for number in (1, 9, 15):
        result = peer.finish(peer.start_terminal("sh", "-c", f"kill -{number} $$; sleep 9")).exit
        told = (result.reason, result.exit_code, result.signal)
        assert told == (ExecCode.SIGNALED, 128 + number, number)


def test_lines_signals_and_the_end_come_through_the_line_discipline(container: Container) -> None:
    peer = container.peer
    channel = peer.start_terminal(*python(WATCH))
    assert peer.read_until(channel, b"ready\r\n") == b"ready\r\n"
    type_in(peer, channel, b"hellp\x7fo\r")
    # Echoed as a terminal does, erased and all; ENTER is the end of a line.
    echoed = peer.read_until(channel, b"line hello\r\n")
    assert echoed == b"hellp\b \bo\r\nline hello\r\n"
    for key, name in ((b"\x03", b"SIGINT"), (b"\x1c", b"SIGQUIT"), (b"\x1a", b"SIGTSTP")):
        type_in(peer, channel, key)
        peer.read_until(channel, name + b" 24 80\r\n")
    peer.resize(channel, 50, 132)
    peer.read_until(channel, b"SIGWINCH 50 132\r\n")
    type_in(peer, channel, b"\x04")
    outcome = peer.finish(channel)
    assert outcome.stdout == b"over\r\n"
    assert outcome.exit.exit_code == 7


def test_a_size_that_comes_before_the_terminal_does_is_its_size(container: Container) -> None:
    peer = container.peer
    channel = peer.start_terminal("sh", "-c", "read _; stty size", user="nobody")
    peer.resize(channel, 65535, 1)
    type_in(peer, channel, b"\r")
    assert b"65535 1" in peer.finish(channel).stdout


@pytest.mark.parametrize(("rows", "columns"), [(0, 80), (24, 0), (65536, 80), (24, 1 << 40)])
def test_a_size_that_is_none_is_refused(containers: Containers, rows: int, columns: int) -> None:
    peer = containers().begin().peer
    fail = peer.finish(peer.start_terminal("true", rows=rows, columns=columns)).fail
    assert (fail.error, fail.step) == (ErrorCode.INVALID, "setup")
    channel = peer.start_terminal("cat")
    peer.resize(channel, rows, columns)
    assert peer.wait_closed() == []


def test_only_a_terminal_has_a_size(container: Container) -> None:
    channel = container.peer.start("cat", stdin=True)
    container.peer.resize(channel, 24, 80)
    assert container.peer.wait_closed() == []


def test_a_size_for_one_that_has_ended_is_dropped(container: Container) -> None:
    channel = container.peer.start_terminal("true")
    container.peer.finish(channel)
    container.peer.resize(channel, 24, 80)
    container.peer.ping()


def test_without_a_program_the_users_shell_is_run(containers: Containers) -> None:
    peer = containers().begin(user="root").peer
    channel = peer.start_terminal()
    # root's shell is bash in Debian, nobody's is none.
    type_in(peer, channel, b"echo $0 $PPID-; exit 3\r")
    outcome = peer.finish(channel)
    assert b"/bin/bash " in outcome.stdout
    assert outcome.exit.exit_code == 3
    channel = peer.start_terminal(user="nobody")
    type_in(peer, channel, b"id -u; exit 4\r")
    outcome = peer.finish(channel)
    assert b"65534\r\n" in outcome.stdout
    assert outcome.exit.exit_code == 4


def test_what_cannot_be_started_says_at_which_step(container: Container) -> None:
    peer = container.peer

    def failure(*argv: str, **more: object) -> tuple[ErrorCode, str]:
        fail = peer.finish(peer.start_terminal(*argv, **more)).fail  # type: ignore[arg-type]
        return fail.error, fail.step

    for _ in range(2):
        assert failure("no-such-program") == (ErrorCode.PROGRAM_NOT_FOUND, "program")
        assert failure("true", cwd=b"missing") == (ErrorCode.CWD, "cwd")
        assert failure("true", user="no-such-user") == (ErrorCode.USER_NOT_FOUND, "user")
        assert failure("a\0b")[0] is ErrorCode.INVALID
        assert failure("")[0] is ErrorCode.INVALID
    assert peer.finish(peer.start_terminal("true")).exit.exit_code == 0


def test_a_flood_arrives_whole_at_the_readers_pace(container: Container) -> None:
    # The last of it is in the kernel's hands when the program ends.
    program = "import sys; sys.stdout.buffer.write(b'0123456789abcdef' * (1 << 18))"
    channel = container.peer.start_terminal(
        "sh", "-c", 'stty -opost; exec python3 -S -c "$0"', program
    )
    outcome = container.peer.finish(channel)
    assert (
        hashlib.sha256(outcome.stdout).digest()
        == hashlib.sha256(b"0123456789abcdef" * (1 << 18)).digest()
    )
    assert outcome.exit.stdout_total == 1 << 22


def test_a_reader_that_stalls_stops_its_own_terminal_and_no_other(container: Container) -> None:
    peer = container.peer
    flood = peer.start_terminal("yes")
    total = 0
    while total < 512 << 10:
        raw = peer.receive()
        total += len(raw.payload)
        peer.credit(0, len(raw.payload))
    assert total == 512 << 10
    other = peer.start_terminal("echo", "hello")
    assert peer.finish(other).stdout == b"hello\r\n"
    peer.send(Frame.CANCEL, flood)
    assert peer.finish(flood).exit.signal == 1


def test_a_program_that_never_reads_holds_up_whoever_types(container: Container) -> None:
    peer = container.peer
    channel = peer.start_terminal("sh", "-c", "stty raw -echo; echo ready; sleep 1000")
    peer.read_until(channel, b"ready")
    peer.send_bytes(
        b"".join(
            b"\x11" + (65536).to_bytes(3, "big") + channel.to_bytes(4, "big") + b"x" * 65536
            for _ in range(8)
        )
    )
    # All that the window allows, and hardly anything of it is taken.
    peer.ping()
    assert not peer.frames
    peer.send(Frame.CANCEL, channel)
    assert peer.finish(channel).exit.signal == 1


def test_what_is_typed_arrives_whole(container: Container) -> None:
    peer = container.peer
    data = bytes(range(256)) * 8192
    script = "stty raw -echo; echo ready; head -c 2097152 | sha256sum"
    channel = peer.start_terminal("sh", "-c", script)
    peer.read_until(channel, b"ready\n")
    peer.feed(channel, data)
    assert peer.finish(channel).stdout.split()[0].decode() == hashlib.sha256(data).hexdigest()


# --- the end ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("holder", ["sleep 1000", "yes", "cat /dev/zero"])
def test_who_keeps_the_terminal_open_does_not_hold_the_result(
    container: Container, holder: str
) -> None:
    script = f"trap '' HUP; setsid {holder} & echo said; exit 5"
    outcome = container.peer.finish(container.peer.start_terminal("sh", "-c", script))
    assert b"said" in outcome.stdout
    assert outcome.exit.exit_code == 5
    # `yes` and `cat` find that nobody reads any more; `sleep` does not look.
    if holder.startswith("sleep"):
        assert outcome.exit.left_running == 1
        eventually(lambda: [*container.processes().values()] == ["sleep 1000"], "its sleep")
    else:
        eventually(lambda: container.processes() == {}, "their end")


def test_a_program_may_leave_its_terminal_and_come_back(container: Container) -> None:
    script = "exec 3<&- </dev/null >/dev/null 2>&1; sleep 0.2; echo back >/dev/tty; exit 3"
    outcome = container.peer.finish(container.peer.start_terminal("sh", "-c", script))
    assert (outcome.stdout, outcome.exit.exit_code) == (b"back\r\n", 3)


def test_cancelled_it_is_hung_up_and_may_tidy_up(container: Container) -> None:
    peer = container.peer
    script = "trap 'echo saved > saved; exit 9' HUP; echo ready; while :; do sleep 0.01; done"
    channel = peer.start_terminal("sh", "-c", script)
    peer.read_until(channel, b"ready")
    peer.send(Frame.CANCEL, channel)
    outcome = peer.finish(channel)
    assert (outcome.exit.reason, outcome.exit.exit_code) == (ExecCode.EXITED, 9)
    assert (container.workspace / "saved").read_text() == "saved\n"
    eventually(lambda: container.processes() == {}, "the end of its tree")


def test_who_does_not_listen_is_killed_with_the_whole_tree(container: Container) -> None:
    peer = container.peer
    script = "trap '' HUP; setsid sleep 1000 & (setsid sleep 1000 &); echo ready; while :; do sleep 1; done"
    channel = peer.start_terminal("sh", "-c", script)
    peer.read_until(channel, b"ready")
    peer.send(Frame.CANCEL, channel)
    result = peer.finish(channel).exit
    assert (result.reason, result.signal) == (ExecCode.CANCELLED, 9)
    assert result.killed >= 3
    assert container.processes() == {}


def test_when_the_client_goes_its_terminals_are_hung_up(containers: Containers) -> None:
    container = containers().begin(detached=True, ttl_ms=600_000)
    guest, _ = container.relay()
    guest.hello()
    script = "trap 'echo hup > hup; exit' HUP; setsid sleep 1000 & echo ready; while :; do sleep 0.01; done"
    channel = guest.start_terminal("sh", "-c", script)
    guest.read_until(channel, b"ready")
    deaf = guest.start_terminal("sh", "-c", "trap '' HUP; echo deaf; while :; do sleep 1; done")
    guest.read_until(deaf, b"deaf")
    guest.close()
    eventually((container.workspace / "hup").exists, "a hang-up")
    eventually(lambda: container.processes() == {}, "the end of everything")
    eventually(lambda: container.peer.status().trees == 0, "the end of their reapers")


def test_cancelled_before_it_has_begun_nothing_is_left(container: Container) -> None:
    peer = container.peer
    for _ in range(50):
        for user in (None, "nobody"):
            channel = peer.start_terminal("sleep", "1000", user=user)
            peer.send(Frame.CANCEL, channel)
            outcome = peer.finish(channel)
            if isinstance(outcome.answer, Fail):
                assert outcome.answer.error is ErrorCode.CANCELLED
            else:
                assert outcome.exit.signal in (signal.SIGHUP, signal.SIGKILL)
    eventually(lambda: container.processes() == {}, "nobody left")


def test_terminals_leave_no_descriptor_behind(container: Container) -> None:
    peer = container.peer

    def descriptors() -> int:
        return len(container.descriptors())

    for _ in range(20):
        peer.finish(peer.start_terminal("true"))
    before = eventually(lambda: descriptors() if not container.zombies() else 0, "rest")
    for i in range(200):
        channel = peer.start_terminal("true" if i % 3 else "no-such-program")
        if i % 5 == 0:
            peer.send(Frame.CANCEL, channel)
        peer.finish(channel)
    eventually(lambda: descriptors() <= before and not container.zombies(), "descriptors as before")
    status = peer.status()
    assert (status.channels, status.trees) == (0, 0)
    assert container.processes() == {}


def test_an_open_terminal_is_no_idle_time(containers: Containers) -> None:
    container = containers().begin(idle_ms=400)
    channel = container.peer.start_terminal("sh", "-c", "sleep 1.2; echo still here")
    assert container.peer.finish(channel).stdout == b"still here\r\n"
    assert container.peer.wait_end().reason.name == "IDLE"


def test_without_terminals_in_the_kernel_the_failure_says_so(containers: Containers) -> None:
    container = containers(terminals=False).begin()
    fail = container.peer.finish(container.peer.start_terminal("true")).fail
    assert (fail.error, fail.step) == (ErrorCode.NO_TERMINAL, "terminal")
    assert container.peer.run("true").exit.exit_code == 0
