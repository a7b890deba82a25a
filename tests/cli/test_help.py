from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import typer

from cli.program import Fumehood, environment
from fumehood import __version__
from fumehood.cli.app import app

COMMANDS = [
    "run",
    "exec",
    "shell",
    "ps",
    "logs",
    "stop",
    "ls",
    "cp",
    "grep",
    "watch",
    "rm",
    "gc",
    "pool",
    "doctor",
    "self-check",
    "version",
]
WORKSPACE = ["workspace ls", "workspace rm"]


@pytest.mark.parametrize("command", COMMANDS + WORKSPACE)
def test_each_command_explains_itself_with_an_example(fumehood: Fumehood, command: str) -> None:
    shown = fumehood(*command.split(), "--help")
    assert shown.code == 0
    _, separator, examples = shown.text.partition("Examples")
    assert separator, shown.text
    assert f"fumehood {command}" in examples or f" {command}" in examples


def test_no_option_denies_a_denial() -> None:
    """``--no-token`` has no ``--no-no-token``."""
    pending = [typer.main.get_command(app)]
    seen = 0
    while pending:
        command = pending.pop()
        seen += 1
        pending += getattr(command, "commands", {}).values()
        names = {name for param in command.params for name in (*param.opts, *param.secondary_opts)}
        assert not [name for name in names if name.startswith("--no-no-")], command.name
        assert "--no-look-only" not in names
    assert seen > len(COMMANDS)


def test_the_first_page_names_every_command(fumehood: Fumehood) -> None:
    for shown in (fumehood("--help"), fumehood()):
        for name in [*COMMANDS, "workspace"]:
            assert f" {name} " in shown.text + shown.errors
        assert "fumehood run -- python3" in shown.text + shown.errors


def test_defaults_and_exit_codes_are_on_the_page_of_run(fumehood: Fumehood) -> None:
    text = fumehood("run", "--help").text
    for word in ("default: 30s", "default: 512m", "default: none", "default: missing"):
        assert word in text
    for code in ("124", "125", "126", "127", "130", "137", "69"):
        assert code in text


def test_the_version_is_printed(fumehood: Fumehood) -> None:
    for words in (["version"], ["--version"]):
        shown = fumehood(*words)
        assert shown.code == 0
        assert shown.text.startswith(f"fumehood {__version__} ")


@pytest.mark.parametrize("words", [["version"], ["run", "--help"], ["nonsense"], ["rm", "no-such"]])
def test_a_command_that_is_begun_from_nothing_says_the_same(
    fumehood: Fumehood, tmp_path: Path, words: list[str]
) -> None:
    assert Fumehood(tmp_path)(*words) == fumehood(*words)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run"], "no command to run"),
        (["run", "--timeout", "soon", "--", "true"], "not a duration"),
        (["run", "--detach"], "--ttl or --idle"),
        (["run", "--file", ":x", "--", "true"], "names no local path"),
        (["exec", "some-id"], "no command to run"),
        (["exec", "some-id", "--raw", "--", "true"], "options go before"),
        (["cp", "a", "b"], "one of SRC and DST"),
        (["cp", "id:a", "id:b"], "one of SRC and DST"),
        (["--log-level", "loud", "ls"], "loud"),
        (["nonsense"], "nonsense"),
    ],
)
def test_a_mistake_at_the_keyboard_is_code_2(
    fumehood: Fumehood, words: list[str], said: str
) -> None:
    ended = fumehood(*words)
    assert ended.code == 2
    assert said in " ".join(ended.errors.replace("│", " ").split())
    assert "Traceback" not in ended.errors


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "--id", "Not An Id", "--", "true"], "session id"),
        (["run", "--network", "host", "--", "true"], "host's network is never shared"),
        (["run", "--pull", "sometimes", "--", "true"], "'missing', 'always' or 'never'"),
        (["run", "--image", "--privileged", "--", "true"], "not an image reference"),
        (["run", "--image=-v/:/h", "--", "true"], "not an image reference"),
        (["run", "--env", "A-B=1", "--", "true"], "not a name of an environment variable"),
        (["run", "--memory", "1m", "--", "true"], "memory_mb must be from 16"),
        (["run", "--cpus", "nan", "--", "true"], "cpus must be from"),
        (["run", "--user", "64999", "--", "true"], "reserved for the supervisor"),
        (["run", "--workdir", "relative", "--", "true"], "absolute directory"),
        (["run", "--workspace", "../x", "--", "true"], "workspace id"),
        (["rm", "../x", "--force"], None),
    ],
)
def test_a_value_that_is_refused_is_named_in_one_line(
    fumehood: Fumehood, words: list[str], said: str | None
) -> None:
    # No engine is asked: there is none at this address.
    ended = fumehood("-H", "unix:///nonexistent/docker.sock", *words)
    if said is None:
        assert ended.code == 69
        return
    assert ended.code == 2
    assert said in ended.errors
    assert ended.errors.count("\n") == 1
    assert ended.errors.startswith("fumehood: error: ")


def test_without_the_extra_it_says_what_to_install() -> None:
    hidden = "import sys; sys.modules['typer'] = None; from fumehood.cli import main; main()"
    ended = subprocess.run(
        [sys.executable, "-c", hidden],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stderr == (
        "fumehood: the command line needs typer, which is not installed: "
        "run pip install 'fumehood[cli]'\n"
    )


def test_it_is_a_module_that_runs_too() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "fumehood", "--version"],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=60,
        check=True,
    )
    assert ended.stdout.startswith(f"fumehood {__version__} ")
