"""File operations through the supervisor: helpers, commits, cancels, and rights."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from fumehood._wire import table
from fumehood._wire.records import EntryReader
from fumehood._wire.requests import file_request
from fumehood._wire.table import ErrorCode, Frame, Operation, Root
from supervisor.conftest import Containers
from supervisor.container import Container, configuration, eventually


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def helpers(container: Container, uid: int) -> list[int]:
    return [pid for pid in container.supervisors().values() if f"\nUid:\t{uid}\t" in status(pid)]


def status(pid: int) -> str:
    """Return what the kernel shows of a process; nothing of one that has ended meanwhile."""
    try:
        return Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def test_what_is_written_is_read_again(container: Container) -> None:
    data = os.urandom(3_000_000)
    peer = container.peer
    assert peer.write_file(b"a/b/file", data, parents=1).done.size == len(data)
    assert (container.workspace / "a/b/file").read_bytes() == data
    result = peer.file(Operation.READ, b"a/b/file", offset=0, limit=1 << 30)
    assert (result.stdout, result.done.size) == (data, len(data))
    part = peer.file(Operation.READ, b"a/b/file", offset=1_000_000, limit=1 << 30)
    assert part.stdout == data[1_000_000:]


def test_a_file_is_there_only_once_all_has_arrived(container: Container) -> None:
    peer = container.peer
    (container.workspace / "file").write_text("old")
    channel = peer.start_write(b"file")
    peer.send(Frame.STDIN, channel, b"new")
    peer.ping()
    assert (container.workspace / "file").read_text() == "old"
    peer.send(Frame.EOF, channel)
    assert peer.finish(channel).done.size == 3
    assert (container.workspace / "file").read_text() == "new"


def test_a_cancelled_write_leaves_nothing_behind(container: Container) -> None:
    peer = container.peer
    (container.workspace / "file").write_text("old")
    for name in (b"file", b"fresh"):
        channel = peer.start_write(name)
        peer.feed(channel, b"n" * 1_000_000)
        peer.send(Frame.CANCEL, channel)
        assert peer.finish(channel).fail.error is ErrorCode.CANCELLED
    assert (container.workspace / "file").read_text() == "old"
    eventually(lambda: names(container.workspace) == ["file"], "no leftovers")


def test_a_lost_connection_leaves_nothing_behind(containers: Containers) -> None:
    container = containers().begin()
    second, relay = container.relay()
    second.hello()
    second.feed(second.start_write(b"file"), b"n" * 200_000)
    second.ping()
    second.close()
    relay.wait()
    eventually(lambda: container.peer.status().channels == 0, "its end")
    eventually(lambda: names(container.workspace) == [], "no leftovers")


def test_a_write_beyond_its_limit_fails_and_leaves_nothing(containers: Containers) -> None:
    container = containers().begin(max_file_bytes=500_000)
    peer = container.peer
    assert peer.write_file(b"own", b"x" * 2000, limit=1000).fail.error is ErrorCode.TOO_LARGE
    # The session's limit holds whatever the client asks for.
    assert peer.write_file(b"all", b"x" * 600_000).fail.error is ErrorCode.TOO_LARGE
    assert peer.write_file(b"fits", b"x" * 500_000).done.size == 500_000
    assert names(container.workspace) == ["fits"]


def test_a_read_larger_than_asked_for_is_refused_before_its_first_byte(
    container: Container,
) -> None:
    (container.workspace / "file").write_bytes(b"x" * 5000)
    result = container.peer.file(Operation.READ, b"file", offset=0, limit=4999)
    assert (result.stdout, result.fail.error, result.fail.size) == (b"", ErrorCode.TOO_LARGE, 5000)


def test_a_slow_reader_of_a_file_stalls_only_itself(container: Container) -> None:
    data = os.urandom(2_000_000)
    (container.workspace / "file").write_bytes(data)
    peer = container.peer
    slow = peer.open(file_request(Operation.READ, b"file", Root.WORKSPACE, offset=0, limit=1 << 30))
    got = b""
    while len(got) < table.CHANNEL_WINDOW:
        raw = peer.expect(Frame.STDOUT)
        got += raw.payload
        peer.credit(0, len(raw.payload))
    assert peer.run("true").exit.exit_code == 0
    peer.credit(slow, len(got))
    assert got + peer.finish(slow).stdout == data


def test_listings_and_changes(container: Container) -> None:
    peer = container.peer
    assert peer.file(Operation.MAKE_DIRECTORY, b"d/e", mode=0o755, parents=1).done
    peer.write_file(b"d/e/file", b"12345")
    listed = peer.file(Operation.LIST, b".", limit=100, recursive=1)
    entries = {entry.name: entry for entry in EntryReader().feed(listed.stdout)}
    assert sorted(entries) == [b"d", b"d/e", b"d/e/file"]
    assert listed.done.entries == 3
    assert entries[b"d/e/file"].size == 5
    too_many = peer.file(Operation.LIST, b".", limit=2, recursive=1)
    assert too_many.fail.error is ErrorCode.TOO_MANY_ENTRIES
    assert peer.file(Operation.RENAME, b"d/e/file", target=b"x/y", parents=1).done
    assert peer.file(Operation.REMOVE, b"d", recursive=0).fail.error is ErrorCode.NOT_EMPTY
    assert peer.file(Operation.REMOVE, b"d", recursive=1).done
    assert names(container.workspace) == ["x"]
    missing = peer.file(Operation.STAT, b"d", follow=0)
    assert missing.fail.error is ErrorCode.NOT_FOUND


def test_paths_out_of_the_workspace_are_refused(container: Container) -> None:
    (container.workspace / "out").symlink_to("/etc/passwd")
    peer = container.peer
    for path in (
        b"../outside",
        b"/etc/passwd",
        b"out",
        b"a/../../x",
        b"/proc/self/root/etc/passwd",
    ):
        failed = peer.file(Operation.READ, path, offset=0, limit=1 << 20).fail
        assert failed.error in (ErrorCode.ESCAPES, ErrorCode.INVALID, ErrorCode.NOT_FOUND), path
    whole = peer.file(Operation.READ, b"/etc/passwd", root=Root.FILESYSTEM, offset=0, limit=1 << 20)
    assert whole.stdout == Path("/etc/passwd").read_bytes()


def test_what_is_no_regular_file_is_refused_at_once(container: Container) -> None:
    os.mkfifo(container.workspace / "fifo")
    for path, root in (
        (b"fifo", Root.WORKSPACE),
        (b"/dev/zero", Root.FILESYSTEM),
        (b"/dev/tty", Root.FILESYSTEM),
    ):
        failed = container.peer.file(Operation.READ, path, root=root, offset=0, limit=100).fail
        assert failed.error in (ErrorCode.NOT_REGULAR, ErrorCode.NOT_FOUND)


def test_files_are_touched_with_the_sessions_own_rights(containers: Containers) -> None:
    container = containers().begin(user="12345:12345")
    secret = container.base / "secret"
    secret.write_text("root's")
    secret.chmod(0o600)
    peer = container.peer
    path = os.fsencode(secret)
    failed = peer.file(Operation.READ, path, root=Root.FILESYSTEM, offset=0, limit=100)
    assert failed.fail.error is ErrorCode.PERMISSION
    peer.write_file(b"mine", b"x")
    status = (container.workspace / "mine").stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (12345, 12345, 0o644)


def test_root_of_the_container_has_no_more_rights_than_its_commands(container: Container) -> None:
    closed = container.base / "closed"
    closed.mkdir()
    os.chown(closed, 12345, 12345)
    closed.chmod(0o700)
    failed = container.peer.file(
        Operation.LIST, os.fsencode(closed), root=Root.FILESYSTEM, limit=10, recursive=0
    )
    assert failed.fail.error is ErrorCode.PERMISSION


def test_a_helper_that_is_killed_is_a_failure_of_its_own(containers: Containers) -> None:
    container = containers().begin(user="12345:12345")
    peer = container.peer
    channel = peer.start_write(b"file")
    peer.send(Frame.STDIN, channel, b"x")
    eventually(lambda: helpers(container, 12345), "the helper in its user's shoes")
    # It runs as the workload's user, so a workload can kill it. Only itself is harmed.
    peer.shell("kill -9 -1")
    assert peer.finish(channel).fail.error is ErrorCode.HELPER_DIED
    assert peer.write_file(b"file", b"again").done.size == 5


def test_a_helper_that_was_stopped_does_not_survive_its_cancel(containers: Containers) -> None:
    container = containers().begin(user="12345:12345")
    peer = container.peer
    channel = peer.start_write(b"file")
    peer.send(Frame.STDIN, channel, b"x")
    eventually(lambda: helpers(container, 12345), "the helper in its user's shoes")
    peer.shell("kill -STOP -1")
    peer.send(Frame.CANCEL, channel)
    assert peer.finish(channel).fail.error is ErrorCode.CANCELLED
    eventually(lambda: len(container.descriptors()) <= 20, "its descriptors closed")
    assert peer.write_file(b"file", b"again").done.size == 5


def test_two_hundred_small_files_at_once(container: Container) -> None:
    peer = container.peer
    channels = []
    for i in range(200):
        channel = peer.start_write(f"f{i}".encode())
        peer.send(Frame.STDIN, channel, b"%d" % i)
        peer.send(Frame.EOF, channel)
        channels.append(channel)
    for channel in channels:
        assert peer.finish(channel).done
    assert all((container.workspace / f"f{i}").read_text() == str(i) for i in range(200))


def test_hosts_are_written_when_asked_for_and_missing(containers: Containers) -> None:
    # A root of its own, so that the machine's file is left alone.
    script = (
        'root=$(mktemp -d -p "$0"); chmod 755 $root; for d in bin lib lib64 usr proc dev; do mkdir $root/$d; '
        "mount --rbind /$d $root/$d 2>/dev/null; done; mkdir $root/etc $root/work $root/tmp; "
        'cp "$1" $root/supervisor; exec chroot $root /supervisor'
    )
    for wanted in (False, True):
        probe = containers()
        container = containers(prefix=("sh", "-c", script, str(probe.base)), capabilities="+all")
        container.peer.hello()
        container.peer.configure(configuration("/work", write_hosts=wanted))
        result = container.peer.file(
            Operation.READ, b"/etc/hosts", root=Root.FILESYSTEM, offset=0, limit=1 << 16
        )
        if wanted:
            assert b"127.0.0.1\tlocalhost\n" in result.stdout
        else:
            assert result.fail.error is ErrorCode.NOT_FOUND
        container.destroy()


def test_signals_to_a_transfer_are_signals_to_the_helper_only(container: Container) -> None:
    # Root's processes in the container may signal root's helpers, never PID 1.
    for number in (signal.SIGKILL, signal.SIGSTOP):
        result = container.peer.shell(f"kill -{int(number)} 1; echo $?")
        assert result.exit.exit_code == 0
    container.peer.ping()
