"""The binary's other uses, and the other architecture."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fumehood._wire.table import ErrorCode, ExecCode, Operation
from supervisor.conftest import SOURCES
from supervisor.container import Container, configuration


def run(*argv: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in argv], check=False, capture_output=True, text=True, timeout=60
    )


def test_it_says_its_version(binary: Path) -> None:
    done = run(binary, "version")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("fumehood supervisor ")


@pytest.mark.parametrize(
    "argv", [["nonsense"], ["install"], ["install", "a", "b"], ["version", "x"]]
)
def test_other_words_are_refused(binary: Path, argv: list[str]) -> None:
    done = run(binary, *argv)
    assert done.returncode == 2
    assert done.stderr.startswith("usage:")


def test_install_puts_a_whole_copy_that_can_only_be_executed(binary: Path, tmp_path: Path) -> None:
    target = tmp_path / "supervisor"
    assert run(binary, "install", target).returncode == 0
    assert target.read_bytes() == binary.read_bytes()
    assert target.stat().st_mode & 0o7777 == 0o111
    assert [path.name for path in tmp_path.iterdir()] == ["supervisor"]
    # Again, over the one that is there.
    assert run(binary, "install", target).returncode == 0
    assert run(target, "version").returncode == 0


def test_many_may_install_at_once(binary: Path, tmp_path: Path) -> None:
    target = tmp_path / "supervisor"
    running = [subprocess.Popen([str(binary), "install", str(target)]) for _ in range(20)]
    for process in running:
        assert process.wait(timeout=60) == 0
    assert target.read_bytes() == binary.read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["supervisor"]


def test_install_says_what_failed(binary: Path, tmp_path: Path) -> None:
    missing = run(binary, "install", tmp_path / "no" / "supervisor")
    assert missing.returncode == 11
    assert "No such file" in missing.stderr
    (tmp_path / "directory").mkdir()
    occupied = run(binary, "install", tmp_path / "directory")
    assert occupied.returncode == 14
    assert [path.name for path in tmp_path.iterdir()] == ["directory"]


def test_install_on_a_full_disk_leaves_nothing(binary: Path, tmp_path: Path) -> None:
    script = (
        f"mount -t tmpfs -o size=64k none {tmp_path} && {binary} install {tmp_path}/supervisor; "
        f"code=$?; ls -A {tmp_path}; exit $code"
    )
    done = run("unshare", "--mount", "sh", "-c", script)
    assert (done.returncode, done.stdout) == (12, "")
    assert "No space" in done.stderr


@pytest.fixture(scope="session")
def foreign(passable: Path) -> tuple[str, Path]:
    """The supervisor for the architecture that this machine is not, from the wheel's compiler; an emulator.

    The emulator passes system calls on, but knows no seccomp filters and no subreapers.
    """
    other = "aarch64" if os.uname().machine == "x86_64" else "x86_64"
    build = passable / "foreign"
    build.mkdir()
    sources = sorted(str(path) for path in (SOURCES / "src").glob("*.c"))
    command = [sys.executable, "-m", "ziglang", "cc", "-target", f"{other}-linux-musl"]
    command += ["-std=gnu11", "-Os", "-static", "-s", "-DFUMEHOOD_FOR_EMULATOR"]
    command += ["-o", str(build / "supervisor"), *sources]
    made = subprocess.run(command, check=False, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    emulator = shutil.which(f"qemu-{other}-static")
    assert emulator, f"qemu-{other}-static is missing: install qemu-user-static"
    return emulator, build / "supervisor"


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_other_architecture_holds_a_session_under_an_emulator(
    foreign: tuple[str, Path],
) -> None:
    emulator, program = foreign
    assert run(emulator, program, "version").stdout.startswith("fumehood supervisor ")
    with Container(program, prefix=(emulator,)) as container:
        welcome = container.peer.hello()
        assert welcome.architecture == ("arm64" if "aarch64" in emulator else "amd64")
        container.peer.configure(configuration(container.workspace))
        peer = container.peer
        result = peer.shell("echo out; echo err >&2; exit 3", user="nobody")
        assert (result.stdout, result.stderr, result.exit.exit_code) == (b"out\n", b"err\n", 3)
        assert peer.run("no-such-program").fail.error is ErrorCode.PROGRAM_NOT_FOUND
        assert peer.run("sleep", "60", timeout_ms=200).exit.reason is ExecCode.TIMED_OUT
        data = bytes(range(256)) * 4000
        assert peer.write_file(b"d/file", data, parents=1).done.size == len(data)
        assert peer.file(Operation.READ, b"d/file", offset=0, limit=1 << 30).stdout == data
        container.destroy()
