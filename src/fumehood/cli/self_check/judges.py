"""What the attacks print, judged: pure functions that return what got through, nothing if all held.

A text that is not what an attack prints is no proof of anything: :class:`NotTriedError`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from fumehood.cli.self_check.ground import NotTriedError

_LEAST_PROBES, _LEAST_PROCESSES = 400, 2
_LEAST_FOUND = 40
_SIGNALS = 64
_LEAST_CALLS = 60
_LEAST_VSOCK = 5
_LEAST_FILES = 200
_RESERVED_UID = "64999"

# Sockets that open and lead nowhere, and the one device that there is.
_LOOPBACK = frozenset({"family-1", "family-2", "family-10", "family-16", "device-lo"})
# null, zero, full, random, urandom; tty, which whoever has none does not get; ptmx of its own.
_DEVICES = frozenset({"c 1:3", "c 1:5", "c 1:7", "c 1:8", "c 1:9", "c 5:0", "c 5:2"})
# Anybody may write there, and sets no more than a trigger for himself.
_PRESSURE = re.compile(r"writable /proc/pressure/(cpu|io|memory|irq)")


def attempts(text: str, least: int) -> dict[str, str]:
    """Return what became of each attempt: ``ok``, the number of an error, or a word.

    Raises:
        NotTriedError: there are fewer attempts than there must be.
    """
    parts = (line.partition(" ") for line in text.splitlines())
    found = {what: how for what, space, how in parts if space}
    if len(found) < least:
        raise NotTriedError(f"{len(found)} attempts were made, of at least {least}")
    return found


def allowed(found: Mapping[str, str], harmless: Collection[str] = ()) -> list[str]:
    """Return the attempts that were not refused."""
    return sorted(what for what, how in found.items() if how == "ok" and what not in harmless)


def matrix(text: str) -> list[str]:
    """Judge the probes of process 1 and of all of its user's processes."""
    *got, summary = text.splitlines() or [""]
    match = re.fullmatch(r"(\d+) probes of (\d+) processes", summary)
    if match is None:
        raise NotTriedError("the probes broke off")
    probes, processes = int(match[1]), int(match[2])
    if processes < _LEAST_PROCESSES or probes < _LEAST_PROBES * processes:
        raise NotTriedError(f"only {probes} probes of {processes} processes were made")
    return got


def matrix_works(text: str) -> None:
    """See that the same probes find something in a process where nothing is in their way.

    Raises:
        NotTriedError: they do not, so their silence elsewhere shows nothing.
    """
    if len(text.splitlines()) < _LEAST_FOUND:
        raise NotTriedError("the probes find nothing even in a process of their own")


def signals(text: str) -> list[str]:
    """Judge the signals to process 1."""
    match = re.fullmatch(r"(\d+) refused\n", text)
    if match is None:
        raise NotTriedError("no signals were sent")
    return [] if int(match[1]) == _SIGNALS else [f"{_SIGNALS - int(match[1])} signals were sent"]


def forged(text: str, length: int) -> list[str]:
    """Judge what took forged frames of so many bytes."""
    *got, summary = text.splitlines() or [""]
    if summary != f"{length} bytes, many places":
        raise NotTriedError("the forged frames were not offered everywhere")
    return got


def binary(text: str) -> list[str]:
    """Judge what could be done to the supervisor's program."""
    *got, summary = text.splitlines() or [""]
    if summary != "tried everything":
        raise NotTriedError("not everything was tried")
    # That one shows that tracing would be a way, were it another program.
    return [line for line in got if line != "tracing of a program that may be read"]


def descriptors(text: str) -> list[str]:
    """Judge what a command was started with."""
    lines = text.splitlines()
    if not lines:
        raise NotTriedError("not even its own descriptors are there")
    expected = ["0 device", "1 pipe", "2 pipe"]
    return [f"descriptor {line}" for line in lines if line not in expected]


def identity(text: str) -> list[str]:
    """Judge who a command is, by what its kernel says of it."""
    found = {
        name: value.split()
        for name, _, value in (line.partition(":") for line in text.splitlines())
    }
    wanted = ("Uid", "CapInh", "CapPrm", "CapEff", "CapAmb", "NoNewPrivs", "Seccomp")
    if any(not found.get(name) for name in wanted):
        raise NotTriedError("the kernel says too little of a process")
    got = [f"{name} is {found[name][0]}" for name in wanted[1:5] if int(found[name][0], 16)]
    if len(set(found["Uid"])) != 1 or _RESERVED_UID in found["Uid"]:
        got.append(f"its uids are {' '.join(found['Uid'])}")
    if found["NoNewPrivs"] != ["1"]:
        got.append("no_new_privs is not set")
    if found["Seccomp"] != ["2"]:
        got.append("there is no seccomp filter")
    return got


def privileges(text: str) -> list[str]:
    """Judge the attempts to become more than one is."""
    # How low its own score may go is the engine's to say; it makes nobody else's higher.
    return allowed(attempts(text, 10), {"oom-score"})


def calls(text: str) -> list[str]:
    """Judge the system calls that no workload has business with."""
    return allowed(attempts(text, _LEAST_CALLS))


def filter_evaded(text: str) -> list[str]:
    """Judge the ways round the filter of system calls."""
    found = attempts(text, 8)
    if found.pop("no-new-privs", "off") != "on":
        return ["no_new_privs was taken off"]
    vsock = {what: how for what, how in found.items() if "vsock" in what}
    if len(vsock) < _LEAST_VSOCK:
        raise NotTriedError("too few ways to a vsock were tried")
    # An attempt at another ABI that lives, or comes back with a result, was let through.
    other = [what for what, how in found.items() if what.startswith("int80-") and how == "survived"]
    return [*allowed(found), *sorted(other)]


def network(text: str) -> list[str]:
    """Judge whom a command without a network reaches."""
    found = attempts(text, _LEAST_CALLS)
    if "device-lo" not in found:
        raise NotTriedError("not even the loopback device was found")
    return allowed(found, _LOOPBACK)


def kernel_files(text: str) -> list[str]:
    """Judge what of ``/proc``, ``/sys`` and the devices can be written or says too much."""
    *lines, summary = text.splitlines() or [""]
    match = re.fullmatch(r"tried (\d+)", summary)
    if match is None or int(match[1]) < _LEAST_FILES:
        raise NotTriedError("the walk over the kernel's files broke off")
    return [
        line
        for line in lines
        if not _PRESSURE.fullmatch(line)
        and not (line.startswith("device ") and line.split(" ", 2)[2] in _DEVICES)
    ]
