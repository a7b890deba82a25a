"""The attacks of the self-check: what each tries, and what must come of it."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from fumehood import (
    ExecReason,
    FileError,
    NotRegularFileError,
    PathEscapesError,
    ResourceLimitError,
)
from fumehood.cli.self_check import judges
from fumehood.cli.self_check.ground import Ground, NotHeldError, NotTriedError

# A frame of a command's output, as the supervisor writes it: type, length, channel 1, payload.
FORGED: bytes = bytes((0x13, 0, 0, 6, 0, 0, 0, 1)) + b"forged"

LATE = 5.0
"""Seconds after its time is over in which a command must be dead, on a machine that is busy too."""
_TIMEOUTS = (1.0, 4.0)
"""Seconds; the second for a machine on which a tree is not up in the first."""

MEMORY_MB, PIDS = 64, 64
"""Limits of the session whose resources are attacked."""
_TOO_MUCH_MB = 1024
_FLOOD = 64 << 20
_KEPT = 64 << 10

# Shapes of the attack `tree`, and which of them wait for their timeout: the others' caller leaves.
_OUT_OF_TIME = ("daemons", "deaf", "restless")
_LEFT = ("siblings", "subreapers", "vforks", "hydra", "stopped", "threads", "deadly ends")

_ESCAPES = {
    "absolute": "/etc/passwd",
    "up": "../etc/passwd",
    "zigzag": "sub/../.././etc/passwd",
    "chain": "up",
    "environment": "/proc/1/environ",
    "own-root": "/proc/self/root/etc/passwd",
    "descriptor": "/proc/self/fd/0",
    "supervisor": "/.fumehood/supervisor",
    "device": "/dev/zero",
    "nowhere": "/no/such/thing",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Grounds:
    """The sessions of one self-check."""

    main: Ground
    limited: Ground
    """One whose limits are small: its resources are attacked while the other must live on."""


Run = Callable[[Grounds], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class Check:
    """One attack, or one kind of attacks."""

    id: str
    """For programs: it stays the same from version to version."""
    title: str
    """What must hold, as a person would say it."""
    run: Run
    """Makes it; returns what was tried. Raises :class:`NotHeldError` when something got through,
    :class:`NotTriedError` when nothing was shown."""


async def _as_everybody(
    ground: Ground,
    judge: Callable[[str], list[str]],
    name: str,
    *arguments: str,
    input: bytes | None = None,
) -> str:
    """Make an attack as each user and judge what it printed; return the last print."""
    text = ""
    for user in ground.users:
        text = await ground.told(name, *arguments, user=user, input=input)
        got = judge(text)
        if got:
            who = "the image's user" if user is None else f"uid {user}"
            more = f" and {len(got) - 1} more" if len(got) > 1 else ""
            raise NotHeldError(f"as {who}: {got[0]}{more}")
    await ground.works()
    return text


# --- process 1 --------------------------------------------------------------------------------


async def _matrix(grounds: Grounds) -> str:
    ground = grounds.main
    text = await _as_everybody(ground, judges.matrix, "matrix", "supervisor")
    judges.matrix_works(await ground.told("matrix", "child"))
    return text.splitlines()[-1]


async def _signals(grounds: Grounds) -> str:
    return (await _as_everybody(grounds.main, judges.signals, "signals")).strip()


async def _forgery(grounds: Grounds) -> str:
    forged = FORGED * 100

    def judge(text: str) -> list[str]:
        return judges.forged(text, len(forged))

    text = await _as_everybody(grounds.main, judge, "forge", input=forged)
    return text.splitlines()[-1]


async def _binary(grounds: Grounds) -> str:
    await _as_everybody(grounds.main, judges.binary, "binary")
    return "reading, writing, linking, mounting, tracing"


async def _descriptors(grounds: Grounds) -> str:
    await _as_everybody(grounds.main, judges.descriptors, "descriptors")
    return "its own three"


# --- privileges and the kernel ----------------------------------------------------------------


async def _identity(grounds: Grounds) -> str:
    await _as_everybody(grounds.main, judges.identity, "privilege", "status")
    return f"of {len(grounds.main.users)} users, read in /proc/self/status"


async def _privileges(grounds: Grounds) -> str:
    text = await _as_everybody(grounds.main, judges.privileges, "privilege", "raise")
    return f"{len(text.splitlines())} ways"


async def _calls(grounds: Grounds) -> str:
    text = await _as_everybody(grounds.main, judges.calls, "syscalls")
    return f"{len(text.splitlines())} calls"


async def _filter(grounds: Grounds) -> str:
    text = await _as_everybody(grounds.main, judges.filter_evaded, "evade")
    return f"{len(text.splitlines())} ways"


async def _network(grounds: Grounds) -> str:
    text = await _as_everybody(grounds.main, judges.network, "network")
    return f"{len(text.splitlines())} ways"


async def _kernel_files(grounds: Grounds) -> str:
    text = await _as_everybody(grounds.main, judges.kernel_files, "kernelfiles")
    return f"{text.split()[-1]} files"


# --- processes and time -----------------------------------------------------------------------


async def _timeouts(grounds: Grounds) -> str:
    ground = grounds.main
    longest, killed = 0.0, 0
    for shape in _OUT_OF_TIME:
        late, count = await _late(ground, shape)
        await ground.nobody_left()
        longest, killed = max(longest, late), killed + count
    await ground.works()
    return f"{killed} processes killed, {longest * 1e3:.0f} ms after their time at the latest"


async def _late(ground: Ground, shape: str) -> tuple[float, int]:
    """Return by how much a tree outlived its timeout, in seconds, and how many were killed."""
    for timeout in _TIMEOUTS:
        begin = time.monotonic()
        done = await ground.attack("tree", shape, timeout=timeout)
        late = time.monotonic() - begin - timeout
        if done.reason is not ExecReason.TIMED_OUT:
            raise NotHeldError(f"{shape}: it ended as {done.reason} instead of by its timeout")
        if late > LATE:
            raise NotHeldError(f"{shape}: it was dead only {late:.1f} s after its timeout")
        if done.stdout == "up\n":
            return late, done.killed
    raise NotTriedError(f"{shape}: it was not up within {_TIMEOUTS[-1]:.0f} s")


async def _cancellations(grounds: Grounds) -> str:
    ground = grounds.main
    longest = 0.0
    for shape in _LEFT:
        async with ground.under_way("tree", shape):
            begin = time.monotonic()
        took = time.monotonic() - begin
        if took > LATE:
            raise NotHeldError(f"{shape}: it was dead only after {took:.1f} s")
        await ground.nobody_left()
        longest = max(longest, took)
    await ground.works()
    return f"{len(_LEFT)} kinds of trees, dead within {longest * 1e3:.0f} ms"


# --- resources --------------------------------------------------------------------------------


async def _fork_bomb(grounds: Grounds) -> str:
    ground = grounds.limited
    async with ground.under_way("bomb"):
        await grounds.main.works()
        await ground.session.ping()
        try:
            await ground.attack("hello")
        except ResourceLimitError:
            beside = "a second command is refused meanwhile"
        else:
            beside = "a second command runs meanwhile"
    await ground.nobody_left()
    await ground.works()
    return f"with a limit of {PIDS} processes; {beside}"


async def _memory_bomb(grounds: Grounds) -> str:
    ground = grounds.limited
    done = await ground.attack("eat", "touch", str(_TOO_MUCH_MB))
    if done.reason is not ExecReason.OUT_OF_MEMORY:
        raise NotHeldError(f"{_TOO_MUCH_MB} MiB were touched and it ended as {done.reason}")
    await ground.nobody_left()
    await ground.works()
    await grounds.main.works()
    return "the command is killed, the session lives on"


async def _output_flood(grounds: Grounds) -> str:
    ground = grounds.limited
    done = await ground.attack("talk", "flood", str(_FLOOD), max_output_bytes=_KEPT)
    if not done.ok:
        raise NotTriedError(f"the flood ended early: {done.reason}")
    for data, dropped in (
        (done.stdout_bytes, done.stdout_dropped),
        (done.stderr_bytes, done.stderr_dropped),
    ):
        if data != b"x" * _KEPT or dropped != _FLOOD - _KEPT:
            raise NotHeldError(f"{len(data)} bytes were kept and {dropped} counted as dropped")
    return f"{_FLOOD >> 20} MiB on each stream, {_KEPT >> 10} KiB kept, the rest counted"


# --- files ------------------------------------------------------------------------------------


async def _links(grounds: Grounds) -> str:
    ground = grounds.main
    session = ground.session
    links = [f"link:{name}:{target}" for name, target in _ESCAPES.items()]
    await ground.told("scene", "dir:sub", *links)
    tried = 0
    for name, target in _ESCAPES.items():
        below = f"{name}/x"
        for what, call in (
            ("read", partial(session.read_file, name)),
            ("written", partial(session.write_file, name, b"x")),
            ("looked at", partial(session.stat, name)),
            ("listed", partial(session.list_files, name)),
            ("written beneath", partial(session.write_file, below, b"x")),
            ("removed beneath", partial(session.remove, below, recursive=True)),
        ):
            tried += 1
            try:
                await call()
            except PathEscapesError:
                continue
            except FileError as exc:
                raise NotHeldError(f"a link to {target} was followed: {exc}") from exc
            raise NotHeldError(f"a link to {target} was {what}")
    await ground.works()
    return f"{tried} operations on {len(_ESCAPES)} links"


async def _special_files(grounds: Grounds) -> str:
    ground = grounds.main
    session = ground.session
    await ground.told("scene", "fifo:fifo", "socket:socket")
    for name in ("fifo", "socket"):
        for call in (partial(session.read_file, name), partial(session.write_file, name, b"x")):
            try:
                await call()
            except NotRegularFileError:
                continue
            raise NotHeldError(f"a {name} was taken for a file")
    await ground.works()
    return "a FIFO and a socket"


CHECKS: tuple[Check, ...] = (
    Check("matrix", "process 1 cannot be read, traced, weighed down or signalled", _matrix),
    Check("signals", "no signal stops process 1", _signals),
    Check("forgery", "nobody speaks as the supervisor", _forgery),
    Check("program", "the supervisor's program cannot be read or changed", _binary),
    Check("descriptors", "a command inherits nothing", _descriptors),
    Check("identity", "no capabilities, no new privileges, a seccomp filter", _identity),
    Check("privileges", "a command can only become less", _privileges),
    Check("calls", "no io_uring, AF_ALG, namespaces, mounts, bpf, keys", _calls),
    Check("filter", "no vsock, and no way round the filter", _filter),
    Check("network", "no network but its own loopback", _network),
    Check("kernel-files", "/proc, /sys and devices can change nothing", _kernel_files),
    Check("timeouts", "a timeout kills the whole tree", _timeouts),
    Check("cancellations", "so does a caller that leaves", _cancellations),
    Check("fork-bomb", "a fork bomb harms nobody else", _fork_bomb),
    Check("memory-bomb", "a memory bomb ends its command alone", _memory_bomb),
    Check("output-flood", "a flood of output is capped and counted", _output_flood),
    Check("links", "the file API follows no link out of the workspace", _links),
    Check("special-files", "the file API reads regular files only", _special_files),
)
