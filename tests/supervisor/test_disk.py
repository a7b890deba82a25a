"""The floor watch, on small disks of its own. No test measures time: it waits for the end and reads the reason."""

from __future__ import annotations

import os
import random
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from fumehood._wire.messages import Ready
from fumehood._wire.table import EndCode, ErrorCode, Frame
from supervisor.conftest import Containers
from supervisor.container import Container, eventually

MIB = 1 << 20
DISK_MB = 64
FLOOR = 16 * MIB
"""Far above the default for so small a disk: the writers of these tests are faster than any look."""

MakeDisk = Callable[..., Path]


@pytest.fixture
def make_disk(tmp_path: Path) -> Iterator[MakeDisk]:
    """Return what makes a file system of its own, mounted where everybody may pass."""
    with ExitStack() as stack:

        def make(*options: str) -> Path:
            image, place = tmp_path / "image", Path(f"/tmp/fumehood-disk-{os.getpid()}")
            _run("truncate", "-s", f"{DISK_MB}M", str(image))
            _run("mkfs.ext4", "-q", "-F", "-m", "0", *options, str(image))
            place.mkdir()
            stack.callback(place.rmdir)
            _run("mount", "-o", "loop", str(image), str(place))
            # Whoever was in it may still be on its way out.
            stack.callback(lambda: eventually(lambda: _unmounted(place), "an unmounted disk"))
            return place

        yield make


def _run(*command: str) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def _unmounted(place: Path) -> bool:
    return subprocess.run(["umount", str(place)], check=False, capture_output=True).returncode == 0


def on(
    disk: Path, containers: Containers, *, measured: bool = False, **changes: object
) -> Container:
    """Begin a session whose workspace is on the disk; one that is measured sees its own times."""
    workspace = disk / "workspace"
    workspace.mkdir(exist_ok=True)
    changes.setdefault("disk_floor_bytes", FLOOR)
    return containers(measured=measured).begin(workdir=os.fsencode(workspace), **changes)


def promised(container: Container) -> Ready:
    assert container.peer.ready is not None
    return container.peer.ready


def left(disk: Path) -> int:
    status = os.statvfs(disk)
    return status.f_bavail * status.f_frsize


def fill(disk: Path, but: int, name: str = "others") -> None:
    """Be somebody else who uses the disk, and leave so much."""
    with (disk / name).open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, left(disk) - but)


@pytest.mark.parametrize(
    "script",
    [
        "yes >full",
        "yes | dd of=full oflag=sync bs=256k iflag=fullblock 2>/dev/null",
        # Nothing of it is ever dirty, and the file has no name.
        "exec 3>full; rm full; fallocate -l 50M /proc/self/fd/3; sleep 1000",
        "(yes >full) & sleep 1000",
    ],
)
def test_who_fills_a_disk_is_ended(
    containers: Containers, make_disk: MakeDisk, script: str
) -> None:
    container = on(make_disk(), containers)
    container.peer.start("sh", "-c", script)
    end = container.peer.wait_end()
    assert end.reason is EndCode.DISK_FULL
    assert "MiB left" in end.message
    assert container.wait_exit() is EndCode.DISK_FULL


def test_one_call_that_takes_it_all_and_is_over_is_no_way_past(
    containers: Containers, make_disk: MakeDisk
) -> None:
    container = on(make_disk(), containers)
    assert container.peer.shell("fallocate -l 50M full").exit.exit_code == 0
    # Nothing runs any more.
    assert container.peer.wait_end().reason is EndCode.DISK_FULL


def test_a_flood_of_files_is_ended_too(containers: Containers, make_disk: MakeDisk) -> None:
    disk = make_disk("-N", "2000")
    container = on(disk, containers)
    assert os.statvfs(disk).f_ffree > 1900
    container.peer.start("sh", "-c", "i=0; while :; do : >$i; i=$((i+1)); done 2>/dev/null")
    end = container.peer.wait_end()
    assert end.reason is EndCode.DISK_FULL
    assert "files left" in end.message


def test_a_transfer_stops_at_the_floor_as_if_the_disk_ended_there(
    containers: Containers, make_disk: MakeDisk
) -> None:
    disk = make_disk()
    container = on(disk, containers)
    for _ in range(3):
        fail = container.peer.write_file(b"full", bytes(DISK_MB * MIB)).fail
        assert (fail.error, fail.step) == (ErrorCode.NO_SPACE, "floor")
        # Its blocks are free when the last descriptor is closed, behind the answer.
        eventually(lambda: left(disk) > FLOOR, "a disk with its room again")
    # Not the session's end, and nothing is in the way of what is small.
    fill(disk, FLOOR // 2)
    assert container.peer.write_file(b"small", bytes(200_000)).done.size == 200_000
    container.destroy()


def test_a_session_is_not_ended_for_what_others_write_while_it_rests(
    containers: Containers, make_disk: MakeDisk
) -> None:
    disk = make_disk()
    container = on(disk, containers)
    assert container.peer.run("true").exit.exit_code == 0
    # The look that closes its work: then it is at rest, and is woken by nothing.
    eventually(lambda: wakes(container) == 0, "a session at rest")
    fill(disk, FLOOR // 4)
    for _ in range(20):
        assert container.peer.run("true").exit.exit_code == 0
    eventually(lambda: wakes(container) == 0, "a session at rest")
    assert left(disk) < FLOOR / 2
    container.destroy()


def test_a_busy_supervisor_is_no_sign_that_its_sleeping_command_ran(
    containers: Containers, make_disk: MakeDisk
) -> None:
    disk = make_disk()
    container = on(disk, containers, measured=True)
    container.peer.start("sleep", "1000")
    eventually(lambda: "sleep 1000" in container.processes().values(), "a command that sleeps")
    fill(disk, FLOOR)
    keep_busy(container, 1.5)
    # A look each fifth of a second: every one of them sees that the disk has lost some.
    for number in range(12):
        fill(disk, left(disk) - MIB, f"more-{number}")
        keep_busy(container, 0.25)
    assert left(disk) < FLOOR / 2
    # Who is suspected is ended after three seconds.
    keep_busy(container, 4.0)
    container.destroy()


def test_a_session_on_a_full_disk_works_on_as_long_as_it_writes_little(
    containers: Containers, make_disk: MakeDisk
) -> None:
    disk = make_disk()
    container = on(disk, containers)
    fill(disk, FLOOR // 4)
    for number in range(10):
        assert container.peer.shell(f"echo {number} >>log").exit.exit_code == 0
    assert container.peer.shell("cat log").stdout.count(b"\n") == 10
    container.destroy()


def test_without_a_floor_the_disk_may_be_filled(
    containers: Containers, make_disk: MakeDisk
) -> None:
    disk = make_disk()
    container = on(disk, containers, disk_floor_bytes=0)
    assert container.peer.shell("yes >full").exit.exit_code != 0
    assert left(disk) < MIB
    assert promised(container).disk_floor_bytes == 0
    container.destroy()


def test_a_workspace_with_a_quota_may_be_filled(
    containers: Containers, make_disk: MakeDisk
) -> None:
    # A quota is told from a disk by its size: here the whole disk is one.
    disk = make_disk()
    container = on(disk, containers, workspace_quota_bytes=DISK_MB * MIB)
    assert container.peer.shell("yes >full").exit.exit_code != 0
    assert left(disk) < MIB
    assert promised(container).disk_floor_bytes == 0
    assert promised(container).workspace_quota_bytes == DISK_MB * MIB
    container.destroy()


def test_the_floor_is_a_twentieth_where_nobody_says_otherwise(
    containers: Containers, make_disk: MakeDisk
) -> None:
    disk = make_disk()
    container = on(disk, containers, disk_floor_bytes=None)
    status = os.statvfs(disk)
    floor = promised(container).disk_floor_bytes
    assert abs(floor - status.f_blocks * status.f_frsize // 20) <= 1
    container.peer.start("sh", "-c", "yes >full")
    assert container.peer.wait_end().reason is EndCode.DISK_FULL


def keep_busy(container: Container, seconds: float) -> None:
    """Keep PID 1 from its rest, always for another while before it can look around."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pings = random.randrange(1, 50)
        for _ in range(pings):
            container.peer.send(Frame.PING, 0, bytes(8))
        for _ in range(pings):
            container.peer.expect(Frame.PONG)


def wakes(container: Container) -> int:
    """How often PID 1 has woken up in a time in which a watch would have looked twice."""
    status = Path(f"/proc/{container.pid}/status")

    def switches() -> int:
        fields = dict(row.split(":\t", 1) for row in status.read_text().splitlines() if ":" in row)
        return int(fields["voluntary_ctxt_switches"])

    before = switches()
    assert container.peer.is_silent(2.5)
    return switches() - before
