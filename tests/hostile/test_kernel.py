"""Attacks on the kernel's surface: system calls, networks, the kernel's own files."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import re
import select
import socket
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from cases.mark import case
from fumehood import AsyncDockerSandbox, ExecReason, ExecResult, InvalidRequestError, Security
from fumehood.options import GRANTABLE_CAPABILITIES
from hostile.arena import KINDS, Arena
from hostile.conftest import OpenArena

KERNEL = "No way past the network namespace: no host vsock, no io_uring, no AF_ALG"
NETWORK = "No network: loopback alone"
SUPERVISOR = "The workload cannot stop, trace or speak as the supervisor"
RESERVED = "No command runs as the supervisor's uid"
MEMORY = "A command that uses up the memory is a typed result and the session lives on"

# What a kernel without a feature answers, so that programs do without it.
ABSENT = {
    **dict.fromkeys(("clone3", "x32-getpid", "x32-vsock", "x32-setuid"), "ENOSYS"),
    **dict.fromkeys(("io_uring_setup", "io_uring_setup-high-bit"), "ENOSYS"),
    **dict.fromkeys(("io_uring_enter", "io_uring_register"), "ENOSYS"),
    **dict.fromkeys(("af_alg", "af_alg-high-bit"), "EAFNOSUPPORT"),
}
# As the engine and its libseccomp know a call or do not.
REFUSED = ("EPERM", "ENOSYS")


def told(done: ExecResult) -> dict[str, str]:
    """Return what a program of ``attacks/`` has said of each attempt: ``ok`` or an errno's name."""
    assert done.ok, done
    result = {}
    for line in done.stdout.splitlines():
        what, _, how = line.partition(" ")
        result[what] = errno.errorcode[int(how)] if how.isdigit() else how
    return result


def allowed(attempts: dict[str, str]) -> list[str]:
    """Return the attempts that were not refused."""
    return sorted(what for what, how in attempts.items() if how == "ok")


def kernels_settings() -> dict[str, str]:
    """Return what the machine's kernel knows of itself, where a call or a file could change it."""
    names = ("hostname", "domainname", "core_pattern", "modprobe", "ctrl-alt-del")
    paths = [Path("/proc/sys/kernel", name) for name in names]
    return {path.name: path.read_text("ascii") for path in paths if path.exists()}


@case("H44", KERNEL)
async def test_calls_that_no_workload_needs_are_refused(arena: Arena) -> None:
    before = kernels_settings()
    attempts = told(await arena.attack("syscalls"))
    assert len(attempts) > 70
    odd = {
        what: how
        for what, how in attempts.items()
        if (how != ABSENT[what] if what in ABSENT else how not in REFUSED)
    }
    assert odd == {}
    assert kernels_settings() == before
    assert await arena.alive()


@case("X25", KERNEL)
async def test_the_filter_cannot_be_shed_or_passed_by(arena: Arena) -> None:
    attempts = told(await arena.attack("evade"))
    # Of no use to whoever may install one: a filter can only take away.
    assert (attempts.pop("own-filter"), attempts.pop("own-listener")) == ("added", "added")
    assert attempts.pop("no-new-privs") == "on"
    assert attempts.pop("own-listener-io_uring") == "ENOSYS"
    killed = {what for what in attempts if what.startswith("int80-")}
    assert {attempts.pop(what) for what in killed} <= {"signal 31"}
    absent = {what: attempts.pop(what) for what in list(attempts) if what in ABSENT}
    assert set(absent.values()) <= {"ENOSYS"}
    vsock = {what for what in attempts if "vsock" in what}
    assert len(vsock) >= 7
    assert {attempts.pop(what) for what in vsock} == {"EAFNOSUPPORT"}
    assert allowed(attempts) == []
    assert await arena.alive()


# --- who it is --------------------------------------------------------------------------------


def status(done: ExecResult) -> dict[str, list[str]]:
    """Return what a process has read in its own /proc/self/status."""
    assert done.ok, done
    return {
        name: value.split()
        for name, _, value in (line.partition(":") for line in done.stdout.splitlines())
    }


def assert_plain(found: dict[str, list[str]], uid: int) -> None:
    """Fail unless a process is of one uid and nothing more."""
    assert found["Uid"] == [str(uid)] * 4
    assert {int(found[name][0], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {0}
    assert (found["NoNewPrivs"], found["Seccomp"]) == (["1"], ["2"])


@case("X26", SUPERVISOR)
async def test_a_set_uid_program_gives_nothing(arena: Arena) -> None:
    program = await arena.bring("privilege")
    # In the root directory: no mount option is in its way, as it would be in /tmp.
    planted = await arena.session.exec([program, "plant", "/planted"], user="root")
    assert allowed(told(planted)) == []
    entry = await arena.session.stat("/planted", root="/")
    assert (entry.mode, entry.uid) == (0o6755, 0)
    for user in (12345, 65534):
        done = await arena.session.exec(["/planted", "status"], user=f"{user}:{user}")
        assert_plain(status(done), user)
        assert status(done)["Gid"] == [str(user)] * 4


@case("X31", SUPERVISOR)
@pytest.mark.slow
async def test_a_program_run_from_memory_is_a_command_like_others(arena: Arena) -> None:
    program = await arena.bring("privilege")
    done = await arena.session.exec([program, "memfd"], user=12345)
    assert_plain(status(done), 12345)


@case("X35", SUPERVISOR)
async def test_what_a_command_may_do_can_only_become_less(arena: Arena) -> None:
    attempts = told(await arena.attack("privilege", "raise"))
    # How low its own score may go is the engine's to say; what that is worth is the next case.
    attempts.pop("oom-score", None)
    assert allowed(attempts) == []
    assert len(attempts) > 12


@case("X28", RESERVED)
@pytest.mark.slow
@pytest.mark.parametrize("granted", [(), ("CHOWN", "FOWNER", "FSETID", "SETGID", "SETUID")])
async def test_no_call_takes_the_supervisors_uid(
    open_arena: OpenArena, granted: tuple[str, ...]
) -> None:
    security = Security(workload_capabilities=granted)
    for kind in KINDS:
        async with open_arena(kind, security=security) as arena:
            program = await arena.bring("privilege")
            done = await arena.session.exec([program, "become", "64999"], user="root")
            assert allowed(told(done)) == [], kind
            knocked = await arena.session.exec([await arena.bring("listener"), "50"], user="root")
            assert knocked.stdout == "50 closed\n"


@case("X28", RESERVED)
async def test_nobody_but_the_reserved_uid_is_let_in(arena: Arena) -> None:
    program = await arena.bring("listener")
    for user in ("0", "1", "1000", "64998", "65000", "65534", "0:64999", "1000:64999"):
        if user.endswith(":64999"):
            with pytest.raises(InvalidRequestError):
                await arena.session.exec([program, "1"], user=user)
            continue
        done = await arena.session.exec([program, "200"], user=user, check=True)
        assert done.stdout == "200 closed\n", user
    assert await arena.alive()


@case("X28", SUPERVISOR)
async def test_who_knocks_without_an_end_does_not_keep_others_out(arena: Arena) -> None:
    program = await arena.bring("listener")
    async with (
        AsyncDockerSandbox(image=arena.kind.image, pull="never") as sandbox,
        arena.session.exec_stream([program], timeout=30) as knocking,
    ):
        await anext(knocking)
        for _ in range(3):
            async with asyncio.timeout(20), sandbox.connect(arena.session.id) as second:
                assert await second.ping() < 10
        assert await arena.session.ping() < 10


@case("X30", SUPERVISOR)
async def test_nobody_types_into_a_terminal(arena: Arena) -> None:
    attempts = told(await arena.attack("terminal"))
    # Where the attempts can be made: a terminal of its own, which controls it.
    assert (attempts.pop("terminal"), attempts.pop("controls")) == ("ok", "ok")
    assert attempts == dict.fromkeys(
        ("sti", "sti-high-bit", "linux", "linux-high-bit", "console"), "EPERM"
    )


# --- networks ---------------------------------------------------------------------------------


def machines_addresses() -> list[str]:
    """Return the addresses of this machine that are not its loopback."""
    routes = re.findall(r"(\d+\.\d+\.\d+\.\d+)", Path("/proc/net/fib_trie").read_text("ascii"))
    found = {text for text in routes if not text.startswith(("127.", "0."))}
    return sorted(text for text in found if not text.endswith((".0", ".255")))


@contextlib.contextmanager
def outside() -> Iterator[tuple[int, Callable[[], bool]]]:
    """Listen on every address of this machine; give the port, and what says if anybody came."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_STREAM) as stream,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
    ):
        stream.bind(("0.0.0.0", 0))
        stream.listen()
        port = stream.getsockname()[1]
        datagrams.bind(("0.0.0.0", port))
        yield port, lambda: bool(select.select([stream, datagrams], [], [], 0)[0])


# Sockets that open and lead nowhere, and the one device that there is.
HARMLESS = {"family-1", "family-2", "family-10", "family-16", "device-lo"}
CHANGES = ("new-", "ioctl-", "socket-", "packet-", "loopback-", "receive-", "transparent")


@case("H47", NETWORK)
async def test_nothing_can_be_reached_or_changed(arena: Arena) -> None:
    addresses = machines_addresses()
    assert addresses, "this machine has a network: there is something to reach"
    with outside() as (port, somebody_came):
        attempts = told(await arena.attack("network", f"port={port}", *addresses))
        # Whatever the errors say inside: a listener outside is the judge.
        assert not somebody_came()
    assert all(f"tcp-{address}" in attempts for address in addresses)
    assert set(allowed(attempts)) <= HARMLESS
    assert "device-lo" in attempts
    changes = {what: how for what, how in attempts.items() if what.startswith(CHANGES)}
    assert len(changes) == 19
    assert set(changes.values()) <= {"EPERM", "EACCES"}


# --- the kernel's files -----------------------------------------------------------------------

HIDDEN = (
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/kmsg",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/sysrq-trigger",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/1/environ",
    "/proc/1/mem",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
    "/sys/devices/system/cpu/cpu0/thermal_throttle",
    "/sys/kernel/debug",
    "/sys/kernel/security",
    "/sys/kernel/tracing",
    "/sys/fs/bpf",
    "/dev/mem",
    "/dev/kmsg",
    "/dev/kvm",
    "/dev/fuse",
    "/dev/vsock",
)
DEVICES = {
    "c 1:3",  # null
    "c 1:5",  # zero
    "c 1:7",  # full
    "c 1:8",  # random
    "c 1:9",  # urandom
    "c 5:0",  # tty: whoever has none gets none
    "c 5:2",  # ptmx, of an own devpts
}
# Anybody may write there, and set no more than a trigger for himself.
PRESSURE = re.compile(r"writable /proc/pressure/(cpu|io|memory|irq)")


def modes_of_proc() -> dict[str, int]:
    """Return the modes of the machine's own entries in /proc, which every container shares."""
    entries = [path for path in Path("/proc").iterdir() if not path.name.isdigit()]
    return {path.name: path.lstat().st_mode for path in entries}


def lines(done: ExecResult) -> Iterable[str]:
    """Return what was found, without the last line, which says that there was something to try."""
    *found, last = done.stdout.splitlines()
    tried = re.fullmatch(r"tried (\d+)", last)
    assert tried, done
    assert int(tried[1]) > 1000
    return found


@case("H48", SUPERVISOR)
async def test_the_kernels_files_cannot_be_written_and_the_hidden_ones_say_nothing(
    arena: Arena,
) -> None:
    before, modes = kernels_settings(), modes_of_proc()
    done = await arena.attack("kernelfiles", *HIDDEN, timeout=60, check=True)
    assert (kernels_settings(), modes_of_proc()) == (before, modes)
    found = [line for line in lines(done) if not PRESSURE.fullmatch(line)]
    devices = {line.split(" ", 2)[2] for line in found if line.startswith("device ")}
    assert devices <= DEVICES
    assert [line for line in found if not line.startswith("device ")] == []


@case("X32", SUPERVISOR)
@pytest.mark.slow
async def test_root_with_every_capability_that_can_be_granted_has_no_more_of_the_kernel(
    open_arena: OpenArena,
) -> None:
    security = Security(workload_capabilities=GRANTABLE_CAPABILITIES)
    async with open_arena(KINDS[0], security=security) as arena:
        done = await arena.attack("kernelfiles", *HIDDEN[:12], timeout=60, check=True)
        found = [line for line in lines(done) if not line.startswith("device ")]
        assert [line for line in found if not PRESSURE.fullmatch(line)] == []
        assert set(told(await arena.attack("syscalls")).values()) <= {*REFUSED, "EAFNOSUPPORT"}


@case("X34", MEMORY)
async def test_memory_cannot_be_put_where_no_budget_counts_it(arena: Arena) -> None:
    # What is in a memory-backed file system outlives whoever is killed for it.
    mounts = await arena.session.read_text_file("/proc/self/mountinfo", root="/")
    on_top: dict[str, tuple[str, set[str]]] = {}
    for line in mounts.splitlines():
        mount, _, kind = line.partition(" - ")
        _, _, _, root, place, options, *_ = mount.split()
        if root != "/null":  # what hides a file
            on_top[place] = kind, set(options.split(","))
    writable = {
        place: "size=" in kind
        for place, (kind, options) in on_top.items()
        if kind.split()[0] in ("tmpfs", "ramfs", "hugetlbfs") and "rw" in options
    }
    assert writable == {"/tmp": True, "/dev": True, "/dev/shm": True}


@case("X35", MEMORY)
@pytest.mark.slow
async def test_who_lowers_its_own_score_dies_in_the_supervisors_place_all_the_same(
    arena: Arena,
) -> None:
    for _ in range(3):
        done = await arena.attack("memory", timeout=30)
        assert done.reason is ExecReason.OUT_OF_MEMORY, done
        assert await arena.alive()
