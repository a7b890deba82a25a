"""Commands: how they start, what they get, how they end."""

from __future__ import annotations

import hashlib
import json
import signal

import pytest

from fumehood._wire.table import ErrorCode, ExecCode, Frame
from supervisor.conftest import Containers
from supervisor.container import RESERVED, Container, eventually

SIGNALS = [
    number
    for number in range(1, 65)
    # Stopped, continued or ignored by default: these do not end a process. 32 to 34 may be libc's own.
    if number
    not in (
        signal.SIGCHLD,
        signal.SIGCONT,
        signal.SIGSTOP,
        signal.SIGTSTP,
        signal.SIGTTIN,
        signal.SIGTTOU,
        signal.SIGURG,
        signal.SIGWINCH,
        32,
        33,
        34,
    )
]


def test_every_exit_code_arrives_as_it_is(container: Container) -> None:
    peer = container.peer
    channels = {peer.start("sh", "-c", f"exit {code}"): code for code in range(128)}
    for channel, code in channels.items():
        result = peer.finish(channel).exit
        assert (result.reason, result.exit_code, result.signal) == (ExecCode.EXITED, code, 0)


def test_codes_that_look_like_signals_or_timeouts_are_ordinary_exits(container: Container) -> None:
    for code in (124, 126, 127, 128, 137, 143, 255):
        result = container.peer.shell(f"exit {code}").exit
        assert (result.reason, result.exit_code, result.signal) == (ExecCode.EXITED, code, 0)


def test_every_signal_that_ends_a_command_is_told(container: Container) -> None:
    for number in SIGNALS:
        result = container.peer.shell(f"kill -{number} $$; exit 99").exit
        told = (result.reason, result.exit_code, result.signal)
        assert told == (ExecCode.SIGNALED, 128 + number, number)


# Ignores and blocks all that can be, libc's own signals too, which only the kernel's call reaches, and goes on as the
# program that is named.
IGNORES_EVERYTHING = """
import ctypes, os, platform, signal, sys
call = {"x86_64": 13, "aarch64": 134}[platform.machine()]
ignore = (ctypes.c_ulong * 4)(1)
for number in range(1, 65):
    ctypes.CDLL(None).syscall(call, number, ignore, None, 8)
signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
os.execv(sys.argv[1], sys.argv[1:])
"""


def test_a_command_inherits_nothing_that_was_done_to_signals_before(containers: Containers) -> None:
    container = containers(prefix=("python3", "-S", "-c", IGNORES_EVERYTHING)).begin()
    status = container.peer.run("cat", "/proc/self/status").stdout.decode()
    found = dict(line.split(":\t", 1) for line in status.splitlines())
    assert {name: int(found[name], 16) for name in ("SigBlk", "SigIgn", "SigCgt")} == {
        "SigBlk": 0,
        "SigIgn": 0,
        "SigCgt": 0,
    }


def test_both_streams_arrive_apart_and_whole(container: Container) -> None:
    result = container.peer.shell("echo out; echo err >&2; printf '\\377\\000'")
    assert (result.stdout, result.stderr) == (b"out\n\xff\0", b"err\n")
    assert (result.exit.stdout_total, result.exit.stderr_total) == (6, 4)


def test_the_streams_can_be_opened_by_name(containers: Containers) -> None:
    script = "echo out > /dev/stdout; echo err > /dev/stderr; cat /dev/stdin"
    for user in ("root", "12345"):
        container = containers().begin(user=user)
        channel = container.peer.start("sh", "-c", script, stdin=True)
        container.peer.send(Frame.STDIN, channel, b"in\n")
        container.peer.send(Frame.EOF, channel)
        result = container.peer.finish(channel)
        assert (result.stdout, result.stderr) == (b"out\nin\n", b"err\n")


def test_a_command_finds_nothing_of_the_supervisor(container: Container) -> None:
    script = (
        "import json, os, resource, signal; "
        "s = dict(l.split(':\\t', 1) for l in open('/proc/self/status').read().splitlines()); "
        "print(json.dumps(dict(fds=sorted(os.listdir('/proc/self/fd')), "
        "ids=os.getresuid() + os.getresgid(), groups=os.getgroups(), "
        "caps=[s[k].strip() for k in ('CapInh', 'CapPrm', 'CapEff', 'CapAmb')], "
        "nnp=s['NoNewPrivs'].strip(), blocked=s['SigBlk'].strip(), "
        "session=os.getsid(0) == os.getpgid(0) == os.getpid(), nice=os.nice(0), "
        "oom=open('/proc/self/oom_score_adj').read().strip(), "
        "core=resource.getrlimit(resource.RLIMIT_CORE), umask=os.umask(0))))"
    )
    # The first one comes from a fork, the others may have been kept in readiness.
    for _ in range(3):
        seen = json.loads(container.peer.run("python3", "-S", "-c", script).stdout)
        # The fourth is the directory that is being listed.
        assert seen == {
            "fds": ["0", "1", "2", "3"],
            "ids": [0, 0, 0, 0, 0, 0],
            "groups": [0],
            "caps": ["0000000000000000"] * 4,
            "nnp": "1",
            "blocked": "0000000000000000",
            "session": True,
            "nice": 19,
            "oom": "1000",
            "core": [0, 0],
            "umask": 0o22,
        }


@pytest.mark.parametrize("user", ["root", "12345"])
def test_granted_capabilities_are_exactly_what_a_command_has(
    containers: Containers, user: str
) -> None:
    chown, net_bind = 1 << 0, 1 << 10
    container = containers(
        capabilities="+setuid,+setgid,+kill,+chown,+fowner,+net_bind_service"
    ).begin(user=user, workload_caps=chown | net_bind)
    for _ in range(2):
        result = container.peer.shell("grep -E 'Cap(Inh|Prm|Eff|Amb)' /proc/self/status")
        values = {line.split()[1] for line in result.stdout.decode().splitlines()}
        assert values == {f"{chown | net_bind:016x}"}


def test_the_environment_is_the_sessions_then_the_commands(container: Container) -> None:
    def environment(*own: bytes) -> dict[str, str]:
        lines = container.peer.run("env", env=own).stdout.decode().splitlines()
        assert len(lines) == len({line.split("=")[0] for line in lines}), lines
        return dict(line.split("=", 1) for line in lines)

    base = environment()
    assert base["SESSION"] == "yes"
    assert base["HOME"] == "/root"
    own = environment(b"SESSION=no", b"A=1", b"A=2", b"EMPTY=", b"HOME=/else", b"SESSIONX=x")
    assert own["SESSION"] == "no"
    assert own["A"] == "2"
    assert own["EMPTY"] == ""
    assert own["HOME"] == "/else"
    assert own["SESSIONX"] == "x"
    assert "A" not in environment()


def test_ten_thousand_variables_are_merged(container: Container) -> None:
    own = tuple(f"V{i % 5000}={i}".encode() for i in range(10_000))
    lines = container.peer.run("env", env=own).stdout.decode().splitlines()
    values = dict(line.split("=", 1) for line in lines)
    assert sum(name.startswith("V") for name in values) == 5000
    assert values["V0"] == "5000"
    assert values["V4999"] == "9999"


def test_programs_are_searched_in_the_commands_own_path(container: Container) -> None:
    tools = container.workspace / "tools"
    tools.mkdir()
    program = tools / "greet"
    program.write_text("#!/bin/sh\necho hello\n")
    program.chmod(0o755)
    path = f"PATH=/nowhere::{tools}:/usr/bin:/bin".encode()
    assert container.peer.run("greet", env=(path,)).stdout == b"hello\n"
    assert container.peer.run("greet").fail.error is ErrorCode.PROGRAM_NOT_FOUND
    # Relative to the directory of the command, not of the supervisor.
    assert container.peer.run("./greet", cwd=b"tools").stdout == b"hello\n"


def test_what_cannot_be_started_says_at_which_step(container: Container) -> None:
    peer, workspace = container.peer, container.workspace
    (workspace / "data").write_text("no program")
    bad = workspace / "bad"
    bad.write_text("#!/no/such/interpreter\n")
    bad.chmod(0o755)
    (workspace / "plain").write_text("neither")
    (workspace / "plain").chmod(0o755)

    def failure(*argv: str, **more: object) -> tuple[ErrorCode, str]:
        fail = peer.run(*argv, **more).fail
        return fail.error, fail.step

    for _ in range(2):
        assert failure("no-such-program") == (ErrorCode.PROGRAM_NOT_FOUND, "program")
        assert failure("/no/such/program") == (ErrorCode.PROGRAM_NOT_FOUND, "program")
        for path in ("./data", "./bad", "./plain", "/"):
            assert failure(path) == (ErrorCode.PROGRAM_NOT_EXECUTABLE, "program")
        assert failure("true", cwd=b"missing") == (ErrorCode.CWD, "cwd")
        assert failure("true", cwd=b"data") == (ErrorCode.CWD, "cwd")
        assert failure("true", user="no-such-user") == (ErrorCode.USER_NOT_FOUND, "user")
        assert failure("true", user=str(RESERVED)) == (ErrorCode.USER_REFUSED, "user")
        assert failure("true", user=f"0:{RESERVED}") == (ErrorCode.USER_REFUSED, "user")
        assert failure("a\0b")[0] is ErrorCode.INVALID
        assert failure("")[0] is ErrorCode.INVALID
        assert failure("true", cwd=b"")[0] is ErrorCode.INVALID
        assert failure("true", env=(b"=x",))[0] is ErrorCode.INVALID
        assert failure("true", env=(b"novalue",))[0] is ErrorCode.INVALID
        assert failure("true", cwd=b"x" * 5000)[0] is ErrorCode.NAME_TOO_LONG
    assert peer.run("true").exit.exit_code == 0


def test_a_command_may_run_as_another_user(container: Container) -> None:
    script = "id -u; id -g; id -G; echo $HOME"
    nobody = container.peer.shell(script, user="nobody").stdout.split()
    assert nobody[:3] == [b"65534", b"65534", b"65534"]
    assert container.peer.shell(script, user="12345:54321").stdout.split()[:3] == [
        b"12345",
        b"54321",
        b"54321",
    ]
    assert container.peer.shell(script).stdout.split()[:2] == [b"0", b"0"]


def test_input_may_arrive_while_the_user_is_looked_up(container: Container) -> None:
    channel = container.peer.start("cat", user="nobody", stdin=True)
    container.peer.send(Frame.STDIN, channel, b"early ")
    container.peer.send(Frame.STDIN, channel, b"bird")
    container.peer.send(Frame.EOF, channel)
    assert container.peer.finish(channel).stdout == b"early bird"


def test_an_argument_of_a_hundred_kilobytes_arrives_whole(container: Container) -> None:
    value = b"x" * 130_000
    result = container.peer.run("sh", "-c", 'printf %s "$1" | wc -c', "sh", value)
    assert result.stdout.strip() == b"130000"


def test_two_megabytes_of_arguments_come_in_parts(container: Container) -> None:
    many = [b"y" * 1000] * 1900
    result = container.peer.run("sh", "-c", 'echo $#; printf %s "$1900"', "sh", *many)
    assert result.stdout.split()[0] == b"1900"
    # More than the kernel takes is a typed failure, not a made-up exit code.
    too_long = container.peer.run("true", b"z" * 200_000)
    assert too_long.fail.error is ErrorCode.ARGUMENT_TOO_LONG


def test_input_reaches_the_command_in_order_and_ends(container: Container) -> None:
    data = bytes(range(256)) * 8192
    channel = container.peer.start("sh", "-c", "sha256sum; echo done >&2", stdin=True)
    container.peer.feed(channel, data)
    container.peer.send(Frame.EOF, channel)
    result = container.peer.finish(channel)
    assert result.stdout.split()[0].decode() == hashlib.sha256(data).hexdigest()
    assert result.stderr == b"done\n"


def test_a_command_that_closes_its_input_does_not_hold_the_sender_up(container: Container) -> None:
    channel = container.peer.start("sh", "-c", "exec <&-; sleep 0.2; echo still here", stdin=True)
    container.peer.feed(channel, b"q" * 2_000_000)
    container.peer.send(Frame.EOF, channel)
    assert container.peer.finish(channel).stdout == b"still here\n"


def test_a_command_that_never_reads_ends_by_its_timeout(container: Container) -> None:
    channel = container.peer.start("sleep", "60", stdin=True, timeout_ms=300)
    container.peer.feed(channel, b"q" * 262_144)
    result = container.peer.finish(channel).exit
    assert result.reason is ExecCode.TIMED_OUT


def test_without_input_stdin_is_empty(container: Container) -> None:
    assert container.peer.shell("cat; readlink /proc/self/fd/0").stdout == b"/dev/null\n"


def test_fifty_commands_run_at_once(container: Container) -> None:
    peer = container.peer
    channels = [peer.start("sh", "-c", f"sleep 0.1; echo {i}") for i in range(50)]
    assert peer.status().channels == 50
    for i, channel in enumerate(channels):
        assert peer.finish(channel).stdout == f"{i}\n".encode()


def test_the_channel_after_the_last_one_is_refused_and_the_others_live(
    container: Container,
) -> None:
    peer = container.peer
    channels = [peer.start("cat", stdin=True) for _ in range(256)]
    refused = peer.run("true")
    assert refused.fail.error is ErrorCode.TOO_MANY_CHANNELS
    for channel in channels:
        peer.send(Frame.EOF, channel)
    for channel in channels:
        assert peer.finish(channel).exit.exit_code == 0
    assert peer.run("true").exit.exit_code == 0


def test_the_duration_is_the_commands_own(container: Container) -> None:
    result = container.peer.run("sleep", "0.2").exit
    assert result.duration_us >= 200_000


@pytest.mark.slow
def test_two_thousand_commands_leave_nothing_behind(container: Container) -> None:
    peer = container.peer

    def descriptors() -> int:
        # With the pair that is kept in readiness, which needs one.
        return len(container.descriptors())

    for _ in range(20):
        peer.run("true")
    before = eventually(lambda: descriptors() if not container.zombies() else 0, "rest")
    running: list[int] = []
    for i in range(2000):
        running.append(peer.start("true" if i % 7 else "no-such-program"))
        if len(running) == 16:
            peer.finish(running.pop(0))
    for channel in running:
        peer.finish(channel)
    eventually(lambda: descriptors() <= before and not container.zombies(), "descriptors as before")
    status = peer.status()
    assert (status.channels, status.trees) == (0, 0)
    assert container.processes() == {}
