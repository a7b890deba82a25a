from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pexpect
import pytest

from cli.program import PATIENCE, Fumehood, containers, docker, environment, volumes

pytestmark = pytest.mark.engine


def test_a_command_runs_and_nothing_stays(fumehood: Fumehood, new_id: str) -> None:
    ended = fumehood("run", "--id", new_id, "--", "python3", "-c", "print('hello sandbox')")
    assert (ended.code, ended.out, ended.err) == (0, b"hello sandbox\n", b"")
    assert containers(new_id) == []
    assert volumes(new_id) == []


def test_each_stream_goes_to_its_own(fumehood: Fumehood) -> None:
    ended = fumehood("run", "--", "sh", "-c", "echo out; echo err >&2")
    assert (ended.out, ended.err) == (b"out\n", b"err\n")


@pytest.mark.parametrize(
    ("script", "code"), [("exit 0", 0), ("exit 7", 7), ("exit 255", 255), ("kill -TERM $$", 143)]
)
def test_the_exit_code_is_passed_on(fumehood: Fumehood, script: str, code: int) -> None:
    assert fumehood("run", "--", "sh", "-c", script).code == code


def test_a_timeout_kills_and_is_code_124_with_what_was_written(
    fumehood: Fumehood, new_id: str
) -> None:
    script = "echo part; setsid sleep 1000 & sleep 1000"
    ended = fumehood("run", "--id", new_id, "--timeout", "1s", "--", "sh", "-c", script)
    assert (ended.code, ended.out) == (124, b"part\n")
    assert "'sh' timed out after 1." in ended.errors
    assert containers(new_id) == []


def test_running_out_of_memory_is_code_137_and_is_said(fumehood: Fumehood) -> None:
    ended = fumehood("run", "--memory", "64m", "--", "python3", "-c", "bytearray(1 << 30)")
    assert ended.code == 137
    assert "used up the session's memory" in ended.errors


def test_what_cannot_be_run_has_the_codes_of_a_shell(fumehood: Fumehood) -> None:
    missing = fumehood("run", "--", "no-such-program")
    assert (missing.code, missing.out) == (127, b"")
    assert "there is no program 'no-such-program'" in missing.errors
    refused = fumehood("run", "--", "/etc/passwd")
    assert (refused.code, refused.out) == (126, b"")
    assert "cannot be executed" in refused.errors


def test_what_is_wrong_with_an_image_is_code_125(fumehood: Fumehood) -> None:
    image = "fumehood/no-such-image"
    ended = fumehood("run", "--pull", "never", "--image", image, "--", "true")
    assert ended.code == 125
    assert "docker pull" in ended.errors
    assert ended.errors.count("\n") == 1


def test_output_comes_while_the_command_runs(fumehood: Fumehood) -> None:
    script = 'echo first; read line; echo "second after $line"; read line; echo third >&2'
    process = fumehood.start("run", "--", "sh", "-c", script)
    assert process.stdin
    assert process.stdout
    assert process.stderr
    assert process.stdout.readline() == b"first\n"
    process.stdin.write(b"one\n")
    process.stdin.flush()
    assert process.stdout.readline() == b"second after one\n"
    process.stdin.write(b"two\n")
    process.stdin.flush()
    assert process.stderr.readline() == b"third\n"
    assert process.wait(PATIENCE) == 0


def test_piped_input_reaches_the_command_whole(fumehood: Fumehood) -> None:
    data = bytes(range(256)) * (1 << 14)
    ended = fumehood("run", "--", "sha256sum", input=data)
    assert ended.text.split()[0] == hashlib.sha256(data).hexdigest()


def test_input_that_never_ends_holds_nobody_up(fumehood: Fumehood) -> None:
    process = fumehood.start("run", "--", "echo", "done")
    assert process.stdout
    assert process.wait(PATIENCE) == 0
    assert process.stdout.read() == b"done\n"


def test_input_can_be_kept_back(fumehood: Fumehood) -> None:
    ended = fumehood("run", "--no-stdin", "--", "wc", "-c", input=b"12345")
    assert ended.out == b"0\n"


def test_a_terminals_input_is_not_passed_unless_asked_for(fumehood: Fumehood) -> None:
    words = fumehood.words("run", "--", "wc", "-c")
    with pexpect.spawn(words[0], words[1:], env=environment(), timeout=PATIENCE) as terminal:
        terminal.expect_exact("0\r\n")
        terminal.expect(pexpect.EOF)
    words = fumehood.words("run", "-i", "--", "cat")
    with pexpect.spawn(
        words[0], words[1:], env=environment(), timeout=PATIENCE, echo=False
    ) as terminal:
        terminal.sendline("typed")
        terminal.expect_exact("typed\r\n")
        terminal.sendeof()
        terminal.expect(pexpect.EOF)


HOSTILE = "\x1b]52;c;c2VjcmV0\x07\x1b[2J\rover\x9b31m\u202e\x00\x7f\ttab\n"


def test_hostile_output_is_shown_and_not_obeyed(fumehood: Fumehood) -> None:
    words = [
        "python3",
        "-c",
        f"import sys; sys.stdout.write({HOSTILE!r}); sys.stderr.write({HOSTILE!r})",
    ]
    ended = fumehood("run", "--", *words)
    shown = (r"\x1b]52;c;c2VjcmV0\x07\x1b[2J\x0dover\x9b31m\u202e\x00\x7f" + "\ttab\n").encode()
    assert (ended.out, ended.err) == (shown, shown)


def test_raw_output_is_passed_on_byte_by_byte(fumehood: Fumehood) -> None:
    script = "import sys; sys.stdout.buffer.write(bytes(range(256)) * 1000)"
    ended = fumehood("run", "--raw", "--", "python3", "-c", script)
    assert ended.out == bytes(range(256)) * 1000


def test_a_character_that_is_split_between_pieces_is_whole(fumehood: Fumehood) -> None:
    script = (
        "import os, sys\n"
        "for byte in 'é€😀'.encode():\n"
        "    os.write(1, bytes([byte]))\n"
        "    os.read(0, 1)\n"
        "os.write(1, b'\\xff\\n')"
    )
    ended = fumehood("run", "--", "python3", "-c", script, input=b"." * 9)
    assert ended.text == "é€😀�\n"


def test_hostile_names_are_escaped_in_errors(fumehood: Fumehood) -> None:
    ended = fumehood("run", "--", "evil\x1b]0;title\x07\nprogram")
    assert ended.code == 127
    assert not set("\x1b\x07").intersection(ended.errors)
    assert ended.errors.count("\n") == 1


def test_a_closed_pipe_ends_the_command_quietly(fumehood: Fumehood, new_id: str) -> None:
    process = fumehood.start("run", "--id", new_id, "--timeout", "0", "--", "yes")
    assert process.stdout
    assert process.stderr
    assert process.stdout.readline() == b"y\n"
    process.stdout.close()
    assert process.wait(PATIENCE) == 141
    assert process.stderr.read() == b""
    assert containers(new_id) == []


def test_files_and_directories_are_staged(fumehood: Fumehood) -> None:
    here = fumehood.cwd
    (here / "main.sh").write_text("cat conf/app.ini; find . | sort; stat -c '%a %n' main.sh src/x")
    (here / "app.ini").write_text("key=1\n")
    (here / "src" / "deep").mkdir(parents=True)
    (here / "src" / "x").write_text("true")
    (here / "src" / "x").chmod(0o755)
    (here / "src" / "deep" / "y").write_bytes(bytes(300_000))
    (here / "src" / "hollow").mkdir()
    (here / "src" / "passwd").symlink_to("/etc/passwd")
    ended = fumehood(
        "run", "--file", "main.sh", "--file", "app.ini:conf/", "--dir", "src",
        "--dir", "src/deep:.", "--", "sh", "main.sh",
    )  # fmt: skip
    assert ended.code == 0, ended.errors
    assert ended.text.splitlines() == [
        "key=1",
        *[".", "./conf", "./conf/app.ini", "./main.sh", "./src", "./src/deep", "./src/deep/y"],
        *["./src/hollow", "./src/x", "./y"],
        "644 main.sh",
        "755 src/x",
    ]
    assert ended.errors == "fumehood: not copied: passwd (a symbolic link)\n"


@pytest.mark.parametrize(
    ("words", "said", "code"),
    [
        (["--file", "nothing"], "No such file", 125),
        (["--dir", "nothing"], "No such file", 125),
        (["--file", "/dev/null"], "not a regular file", 125),
        (["--file", "here:../there"], "'..'", 2),
        (["--file", "here:/etc/there"], "absolute", 2),
        (["--file", "large"], "--max-file is 1.0 MiB", 125),
        (["--dir", ".:x"], "--max-file is 1.0 MiB", 125),
    ],
)
def test_what_cannot_be_staged_is_said_before_there_is_a_session(
    fumehood: Fumehood, words: list[str], said: str, code: int
) -> None:
    (fumehood.cwd / "here").write_text("x")
    (fumehood.cwd / "large").write_bytes(bytes((1 << 20) + 1))
    ended = fumehood(
        "-H", "unix:///nonexistent.sock", "run", "--max-file", "1m", *words, "--", "true"
    )
    assert ended.code == code
    assert said in ended.errors


def test_the_environment_is_what_was_asked_for(fumehood: Fumehood) -> None:
    (fumehood.cwd / "env").write_text("A=from file\nB=from file\n")
    words = ["--env-file", "env", "--env", "B=from option", "-e", "OUTSIDE"]
    ended = fumehood(
        "run", *words, "--", "sh", "-c", 'echo "$A, $B, $OUTSIDE"', OUTSIDE="from outside"
    )
    assert ended.text == "from file, from option, from outside\n"


def test_a_persistent_workspace_is_there_again(fumehood: Fumehood, new_id: str) -> None:
    for count in (1, 2):
        ended = fumehood(
            "run", "--workspace", new_id, "--", "sh", "-c", "echo x >> visits; wc -l < visits"
        )
        assert ended.text == f"{count}\n"
    listed = fumehood("workspace", "ls")
    assert new_id in listed.text
    assert fumehood("workspace", "rm", new_id).text == f"{new_id}\n"
    assert docker("volume", "ls", "-q", "--filter", f"label=fumehood.workspace={new_id}") == ""


def test_options_reach_the_session(fumehood: Fumehood) -> None:
    script = "id -u; pwd; touch /usr/x 2>/dev/null || echo read-only; ls /sys/class/net"
    ended = fumehood(
        "run", "--user", "1000", "--workdir", "/work/here", "--read-only", "--", "sh", "-c", script
    )
    assert ended.text.split() == ["1000", "/work/here", "read-only", "lo"]


def test_the_log_is_shown_when_asked_for(fumehood: Fumehood, new_id: str) -> None:
    ended = fumehood("--log-level", "info", "run", "--id", new_id, "--", "true")
    assert ended.code == 0
    assert f"session {new_id} is ready after" in ended.errors


def test_a_traceback_is_shown_when_asked_for(fumehood: Fumehood) -> None:
    dead = ["-H", "unix:///nonexistent.sock", "ls"]
    assert "Traceback" not in fumehood(*dead).errors
    assert "Traceback" in fumehood(*dead, FUMEHOOD_DEBUG="1").errors


def test_it_runs_as_a_module_and_as_a_script(tmp_path: Path) -> None:
    script = Path(sys.executable).with_name("fumehood")
    shown = pexpect.run(str(script), env=environment(), timeout=int(PATIENCE))
    assert isinstance(shown, bytes)
    assert b"Examples" in shown
