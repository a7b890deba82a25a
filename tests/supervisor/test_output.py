"""Output: caps, credit, slow readers, and what comes after the end."""

from __future__ import annotations

from fumehood._wire import table
from fumehood._wire.table import ExecCode, Frame
from supervisor.container import Container, eventually


def test_the_first_bytes_of_each_stream_are_sent_and_the_rest_is_counted(
    container: Container,
) -> None:
    result = container.peer.shell(
        "head -c 1000000 /dev/zero; head -c 500000 /dev/zero >&2", limit=1000, stderr_limit=7
    )
    assert (len(result.stdout), len(result.stderr)) == (1000, 7)
    assert (result.exit.stdout_total, result.exit.stderr_total) == (1_000_000, 500_000)


def test_gigabytes_beyond_the_cap_cost_the_client_nothing(container: Container) -> None:
    result = container.peer.run("head", "-c", "2000000000", "/dev/zero", limit=0)
    assert result.stdout == b""
    assert result.exit.stdout_total == 2_000_000_000


def test_output_larger_than_every_buffer_arrives_whole(container: Container) -> None:
    result = container.peer.run("seq", "2000000", limit=1 << 30)
    assert result.stdout == b"".join(b"%d\n" % i for i in range(1, 2_000_001))


def test_a_reader_that_stops_stalls_its_own_command_and_nothing_else(container: Container) -> None:
    peer = container.peer
    stalled = peer.start("sh", "-c", "seq 1000000; echo over >&2", limit=1 << 30)
    received = b""
    while len(received) < table.CHANNEL_WINDOW:
        raw = peer.expect(Frame.STDOUT)
        received += raw.payload
        peer.credit(0, len(raw.payload))
    # Not a byte beyond the window, however long one waits; other commands do not notice.
    assert len(received) == table.CHANNEL_WINDOW
    for _ in range(3):
        assert peer.shell("echo quick").stdout == b"quick\n"
    assert peer.is_silent(0.2)
    peer.credit(stalled, len(received))
    result = peer.finish(stalled)
    assert received + result.stdout == b"".join(b"%d\n" % i for i in range(1, 1_000_001))
    assert result.stderr == b"over\n"


def test_a_client_that_acknowledges_nothing_gets_one_connection_window(
    container: Container,
) -> None:
    peer = container.peer
    for _ in range(4):
        peer.start("cat", "/dev/zero", limit=1 << 40)
    received = 0
    while received < table.CONNECTION_WINDOW:
        received += len(peer.expect(Frame.STDOUT).payload)
    assert received == table.CONNECTION_WINDOW
    assert peer.is_silent(0.2)
    # Everything but data still passes.
    peer.ping()
    assert peer.status().channels == 4
    assert peer.run("true").exit.exit_code == 0
    peer.credit(0, received)
    assert peer.expect(Frame.STDOUT)


def test_a_scarce_window_is_shared(container: Container) -> None:
    peer = container.peer
    channels = [peer.start("cat", "/dev/zero", limit=1 << 40) for _ in range(4)]
    shares = dict.fromkeys(channels, 0)
    # All get somewhere. How equal they are also depends on who the kernel lets run.
    while min(shares.values()) < 2_000_000:
        raw = peer.expect(Frame.STDOUT)
        shares[raw.channel] += len(raw.payload)
        peer.credit(0, len(raw.payload))
        peer.credit(raw.channel, len(raw.payload))
        assert max(shares.values()) < 2_000_000_000, shares
    for channel in channels:
        peer.send(Frame.CANCEL, channel)
    for channel in channels:
        assert peer.finish(channel).exit.reason is ExecCode.CANCELLED


def test_cancel_needs_no_credit(container: Container) -> None:
    peer = container.peer
    channel = peer.start("cat", "/dev/zero", limit=1 << 40)
    received = 0
    while received < table.CHANNEL_WINDOW:
        received += len(peer.expect(Frame.STDOUT).payload)
    peer.send(Frame.CANCEL, channel)
    assert peer.finish(channel).exit.reason is ExecCode.CANCELLED


def test_a_grandchild_that_holds_the_pipe_delays_nothing(container: Container) -> None:
    result = container.peer.shell("sleep 1000 & echo out; echo err >&2")
    assert (result.stdout, result.stderr) == (b"out\n", b"err\n")
    assert (result.exit.left_running, result.exit.exit_code) == (1, 0)


def test_what_a_grandchild_writes_later_is_dropped_and_does_not_kill_it(
    container: Container,
) -> None:
    peer, mark = container.peer, container.workspace / "mark"
    script = f"(sleep 0.2; head -c 1000000 /dev/zero; echo late; echo written > {mark}) & echo now"
    result = peer.shell(script)
    assert result.stdout == b"now\n"
    assert result.exit.stdout_total == 4
    # A megabyte fits no pipe: it could write it all because somebody went on reading.
    eventually(mark.exists, "the grandchild's mark")
    assert peer.shell("true").stdout == b""


def test_all_that_the_pipe_holds_at_the_end_is_sent(container: Container) -> None:
    for size in (1, 4096, 60_000, 65_536):
        result = container.peer.run("head", "-c", str(size), "/dev/zero")
        assert (len(result.stdout), result.exit.stdout_total) == (size, size)


def test_a_command_of_one_byte_writes_is_counted_right(container: Container) -> None:
    script = "import os\nfor _ in range(20000): os.write(1, b'x')"
    result = container.peer.run("python3", "-S", "-c", script)
    assert (result.stdout, result.exit.stdout_total) == (b"x" * 20_000, 20_000)


def test_memory_is_given_back_after_a_flood(container: Container) -> None:
    def resident() -> int:
        with open(f"/proc/{container.pid}/smaps_rollup") as rollup:
            return int(next(line for line in rollup if line.startswith("Pss:")).split()[1])

    peer = container.peer
    peer.run("true")
    channels = [
        peer.start("sh", "-c", "cat >/dev/null; seq 4000", stdin=True, limit=1 << 30)
        for _ in range(20)
    ]
    for channel in channels:
        peer.feed(channel, b"i" * 500_000)
    for channel in channels:
        peer.send(Frame.EOF, channel)
    for channel in channels:
        peer.finish(channel)
    peer.run("seq", "1000000", limit=1 << 30)
    peer.run("true")
    # The static C library of a development build is in it; a sanitizer keeps what was freed.
    sanitized = b"__asan" in container.binary.read_bytes()
    assert resident() < (64_000 if sanitized else 4000)  # kB
